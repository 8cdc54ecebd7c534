"""Conditions of a timing: the prepared process, the machine, and whether others used its cores.

Benchmarks import this module first: it prepares the process as the product's entry points do.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hemlets.core.process_setup import prepare_process

if TYPE_CHECKING:
    import torch

prepare_process()

__all__ = ["BUSY", "Timing", "cores", "machine", "timed", "waited_ms"]

BUSY = "the limit is that of two free cores, and can't be judged here"
_MOST_WAITED = 0.1


def machine() -> str:
    """The processor's name."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Timing:
    """Medians of a call's times.

    Attributes:
        wall_ms: Of the clock on the wall.
        busy_ms: Of the processors, all threads together. With one thread on a free core it is
            the wall's; where it is well below that, others had the core too, and it is busy_ms
            that compares between runs.
        waited_ms: Of all threads together, ready to run while others had the cores; 0 where the
            system doesn't tell.
    """

    wall_ms: float
    busy_ms: float
    waited_ms: float = 0.0

    def keeps(self, limit_ms: float, *, alone: bool) -> bool | None:
        """Whether a limit is kept; None where that can't be told.

        On a busy machine a time that is too long says nothing, nor does one thread's time about
        two cores.

        Args:
            limit_ms: Of two cores' wall clock.
            alone: One thread did the work, so that its own time can be judged on a busy machine.
        """
        if (self.busy_ms if alone else self.wall_ms) <= limit_ms:
            return True
        return False if not alone and self.waited_ms <= _MOST_WAITED * self.wall_ms else None


def waited_ms() -> float:
    """Of all threads of this process so far, ready to run while others had the cores."""
    waited = 0
    for thread in Path("/proc/self/task").glob("*/schedstat"):
        # Nanoseconds on the processor, nanoseconds ready to run, turns.
        waited += int(thread.read_text().split()[1])
    return waited / 1e6


def timed(work: Callable[[], object], device: torch.device, repeats: int) -> Timing:
    """Times of a call, after two to warm up."""
    import torch

    wall, busy, waited = [], [], []
    for turn in range(repeats + 2):
        ready, begun = waited_ms(), (time.perf_counter(), time.process_time())
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if turn >= 2:
            wall.append(1e3 * (time.perf_counter() - begun[0]))
            busy.append(1e3 * (time.process_time() - begun[1]))
            waited.append(waited_ms() - ready)
    return Timing(*(sorted(times)[repeats // 2] for times in (wall, busy, waited)))
