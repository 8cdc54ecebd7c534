"""Find the files of the registry's champion, for predictions and serving."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.registry import versions as registry
from hemlets.core.environment import MLFLOW_SERVER, require_reachable
from hemlets.core.errors import PromotionError
from hemlets.core.files import sha256_file
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import Champion, cache_champion


@dataclass(frozen=True, kw_only=True)
class DeployableModel:
    """Model version with verified files.

    Attributes:
        version: The registered version.
        folder: Its model folder on this machine.
        archive: Its archive on this machine.
    """

    version: registry.ModelVersion
    folder: Path
    archive: Path


def deployable(workspace: Workspace, version: registry.ModelVersion) -> DeployableModel:
    """Fetch the files of a version and verify their hashes.

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
    return DeployableModel(version=version, folder=folder, archive=archive)


def resolve_champion(workspace: Workspace) -> Champion | None:
    """Query the registry for the champion; the plug-in ``champion`` of `hemlets`.

    Returns:
        None before the first promotion.

    Raises:
        WorkspaceError: The registry's server does not answer.
        PromotionError: It refuses to answer, or the alias was moved by hand to a version
            that was never tried through an endpoint.
        CheckpointError: Its files are absent or were changed.
    """
    # MLflow itself would try again for minutes.
    require_reachable(MLFLOW_SERVER, health="/health")
    version = registry.champion(workspace)
    if version is None:
        return None
    files = deployable(workspace, version)
    return Champion(
        version=str(version.version),
        folder=files.folder,
        card_sha256=sha256_file(files.folder / "model.json"),
        archive=files.archive,
        archive_sha256=version.tags[registry.ARCHIVE_TAG],
    )


def refresh_champion(workspace: Workspace) -> None:
    """Cache the current champion for later predictions.

    Raises:
        PromotionError: As for `resolve_champion`.
        CheckpointError: As for `resolve_champion`.
    """
    cache_champion(workspace, resolve_champion(workspace))
