"""Find datasets and the remote of data versions.

Options, the environment and ``data.toml`` in the workspace's folder name them, in this order::

    roots = ["/data/datasets"]
    remote = "s3://bucket/versions"
    endpoint = "http://127.0.0.1:9000"

    [folders]
    human36m = "/mnt/h36m"
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from hemlets.core.config import Config, read_toml
from hemlets.core.workspace import Workspace
from hemlets.data.readers.contract import Dataset, LayoutEntry, missing_entries

ROOTS_VARIABLE = "HEMLETS_DATA"
REMOTE_VARIABLE = "HEMLETS_DATA_REMOTE"


class DataSettings(Config):
    """Locations of datasets and of the remote of data versions.

    Attributes:
        roots: Folders that hold datasets, each in a folder of its own name.
        folders: Folder of one dataset, by the dataset's name.
        remote: Remote of data versions: a folder or ``s3://bucket/prefix``; by default a folder of
            the workspace.
        endpoint: URL of an S3 server other than Amazon's.
    """

    roots: tuple[str, ...] = ()
    folders: Mapping[str, str] = Field(default_factory=dict)
    remote: str | None = None
    endpoint: str | None = None

    @classmethod
    def of(cls, workspace: Workspace) -> DataSettings:
        """Read the environment and the workspace's ``data.toml``; the environment comes first.

        ``HEMLETS_DATA`` has roots separated as in ``PATH``; ``HEMLETS_DATA_REMOTE`` and
        ``AWS_ENDPOINT_URL_S3`` name the remote.

        Raises:
            ConfigError: The file has an unknown key or a wrong value.
        """
        path = workspace.home / "data.toml"
        settings = cls.from_mapping(read_toml(path), where=str(path)) if path.exists() else cls()
        roots = [root for root in os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep) if root]
        return settings.model_copy(
            update={
                "roots": (*roots, *settings.roots),
                "remote": os.environ.get(REMOTE_VARIABLE) or settings.remote,
                "endpoint": os.environ.get("AWS_ENDPOINT_URL_S3") or settings.endpoint,
            }
        )


@dataclass(frozen=True, kw_only=True)
class Location:
    """A folder that may hold a dataset.

    Attributes:
        folder: The folder; None if there is none.
        missing: Missing entries of the dataset's layout.
    """

    folder: Path | None
    missing: tuple[LayoutEntry, ...]

    @property
    def is_complete(self) -> bool:
        """Return whether the dataset can be read from here."""
        return self.folder is not None and not self.missing


def locate(dataset: Dataset, settings: DataSettings) -> Location:
    """Find a dataset's folder: its configured folder, else a folder of its name below the roots.

    Names are compared without case, dashes and underscores, and may be the dataset's title. A
    complete folder takes precedence over an incomplete one.
    """
    candidates = []
    if dataset.name in settings.folders:
        candidates.append(_with_home(settings.folders[dataset.name]))
    names = {_plain(dataset.name), _plain(dataset.title)}
    for base in map(_with_home, settings.roots):
        if base.is_dir():
            children = sorted(child for child in base.iterdir() if child.is_dir())
            candidates += [child for child in children if _plain(child.name) in names]
    found = [
        Location(folder=folder, missing=tuple(missing_entries(dataset, folder)))
        for folder in candidates
        if folder.is_dir()
    ]
    nothing = Location(folder=None, missing=())
    return next((place for place in found if place.is_complete), (found or [nothing])[0])


def _with_home(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - it never raises


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
