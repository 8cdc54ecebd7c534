"""Child processes that don't outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal as signals
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(
    signal: signals.Signals = signals.SIGTERM, *, parent_pid: int | None = None
) -> None:
    """Have the kernel end this process when its parent dies, however that happens.

    Call it first thing in a child. Linux sends the signal when the parent's *thread* that
    started the child ends, so start children from a thread which outlives them. On other
    systems this does nothing.

    Args:
        signal: What the kernel shall send.
        parent_pid: The parent as it was when it started the child. A parent that died before
            this call would never be noticed, so a child that finds another parent ends at once.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal)
