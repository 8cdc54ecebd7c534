"""Two processes train as one does, and whatever ends one of them, they go on to the same bits."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hemlets.data.table import FIELDS, Annotations
from hemlets.training import run
from hemlets.training.checkpoints import load_checkpoint
from hemlets.training.config import StageJob
from hemlets.training.engine import train
from hemlets.training.identity import Identity

from .one_of_several import recording
from .rounding import SMALL_RATE, assert_same_gradients, assert_same_losses

SCRIPT = str(Path(__file__).with_name("one_of_several.py"))
TIME_S = 120.0

Start = Callable[..., list[ForkServerProcess]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start(job, …)`` starts a process a job as one group; they are ended with the test."""
    context = multiprocessing.get_context("forkserver")
    # What each would import for seconds is imported once.
    context.set_forkserver_preload(["hemlets.training.engine"])
    started: list[ForkServerProcess] = []

    def start_jobs(*jobs: StageJob) -> list[ForkServerProcess]:
        number = len(started)
        for rank, job in enumerate(jobs):
            file = tmp_path / f"job-{rank}.json"
            file.write_text(job.model_dump_json())
            arguments = {
                "job": str(file),
                "rank": rank,
                "size": len(jobs),
                "meeting": str(tmp_path / f"meeting-{number}"),
                "log": str(tmp_path / f"log-{rank}.txt"),
                "gradients": str(tmp_path / f"gradients-{number}.safetensors"),
            }
            process = context.Process(
                target=runpy.run_path,
                args=(SCRIPT,),
                kwargs={"init_globals": {"ARGUMENTS": arguments}},
                daemon=True,
            )
            process.start()
            started.append(process)
        return started[number:]

    yield start_jobs
    for process in started:
        process.kill()
        process.join()


def _codes(processes: list[ForkServerProcess]) -> list[int | None]:
    for process in processes:
        process.join(TIME_S)
    return [process.exitcode for process in processes]


def _logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("log-*.txt")))


def _wait_for(there: Callable[[], bool], processes: list[ForkServerProcess]) -> None:
    until = time.monotonic() + TIME_S
    while not there():
        assert time.monotonic() < until
        assert all(process.is_alive() for process in processes)
        time.sleep(0.02)


def _step(out: Path) -> int:
    path = out / "progress.json"
    return int(json.loads(path.read_text())["step"]) if path.exists() else 0


def _losses(out: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k.startswith("loss/")} for row in rows]


def _half_known(data: Path, folder: Path, *, seed: int, batch_size: int) -> Path:
    """The data without 3D labels, relations and bodies for all that process 1 is shown first."""
    whole = Annotations.read(data / "annotations.parquet")
    columns = {field.name: whole.column(field.name).copy() for field in FIELDS}
    train_rows = np.flatnonzero(whole.column("split") == "train")
    order = np.random.default_rng((seed, 0)).permutation(len(train_rows))
    shown = train_rows[order.reshape(-1, batch_size)[:, 1::2].reshape(-1)]
    for name in ("valid3d", "relations_valid", "smpl_valid"):
        columns[name][shown] = False
    folder.mkdir()
    (folder / "shards").symlink_to(data / "shards")
    Annotations.from_columns(columns).write(folder / "annotations.parquet")
    return folder


@pytest.mark.parametrize("case", ["in parts", "uneven labels"])
def test_two_processes_train_as_one_does(
    case: str,
    job_for: Callable[..., StageJob],
    data: Path,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # BatchNorm takes its statistics a process, so it is frozen on both sides.
    training: dict[str, Any] = {"freeze_batch_norm": True, "learning_rate": SMALL_RATE, "seed": 3}
    changes: dict[str, Any] = {}
    if case == "in parts":
        training |= {"steps": 3, "accumulate": 2}
    else:
        training |= {"steps": 3}
        changes = {
            "stage": "posh",
            "data": _half_known(data, tmp_path / "half", seed=3, batch_size=8),
        }
    one, two = (job_for(tmp_path / name, training=training, **changes) for name in ("one", "two"))
    processes = start(two, two)
    assert _codes(processes) == [0, 0], _logs(tmp_path)
    alone = tmp_path / "gradients-alone.safetensors"
    monkeypatch.setattr(run, "StageOptimiser", recording(run.StageOptimiser, alone))
    train(one)
    assert_same_gradients(tmp_path / "gradients-0.safetensors", alone)
    assert_same_losses(_losses(two.out), _losses(one.out))
    assert len(_losses(two.out)) == training["steps"]


def test_when_one_is_killed_the_other_ends_and_both_resume_to_the_same_bits(
    job_for: Callable[..., StageJob], start: Start, tmp_path: Path
) -> None:
    short = {"steps": 6, "checkpoint_every": 2, "validate_every": 6}
    unbroken, job = (job_for(tmp_path / n, training=short) for n in ("unbroken", "broken"))
    assert _codes(start(unbroken, unbroken)) == [0, 0], _logs(tmp_path)
    rng = np.random.default_rng()
    processes = start(job, job)
    step, killed = int(rng.integers(2, 5)), int(rng.integers(2))
    _wait_for(lambda: _step(job.out) >= step, processes)
    os.kill(processes[killed].pid or 0, signal.SIGKILL)
    codes = _codes(processes)
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == 1
    assert "the same command goes on" in _logs(tmp_path)
    state = load_checkpoint(job.out / "checkpoint.pt", Identity.of(job))
    # Where it was killed while it wrote the first one, there is none.
    assert state is None or state["step"] in (2, 4)
    assert _codes(start(job, job)) == [0, 0], _logs(tmp_path)
    found, expected = (load_file(j.out / "model/model.safetensors") for j in (job, unbroken))
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert _losses(job.out) == _losses(unbroken.out)


def test_when_one_is_asked_to_end_both_save_and_end(
    job_for: Callable[..., StageJob], start: Start, tmp_path: Path
) -> None:
    asked = int(np.random.default_rng().integers(2))
    job = job_for(tmp_path / "out", training={"steps": 1000, "checkpoint_every": 1000})
    processes = start(job, job)
    _wait_for((job.out / "progress.json").exists, processes)
    os.kill(processes[asked].pid or 0, signal.SIGTERM)
    assert _codes(processes) == [75, 75], _logs(tmp_path)
    state = load_checkpoint(job.out / "checkpoint.pt", Identity.of(job))
    assert state is not None
    assert state["step"] == len(_losses(job.out))


def test_processes_that_do_not_see_the_same_checkpoint_are_told_to_share_a_folder(
    job_for: Callable[..., StageJob], start: Start, tmp_path: Path
) -> None:
    here, there = (job_for(tmp_path / name, training={"steps": 3}) for name in ("here", "there"))
    here.out.mkdir()
    record = Identity.of(here).record
    torch.save({"identity": record, "step": 2}, here.out / "checkpoint.pt")
    assert _codes(start(here, there)) == [1, 1]
    for log in sorted(tmp_path.glob("log-*.txt")):
        assert "differ in their step: 2 in process 0, 0 in process 1" in log.read_text()
        assert "shared folder" in log.read_text()
