"""Tells programs that know no registry where the champion's files are.

``hemlets predict`` and ``hemlets serve`` read a pointer file each. Both move, or neither does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.registry import versions as registry
from hemlets.core.errors import AssetError, DataError, PromotionError
from hemlets.core.files import read_json
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import POINTER, point_to_champion
from serving.champion import publish_champion, read_champion

__all__ = ["Servable", "publish", "published", "servable"]


@dataclass(frozen=True, kw_only=True)
class Servable:
    """A version whose stored files are those that were tested.

    Attributes:
        folder: Its model folder on this machine.
        archive: Its archive on this machine.
    """

    version: registry.ModelVersion
    folder: Path
    archive: Path


def servable(workspace: Workspace, version: registry.ModelVersion) -> Servable:
    """The files of a version, found and verified before anything points to them.

    Raises:
        PromotionError: No archive was stored with it: it was never tried through an endpoint.
        CheckpointError: The stored files are absent or were changed.
    """
    folder = registry.model_folder_of(workspace, version)
    archive = registry.archive_of(workspace, version)
    if archive is None:
        raise PromotionError(
            f"version {version.version} has no archive that was tried through an endpoint",
            where=f"registered model {registry.MODEL_NAME}",
            expected="a version that hemlets retrain has promoted",
            remedy="name another version, or retrain",
        )
    return Servable(version=version, folder=folder, archive=archive)


def publish(workspace: Workspace, champion: Servable) -> None:
    """Point predictions, then serving, to the champion. May be repeated.

    Whoever calls it holds :func:`flows.registry.rules.promotion_lock`, since it read the alias.
    """
    number = str(champion.version.version)
    point_to_champion(workspace, champion.folder, version=number)
    digest = champion.version.tags[registry.ARCHIVE_TAG]
    publish_champion(workspace, champion.archive, version=number, sha256=digest)


def published(workspace: Workspace) -> set[str]:
    """Numbers of the versions that the two pointer files name: one, unless a move was cut off."""
    found = set()
    try:
        found.add(str(read_json(workspace.home / POINTER)["version"]))
    except (DataError, KeyError, TypeError):
        found.add("")
    try:
        served = read_champion(workspace)
        found.add("" if served is None else served.version)
    except AssetError:
        found.add("")
    return found
