"""Which process writes a run, so that a run whose process is gone can be told from a living one."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OWNER_TAGS", "Owner"]

OWNER_TAGS = ("hemlets.pid", "hemlets.pid_started", "hemlets.host", "hemlets.boot_id")


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that writes a run, told apart from a later one with the same number.

    Attributes:
        pid: Process id.
        pid_started: The process's start in clock ticks since boot (``/proc/PID/stat``, field 22).
        host: The machine's name.
        boot_id: The kernel's identifier of this boot.
    """

    pid: int
    pid_started: str
    host: str
    boot_id: str

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(
            pid=pid, pid_started=_started(pid) or "", host=platform.node(), boot_id=_boot_id()
        )

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Owner | None:
        """The owner that a run's tags name, None where they name none."""
        pid, started, host, boot = (tags.get(name, "") for name in OWNER_TAGS)
        return (
            cls(pid=int(pid), pid_started=started, host=host, boot_id=boot)
            if pid.isdigit()
            else None
        )

    def to_tags(self) -> dict[str, str]:
        """Inverse of :meth:`from_tags`."""
        values = (str(self.pid), self.pid_started, self.host, self.boot_id)
        return dict(zip(OWNER_TAGS, values, strict=True))

    def may_be_alive(self) -> bool:
        """Whether the process still runs; True for another machine, which can't be looked at."""
        if self.host != platform.node():
            return True
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
