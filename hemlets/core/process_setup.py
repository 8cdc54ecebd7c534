"""A process that computes: waiting of its threads, use and collection of its memory."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import os
import platform
import sys
from collections.abc import Iterator

from hemlets.core.environment import quiet_decoders

# <malloc.h>: parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_REUSED_BYTES = 1 << 30
_FREE_BYTES = (1 << 31) - 1  # the largest int
_MOST_UNUSED_BYTES = 3_200_000_000


class _Usage(ctypes.Structure):
    """``struct mallinfo2`` of <malloc.h>."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def prepare_process() -> None:
    """Prepare this process and its children; the first call of every entry point.

    Only times, memory and the decoders' output change, no result. Call it before torch and OpenCV
    are imported, which read environment variables once.
    """
    # By default OpenMP's threads spin at barriers. Where another program takes one of the cores,
    # each barrier then lasts as long as the scheduler's time slice. GNU's can spin for a moment
    # before they sleep. A crop on two cores, free and with one of them taken, in ms:
    # by default 22 and 1,068, after 3,000 turns (some 0.05 ms) 22 and 70, asleep at once 34 and 35.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    quiet_decoders()
    _reuse_freed_memory()
    # At exit Python looks for cycles among all that torch has imported: a third of a second.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Import and load without garbage collection, which makes `import torch` a fifth longer.

    What has been made counts as old afterwards: the next collections don't examine it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # to the oldest generation
            gc.enable()


def _reuse_freed_memory() -> None:
    """Have glibc reuse blocks of up to 1 GiB instead of returning them to the kernel when freed.

    By default glibc maps each block above 32 MiB anew, and the kernel clears its pages at first
    use. A training step frees and allocates many such blocks: 37 % of its processor time went
    there, 40 % of a prediction's of 16 people (peak memory: 3 % less and 44 % more). Variables
    ``MALLOC_…_`` that the user has set are overridden. Other C libraries are left as they are.

    Source:
        mallopt(3), ``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD``.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _REUSED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _FREE_BYTES)


def return_unused_memory(above_bytes: int = _MOST_UNUSED_BYTES) -> None:
    """Return freed memory to the kernel where a large amount is resident.

    Reused blocks of many sizes fragment the heap: it grew to three times what a batch of 32 people
    needs. Call this between batches; the next has its pages cleared again. Arrow, whose memory
    is its own, returns what it can. No result changes.

    Args:
        above_bytes: Freed bytes that may stay resident.

    Source:
        mallinfo(3), malloc_trim(3), ``/proc/self/statm`` of proc(5).
    """
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    usage = getattr(libc, "mallinfo2", None)
    if libc is None or usage is None:
        return
    usage.restype = _Usage
    used = usage()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - not a path of ours
        resident, shared = (
            int(pages) * os.sysconf("SC_PAGESIZE") for pages in file.read().split()[1:3]
        )
    if resident - shared - used.uordblks - used.hblkhd > above_bytes:
        libc.malloc_trim(0)
