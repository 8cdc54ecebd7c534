"""Run one program and make sure that nothing of it outlives its owner.

`SupervisedProcess` starts a program through ``python -m hemlets.core.supervisor``. Servers and
launchers start further processes: TorchServe's Java its Python workers, MLflow's launcher uvicorn,
torchrun its ranks. Killing one of them leaves the others behind. The supervisor stands between:
it adopts every orphan below it (Linux's child subreaper), watches its owner, and ends all
descendants when the owner dies, when it is asked to stop (SIGTERM in order, SIGINT at once), or
when the program itself ends. If the supervisor is killed, the kernel kills the program.

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
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Self

from hemlets.core.processes import die_with_parent

if TYPE_CHECKING:
    import psutil

_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.1


class SupervisedProcess:
    """A program under a supervisor, as its owner sees it.

    Attributes:
        pid: Process id of the supervisor, which leads a session and process group of its own.
        started: Its start time, seconds since 1970: another process can have the id by now.
    """

    def __init__(
        self, pid: int, started: float, *, child: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.pid, self.started, self._child = pid, started, child

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        tied: bool = True,
        scratch: Path | None = None,
        pid_file: Path | None = None,
        grace_s: float = 10.0,
    ) -> Self:
        """Start a program.

        Args:
            command: The program and its arguments.
            log: File that its output is appended to.
            environment: All its variables; those of this process when omitted.
            cwd: Its working directory.
            tied: End it when this process ends.
            scratch: Folder that is removed at its end.
            pid_file: File that gets the program's process id.
            grace_s: Time between SIGTERM and SIGKILL.
        """
        import psutil

        options = ["--grace-s", str(grace_s)]
        options += ["--owner", str(os.getpid())] if tied else []
        options += ["--scratch", str(scratch)] if scratch is not None else []
        options += ["--pid-file", str(pid_file)] if pid_file is not None else []
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "hemlets.core.supervisor", *options, "--", *command],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal must reach the owner alone, which then stops in order.
                start_new_session=True,
            )
        return cls(child.pid, psutil.Process(child.pid).create_time(), child=child)

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return self._process() is not None

    def exit_status(self) -> int | None:
        """Exit status of a program that this process started; None while it runs."""
        return None if self._child is None else self._child.poll()

    def stop(self, *, at_once: bool = False, timeout_s: float = 45.0) -> None:
        """End the program and all its descendants, and wait until none is left.

        Args:
            at_once: Do not let it finish its work.
            timeout_s: Time until everything is killed.
        """
        import psutil

        process = self._process()
        below: list[psutil.Process] = []
        if process is not None:
            with contextlib.suppress(psutil.Error):
                below = process.children(recursive=True)
                process.send_signal(signal.SIGINT if at_once else signal.SIGTERM)
            psutil.wait_procs([process], timeout=timeout_s)
        if process is not None or (self._child is not None and self._child.returncode is None):
            # What is left of the group, also after the supervisor itself was killed.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        for item in below:
            with contextlib.suppress(psutil.Error):
                item.kill()
        psutil.wait_procs(below, timeout=10)
        if self._child is not None:
            self._child.wait()

    def _process(self) -> psutil.Process | None:
        import psutil

        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.started) < 1.0
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def last_lines(log: Path, count: int, *, start: int = 0) -> list[str]:
    """The last lines of a log, of what was written from byte ``start`` on; none if unreadable."""
    try:
        with log.open("rb") as stream:
            stream.seek(start)
            return stream.read().decode(errors="replace").strip().splitlines()[-count:]
    except OSError:
        return []


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
            pid_file.write_text(f"{program.pid}\n", encoding="utf-8")
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
