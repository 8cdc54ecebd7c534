"""The pinned versions are whole on every Python that the project supports."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parents[1] / "infra" / "requirements.lock"
OTHERS = {"torch", "triton", "setuptools"}
"""Installed beside the pinned versions: torch by a line of its own of the Makefile."""


def pinned(python: str) -> set[str]:
    """Names of the packages that the lock installs on a Python."""
    lines = [line for line in LOCK.read_text().splitlines() if line and line[0] != "#"]
    environment = {"python_full_version": python, "python_version": "3.11"}
    return {
        canonicalize_name(wanted.name)
        for wanted in map(Requirement, lines)
        if wanted.marker is None or wanted.marker.evaluate(environment)
    }


@pytest.mark.parametrize("python", ["3.11.0", "3.11.2", "3.11.9"])
def test_every_pinned_package_has_what_it_needs(python: str) -> None:
    """Debian 12 has 3.11.2, for which some packages need a backport that later ones don't."""
    names = pinned(python)
    environment = {"python_full_version": python, "python_version": "3.11", "extra": ""}
    missing = set()
    for name in sorted(names):
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # for another Python than this one
        for wanted in map(Requirement, needed):
            if wanted.marker is None or wanted.marker.evaluate(environment):
                found = canonicalize_name(wanted.name)
                if found not in names | OTHERS:
                    missing.add(f"{name} needs {found}")
    assert not missing
