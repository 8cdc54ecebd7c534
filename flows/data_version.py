"""Data versions by DVC: shards and manifests, never single images.

The repository has no source control of its own (``--no-scm``), so the small ``.dvc`` file of
each version is kept by name under ``versions/``; with it and the remote, a version comes back.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemlets.errors import DataError
from hemlets.files import atomic_path, lock
from hemlets.workspace import Workspace

if TYPE_CHECKING:
    from dvc.repo import Repo

__all__ = ["checkout", "commit", "versions"]

_NAME = "open-rendered"
_REMOTE = "local"


def versions(workspace: Workspace) -> list[str]:
    """Names of the versions that this workspace knows, oldest first."""
    folder = workspace.data / "versions"
    files = sorted(folder.glob("*.dvc"), key=lambda path: path.stat().st_mtime)
    return [path.stem for path in files]


def commit(workspace: Workspace, folder: Path, *, content: str | None = None) -> str:
    """Make a folder the current data version, pushed to the remote.

    The same bytes give the same version, which is committed once.

    Args:
        workspace: Whose data repository.
        folder: The data version.
        content: Hash of the folder's content; where it is known, nothing is copied again.

    Returns:
        The version's name, from DVC's hash of the folder.
    """
    known = workspace.data / "versions" / f"{content}.txt"
    if content is not None and known.exists():
        return known.read_text().strip()
    with lock(workspace.locks / "data.lock", "a data version", timeout_s=600):
        repo = _open(workspace)
        try:
            target = workspace.data / _NAME
            _replace(target, folder)
            repo.add(str(target))
            version = f"{_NAME}-{_md5(target)[:12]}"
            kept = workspace.data / "versions" / f"{version}.dvc"
            if not kept.exists():
                repo.push()
                with atomic_path(kept) as scratch:
                    shutil.copyfile(_dvc_file(target), scratch)
        finally:
            repo.close()
        if content is not None:
            with atomic_path(known) as scratch:
                scratch.write_text(version + "\n")
    return version


def checkout(workspace: Workspace, version: str) -> Path:
    """Bring a version back into ``data/open-rendered``, from the remote where needed.

    Raises:
        DataError: No such version; the known ones are named.
    """
    kept = workspace.data / "versions" / f"{version}.dvc"
    if not kept.exists():
        raise DataError(
            f"there is no data version {version!r}",
            where=workspace.data,
            expected=", ".join(versions(workspace)) or "a version; none is committed yet",
        )
    with lock(workspace.locks / "data.lock", "a data version", timeout_s=600):
        repo = _open(workspace)
        try:
            target = workspace.data / _NAME
            with atomic_path(_dvc_file(target)) as scratch:
                shutil.copyfile(kept, scratch)
            repo.fetch()
            repo.checkout(force=True)
        finally:
            repo.close()
    return target


def _dvc_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.dvc")


def _md5(target: Path) -> str:
    from ruamel.yaml import YAML

    document: dict[str, Any] = YAML(typ="safe").load(_dvc_file(target).read_text())
    return str(document["outs"][0]["md5"])


def _replace(target: Path, source: Path) -> None:
    """Copy, never link: DVC may link its cache into the target."""
    scratch = target.with_name(f".{target.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch, ignore=shutil.ignore_patterns(".*", "manifest.json"))
    shutil.rmtree(target, ignore_errors=True)
    scratch.replace(target)


def _open(workspace: Workspace) -> Repo:
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)

    workspace.data.mkdir(parents=True, exist_ok=True)
    if not (workspace.data / ".dvc" / "config").exists():
        shutil.rmtree(workspace.data / ".dvc", ignore_errors=True)
        repo = Repo.init(str(workspace.data), no_scm=True)
        with repo.config.edit() as config:
            config["core"]["analytics"] = False
            config["core"]["remote"] = _REMOTE
            config["remote"][_REMOTE] = {"url": str(workspace.data_remote)}
        repo.close()
    return Repo(str(workspace.data))
