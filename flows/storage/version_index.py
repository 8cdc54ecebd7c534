"""The index of committed versions in the remote: small objects per version.

DVC's remote stores files by hash. With the index, a machine that has only the remote's address
can list and fetch versions by name, and knows which sync brought each row of a source.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hemlets.core.files import write_text
from hemlets.core.workspace import Workspace
from hemlets.data.locations import DataSettings
from hemlets.data.remote import is_s3_url, parse_s3_url, s3_client

_FOLDER: Final = "index"
_SUFFIX: Final = ".dvc"
ARRIVALS: Final = ".arrivals.json"
"""Kind of a note about a source's version: which sync brought each row."""
_KINDS: Final = (_SUFFIX, ARRIVALS)


def version_index(workspace: Workspace) -> VersionIndex:
    """Open the index in the workspace's remote: a folder or a bucket's prefix."""
    settings = DataSettings.of(workspace)
    remote = settings.remote or str(workspace.data_remote)
    if is_s3_url(remote):
        return _Bucket(remote, settings.endpoint)
    return _Folder(Path(remote) / _FOLDER)


class _Folder:
    """Notes of versions by name, as files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        notes = self._folder.glob(f"[!.]*{_SUFFIX}")
        return [path.stem for path in sorted(notes, key=lambda p: (p.stat().st_mtime_ns, p.name))]

    def read(self, version: str, kind: str = _SUFFIX) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return self._path(version, kind).read_text(encoding="utf-8")
        return None

    def write(self, version: str, note: str, kind: str = _SUFFIX) -> None:
        write_text(self._path(version, kind), note)

    def remove(self, version: str) -> None:
        for kind in _KINDS:
            self._path(version, kind).unlink(missing_ok=True)

    def _path(self, version: str, kind: str) -> Path:
        return self._folder / f"{version}{kind}"


class _Bucket:
    """Notes of versions by name, as objects of a bucket."""

    def __init__(self, url: str, endpoint: str | None) -> None:
        self._bucket, prefix = parse_s3_url(url)
        self._prefix = f"{prefix}{_FOLDER}/"
        self._client = s3_client(endpoint)

    def names(self) -> list[str]:
        notes = sorted(self._objects(), key=lambda item: (item["LastModified"], item["Key"]))
        names = [str(item["Key"]).removeprefix(self._prefix) for item in notes]
        return [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]

    def read(self, version: str, kind: str = _SUFFIX) -> str | None:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(version, kind))
        except self._client.exceptions.NoSuchKey:
            return None
        return bytes(answer["Body"].read()).decode()

    def write(self, version: str, note: str, kind: str = _SUFFIX) -> None:
        key = self._key(version, kind)
        self._client.put_object(Bucket=self._bucket, Key=key, Body=note.encode())

    def remove(self, version: str) -> None:
        for kind in _KINDS:
            self._client.delete_object(Bucket=self._bucket, Key=self._key(version, kind))

    def _objects(self) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
            yield from page.get("Contents", ())

    def _key(self, version: str, kind: str) -> str:
        return f"{self._prefix}{version}{kind}"


VersionIndex = _Folder | _Bucket
"""Lists versions oldest first; reads, writes and removes their notes, by default DVC's."""
