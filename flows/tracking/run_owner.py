"""Which process writes a run, so that a run whose process is gone can be told from a living one.

A process of this machine is looked at. One of another machine, or of another container, counts as
alive while its sign of life (:mod:`flows.tracking.heartbeat`) is not older than :data:`EXPIRY_S`.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["EXPIRY_S", "HEARTBEAT_TAG", "Owner"]

HEARTBEAT_TAG: Final = "hemlets.heartbeat"
"""Time of the last sign of life, whole seconds since 1970."""

EXPIRY_S: Final = 600.0
"""After so long without a sign of life, what can't be looked at counts as gone."""

_OWNER_TAGS: Final = ("hemlets.pid", "hemlets.pid_started", "hemlets.host", "hemlets.boot_id")


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that writes a run, told apart from a later one with the same number.

    Attributes:
        pid: Process id.
        pid_started: The process's start in clock ticks since boot (``/proc/PID/stat``, field 22).
        host: The machine's name.
        boot_id: The kernel's identifier of this boot.
        heartbeat_s: Its last sign of life, seconds since 1970; 0 where it gave none. No part of
            who it is.
    """

    pid: int
    pid_started: str
    host: str
    boot_id: str
    heartbeat_s: int = field(default=0, compare=False)

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(
            pid=pid,
            pid_started=_started(pid) or "",
            host=platform.node(),
            boot_id=_boot_id(),
            heartbeat_s=int(time.time()),
        )

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Owner | None:
        """The owner that a run's tags name, None where they name none."""
        pid, started, host, boot = (tags.get(name, "") for name in _OWNER_TAGS)
        beat = tags.get(HEARTBEAT_TAG, "")
        return (
            cls(
                pid=int(pid),
                pid_started=started,
                host=host,
                boot_id=boot,
                heartbeat_s=int(beat) if beat.isdigit() else 0,
            )
            if pid.isdigit()
            else None
        )

    def to_tags(self) -> dict[str, str]:
        """Inverse of :meth:`from_tags`."""
        values = (str(self.pid), self.pid_started, self.host, self.boot_id)
        return dict(zip(_OWNER_TAGS, values, strict=True)) | {HEARTBEAT_TAG: str(self.heartbeat_s)}

    @property
    def elsewhere(self) -> bool:
        """Whether the process is out of sight: on another machine or in another container."""
        return self.host != platform.node()

    @property
    def free_at_s(self) -> float:
        """When a process out of sight counts as gone unless it gives another sign of life."""
        return self.heartbeat_s + EXPIRY_S

    def may_be_alive(self) -> bool:
        """Whether the process still runs, as far as can be told from here."""
        if self.elsewhere:
            return time.time() < self.free_at_s
        return self.boot_id == _boot_id() and _started(self.pid) == self.pid_started


def _started(pid: int) -> str | None:
    try:
        # The command's name, field 2, may itself hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
