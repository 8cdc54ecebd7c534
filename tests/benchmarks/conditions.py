"""What a timing was taken under: the machine, and whether it had its processors to itself."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["Timing", "cores", "machine", "timed"]


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
    """

    wall_ms: float
    busy_ms: float


def timed(work: Callable[[], object], device: torch.device, repeats: int) -> Timing:
    """Times of a call, after two to warm up."""
    import torch

    wall, busy = [], []
    for turn in range(repeats + 2):
        begun = time.perf_counter(), time.process_time()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if turn >= 2:
            wall.append(1e3 * (time.perf_counter() - begun[0]))
            busy.append(1e3 * (time.process_time() - begun[1]))
    return Timing(sorted(wall)[repeats // 2], sorted(busy)[repeats // 2])
