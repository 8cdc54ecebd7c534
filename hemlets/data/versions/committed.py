"""Find committed data versions by name; the interface of their store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Protocol

from hemlets.core.errors import ConfigError
from hemlets.core.plugins import load_plugin
from hemlets.core.workspace import Workspace
from hemlets.data.versions.writer import TABLE

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class VersionStore(Protocol):
    """Stores data versions under names, in the workspace and in a remote."""

    def commit(self, workspace: Workspace, folder: Path, *, name: str) -> str:
        """Make a folder the current version of a dataset; return the version's name."""
        ...

    def publish(self, workspace: Workspace, folder: Path, *, name: str) -> str:
        """`commit`, and send an event about a new version."""
        ...

    def versions(self, workspace: Workspace) -> list[str]:
        """List the versions, oldest first."""
        ...

    def remote_versions(self, workspace: Workspace) -> list[str]:
        """List the versions in the remote, oldest first."""
        ...

    def checkout(self, workspace: Workspace, version: str) -> Path:
        """Check a version out as the current one of its dataset."""
        ...

    def export(self, workspace: Workspace, version: str) -> Path:
        """Check a version out into a separate folder."""
        ...


def version_store() -> VersionStore:
    """Return the installed store.

    Raises:
        ConfigError: There is none.
    """
    store: VersionStore = load_plugin("data-versions")
    return store


def require_name(name: str, where: str | None = None) -> None:
    """Refuse a name that can't be that of a dataset, and so of a folder.

    Args:
        name: The name.
        where: The option that gives it.

    Raises:
        ConfigError: It has other characters, or is too long.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} can't be the name of a dataset",
            where=where,
            expected="at most 64 letters, digits, '-', '_' and '.', a letter or digit first",
        )


def find_version(text: str, workspace: Workspace) -> Path:
    """Return the folder of a data version.

    Args:
        text: A folder, the name of an ingested dataset or of a committed version, or a dataset's
            name for its newest committed version.
        workspace: The workspace.

    Raises:
        ConfigError: There is no such version.
    """
    for place in (Path(text), workspace.home / "ingested" / text):
        if (place / TABLE).exists():
            return place
    if (workspace.data / "versions").exists():
        store = version_store()
        known = store.versions(workspace)
        newest = [version for version in known if version.rpartition("-")[0] == text]
        if text in known or newest:
            return store.export(workspace, text if text in known else newest[-1])
    raise ConfigError(
        f"{text!r} is no data version",
        expected=f"a folder with {TABLE}, the name of a committed version, or the name of an "
        "ingested dataset",
        remedy="`hemlets data versions` lists the versions; `hemlets data ingest` and "
        "`hemlets retrain` make them",
    )
