"""Record which process writes a run, and find out whether it is still alive.

A process of this machine is looked up by its id. A process of another machine or container counts
as alive while its heartbeat, a tag renewed every minute, is younger than ten minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from mlflow import MlflowClient

OWNER_TAG: Final = "hemlets.owner"
HEARTBEAT_TAG: Final = "hemlets.heartbeat"
"""Time of the last heartbeat, whole seconds since 1970."""

INTERVAL_S: Final = 60.0
_LAST_RENEWAL_S: Final = 10.0
EXPIRY_S: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process, identified by id, start time and host.

    Attributes:
        pid: Process id.
        started_s: Its start, seconds since 1970.
        host: The machine's or container's name.
        heartbeat_s: Its last heartbeat, seconds since 1970; not part of its identity.
    """

    pid: int
    started_s: float
    host: str
    heartbeat_s: int = field(default=0, compare=False)

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        process = psutil.Process()
        return cls(
            pid=os.getpid(),
            started_s=process.create_time(),
            host=platform.node(),
            heartbeat_s=int(time.time()),
        )

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Owner | None:
        """The owner in a run's tags; None if they name none."""
        try:
            return cls(**json.loads(tags[OWNER_TAG]) | {"heartbeat_s": int(tags[HEARTBEAT_TAG])})
        except (KeyError, TypeError, ValueError):
            return None

    def to_tags(self) -> dict[str, str]:
        """Inverse of :meth:`from_tags`."""
        values = asdict(self)
        heartbeat = str(values.pop("heartbeat_s"))
        return {OWNER_TAG: json.dumps(values), HEARTBEAT_TAG: heartbeat}

    @property
    def elsewhere(self) -> bool:
        """Whether the process runs on another machine or in another container."""
        return self.host != platform.node()

    @property
    def expires_s(self) -> float:
        """When a process elsewhere counts as dead unless it gives another heartbeat."""
        return self.heartbeat_s + EXPIRY_S

    def may_be_alive(self) -> bool:
        """Return whether the process may still be running."""
        if self.elsewhere:
            return time.time() < self.expires_s
        try:
            process = psutil.Process(self.pid)
            # The start is computed from the boot time, which a clock correction moves a little.
            same = abs(process.create_time() - self.started_s) < 2.0
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


@contextlib.contextmanager
def heartbeat(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Renew a run's heartbeat while the block runs. A tracker that fails does not disturb it."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(INTERVAL_S):
            with contextlib.suppress(Exception):
                client.set_tag(run_id, HEARTBEAT_TAG, str(int(time.time())))

    renewing = threading.Thread(target=renew, name="heartbeat", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        # A pending renewal must not follow the end of the run.
        renewing.join(_LAST_RENEWAL_S)
