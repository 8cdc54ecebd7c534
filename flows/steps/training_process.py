"""Run a training in processes of its own and follow its progress.

Several are started by ``torchrun``. No child outlives this process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hemlets.core.errors import DataError, TrainingError
from hemlets.core.files import read_json, write_json
from hemlets.core.supervisor import SupervisedProcess, last_lines
from hemlets.training.config import TUNING, StageJob
from hemlets.training.reporting import PROGRESS

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
    """Run a job, resuming from a checkpoint in ``job.out`` if there is one.

    Args:
        job: The training job.
        processes: Processes on this machine, one per GPU.
        job_file: File that the job is written to for the processes.
        log: File that their output is appended to.
        progress: Called with each new row of the history of the stage and of its tuning.

    Raises:
        TrainingError: Training failed; includes the end of the log.
    """
    write_json(job_file, job.model_dump(mode="json"))
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P"]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(processes)]
    command += ["-m", "hemlets.training", str(job_file)]
    environment = os.environ | {"OMP_NUM_THREADS": str(job.training.threads)}
    start = log.stat().st_size if log.exists() else 0
    process = SupervisedProcess.start(command, log=log, environment=environment, grace_s=_GRACE_S)
    try:
        seen: dict[Path, dict[str, Any]] = {}
        while process.exit_status() is None:
            _report(job, seen, progress)
            time.sleep(_POLL_S)
        _report(job, seen, progress)
    finally:
        process.stop(timeout_s=_GRACE_S + 2)
    if status := process.exit_status():
        tail = "\n    ".join(last_lines(log, 15, start=start))
        raise TrainingError(
            f"the {job.stage} stage ended with {_words(status)}:\n    {tail}",
            where=log,
            remedy="correct what the log names and run the command again: it continues from the "
            "last checkpoint",
        )


def _words(status: int) -> str:
    """Name the signal behind a supervisor's exit status, else the code."""
    try:
        return signal.Signals(256 - status).name
    except ValueError:
        return f"code {status}"


def _report(
    job: StageJob,
    seen: dict[Path, dict[str, Any]],
    progress: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Report rows that are not in ``seen``, of the stage and of its tuning."""
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
