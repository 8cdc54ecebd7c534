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
    """Have the kernel end this process when its parent dies.

    Call it first in a child. Linux sends the signal when the parent's *thread* that started the
    child ends, so start children from a thread that outlives them. On other systems this does
    nothing.

    Args:
        signal: Signal that the kernel sends.
        parent_pid: The parent's id when it started the child; a child with another parent ends at
            once, because its own died before this call.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal)
