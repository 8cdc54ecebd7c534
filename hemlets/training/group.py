"""The processes of one run: how they are joined, what they agree on, how they end together."""

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
"""Asked to end and saved: run the same command to go on (EX_TEMPFAIL)."""

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """One process or several that train a run together, as one of them sees it.

    They give what one process gives, up to rounding, but for BatchNorm's statistics. On GPUs
    these are those of the global batch. On CPUs torch can't share them: each process normalises
    by its own share of the batch, and process 0's running statistics are kept; freeze BatchNorm
    (``training.freeze_batch_norm``) where that matters.

    Every method but `parallel` and `lend_threads` must be called by all processes at the
    same point.

    Attributes:
        rank: Number of this process; 0 writes.
        size: Processes.
        device: What this process computes on.
        signals: Numbers of the signals that have asked this process to end.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    signals: list[int] = field(default_factory=list)

    @classmethod
    def joined(cls, signals: list[int]) -> Self:
        """The group that ``torchrun`` started this process for, once all of it is there."""
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
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value.item())

    def gathered(self, value: T) -> list[T]:
        """A small value of each process, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def agree(self, values: Mapping[str, object], *, where: Path) -> None:
        """Make sure that all processes read the same.

        Args:
            values: By what people call them.
            where: The run's folder, for the message.

        Raises:
            TrainingError: In every process, where two differ.
        """
        first, *others = self.gathered(dict(values))
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

    def asked_to_end(self) -> bool:
        """Whether any process was."""
        return self.any(bool(self.signals))

    def end(self) -> None:
        """End together, what is to be kept being saved.

        Raises:
            SystemExit: With code 75.
        """
        # A launcher ends the rest as soon as the first is gone, and process 0 saves longest.
        self.barrier()
        raise SystemExit(STOPPED_EXIT_CODE)

    @contextlib.contextmanager
    def lend_threads(self, threads: int) -> Iterator[None]:
        """Have the threads of all processes of this machine while only this one works.

        Args:
            threads: Each process' own, which this one has again afterwards.
        """
        if self.device.type != "cpu":
            yield
            return
        torch.set_num_threads(threads * int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def parallel(self, objective: nn.Module) -> nn.Module:
        """An objective whose gradients are averaged over the processes."""
        if self.size == 1:
            return objective
        if self.device.type != "cuda":
            return nn.parallel.DistributedDataParallel(objective)
        return nn.parallel.DistributedDataParallel(
            with_global_statistics(objective), device_ids=[self.device.index]
        )


@contextlib.contextmanager
def explain_rank_failure() -> Iterator[None]:
    """Say what happened where another process of the group ended in the block.

    Raises:
        TrainingError: One did.
    """
    try:
        yield
    except RuntimeError as error:
        # Gloo's own are plain RuntimeErrors, which begin with the file of its source.
        if not isinstance(error, dist.DistError) and "gloo/transport" not in str(error):
            raise
        raise TrainingError(
            f"another process of the run ended, or can't be reached: {str(error).splitlines()[0]}",
            remedy="see what it said last, on its machine; the same command goes on from the last "
            "checkpoint",
        ) from error


def with_global_statistics(module: nn.Module) -> nn.Module:
    """Have BatchNorm take its statistics from all processes' samples; on GPUs only.

    Parameters, buffers and their names stay, as does what is frozen.
    """
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted
