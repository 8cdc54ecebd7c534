"""Runs one program and makes sure that nothing of it outlives its owner.

``python -m hemlets.core.supervisor [--owner PID] [--scratch FOLDER] [--pid-file FILE] -- COMMAND…``

Servers start further processes: TorchServe's Java its Python workers, MLflow's launcher uvicorn.
Killing any of them leaves the others behind. This process stands between: it adopts every orphan
below it (Linux's child subreaper), watches its owner, and ends all descendants when the owner
dies, when it is told to stop (SIGTERM in order, SIGINT at once), or when the program itself ends.
If this process is killed outright, the program gets SIGKILL from the kernel.

The owner is watched by process id and not by a parent-death signal, because that signal fires
when the *thread* that started the child ends, and flows start servers from pool threads.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from hemlets.core.processes import die_with_parent

_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.1


def supervise(
    command: Sequence[str],
    *,
    owner: int | None = None,
    scratch: Path | None = None,
    pid_file: Path | None = None,
    grace_s: float = 10.0,
) -> int:
    """Run ``command`` until it ends, until SIGTERM or SIGINT, or until ``owner`` is gone.

    Args:
        command: The program and its arguments.
        owner: Process id of the parent whose death ends the program; None to go on without.
        scratch: Folder that is removed at the end.
        pid_file: File that gets the program's process id.
        grace_s: Time that the program, and then what it leaves behind, has to end by itself
            after SIGTERM before it is killed.

    Returns:
        The program's exit status, or 0 when it was stopped on purpose.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    stopped = at_once = False

    def stop(name: int, _frame: FrameType | None) -> None:
        nonlocal stopped, at_once
        stopped, at_once = True, name == signal.SIGINT

    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, stop)
    tie = partial(die_with_parent, signal.SIGKILL, parent_pid=os.getpid())
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=tie)
    try:
        if pid_file is not None:
            pid_file.write_text(f"{program.pid}\n")
        while program.poll() is None and not stopped:
            if owner is not None and os.getppid() != owner:
                stopped = at_once = True
            time.sleep(_POLL_S)
    finally:
        _end(program, 0.0 if at_once else grace_s)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return 0 if stopped else program.returncode


def _end(program: subprocess.Popen[bytes], grace_s: float) -> None:
    import psutil

    myself = psutil.Process()
    if grace_s > 0:
        end = time.monotonic() + grace_s
        # The program first and alone: it may have to end its own children in order.
        if program.poll() is None:
            program.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(timeout=grace_s)
        left = myself.children(recursive=True)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        psutil.wait_procs(left, timeout=max(0.0, end - time.monotonic()))
    deadline = time.monotonic() + 30
    # Again and again: a program that is dying can still start a child.
    while (left := myself.children(recursive=True)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        program.poll()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m hemlets.core.supervisor")
    parser.add_argument("--owner", type=int)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--pid-file", type=Path)
    parser.add_argument("--grace-s", type=float, default=10.0)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    return supervise(
        given.command,
        owner=given.owner,
        scratch=given.scratch,
        pid_file=given.pid_file,
        grace_s=given.grace_s,
    )


if __name__ == "__main__":
    sys.exit(main())
