"""Data versions by DVC: shards and manifests, never single images.

The repository has no source control of its own (``--no-scm``), so the small ``.dvc`` file of
each version is kept by name under ``versions/``; with it and the remote, a version comes back.
The remote is a folder of the workspace, or what `DataSettings` names.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemlets.core.errors import ConfigError, DataError, WorkspaceError
from hemlets.core.files import atomic_path, lock
from hemlets.core.workspace import Workspace
from hemlets.data.locations import DataSettings
from hemlets.data.remote import is_s3_url

if TYPE_CHECKING:
    from dvc.repo import Repo

OPEN_RENDERED = "open-rendered"
_REMOTE = "versions"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MD5_DIGITS = 12
_IGNORED = "/versions\n"


def versions(workspace: Workspace, name: str | None = None) -> list[str]:
    """Names of the versions that this workspace knows, oldest first.

    Args:
        workspace: Whose data repository.
        name: Only those of one dataset.
    """
    folder = workspace.data / "versions"
    files = sorted(folder.glob("*.dvc"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return [path.stem for path in files if name is None or _dataset(path.stem) == name]


def commit(
    workspace: Workspace,
    folder: Path,
    *,
    name: str = OPEN_RENDERED,
    content: str | None = None,
) -> str:
    """Make a folder the current version of a dataset, pushed to the remote.

    The same bytes give the same version, which is committed once.

    Args:
        workspace: Whose data repository.
        folder: The data version.
        name: Of the dataset.
        content: Hash of the folder's content; where it is known, nothing is copied again.

    Returns:
        The version's name: the dataset's, and DVC's hash of the folder.

    Raises:
        ConfigError: A name that can't be a folder's.
        WorkspaceError: The remote can't be written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} can't be the name of a dataset",
            expected="letters, digits, '-', '_' and '.'",
        )
    known = workspace.data / "versions" / f"{name}-{content}.txt"
    if content is not None and known.exists():
        return known.read_text().strip()
    with lock(workspace.locks / "data.lock", "a data version", timeout_s=600):
        repo = _open(workspace)
        try:
            target = workspace.data / name
            _replace(target, folder)
            repo.add(str(target))
            version = f"{name}-{_md5(target)[:_MD5_DIGITS]}"
            kept = workspace.data / "versions" / f"{version}.dvc"
            if not kept.exists():
                with _remote_errors(workspace):
                    repo.push(targets=[str(_dvc_file(target))])
                with atomic_path(kept) as scratch:
                    shutil.copyfile(_dvc_file(target), scratch)
        finally:
            repo.close()
        if content is not None:
            with atomic_path(known) as scratch:
                scratch.write_text(version + "\n")
    return version


def checkout(workspace: Workspace, version: str) -> Path:
    """Bring a version back into ``data/DATASET``, from the remote where needed.

    Raises:
        DataError: No such version; the known ones are named.
        WorkspaceError: The remote can't be read.
    """
    kept = _kept(workspace, version)
    return _bring(workspace, workspace.data / _dataset(version), kept.read_text())


def export(workspace: Workspace, version: str) -> Path:
    """Bring a version into a folder of its own, beside the current one.

    Raises:
        DataError: No such version; the known ones are named.
        WorkspaceError: The remote can't be read.
    """
    from ruamel.yaml import YAML

    document: dict[str, Any] = YAML(typ="safe").load(_kept(workspace, version).read_text())
    document["outs"][0]["path"] = version
    text = io.StringIO()
    YAML().dump(document, text)
    return _bring(workspace, workspace.data / "beside" / version, text.getvalue())


def _bring(workspace: Workspace, target: Path, document: str) -> Path:
    with lock(workspace.locks / "data.lock", "a data version", timeout_s=600):
        repo = _open(workspace)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(_dvc_file(target)) as scratch:
                scratch.write_text(document)
            names = [str(_dvc_file(target))]
            with _remote_errors(workspace):
                repo.fetch(targets=names)
                repo.checkout(targets=names, force=True)
        finally:
            repo.close()
    return target


def _dataset(version: str) -> str:
    return version.rpartition("-")[0]


def _kept(workspace: Workspace, version: str) -> Path:
    kept = workspace.data / "versions" / f"{version}.dvc"
    if Path(version).name != version or not kept.exists():
        raise DataError(
            f"there is no data version {version!r}",
            where=workspace.data,
            expected=", ".join(versions(workspace)) or "a version; none is committed yet",
        )
    return kept


@contextlib.contextmanager
def _remote_errors(workspace: Workspace) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError
    from dvc.exceptions import DvcException

    try:
        yield
    except (DvcException, BotoCoreError, ClientError, OSError) as error:
        settings = DataSettings.of(workspace)
        raise WorkspaceError(
            f"the data remote did not work: {error}",
            where=settings.remote or workspace.data_remote,
            remedy="look at the remote's name, its server and the credentials, then run the "
            "command again; what was copied is not copied again",
        ) from error


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
        Repo.init(str(workspace.data), no_scm=True).close()
    # What is kept there names the same folder once a version, which DVC takes for a clash.
    ignored = workspace.data / ".dvcignore"
    if not ignored.exists() or ignored.read_text() != _IGNORED:
        with atomic_path(ignored) as scratch:
            scratch.write_text(_IGNORED)
    repo = Repo(str(workspace.data))
    _set_remote(repo, workspace)
    return repo


def _set_remote(repo: Repo, workspace: Workspace) -> None:
    """Point DVC to the remote as it is set now: it may have moved since the last version."""
    settings = DataSettings.of(workspace)
    remote = {"url": settings.remote or str(workspace.data_remote)}
    if is_s3_url(remote["url"]):
        # Servers other than Amazon's answer part requests without checksums of the part.
        os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
        if settings.endpoint:
            remote["endpointurl"] = settings.endpoint
    elif "://" in remote["url"]:
        raise ConfigError(
            f"{remote['url']} is no place for data versions",
            where="HEMLETS_DATA_REMOTE or data.toml",
            expected="a folder or s3://bucket/prefix",
        )
    if repo.config.get("remote", {}).get(_REMOTE) == remote:
        return
    with repo.config.edit() as config:
        config["core"]["analytics"] = False
        config["core"]["remote"] = _REMOTE
        config["remote"] = {_REMOTE: remote}
