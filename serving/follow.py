"""Follow the champion: switch a running server to a new champion without refusing requests.

The new version is loaded next to the old one and becomes the default; then the old one is removed.
If a step fails before that, the old one continues to serve.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hemlets.core.errors import HemletsError, ServingError
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import Champion, find_champion
from serving.archive import read_archive, with_own_handler
from serving.management import ModelStatus
from serving.torchserve import TorchServe

_RETRY_S: Final = 300.0
"""Time until a failed archive is tried again: the failure may be transient, but starting workers
takes resources from the serving ones."""

_DRAIN_S: Final = 2.0
"""Time for the old version's pending requests after the switch."""


class Follower:
    """Switches a server to each new champion.

    Args:
        server: Server that serves ``served``.
        workspace: Workspace with the registry.
        served: Champion that is served now.
        status: Status of the served model.
        say: Prints a line.
        drain_s: Time for the old version's pending requests, seconds.
    """

    def __init__(
        self,
        server: TorchServe,
        workspace: Workspace,
        served: Champion,
        status: ModelStatus,
        *,
        say: Callable[[str], None] = print,
        drain_s: float = _DRAIN_S,
    ) -> None:
        self.server = server
        self.workspace = workspace
        self.served = served
        self.status = status
        self._say = say
        self._drain_s = drain_s
        self._failed: str | None = None
        self._retry_at = 0.0

    def look(self) -> bool:
        """Switch if there is another champion; returns whether it did.

        A failure is reported once, and the old version continues to serve.
        """
        found: Champion | None = None
        try:
            found = find_champion(self.workspace)
            if found is None or found.archive_sha256 == self.served.archive_sha256:
                self._failed = None
                return False
            if found.archive_sha256 == self._failed and time.monotonic() < self._retry_at:
                return False
            self._switch(found)
        except HemletsError as error:
            self._complain(found, error)
            return False
        return True

    def _switch(self, found: Champion) -> None:
        with tempfile.TemporaryDirectory(prefix="hemlets-serve-") as scratch:
            tested = found.verified_archive()
            self._switch_to(found, with_own_handler(tested, found.folder, Path(scratch)))

    def _switch_to(self, found: Champion, archive: Path) -> None:
        info, old = read_archive(archive), self.status
        if info.name != old.name or info.version == old.version:
            raise ServingError(
                f"its archive is {info.name} {info.version}",
                where=archive,
                expected=f"another version than {old.version} of {old.name}",
                remedy="stop the server and start it again",
            )
        self._say(f"champion version {found.version} is the champion now: making it ready …")
        status = self.server.register(archive)
        try:
            self.server.management.set_default(status.name, status.version)
        except ServingError:
            self.server.unregister(status.name, status.version)
            raise
        self.served, self.status, self._failed = found, status, None
        self._say(f"serving {status.name} {status.version}, champion version {found.version}")
        time.sleep(self._drain_s)
        try:
            self.server.unregister(old.name, old.version)
        except ServingError as error:
            self._say(f"{old.name} {old.version} could not be taken away: {error.what}")

    def _complain(self, found: Champion | None, error: HemletsError) -> None:
        cause = str(error) if found is None else found.archive_sha256
        known, self._failed = self._failed == cause, cause
        self._retry_at = time.monotonic() + _RETRY_S
        if known:
            return
        what = "the champion" if found is None else f"champion version {found.version}"
        self._say(
            f"{what} can't be switched to: {error}\n"
            f"{self.status.name} {self.status.version} goes on serving"
        )
