"""A training's curves in the tracker while it runs."""

import json

import pytest

from flows.tracking.history import LiveHistory
from flows.tracking.mlflow_client import connect
from hemlets.core.workspace import Workspace


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield connect(Workspace(home=tmp_path_factory.mktemp("live")))


def _append(path, steps):
    with path.open("a") as stream:
        for step in steps:
            stream.write(json.dumps({"step": step, "loss": 100.0 / step}) + "\n")


def _points(tracking, run):
    return [(p.step, p.value) for p in tracking.client.get_metric_history(run.run_id, "loss")]


def test_an_open_run_has_the_rows_that_were_written_so_far(tracking, tmp_path):
    path = tmp_path / "history.jsonl"
    with tracking.run("live", "train pose") as run:
        live = LiveHistory(run, path, every_s=0)
        _append(path, [10, 20])
        live.send()
        assert _points(tracking, run) == [(10, 10.0), (20, 5.0)]
        _append(path, [30])
        live.send()
        # A row is sent once, and the whole history at the end doubles nothing.
        LiveHistory(run, path).send_all()
        assert [step for step, _ in _points(tracking, run)] == [10, 20, 30]


def test_points_have_the_time_of_their_step_also_where_a_killed_training_repeats_some(
    tracking, tmp_path
):
    path = tmp_path / "history.jsonl"

    def write(rows):
        path.write_text("".join(json.dumps({"step": s, "time_s": t, "loss": 1.0}) + "\n"
                                for s, t in rows))  # fmt: skip

    killed = tracking.start_or_adopt("timed", "train pose")
    write([(10, 1.8e9), (20, 1.8e9 + 7.25)])
    LiveHistory(killed, path).send()
    killed.finish("FAILED")
    with tracking.run("timed", "train pose") as run:
        write([(10, 1.8e9), (20, 1.8e9 + 900), (30, 1.8e9 + 907)])
        LiveHistory(run, path).send_all()
    points = tracking.client.get_metric_history(run.run_id, "loss")
    times = [(point.step, point.timestamp - 1_800_000_000_000) for point in points]
    assert times == [(10, 0), (20, 7250), (30, 907_000)]


def test_the_tracker_is_left_in_peace_between_two_calls(tracking, tmp_path):
    path = tmp_path / "history.jsonl"
    with tracking.run("rarely", "train pose") as run:
        live = LiveHistory(run, path, every_s=3600)
        _append(path, [10])
        live.send()
        _append(path, [20])
        live.send()
        assert [step for step, _ in _points(tracking, run)] == [10]


def test_what_was_written_since_the_last_call_is_sent_when_the_training_is_ended(
    tracking, tmp_path
):
    path = tmp_path / "history.jsonl"
    with tracking.run("ended", "train pose") as run:
        live = LiveHistory(run, path, every_s=3600)

        def train():
            with live:
                _append(path, [10])
                live.send()
                _append(path, [20, 30])
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train()
        assert [step for step, _ in _points(tracking, run)] == [10, 20, 30]


def test_a_tracker_that_is_gone_holds_up_no_training(tracking, tmp_path, monkeypatch):
    path = tmp_path / "history.jsonl"
    _append(path, [10])
    with tracking.run("gone", "train pose") as run:
        live = LiveHistory(run, path, every_s=0)
        with monkeypatch.context() as patch:
            patch.setattr(type(tracking.client), "log_batch", _unreachable)
            live.send()
        assert _points(tracking, run) == []
        live.send()
        assert [step for step, _ in _points(tracking, run)] == [10]


def _unreachable(*_, **__):
    raise ConnectionError("no route to host")
