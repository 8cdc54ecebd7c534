"""Which model predicts when none is named.

The champion is found through a small pointer file in the workspace, so that predicting needs
no tracker: whoever promotes a model calls `point_to_champion`, whoever predicts `find_model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hemlets.assets import ASSETS_FOLDER
from hemlets.core.errors import AssetError, DataError
from hemlets.core.files import read_json, write_json
from hemlets.core.workspace import Workspace

POINTER: Final = "champion.json"
"""In the workspace: the champion's model folder and version."""

STARTER: Final = ASSETS_FOLDER / "starter"
"""Model folder of the starter weights."""

_CARD: Final = "model.json"
_RETRAIN: Final = "train one with `make demo`, or name a model folder with --model"


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model folder and how it was chosen.

    Attributes:
        folder: Holds ``model.json`` and ``model.safetensors``.
        origin: For people: given, champion with its version, or starter weights.
    """

    folder: Path
    origin: str


def point_to_champion(workspace: Workspace, folder: Path, *, version: str) -> Path:
    """Note which model folder is the champion; returns the pointer file.

    A folder inside the workspace is noted relative to it, so that the workspace can be moved.
    """
    home, target = workspace.home.resolve(), folder.resolve()
    inside = target.is_relative_to(home)
    noted = target.relative_to(home) if inside else target
    pointer = workspace.home / POINTER
    write_json(pointer, {"folder": noted.as_posix(), "version": version})
    return pointer


def find_model(given: Path | None, workspace: Workspace, *, starter: Path = STARTER) -> ModelChoice:
    """The model to use: the one that was given, else the champion, else the starter weights.

    Args:
        given: A model folder, from the command line.
        workspace: Where a champion may be: named by ``champion.json``, or lying in
            ``serving/champion/``.
        starter: Model folder to fall back on.

    Raises:
        AssetError: None of them is there, or one was named that is not there. A champion that
            was named but is gone is an error, never silently replaced.
    """
    if given is not None:
        return ModelChoice(folder=_folder(given, where="--model"), origin=f"given: {given}")
    pointer = workspace.home / POINTER
    if pointer.exists():
        return _pointed_to(pointer)
    copied = workspace.serving / "champion"
    if (copied / _CARD).exists():
        return ModelChoice(folder=copied, origin="champion of the workspace")
    if (starter / _CARD).exists():
        return ModelChoice(folder=starter, origin="starter weights (no champion yet)")
    raise AssetError(
        "there is no model: neither a champion nor starter weights",
        where=f"{pointer}, {copied} and {starter}",
        expected=f"a folder with {_CARD} and model.safetensors",
        remedy=_RETRAIN,
    )


def _pointed_to(pointer: Path) -> ModelChoice:
    try:
        noted = read_json(pointer)
        folder, version = Path(noted["folder"]), str(noted["version"])
    except (DataError, KeyError, TypeError) as error:
        raise AssetError(
            f"the note about the champion can't be read: {error}",
            where=pointer,
            expected='{"folder": path, "version": text}',
            remedy="delete the file, or run the retraining flow again",
        ) from error
    found = _folder(pointer.parent / folder, where=str(pointer))
    return ModelChoice(folder=found, origin=f"champion, version {version}")


def _folder(folder: Path, *, where: str) -> Path:
    if not (folder / _CARD).exists():
        raise AssetError(
            f"{folder} is not a model folder: it has no {_CARD}",
            where=where,
            expected=f"a folder with {_CARD} and model.safetensors",
            remedy=_RETRAIN,
        )
    return folder
