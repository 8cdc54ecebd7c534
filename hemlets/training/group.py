"""The group of processes of one run: join, synchronise, compare inputs, end together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from hemlets.core.errors import TrainingError

STOPPED_EXIT_CODE = 75
"""Stopped on request and saved; the same command resumes (EX_TEMPFAIL)."""

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The process group of a run, as seen by one process.

    Any number of processes gives the same result up to rounding, except for BatchNorm's statistics.
    On GPUs these are of the global batch. On CPUs torch can't share them: each process normalises
    by its own share of the batch, and process 0's running statistics are saved; set
    ``training.freeze_batch_norm`` where that matters.

    All processes must call every method but `lend_threads` at the same point.

    Attributes:
        rank: Number of this process; 0 writes.
        size: Number of processes.
        device: Device of this process.
        signals: Stop signals that this process received.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    signals: list[int] = field(default_factory=list)

    @classmethod
    def joined(cls, signals: list[int]) -> Self:
        """Join the group that ``torchrun`` started this process for; wait for all."""
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(device)
        if size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        group = cls(rank, size, device, signals)
        group.barrier()
        return group

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value.item())

    def all_gather(self, value: T) -> list[T]:
        """Collect a small value from each process, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def agree(self, values: Mapping[str, object], *, where: Path) -> None:
        """Require that all processes read the same values.

        Raises:
            TrainingError: In every process, if two differ.
        """
        first, *others = self.all_gather(dict(values))
        for rank, other in enumerate(others, 1):
            for name, value in first.items():
                if other[name] != value:
                    raise TrainingError(
                        f"the processes differ in their {name}: {value!r} in process 0, "
                        f"{other[name]!r} in process {rank}",
                        where=where,
                        expected="the same files wherever a process of the run is",
                        remedy="put the run's folder and its inputs into a shared folder, at the "
                        "same path on all machines, and run the command again",
                    )

    def stop_requested(self) -> bool:
        """Return whether any process received a stop signal."""
        return self.any(bool(self.signals))

    def end(self) -> None:
        """End together, after saving.

        Raises:
            SystemExit: With code 75.
        """
        # A launcher ends the rest as soon as the first is gone, and process 0 saves longest.
        self.barrier()
        raise SystemExit(STOPPED_EXIT_CODE)

    @contextlib.contextmanager
    def lend_threads(self, threads: int) -> Iterator[None]:
        """Use the threads of all processes of this machine while only this process works."""
        if self.device.type != "cpu":
            yield
            return
        torch.set_num_threads(threads * int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def parallel(self, objective: nn.Module) -> nn.Module:
        """Wrap an objective so that its gradients are averaged over the processes."""
        if self.size == 1:
            return objective
        if self.device.type != "cuda":
            return nn.parallel.DistributedDataParallel(objective, gradient_as_bucket_view=True)
        return nn.parallel.DistributedDataParallel(
            with_global_statistics(objective),
            device_ids=[self.device.index],
            gradient_as_bucket_view=True,
        )


@contextlib.contextmanager
def explain_rank_failure() -> Iterator[None]:
    """Replace the error of a lost process by one that names the cause and the remedy.

    Raises:
        TrainingError: Another process ended or can't be reached.
    """
    try:
        yield
    except RuntimeError as error:
        # Gloo's own are plain RuntimeErrors, which begin with the file of its source.
        if not isinstance(error, dist.DistError) and "gloo/transport" not in str(error):
            raise
        raise TrainingError(
            f"another process of the run ended, or can't be reached: {str(error).splitlines()[0]}",
            remedy="see its last output on its machine; the same command goes on from the last "
            "checkpoint",
        ) from error


def missing_shared_file(action: str, path: Path) -> TrainingError:
    """Make the error of a file that another process wrote and this process does not find."""
    return TrainingError(
        f"what another process {action} is not there",
        where=path,
        expected="a folder that all processes of the run see",
        remedy="put the run's folder on a disk that all machines share",
    )


def with_global_statistics(module: nn.Module) -> nn.Module:
    """Convert BatchNorm to statistics over all processes; GPUs only.

    Parameters, buffers, their names and frozen modules stay unchanged.
    """
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted
