"""Name the version of the code that runs."""

from __future__ import annotations

import subprocess
from pathlib import Path


def code_version() -> str:
    """The commit that runs, marked if the working tree differs from it; else the package version.

    A repository counts only if it tracks this file: an installation can lie inside the folder of
    another project.
    """
    here = Path(__file__).resolve()
    try:
        _git(here.parent, "ls-files", "--error-unmatch", "--", here.name)
        return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.SubprocessError):
        from hemlets import __version__

        return __version__


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout.strip()
