"""Commit, check out and export data versions with DVC: shards and tables, never single images.

The repository has no source control (``--no-scm``). The ``.dvc`` note of each version is stored by
name under ``versions/`` and in the remote's index (`flows.storage.version_index`); note and remote
suffice to restore a version. The remote is a folder of the workspace, or set by `DataSettings`.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows.storage.version_index import ARRIVALS, VersionIndex, version_index
from hemlets.core.environment import clean_environment
from hemlets.core.errors import ConfigError, DataError, WorkspaceError
from hemlets.core.files import lock, write_text
from hemlets.core.workspace import Workspace
from hemlets.data.locations import DataSettings
from hemlets.data.remote import is_s3_url
from hemlets.data.versions.committed import require_name

if TYPE_CHECKING:
    from dvc.repo import Repo

OPEN_RENDERED: Final = "open-rendered"
_REMOTE: Final = "versions"
_MD5_DIGITS: Final = 12
_IGNORED: Final = "/versions\n"
_CONFIG: Final = "[core]\n    no_scm = True\n    analytics = False\n"


def versions(workspace: Workspace, name: str | None = None) -> list[str]:
    """List the versions that this workspace knows, oldest first; ``name`` selects one dataset."""
    folder = workspace.data / "versions"
    files = sorted(folder.glob("*.dvc"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return [path.stem for path in files if name is None or _dataset(path.stem) == name]


def remote_versions(workspace: Workspace) -> list[str]:
    """List the versions in the remote, oldest first, from any machine.

    Raises:
        WorkspaceError: The remote can't be read.
    """
    with _remote_errors(workspace):
        return version_index(workspace).names()


def commit(
    workspace: Workspace,
    folder: Path,
    *,
    name: str = OPEN_RENDERED,
    content: str | None = None,
) -> str:
    """Make a folder the current version of a dataset and push it to the remote.

    The same bytes give the same version, which is committed once.

    Args:
        workspace: The workspace with the data repository.
        folder: The data version.
        name: Name of the dataset.
        content: Hash of the folder's content; if it was committed before, nothing is copied.

    Returns:
        The version's name: the dataset's name and DVC's hash of the folder.

    Raises:
        ConfigError: The name can't be a folder name.
        WorkspaceError: The remote can't be written.
    """
    require_name(name)
    known = workspace.data / "versions" / f"{name}-{content}.txt"
    if content is not None and known.exists():
        version = known.read_text(encoding="utf-8").strip()
        if _is_note(_note_path(workspace, version)):
            return version
    with lock(workspace.locks / "data.lock", "a data version", timeout_s=600):
        repo = open_repository(workspace)
        try:
            target = workspace.data / name
            _replace(target, folder)
            repo.add(str(target))
            note = _dvc_file(target).read_text(encoding="utf-8")
            version = f"{name}-{_md5(note)[:_MD5_DIGITS]}"
            with _remote_errors(workspace):
                _push(repo, target, version, note, version_index(workspace), workspace)
        finally:
            repo.close()
        if content is not None:
            write_text(known, version + "\n")
    return version


def note_arrivals(workspace: Workspace, version: str, text: str) -> None:
    """Store in the remote which sync brought each row of a source's version.

    Raises:
        WorkspaceError: The remote can't be written.
    """
    with _remote_errors(workspace):
        version_index(workspace).write(version, text, ARRIVALS)


def noted_arrivals(workspace: Workspace, name: str) -> str | None:
    """The last note of `note_arrivals` about a source, from any machine; None if there is none.

    Raises:
        WorkspaceError: The remote can't be read.
    """
    with _remote_errors(workspace):
        index = version_index(workspace)
        known = [version for version in index.names() if _dataset(version) == name]
        notes = (index.read(version, ARRIVALS) for version in reversed(known))
        return next((note for note in notes if note is not None), None)


def publish(workspace: Workspace, folder: Path, *, name: str) -> str:
    """`commit` by hand, and send an event about a new version to the Prefect server, if set."""
    known = versions(workspace)
    version = commit(workspace, folder, name=name)
    if version not in known and os.environ.get("PREFECT_API_URL"):
        from flows.services.events import emit, send_now

        emit("data.committed", {"version": version})
        send_now()
    return version


def _push(
    repo: Repo, target: Path, version: str, note: str, index: VersionIndex, workspace: Workspace
) -> None:
    """Push a version's files, then its note, then store the note here, in this order."""
    path = _note_path(workspace, version)
    if _is_note(path) and index.read(version) is not None:
        return
    repo.push(targets=[str(_dvc_file(target))])
    index.write(version, note)
    if not _is_note(path):
        write_text(path, note)


def checkout(workspace: Workspace, version: str) -> Path:
    """Check a version out into ``data/DATASET``; fetch it from the remote if needed.

    Raises:
        DataError: No such version; the known ones are named.
        WorkspaceError: The remote can't be read.
    """
    return _bring(workspace, workspace.data / _dataset(version), _note(workspace, version))


def export(workspace: Workspace, version: str) -> Path:
    """Check a version out into a separate folder; the current version stays.

    Raises:
        DataError: No such version; the known ones are named.
        WorkspaceError: The remote can't be read.
    """
    note = renamed_note(_note(workspace, version), version)
    return _bring(workspace, workspace.data / "beside" / version, note)


def renamed_note(note: str, name: str) -> str:
    """Return DVC's note of a folder for the same files in a folder of another name."""
    from ruamel.yaml import YAML

    document: dict[str, Any] = YAML(typ="safe").load(note)
    document["outs"][0]["path"] = name
    text = io.StringIO()
    YAML().dump(document, text)
    return text.getvalue()


def forget(workspace: Workspace, version: str) -> None:
    """Remove a version's name from the workspace and from the index of the workspace's own remote.

    The files stay until garbage collection. A remote set by the settings may be shared: unchanged.
    """
    _note_path(workspace, version).unlink(missing_ok=True)
    for known in (workspace.data / "versions").glob("*.txt"):
        if known.read_text(encoding="utf-8").strip() == version:
            known.unlink()
    if DataSettings.of(workspace).remote is None:
        version_index(workspace).remove(version)


def open_repository(workspace: Workspace) -> Repo:
    """Open the workspace's DVC repository; create it if absent. The caller closes it.

    The settings are passed on every call instead of being stored in DVC's configuration: DVC can't
    write characters beyond ASCII there, and leaves an empty file when it tries.

    Raises:
        ConfigError: The remote is neither a folder nor in a bucket.
        WorkspaceError: DVC's configuration is damaged.
    """
    clean_environment()
    own = workspace.data / ".dvc"
    # Settings of the user or the system would redirect cache and remote.
    for name in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR"):
        os.environ[f"DVC_{name}"] = str(own / "no-config")
    os.environ.pop("DVC_SITE_CACHE_DIR", None)
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    (own / "tmp").mkdir(parents=True, exist_ok=True)
    _heal_config(own / "config")
    # The notes of several versions name the same folder, which DVC reports as an overlap.
    ignored = workspace.data / ".dvcignore"
    if not ignored.exists() or ignored.read_text(encoding="utf-8") != _IGNORED:
        write_text(ignored, _IGNORED)
    return Repo(
        str(workspace.data),
        config={
            "core": {"no_scm": True, "analytics": False, "remote": _REMOTE},
            "cache": {"dir": str(own / "cache")},
            "remote": {_REMOTE: _remote(workspace)},
        },
    )


def _heal_config(path: Path) -> None:
    """Write DVC's configuration if it is absent or empty.

    Raises:
        WorkspaceError: It is neither empty nor DVC's.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        parser.read_string(text)
    except (configparser.Error, UnicodeDecodeError) as error:
        raise WorkspaceError.damaged(
            f"DVC's configuration is damaged: {str(error).splitlines()[0]}",
            path,
            remedy="delete this file, it is written anew; versions and cache stay",
        ) from error
    if parser.get("core", "no_scm", fallback="").lower() != "true":
        if parser.sections():
            raise WorkspaceError.damaged(
                "DVC's configuration is not that of a repository without source control",
                path,
                "no_scm = True in the section core",
                remedy="delete this file, it is written anew; versions and cache stay",
            )
        write_text(path, _CONFIG)


def _remote(workspace: Workspace) -> dict[str, str]:
    """Return DVC's settings of the present remote, which may differ from the last version's."""
    settings = DataSettings.of(workspace)
    remote = {"url": settings.remote or str(workspace.data_remote)}
    if is_s3_url(remote["url"]):
        # Servers other than Amazon's answer range requests without a checksum of the range.
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
    return remote


def _bring(workspace: Workspace, target: Path, document: str) -> Path:
    with lock(workspace.locks / "data.lock", "a data version", timeout_s=600):
        repo = open_repository(workspace)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_text(_dvc_file(target), document)
            names = [str(_dvc_file(target))]
            with _remote_errors(workspace):
                repo.fetch(targets=names)
                repo.checkout(targets=names, force=True)
        finally:
            repo.close()
    return target


def _dataset(version: str) -> str:
    return version.rpartition("-")[0]


def _note_path(workspace: Workspace, version: str) -> Path:
    return workspace.data / "versions" / f"{version}.dvc"


def _note(workspace: Workspace, version: str) -> str:
    """Return a version's note, from the remote's index if the workspace has none.

    Raises:
        DataError: No such version, here or in the remote.
        WorkspaceError: The remote can't be read.
    """
    is_name = Path(version).name == version and bool(_dataset(version))
    path = _note_path(workspace, version)
    if is_name and _is_note(path):
        return path.read_text(encoding="utf-8")
    with _remote_errors(workspace):
        index = version_index(workspace)
        note = index.read(version) if is_name else None
        if note is None:
            known = list(dict.fromkeys([*versions(workspace), *index.names()]))
            raise DataError(
                f"there is no data version {version!r}",
                where=workspace.data,
                expected=", ".join(known) or "a version; none is committed yet",
            )
    write_text(path, note)
    return note


def _is_note(path: Path) -> bool:
    """Return whether a note exists and is complete."""
    try:
        return bool(_md5(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, UnicodeDecodeError, DataError):
        return False


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
            remedy="check the remote's name, its server and the credentials, then run the "
            "command again; what was copied is not copied again",
        ) from error


def _dvc_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.dvc")


def _md5(note: str) -> str:
    """Read DVC's hash of the folder from a note.

    Raises:
        DataError: The note is incomplete.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        out = YAML(typ="safe").load(note)["outs"][0]
        # The path is the note's last line: with it, the note is complete.
        md5, _ = str(out["md5"]), out["path"]
    except (YAMLError, TypeError, KeyError, IndexError) as error:
        raise DataError("DVC's note of the version is damaged") from error
    return md5


def _replace(target: Path, source: Path) -> None:
    """Copy, never link: DVC may link its cache into the target."""
    scratch = target.with_name(f".{target.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch, ignore=shutil.ignore_patterns(".*", "manifest.json"))
    shutil.rmtree(target, ignore_errors=True)
    scratch.replace(target)
