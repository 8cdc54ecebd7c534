"""A password in an address is shown to nobody."""

import pytest

from flows.registry.versions import version_by_number
from flows.tracking.mlflow_client import connect
from hemlets.core.errors import HemletsError, WorkspaceError
from hemlets.core.redaction import redact_url
from hemlets.core.workspace import Workspace


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:secret@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg2://ann:se@cret@db/mlflow", "postgresql+psycopg2://***@db/mlflow"),
        ("https://token@host", "https://***@host"),
        ("http://ann:sec/ret@host/x", "http://***@host/x"),
        ("GET http://a:b@c/d failed, see http://e:f@g", "GET http://***@c/d failed, see http://***@g"),
    ],
)  # fmt: skip
def test_name_and_password_of_an_address_are_masked(text: str, shown: str) -> None:
    assert redact_url(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/ann@work/mlflow.db",
        "http://127.0.0.1:5000/runs?mail=ann@example.org",
        "s3://bucket/ann@example.org",
        "write to ann@example.org",
    ],
)
def test_what_is_no_userinfo_stays(text: str) -> None:
    assert redact_url(text) == text


def test_the_tracker_s_password_is_not_in_the_message_of_a_lost_tracker(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(WorkspaceError) as caught:
        connect(Workspace(home=tmp_path))
    assert "127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.fixture
def with_password(tmp_path, monkeypatch) -> Workspace:
    """A tracker whose address has a password that SQLite doesn't mind."""
    # Where MLflow keeps the artifacts of such a tracker.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", f"sqlite:///file:{tmp_path}/m.db?uri=true&x=http://ann:secret@host"
    )
    return Workspace(home=tmp_path)


def test_nor_is_it_in_what_is_stored_with_a_run_that_failed(with_password) -> None:
    tracking = connect(with_password)
    error = HemletsError("lost", where=tracking.uri)
    with pytest.raises(HemletsError), tracking.run("key", "train") as run:
        raise error
    stored = tracking.client.get_run(run.run_id).data.tags["hemlets.error"]
    assert "lost" in stored
    assert "***@host" in stored
    assert "secret" not in stored


def test_nor_in_the_messages_about_runs_and_versions(with_password) -> None:
    run = connect(with_password).start_or_adopt("params", "train")
    run.params({"lr": 1})
    with pytest.raises(WorkspaceError) as changed:
        run.params({"lr": 2})
    with pytest.raises(HemletsError) as unknown:
        version_by_number(with_password, 7)
    run.finish()
    for caught in (changed, unknown):
        assert "***@host" in str(caught.value)
        assert "secret" not in str(caught.value)
