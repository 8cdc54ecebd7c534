"""Convert every error to a message that the terminal can show."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import Final, TextIO, TypeVar

import typer

from hemlets.core.errors import HemletsError

DEBUG: Final = "HEMLETS_DEBUG"
"""Environment variable that shows tracebacks."""

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells give it."""

UNEXPECTED: Final = 70
"""Exit code of an unforeseen error (``EX_SOFTWARE`` of sysexits.h)."""

BROKEN_PIPE: Final = 141
"""Exit code when the reader of the output has gone, as shells give it."""

_T = TypeVar("_T")


class UnexpectedError(HemletsError):
    """An error of a library, or a bug."""

    exit_code = UNEXPECTED


def prepare_streams() -> None:
    """Print each line at once, with a replacement for what the terminal's encoding lacks.

    A server whose output is a pipe or a log would otherwise say its address when it ends. A closed
    output is discarded; the next file that is opened would otherwise take its number, and its text.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number is the closed one.
            free = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(free, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace", line_buffering=True)


def handle_errors(action: Callable[[], _T]) -> _T:
    """Run an action and return its result; an error becomes a message and an exit code.

    With ``HEMLETS_DEBUG=1`` the error is raised unchanged.

    Raises:
        typer.Exit: After any error, with its exit code.
    """
    try:
        result = action()
        sys.stdout.flush()
        return result
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("click", "typer"):
            raise  # Wrong usage, or an exit that was asked for; their classes vary by version.
        if os.environ.get(DEBUG, "") not in ("", "0"):
            raise
        if isinstance(error, BrokenPipeError):
            _discard(sys.stdout)
            raise typer.Exit(BROKEN_PIPE) from None
        explained = error if isinstance(error, HemletsError) else explain(error)
        typer.echo(f"error: {explained}", err=True)
        if _is_full(error):
            _discard(sys.stdout)
        raise typer.Exit(explained.exit_code) from None


def explain(error: Exception) -> HemletsError:
    """Build the message for an unforeseen error.

    It contains the kind and first line of the original, and the place in our code.
    """
    if isinstance(error, OSError) and error.strerror:
        if _is_full(error) and error.filename is None:
            return UnexpectedError(
                "the output can't be written: no space is left",
                where="standard output",
                remedy="what was written to files before is whole; print to another place",
            )
        return UnexpectedError(
            error.strerror.lower(),
            where=error.filename,
            remedy="free space, or choose another folder"
            if _is_full(error)
            else f"set {DEBUG}=1 to see where it happened",
        )
    first_line = (str(error).strip() or "no message").splitlines()[0]
    return UnexpectedError(
        f"{type(error).__name__}: {first_line}",
        where=_place(error),
        remedy=f"set {DEBUG}=1 to see the whole traceback, and report it if it looks like a bug",
    )


def _place(error: Exception) -> str | None:
    """Return the last line of our own code in the error's traceback."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        inside = frame.filename.startswith(root) and "site-packages" not in frame.filename
        if inside and frame.filename != __file__:
            return f"{os.path.relpath(frame.filename, root)}:{frame.lineno}"
    return None


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _discard(stream: TextIO) -> None:
    """Discard buffered output, so that the interpreter's exit does not fail on it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):
        pass
    finally:
        os.close(nowhere)
