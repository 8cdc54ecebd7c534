"""Data versions that nothing needs, and their files in DVC's cache and the workspace's remote.

A version that somebody committed by hand stays; so does a remote that others may share.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flows.storage import data_versions as data_version
from flows.storage.retention import Kept
from hemlets.core.errors import WorkspaceError
from hemlets.core.files import atomic_path
from hemlets.core.workspace import Workspace
from hemlets.data.locations import DataSettings

__all__ = ["DataPlan", "plan_data"]

_OBJECTS: Final = Path("files") / "md5"


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """What goes of the data repository.

    Attributes:
        workspace: Whose repository.
        versions: Versions that are forgotten.
        kept: Versions that stay.
        beside: Copies of versions that are forgotten, and the notes of them.
        objects: Files in the cache and the remote that no remaining version has.
        bytes: Their size.
    """

    workspace: Workspace
    versions: tuple[str, ...]
    kept: tuple[str, ...]
    beside: tuple[Path, ...]
    objects: int
    bytes: int

    def carry_out(self) -> None:
        """Forget the versions, then let DVC collect what no remaining one has.

        Raises:
            WorkspaceError: The list of a remaining version's files is neither in the cache nor in
                the remote, so that DVC can't tell which files are its own.
        """
        notes = self.workspace.data / "versions"
        if not notes.is_dir():
            return
        for version in self.versions:
            data_version.forget(self.workspace, version)
        if self.objects:
            _collect(self.workspace, self.kept)


def plan_data(workspace: Workspace, kept: Kept) -> DataPlan:
    """Find the versions that nothing needs. Changes nothing.

    Args:
        workspace: Whose data repository.
        kept: What is needed.
    """
    known = data_version.versions(workspace)
    by_content = _by_content(workspace)
    by_hand = set(known) - set(by_content.values())
    needed = {version for content, version in by_content.items() if content in kept.contents}
    stay = [name for name in known if name in needed | by_hand | kept.data_versions]
    beside = workspace.data / "beside"
    copies = [
        path
        for path in sorted(beside.glob("*"))
        if path.name.removesuffix(".dvc") not in stay and not path.name.startswith(".")
    ]
    objects = list(_unused(workspace, stay)) if known else []
    return DataPlan(
        workspace=workspace,
        versions=tuple(name for name in known if name not in stay),
        kept=tuple(stay),
        beside=tuple(copies),
        objects=len(objects),
        bytes=sum(path.stat().st_size for path in objects),
    )


def _by_content(workspace: Workspace) -> dict[str, str]:
    """Versions that stages' results became, by the results' content."""
    notes = (workspace.data / "versions").glob("*.txt")
    return {note.stem.rpartition("-")[2]: note.read_text().strip() for note in notes}


def _own_remote(workspace: Workspace) -> bool:
    return DataSettings.of(workspace).remote is None


def _stores(workspace: Workspace) -> list[Path]:
    cache = workspace.data / ".dvc" / "cache"
    return [cache, workspace.data_remote] if _own_remote(workspace) else [cache]


def _document(file: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML

    document: dict[str, Any] = YAML(typ="safe").load(file.read_text())
    return document


def _unused(workspace: Workspace, versions: Iterable[str]) -> Iterator[Path]:
    used: set[str] = set()
    notes = [workspace.data / "versions" / f"{version}.dvc" for version in versions]
    for note in (*workspace.data.glob("[!.]*.dvc"), *notes):
        digest = str(_document(note)["outs"][0]["md5"])
        used.add(digest)
        for store in (workspace.data / ".dvc" / "cache", workspace.data_remote):
            listing = store / _OBJECTS / digest[:2] / digest[2:]
            if listing.is_file():
                used |= {str(entry["md5"]) for entry in json.loads(listing.read_text())}
                break
    for store in _stores(workspace):
        for path in sorted((store / _OBJECTS).glob("??/*")):
            if path.parent.name + path.name not in used:
                yield path


def _collect(workspace: Workspace, versions: Iterable[str]) -> None:
    from dvc.exceptions import DvcException

    with _noted(workspace, versions):
        repo = data_version.open_repository(workspace)
        try:
            lists = [out for out in repo.index.outs if out.is_dir_checksum]
            missing = [str(out) for out in lists if out.get_dir_cache() is None]
            if missing:
                raise WorkspaceError(
                    f"the list of files of {', '.join(missing)} can't be found, so that DVC can't "
                    "tell which files it needs",
                    where=workspace.data,
                    remedy="bring the remote back, or delete the version's file in data/versions; "
                    "then run hemlets clean again",
                )
            repo.gc(workspace=True, cloud=_own_remote(workspace))
        except (DvcException, OSError) as error:
            raise WorkspaceError(
                f"DVC could not collect what no version needs: {error}",
                where=workspace.data,
                remedy="run hemlets clean again",
            ) from error
        finally:
            repo.close()


@contextlib.contextmanager
def _noted(workspace: Workspace, versions: Iterable[str]) -> Iterator[None]:
    """Show DVC, which looks at the current versions only, the other ones that stay."""
    from ruamel.yaml import YAML

    made = []
    try:
        for version in versions:
            note = workspace.data / "beside" / f"{version}.dvc"
            if note.exists():
                continue
            document = _document(workspace.data / "versions" / f"{version}.dvc")
            document["outs"][0]["path"] = version
            text = io.StringIO()
            YAML().dump(document, text)
            made.append(note)
            with atomic_path(note) as scratch:
                scratch.write_text(text.getvalue())
        yield
    finally:
        for note in made:
            note.unlink(missing_ok=True)
