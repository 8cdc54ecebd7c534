"""Forget data versions and let DVC remove the files that no remaining version needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.storage import data_versions
from hemlets.core.errors import WorkspaceError
from hemlets.core.files import write_text
from hemlets.core.workspace import Workspace
from hemlets.data.locations import DataSettings

if TYPE_CHECKING:
    from dvc.repo import Repo


def collect_garbage(workspace: Workspace, forgotten: Iterable[str], retained: Iterable[str]) -> int:
    """Forget versions and remove their files from the cache and the workspace's own remote.

    Returns:
        Bytes that were freed.

    Raises:
        WorkspaceError: The file list of a retained version is lost, so that DVC can't tell which
            files that version needs.
    """
    from dvc.exceptions import DvcException

    before = _bytes(workspace)
    for version in forgotten:
        data_versions.forget(workspace, version)
    with _visible_to_dvc(workspace, retained):
        repo = data_versions.open_repository(workspace)
        try:
            _require_lists(repo, workspace)
            # A remote that the settings name may be shared.
            repo.gc(workspace=True, cloud=DataSettings.of(workspace).remote is None)
        except (DvcException, OSError) as error:
            raise WorkspaceError(
                f"DVC could not remove unused files: {error}",
                where=workspace.data,
                remedy="run hemlets clean again",
            ) from error
        finally:
            repo.close()
    return before - _bytes(workspace)


def _require_lists(repo: Repo, workspace: Workspace) -> None:
    lists = [out for out in repo.index.outs if out.is_dir_checksum]
    missing = [str(out) for out in lists if out.get_dir_cache() is None]
    if missing:
        raise WorkspaceError(
            f"the list of files of {', '.join(missing)} can't be found, so that DVC can't tell "
            "which files it needs",
            where=workspace.data,
            remedy="bring the remote back, or delete the version's file in data/versions; then "
            "run hemlets clean again",
        )


def _bytes(workspace: Workspace) -> int:
    stores = (workspace.data / ".dvc" / "cache", workspace.data_remote)
    files = (path for store in stores for path in store.rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file())


@contextlib.contextmanager
def _visible_to_dvc(workspace: Workspace, retained: Iterable[str]) -> Iterator[None]:
    """Add a temporary note for every retained version: DVC only reads the current notes."""
    made: list[Path] = []
    try:
        for version in retained:
            note = workspace.data / "beside" / f"{version}.dvc"
            if note.exists():
                continue
            source = workspace.data / "versions" / f"{version}.dvc"
            made.append(note)
            text = source.read_text(encoding="utf-8")
            write_text(note, data_versions.renamed_note(text, version))
        yield
    finally:
        for note in made:
            note.unlink(missing_ok=True)
