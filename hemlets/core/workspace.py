"""The workspace: one folder, ignored by git, that holds all state.

``HEMLETS_HOME`` names it; without it, ``workspace/`` below the current folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hemlets.core.errors import WorkspaceError


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Locations of the state."""

    home: Path

    def __post_init__(self) -> None:
        if self.home.is_file():
            raise WorkspaceError(
                "the workspace is a file",
                where=self.home,
                expected="a folder, which may be new",
                remedy="name a folder with HEMLETS_HOME or --home",
            )

    @classmethod
    def from_env(cls) -> Workspace:
        """Workspace of ``HEMLETS_HOME``, by default ``./workspace``."""
        return cls(home=_resolved(Path(os.environ.get("HEMLETS_HOME") or "workspace")))

    @classmethod
    def at(cls, home: Path | str | None) -> Workspace:
        """Workspace of a folder; `from_env` without one."""
        return cls(home=_resolved(Path(home))) if home else cls.from_env()

    @classmethod
    def exported(cls, home: Path | None) -> Workspace:
        """As `at`; a given folder becomes ``HEMLETS_HOME``, which started processes read."""
        if home is not None:
            os.environ["HEMLETS_HOME"] = str(_resolved(home))
        return cls.from_env()

    @property
    def data(self) -> Path:
        """The DVC repository with the current data version."""
        return self.home / "data"

    @property
    def data_remote(self) -> Path:
        """DVC's default remote."""
        return self.home / "data-remote"

    @property
    def stages(self) -> Path:
        """Complete results of pipeline stages, by stage and key."""
        return self.home / "stages"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.home / "mlflow"

    @property
    def prefect(self) -> Path:
        """Prefect's home."""
        return self.home / "prefect"

    @property
    def serving(self) -> Path:
        """TorchServe's model store and instances."""
        return self.home / "serving"

    @property
    def logs(self) -> Path:
        """Logs of sub-processes."""
        return self.home / "logs"

    @property
    def reports(self) -> Path:
        """HTML reports for people."""
        return self.home / "reports"

    @property
    def locks(self) -> Path:
        """Locks of stages and services."""
        return self.home / "locks"


def _resolved(home: Path) -> Path:
    what = "this machine knows no such user"
    try:
        home = home.expanduser()
        what = "the workspace is a symbolic link that leads to itself"
        return home.resolve()
    except (OSError, RuntimeError) as error:  # A loop is a RuntimeError until Python 3.12.
        if isinstance(error, FileNotFoundError):
            what = "the current folder does not exist any more"
        raise WorkspaceError(
            what,
            where=home,
            expected="a folder, which may be new",
            remedy="name a folder with HEMLETS_HOME or --home",
        ) from error
