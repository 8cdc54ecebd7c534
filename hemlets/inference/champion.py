"""Find the default model: the registry's champion.

The registry's alias ``champion`` is authoritative. Querying the registry imports MLflow, which
takes seconds, so the answer is cached in ``champion.json`` in the workspace. The cache is valid
while the workspace's registry database is unchanged (with a tracking server, for ten minutes) and
the model's files have the cached hashes. An absent or damaged cache is ignored.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hemlets.assets import ASSETS_FOLDER
from hemlets.core.errors import AssetError, DataError
from hemlets.core.files import read_json, sha256_file, write_json
from hemlets.core.plugins import has_plugin, load_plugin
from hemlets.core.workspace import Workspace

CACHE: Final = "champion.json"
STARTER: Final = ASSETS_FOLDER / "starter"
"""Model folder of the starter weights."""

_CARD: Final = "model.json"
_SERVER_CACHE_S: Final = 600
_RETRAIN: Final = "train one with `make demo`, or name a model folder with --model"


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The registry's champion on this machine.

    Attributes:
        version: Version number in the registry.
        folder: Model folder.
        card_sha256: Hash of ``model.json``, which contains the hash of the weights.
        archive: The ``.mar`` file that passed the canary.
        archive_sha256: Hash of the archive.
    """

    version: str
    folder: Path
    card_sha256: str
    archive: Path
    archive_sha256: str

    def verified_archive(self) -> Path:
        """Return the archive after verifying its hash.

        Raises:
            AssetError: It is absent or was changed.
        """
        try:
            found = sha256_file(self.archive)
        except OSError as error:
            raise AssetError(
                f"the champion's archive can't be read: {error.strerror}",
                where=self.archive,
                remedy="run `hemlets retrain` (or `make demo`) again, which packages it",
            ) from error
        if found != self.archive_sha256:
            raise AssetError(
                "the champion's archive is not the one that was tested",
                where=self.archive,
                expected=f"SHA-256 {self.archive_sha256}, not {found}",
                remedy="run `hemlets retrain` (or `make demo`) again, which packages it",
            )
        return self.archive


def find_champion(
    workspace: Workspace, *, ask: Callable[[Workspace], Champion | None] | None = None
) -> Champion | None:
    """Return the champion, from the cache if valid, otherwise from the registry.

    Args:
        workspace: The workspace with the registry and the cache.
        ask: Function that queries the registry; by default the plug-in ``champion``.

    Returns:
        None before the first promotion, or if the pipeline is not installed.

    Raises:
        HemletsError: The registry can't be reached, or the champion's files are damaged.
    """
    state = _registry_state(workspace)
    if state is None or (ask is None and not has_plugin("champion")):
        return None
    try:
        return _read(workspace, state)
    except (DataError, KeyError, TypeError, AttributeError, OSError):
        pass
    champion = (ask or load_plugin("champion"))(workspace)
    cache_champion(workspace, champion, state)
    return champion


def cache_champion(
    workspace: Workspace, champion: Champion | None, state: str | None = None
) -> None:
    """Cache the registry's answer.

    Paths inside the workspace are stored relative to it, so that the workspace can be moved.

    Args:
        workspace: The workspace.
        champion: The answer.
        state: State of the registry at the query; the current state by default.
    """
    found = None
    if champion is not None:
        found = {
            "version": champion.version,
            "folder": _stored(champion.folder, workspace),
            "card_sha256": champion.card_sha256,
            "archive": _stored(champion.archive, workspace),
            "archive_sha256": champion.archive_sha256,
        }
    value = {
        "champion": found,
        "registry": state or _registry_state(workspace),
        "asked_s": int(time.time()),
    }
    write_json(workspace.home / CACHE, value)


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model folder and how it was chosen.

    Attributes:
        folder: Folder with ``model.json`` and ``model.safetensors``.
        origin: Display text: given, champion with its version, or starter weights.
    """

    folder: Path
    origin: str


def find_model(given: Path | None, workspace: Workspace, *, starter: Path = STARTER) -> ModelChoice:
    """Choose a model: the given one, otherwise the champion, otherwise the starter weights.

    Args:
        given: A model folder, from the command line.
        workspace: The workspace whose registry may have a champion.
        starter: Model folder to use without a champion.

    Raises:
        AssetError: No model exists, or the folder is not a model folder. Missing files of the
            champion are an error, never replaced silently.
    """
    if given is not None:
        _require_model(given, where="--model")
        return ModelChoice(folder=given, origin=f"given: {given}")
    champion = find_champion(workspace)
    if champion is not None:
        _require_model(champion.folder, where=f"champion, version {champion.version}")
        return ModelChoice(folder=champion.folder, origin=f"champion, version {champion.version}")
    if (starter / _CARD).exists():
        return ModelChoice(folder=starter, origin="starter weights (no champion yet)")
    raise AssetError(
        "there is no model: neither a champion nor starter weights",
        where=f"the registry of {workspace.home} and {starter}",
        expected=f"a folder with {_CARD} and model.safetensors",
        remedy=_RETRAIN,
    )


def _registry_state(workspace: Workspace) -> str | None:
    """Return a value that changes with the local registry; None without a registry."""
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if server:
        return server
    try:
        database = (workspace.mlflow / "mlflow.db").stat()
    except FileNotFoundError:
        return None
    return f"{database.st_mtime_ns} {database.st_size}"


def _read(workspace: Workspace, state: str) -> Champion | None:
    """Read the cached champion.

    Raises:
        DataError: There is none that is still valid.
        KeyError, TypeError, AttributeError, OSError: It is damaged, or files of it are gone.
    """
    path = workspace.home / CACHE
    cached: dict[str, Any] = read_json(path)
    old = os.environ.get("MLFLOW_TRACKING_URI") and (
        time.time() - float(cached["asked_s"]) > _SERVER_CACHE_S
    )
    if cached["registry"] != state or old:
        raise DataError("the registry has changed since", where=path)
    if cached["champion"] is None:
        return None
    found: dict[str, str] = cached["champion"]
    champion = Champion(
        version=found["version"],
        folder=workspace.home / found["folder"],
        card_sha256=found["card_sha256"],
        archive=workspace.home / found["archive"],
        archive_sha256=found["archive_sha256"],
    )
    if sha256_file(champion.folder / _CARD) != champion.card_sha256:
        raise DataError("the model card has changed since", where=champion.folder)
    return champion


def _stored(path: Path, workspace: Workspace) -> str:
    home, target = workspace.home.resolve(), path.resolve()
    return (target.relative_to(home) if target.is_relative_to(home) else target).as_posix()


def _require_model(folder: Path, *, where: str) -> None:
    if not (folder / _CARD).exists():
        raise AssetError(
            f"{folder} is not a model folder: it has no {_CARD}",
            where=where,
            expected=f"a folder with {_CARD} and model.safetensors",
            remedy=_RETRAIN,
        )
