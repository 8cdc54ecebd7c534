"""Keep a running server on the champion: switch to a new one without refusing requests.

The new version is made ready beside the old one, becomes the default, and only then is the old
one removed. If anything fails before that, the old one goes on serving.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from hemlets.core.errors import HemletsError, ServingError
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import Champion, find_champion
from serving.archive import read_archive
from serving.management import ModelStatus
from serving.torchserve import TorchServe

_RETRY_S: Final = 300.0
"""An archive that failed is tried again after this time: the machine may have been short of
memory, but starting workers at every look would take from those that serve."""

_DRAIN_S: Final = 2.0
"""What the old version still has to answer after it stopped being the default."""


class Follower:
    """Switches a server to each new champion.

    Args:
        server: Serves ``served`` now.
        workspace: The workspace whose registry names the champion.
        served: The champion that is being served.
        status: The server's description of it.
        say: Takes each line for people.
        drain_s: Time that the old version has to answer what it was asked.
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
        """Switch where there is another champion; whether that was done.

        A failure is said once and leaves the old version serving.
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
        archive = found.verified_archive()
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
