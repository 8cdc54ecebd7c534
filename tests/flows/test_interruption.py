"""A retraining may be killed anywhere: nothing of it goes on, and the next one completes it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from flows.profile import load_profile
from flows.registry import versions as registry
from flows.steps.ingest import ingest
from flows.steps.train import train_pose
from flows.storage.stage_cache import StageStore
from flows.tracking.mlflow_client import connect
from hemlets.core.errors import TrainingError
from hemlets.core.workspace import Workspace

pytestmark = pytest.mark.services

WEIGHTS = Path("model") / "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """A retraining that was ended four times and then left alone.

    Attributes:
        printed: What each attempt said, by what it was doing when it was ended.
        left: Processes that went on after each end.
        tracked: Status of the run of train PoSh after Ctrl-C, and the names of its curves.
    """

    workspace: Workspace
    printed: dict
    left: dict
    tracked: tuple[str, set[str]]


def _training_run(workspace: Workspace, stage: str) -> tuple[str, set[str]]:
    tracking = connect(workspace)
    (run,) = tracking.client.search_runs(
        [tracking.experiment_id], filter_string=f"tags.`hemlets.stage` = '{stage}'"
    )
    return run.info.status, set(run.data.metrics)


class TestARetrainingThatIsEndedAgainAndAgain:
    @pytest.fixture(scope="class")
    def interrupted(self, start, tmp_path_factory):
        """Killed in ingest, train pose and package, Ctrl-C in train PoSh; always one command."""
        workspace = Workspace(home=tmp_path_factory.mktemp("interrupted") / "workspace")
        printed, left = {}, {}

        running = start(workspace)
        running.wait_for("stages/ingest/*.partial/.unfinished/*.arrow.parquet")
        printed["ingest"] = running.kill()
        left["ingest"] = running.left()

        running = start(workspace, own_server=False)
        running.wait_for("stages/train-pose/*.partial/checkpoint*")
        printed["train pose"] = running.kill()
        left["train pose"] = running.left()

        running = start(workspace)
        running.wait_for("stages/train-posh/*.partial/history.jsonl", filled=True)
        printed["train PoSh"] = running.interrupt()
        left["train PoSh"] = running.left()
        tracked = _training_run(workspace, "train-posh")

        running = start(workspace, own_server=False)
        running.wait_for("serving/canary/instance.json")
        printed["package"] = running.kill()
        left["package"] = running.left()

        running = start(workspace, own_server=False)
        printed["nothing"] = running.finish()
        left["nothing"] = running.left()
        yield Interrupted(workspace=workspace, printed=printed, left=left, tracked=tracked)
        shutil.rmtree(workspace.home, ignore_errors=True)

    @pytest.mark.parametrize("stage", ["ingest", "train pose", "package"])
    def test_no_process_outlives_kill_9(self, interrupted, stage) -> None:
        assert interrupted.printed[stage].code == -signal.SIGKILL
        assert interrupted.left[stage] == []

    def test_the_run_of_a_training_that_was_ended_has_its_curves_so_far(self, interrupted) -> None:
        status, curves = interrupted.tracked
        assert status == "KILLED"
        assert "loss/total" in curves
        assert _training_run(interrupted.workspace, "train-posh")[0] == "FINISHED"

    def test_ctrl_c_ends_it_quietly_with_all_its_processes(self, interrupted) -> None:
        printed = interrupted.printed["train PoSh"]
        assert printed.code == 130
        assert "Traceback" not in printed.err + printed.out
        assert "ERROR" not in printed.err
        assert interrupted.left["train PoSh"] == []

    @pytest.mark.parametrize(
        ("attempt", "whole"),
        [
            ("ingest", []),
            ("train PoSh", ["ingest", "validate"]),
            ("package", ["ingest", "validate", "train pose"]),
            ("nothing", ["ingest", "validate", "train pose", "train PoSh", "benchmark"]),
        ],
    )
    def test_each_attempt_takes_what_was_whole_from_the_cache(
        self, interrupted, attempt, whole
    ) -> None:
        assert interrupted.printed[attempt].cached[: len(whole)] == whole
        assert not set(interrupted.printed[attempt].cached[len(whole) :]) - {"register"}

    def test_the_last_attempt_completes_and_promotes(self, interrupted) -> None:
        printed = interrupted.printed["nothing"]
        assert printed.code == 0, printed.err
        assert "promoted: " in printed.out
        assert interrupted.left["nothing"] == []
        (version,) = registry.versions(interrupted.workspace)
        assert set(version.aliases) == {"challenger", "champion"}

    @pytest.mark.parametrize("stage", ["train-pose", "train-posh"])
    def test_the_weights_equal_those_of_an_uninterrupted_run_bit_for_bit(
        self, interrupted, finished, result_of, stage
    ) -> None:
        ours = result_of(interrupted.workspace, stage) / WEIGHTS
        theirs = finished.stage(stage) / WEIGHTS
        assert ours.read_bytes() == theirs.read_bytes()

    def test_the_data_version_is_the_same(self, interrupted, finished) -> None:
        tags = registry.versions(interrupted.workspace)[0].tags
        assert tags["data_version"] == registry.versions(finished.workspace)[0].tags["data_version"]

    def test_nothing_half_written_is_left(self, interrupted) -> None:
        assert not list(interrupted.workspace.stages.glob("*/*.partial"))

    def test_no_run_is_left_running_and_none_stands_twice(self, interrupted) -> None:
        tracking = connect(interrupted.workspace)
        runs = tracking.client.search_runs([tracking.experiment_id])
        assert {r.info.status for r in runs} == {"FINISHED"}
        names = [r.info.run_name for r in runs]
        assert len(names) == len(set(names)) == 9


class TestTwoAtOnce:
    def test_the_second_ends_with_the_number_of_the_first_and_no_more_words(
        self, start, workspace
    ) -> None:
        first = start(workspace, own_server=False)
        first.wait_for("locks/retrain.owner")
        second = start(workspace, own_server=False).finish(90)
        assert first.process.poll() is None
        first.kill()
        assert first.left() == []
        assert second.code == 1
        said = second.err.splitlines()
        assert said[0].endswith(f"is already running (process {first.process.pid})")
        assert said[0].startswith("error: a retraining in this workspace")
        assert "wait for it, or end that process" in said[2]
        assert len(said) == 3
        assert second.out == ""


class TestATrainingProcessThatIsKilled:
    @pytest.fixture
    def killer(self, workspace):
        """Kills the training process, and it alone, after its first checkpoint."""

        def hunt() -> None:
            while not any(workspace.stages.glob("train-pose/*.partial/checkpoint*")):
                if given_up.wait(0.01):
                    return
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    line = process.cmdline()
                    if "hemlets.training" in line and "hemlets.core.supervisor" not in line:
                        killed.append(process.pid)
                        os.kill(process.pid, signal.SIGKILL)

        given_up, killed = threading.Event(), []
        thread = threading.Thread(target=hunt, daemon=True)
        thread.start()
        yield killed
        given_up.set()
        thread.join()

    def test_the_message_names_the_log_and_the_next_attempt_goes_on_from_the_checkpoint(
        self, finished, workspace, lend, tiny, killer
    ) -> None:
        lend(finished, workspace, "ingest")
        profile, store = load_profile(str(tiny)), StageStore(workspace)
        data = ingest(store, profile)
        with pytest.raises(TrainingError) as error:
            train_pose(store, profile, data)
        assert len(killer) == 1
        (log,) = workspace.logs.glob("train-pose-*.log")
        assert error.value.where == str(log)
        assert "SIGKILL" in error.value.what
        assert "continues from the last checkpoint" in str(error.value)

        began: list[int] = []
        result = train_pose(
            store, profile, data, lambda key, folder: lambda row: began.append(int(row["step"]))
        )
        assert not result.cached
        steps = [line for line in log.read_text().splitlines() if line.startswith('{"step"')]
        assert sum('"step": 3,' in line for line in steps) == 1
        assert (result.folder / WEIGHTS).read_bytes() == (
            finished.stage("train-pose") / WEIGHTS
        ).read_bytes()
