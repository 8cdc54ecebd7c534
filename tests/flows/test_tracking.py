"""Runs are found again by their stage key, whatever happened to the process that wrote them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PIL import Image

from flows.tracking.history import LiveHistory, read_history
from flows.tracking.mlflow_client import close_orphans, connect, tracking_uri
from flows.tracking.owner import EXPIRY_S, HEARTBEAT_TAG, INTERVAL_S, Owner
from flows.tracking.run import flatten
from hemlets.core.errors import DataError, WorkspaceError
from hemlets.core.workspace import Workspace


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    # The space is meant: paths become addresses on their way through MLflow.
    return Workspace(home=tmp_path_factory.mktemp("tracking") / "work space")


@pytest.fixture
def tracking(workspace):
    return connect(workspace)


def _status(tracking, run):
    return tracking.client.get_run(run.run_id).info.status


def _tags(tracking, run):
    return tracking.client.get_run(run.run_id).data.tags


def test_a_stage_run_is_the_child_of_its_retraining(tracking):
    with (
        tracking.run("parent-1", "retrain") as parent,
        tracking.run("child-1", "ingest", parent=parent, tags={"stage": "ingest"}) as child,
    ):
        assert _status(tracking, child) == "RUNNING"
    assert _status(tracking, child) == "FINISHED"
    tags = _tags(tracking, child)
    assert tags["mlflow.parentRunId"] == parent.run_id
    assert tags["hemlets.stage_key"] == "child-1"
    assert tags["stage"] == "ingest"


def test_a_rerun_from_cache_finds_the_finished_run_and_makes_none(tracking):
    with tracking.run("cached", "ingest") as first:
        assert not first.finished
    with tracking.run("cached", "ingest") as second:
        assert second.finished
    assert second.run_id == first.run_id
    found = tracking.client.search_runs(
        [tracking.experiment_id], "tags.`hemlets.stage_key` = 'cached'"
    )
    assert len(found) == 1


def test_an_unknown_key_has_no_run(tracking):
    assert tracking.find("never started") is None


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no memory"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_block_that_raises_closes_its_run_with_the_reason(tracking, error, status):
    key = f"raises {status}"
    with pytest.raises(type(error)), tracking.run(key, "train") as run:
        raise error
    assert _status(tracking, run) == status
    reason = str(error) or "KeyboardInterrupt"
    assert _tags(tracking, run)["hemlets.error"] == reason
    assert reason in _tags(tracking, run)["mlflow.note.content"]


def test_a_failed_run_is_taken_up_again_under_the_same_key(tracking):
    with pytest.raises(ValueError), tracking.run("retry", "train") as first:  # noqa: PT011
        raise ValueError("once")
    tracking.client.update_run(first.run_id, name="failed: train")
    with tracking.run("retry", "train") as second:
        assert second.run_id == first.run_id
        assert tracking.client.get_run(second.run_id).info.run_name == "train"
        assert second.started_ms == first.started_ms
        assert _status(tracking, second) == "RUNNING"
    assert _status(tracking, second) == "FINISHED"
    assert _tags(tracking, second)["hemlets.takeovers"] == "1"
    assert not {"hemlets.error", "mlflow.note.content"} & _tags(tracking, second).keys()


def test_runs_of_a_killed_process_are_closed_or_adopted(workspace, tracking):
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from hemlets.core.workspace import Workspace\n"
        "from flows.tracking.mlflow_client import connect\n"
        "tracking = connect(Workspace(home=Path(sys.argv[1])))\n"
        "for key in ('left-1', 'left-2'): print(tracking.start_or_adopt(key, 'train').run_id)\n"
        "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", script, str(workspace.home)], capture_output=True, text=True
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    closed, adopted = died.stdout.split()

    again = tracking.start_or_adopt("left-2", "train")
    assert again.run_id == adopted
    assert Owner.from_tags(_tags(tracking, again)) == Owner.here()

    assert close_orphans(workspace) == [closed]
    assert tracking.client.get_run(closed).info.status == "KILLED"
    assert _status(tracking, again) == "RUNNING"
    assert close_orphans(workspace) == []
    again.finish()


def test_a_run_that_a_living_process_writes_is_refused(workspace, tracking):
    run = tracking.start_or_adopt("busy", "train")
    parent = os.getppid()
    started = psutil.Process(parent).create_time()
    run.tag(replace(Owner.here(), pid=parent, started_s=started).to_tags())
    with pytest.raises(WorkspaceError, match=f"process {parent}"):
        tracking.start_or_adopt("busy", "train")
    assert run.run_id not in close_orphans(workspace)


def test_a_process_number_that_was_given_to_another_process_is_not_the_owner(workspace, tracking):
    run = tracking.start_or_adopt("reused number", "train")
    run.tag(replace(Owner.here(), started_s=1.0).to_tags())
    assert run.run_id in close_orphans(workspace)


def test_runs_of_another_machine_are_left_alone_while_it_gives_signs_of_life(workspace, tracking):
    run = tracking.start_or_adopt("elsewhere", "train")
    run.tag(replace(Owner.here(), host="elsewhere").to_tags())
    assert run.run_id not in close_orphans(workspace)
    with pytest.raises(
        WorkspaceError, match=r"on elsewhere[\s\S]*free at \d\d:\d\d:\d\d .*in \d+ s"
    ):
        tracking.start_or_adopt("elsewhere", "train")


def _silent_since(seconds):
    return replace(Owner.here(), host="a container", heartbeat_s=int(time.time() - seconds))


def test_a_container_that_was_killed_gives_its_run_back_after_ten_minutes(workspace, tracking):
    run = tracking.start_or_adopt("container", "train")
    run.tag(_silent_since(590).to_tags())
    with pytest.raises(WorkspaceError, match="a container"):
        tracking.start_or_adopt("container", "train")
    run.tag(_silent_since(601).to_tags())
    again = tracking.start_or_adopt("container", "train")
    assert again.run_id == run.run_id
    assert Owner.from_tags(_tags(tracking, again)) == Owner.here()
    again.finish()


def test_runs_that_another_machine_has_left_for_ten_minutes_are_closed(workspace, tracking):
    run = tracking.start_or_adopt("left elsewhere", "train")
    run.tag(_silent_since(601).to_tags())
    assert run.run_id in close_orphans(workspace)


def _beat(tracking, run):
    return int(_tags(tracking, run)[HEARTBEAT_TAG])


def test_an_open_run_has_its_heartbeat_renewed_until_it_ends(tracking, monkeypatch):
    monkeypatch.setattr("flows.tracking.owner.INTERVAL_S", 0.05)
    with tracking.run("alive", "train") as run:
        run.tag({HEARTBEAT_TAG: "1"})
        deadline = time.monotonic() + 300
        while _beat(tracking, run) == 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    run.tag({HEARTBEAT_TAG: "1"})
    time.sleep(0.3)
    assert _beat(tracking, run) == 1


def test_a_heartbeat_that_fails_ends_nothing(tracking, monkeypatch):
    failed = threading.Semaphore(0)

    def unreachable(*_):
        failed.release()
        raise ConnectionError("no route")

    monkeypatch.setattr("flows.tracking.owner.INTERVAL_S", 0.01)
    with tracking.run("unreachable", "train") as run:
        monkeypatch.setattr(type(tracking.client), "set_tag", unreachable)
        for _ in range(3):
            assert failed.acquire(timeout=60)
    assert _status(tracking, run) == "FINISHED"


def test_several_heartbeats_may_be_lost_before_a_run_counts_as_abandoned():
    assert INTERVAL_S >= 60
    assert EXPIRY_S / INTERVAL_S >= 5


def test_a_history_is_stored_once_however_often_it_is_logged(tracking, tmp_path):
    path = tmp_path / "history.jsonl"
    lines = [
        {"step": i, "epoch": i // 500, "loss": 10 / (i + 1), "lr": 1e-3, "phase": "warm"}
        for i in range(1500)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with tracking.run("history", "train") as run:
        LiveHistory(run, path).send_all()
    crashed = tracking.start_or_adopt("history 2", "train")
    LiveHistory(crashed, path).send_all()
    crashed.finish("FAILED")
    with tracking.run("history 2", "train") as run:
        LiveHistory(run, path).send_all()
    assert run.run_id == crashed.run_id
    points = tracking.client.get_metric_history(run.run_id, "loss")
    assert [p.step for p in points] == list(range(1500))
    assert points[3].value == 2.5
    assert tracking.client.get_run(run.run_id).data.metrics.keys() == {"epoch", "loss", "lr"}


def test_the_torn_last_line_of_a_killed_trainer_is_passed_over(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_history(path) == [("loss", 2.0, 1, None)]


@pytest.mark.parametrize("line", ["{", "[]", '{"loss": 1}', '{"step": 1.5}', '{"step": true}'])
def test_a_damaged_line_of_a_history_is_named(tmp_path, line):
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
    with pytest.raises(DataError, match="line 2") as caught:
        read_history(path)
    assert caught.value.where == f"{path}:2"


def test_an_absent_history_is_named(tmp_path):
    with pytest.raises(DataError, match=r"history\.jsonl"):
        read_history(tmp_path / "history.jsonl")


def test_a_metric_name_that_the_tracker_would_refuse_is_named(tracking):
    with tracking.run("names", "benchmark") as run:
        run.metrics({"mpjpe_mm/18j/root:pelvis/align:none": 80.0})
        with pytest.raises(DataError, match="align=none"):
            run.metrics({"mpjpe_mm/align=none": 80.0})


def test_nested_settings_become_dotted_parameters():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, "x"]}, "e": "text", "f": None, "g": {}}) == {
        "a.b.c": "1",
        "a.d": '[1, "x"]',
        "e": "text",
        "f": "null",
        "g": "{}",
    }


def test_more_parameters_than_one_call_takes_are_all_logged(tracking):
    config = {"big": {str(i): i for i in range(250)}, "long": "x" * 10_000}
    with tracking.run("params", "train") as run:
        run.params(config)
        run.params(config)
    stored = tracking.client.get_run(run.run_id).data.params
    assert len(stored) == 251
    assert stored["big.249"] == "249"
    assert len(stored["long"]) == 6000


def test_other_parameters_under_the_same_key_are_refused_by_name(tracking):
    with tracking.run("changed params", "train") as run:
        run.params({"train": {"lr": 0.1, "batch": 2}})
        with pytest.raises(WorkspaceError, match=r"train\.lr"):
            run.params({"train": {"lr": 0.2, "batch": 2}})


def test_pictures_and_tables_are_stored_with_the_run(tracking, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "people.png")
    with tracking.run("artifacts", "benchmark") as run:
        for _ in range(2):
            run.files([tmp_path / "people.png"], folder="pictures")
            run.table("errors", [{"joint": "nose", "mm": 12.5}, {"joint": "a, b", "pck": 90}])
        with pytest.raises(DataError, match="absent"):
            run.files([tmp_path / "absent.png"])
    target = tmp_path / "downloaded"
    target.mkdir()
    root = Path(tracking.client.download_artifacts(run.run_id, "", str(target)))
    assert (root / "pictures" / "people.png").read_bytes()[:4] == b"\x89PNG"
    assert (root / "tables" / "errors.csv").read_text() == (
        'joint,mm,pck\nnose,12.5,\n"a, b",,90\n'
    )
    table = json.loads((root / "tables" / "errors.json").read_text())
    assert table == {
        "columns": ["joint", "mm", "pck"],
        "data": [["nose", 12.5, None], ["a, b", None, 90]],
    }


def test_a_retraining_notes_which_run_a_cached_stage_came_from(tracking):
    with tracking.run("linked stage", "ingest") as stage:
        pass
    with tracking.run("second parent", "retrain") as parent:
        parent.link("ingest", stage)
    assert _tags(tracking, parent)["hemlets.run.ingest"] == stage.run_id


def test_the_address_of_a_run_is_its_own_page_without_a_password(tracking):
    with tracking.run("addressed", "retrain") as run:
        pass
    place = f"#/experiments/{tracking.experiment_id}/runs/{run.run_id}"
    assert tracking.place(run) == place
    served = replace(tracking, uri="https://ann:secret@mlflow.example/team/")
    assert served.page(run) == f"https://mlflow.example/team/{place}"
    assert run.run_id in tracking.page(run)  # a database has no pages


def test_two_workspaces_in_one_process_do_not_mix(workspace, tmp_path):
    connect(workspace)
    other = Workspace(home=tmp_path / "other")
    assert connect(other).uri == f"sqlite:///{other.mlflow}/mlflow.db"
    assert connect(workspace).uri == tracking_uri(workspace)
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_database_that_is_none_is_named_with_the_way_back(tmp_path):
    workspace = Workspace(home=tmp_path)
    workspace.mlflow.mkdir()
    (workspace.mlflow / "mlflow.db").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(WorkspaceError, match=r"not a database[\s\S]*mlflow.db[\s\S]*doctor"):
        connect(workspace)


def test_a_moved_workspace_is_refused_before_files_go_to_the_old_place(workspace, tmp_path):
    connect(workspace)
    moved = Workspace(home=tmp_path / "moved")
    shutil.copytree(workspace.mlflow, moved.mlflow)
    with pytest.raises(WorkspaceError, match="moved"):
        connect(moved)


def test_an_unreachable_tracking_server_is_named(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(WorkspaceError, match=r"127\.0\.0\.1:9"):
        connect(workspace)
