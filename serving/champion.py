"""Which archive is the champion: a small pointer file in the workspace.

Whoever promotes a model publishes the very archive that was tried through an endpoint; whoever
serves reads it. So serving needs neither the registry nor the code of the flow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hemlets.core.errors import AssetError, DataError
from hemlets.core.files import read_json, sha256_file, write_json
from hemlets.core.workspace import Workspace

_FILE: Final = "champion.json"
_RETRAIN: Final = "run `hemlets retrain` (or `make demo`) again, which packages and publishes it"


@dataclass(frozen=True, kw_only=True)
class ServedChampion:
    """The archive that was tested and promoted.

    Attributes:
        version: The model's number in the registry.
        archive: The ``.mar`` file.
        sha256: Of its bytes, as they were tested.
    """

    version: str
    archive: Path
    sha256: str

    def verified(self) -> Path:
        """The archive, once its bytes are found to be those that were tested.

        Raises:
            AssetError: It is absent or was changed.
        """
        try:
            found = sha256_file(self.archive)
        except OSError as error:
            raise AssetError(
                f"the champion's archive can't be read: {error.strerror}",
                where=self.archive,
                remedy=_RETRAIN,
            ) from error
        if found != self.sha256:
            raise AssetError(
                "the champion's archive is not the one that was tested",
                where=self.archive,
                expected=f"SHA-256 {self.sha256}, not {found}",
                remedy=_RETRAIN,
            )
        return self.archive


def publish_champion(workspace: Workspace, archive: Path, *, version: str, sha256: str) -> None:
    """Name the archive that is to be served from now on; running servers switch to it.

    A file inside the workspace is noted relative to it, so that the workspace can be moved.
    """
    home, target = workspace.home.resolve(), archive.resolve()
    noted = target.relative_to(home) if target.is_relative_to(home) else target
    value = {"archive": noted.as_posix(), "sha256": sha256, "version": version}
    pointer = workspace.serving / _FILE
    try:
        if read_json(pointer) == value:
            return
    except DataError:
        pass
    write_json(pointer, value)


def read_champion(workspace: Workspace) -> ServedChampion | None:
    """The champion's archive, not verified yet; None before the first promotion.

    Raises:
        AssetError: The pointer file can't be used.
    """
    pointer = workspace.serving / _FILE
    if not pointer.exists():
        return None
    try:
        noted = read_json(pointer)
        return ServedChampion(
            version=str(noted["version"]),
            archive=workspace.home / str(noted["archive"]),
            sha256=str(noted["sha256"]),
        )
    except (DataError, KeyError, TypeError) as error:
        raise AssetError(
            f"the note about the champion's archive can't be read: {error}",
            where=pointer,
            expected='{"archive": path, "sha256": text, "version": text}',
            remedy=_RETRAIN,
        ) from error
