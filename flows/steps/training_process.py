"""Starts a training stage under ``torchrun`` and follows it. No child outlives this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hemlets.core.errors import DataError, TrainingError
from hemlets.core.files import read_json, write_json
from hemlets.training.config import TUNING, StageJob
from hemlets.training.reporting import PROGRESS

__all__ = ["MEMORY", "run_training"]

MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
"""Big buffers come and go every step; without this glibc maps and clears them anew each time,
which costs a tenth of the speed on a CPU."""

_POLL_S = 0.5
_GRACE_S = 60.0


def run_training(
    job: StageJob,
    *,
    processes: int,
    job_file: Path,
    log: Path,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Run a job to its end; an earlier attempt's checkpoint in ``job.out`` is gone on from.

    Args:
        job: What to train.
        processes: Processes on this machine, one a GPU.
        job_file: Where the job is written for the processes.
        log: Their output, appended.
        progress: Called with each new row of the history, and of the tuning that follows a stage.

    Raises:
        TrainingError: Training failed; the end of the log says why.
    """
    write_json(job_file, job.model_dump(mode="json"))
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "flows.steps.torchrun",
        str(os.getpid()),
        "--nproc-per-node",
        str(processes),
        "--standalone",
        "-m",
        "hemlets.training",
        str(job_file),
    ]
    environment = os.environ | {
        **MEMORY,
        "OMP_NUM_THREADS": str(job.training.threads),
    }
    with log.open("ab") as output:
        start = output.tell()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            seen: dict[Path, dict[str, Any]] = {}
            while child.poll() is None:
                _report(job, seen, progress)
                time.sleep(_POLL_S)
            _report(job, seen, progress)
        finally:
            _end(child)
    if child.returncode:
        with log.open("rb") as stream:
            stream.seek(start)
            tail = stream.read().decode(errors="replace").strip().splitlines()[-15:]
        raise TrainingError(
            f"the {job.stage} stage ended with code {child.returncode}:\n    "
            + "\n    ".join(tail),
            where=log,
            remedy="mend what the log names and run the command again: it goes on from the "
            "last checkpoint",
        )


def _report(
    job: StageJob,
    seen: dict[Path, dict[str, Any]],
    progress: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Tell what is new since ``seen``, of the stage or of the tuning that follows it."""
    if progress is None:
        return
    for folder in (job.out, job.out / TUNING):
        path = folder / PROGRESS
        try:
            row = read_json(path) if path.exists() else None
        except DataError:
            continue
        if row is not None and row != seen.get(path):
            seen[path] = row
            progress(row)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
