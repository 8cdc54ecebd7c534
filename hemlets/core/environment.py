"""Environment variables of this process and its children.

A shell may hold another project's settings, proxies that know nothing of this machine, or the
address of a server that is down. Settings for hemlets are used, others are removed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from hemlets.core.errors import WorkspaceError
from hemlets.core.redaction import redact_url

LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "::1")

PREFECT_SERVER: Final = "PREFECT_API_URL"
MLFLOW_SERVER: Final = "MLFLOW_TRACKING_URI"

_ANSWERS_WITHIN_S: Final = 5.0

# Settings of a server of the user's own, which count only where that server is named.
_FOR_SERVER: Final = {PREFECT_SERVER: "PREFECT_", MLFLOW_SERVER: "MLFLOW_"}
_ALWAYS_OURS: Final = ("PREFECT_LOGGING_",)
# They name a single run or repository, never that of hemlets.
_NEVER: Final = (
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "DVC_ROOT",
    "DVC_NO_SCM",
)

_QUIET: Final = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
}


def without_foreign_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy without another project's settings, and with loopback exempt from every proxy.

    ``PREFECT_*`` variables stay where ``PREFECT_API_URL`` names a server, ``MLFLOW_*`` ones where
    ``MLFLOW_TRACKING_URI`` does: they say how to reach it. Otherwise the workspace's own servers
    and databases are used, which such variables would redirect.
    """
    allowed = {
        name: value
        for name, value in environment.items()
        if name not in _NEVER
        and (
            name.startswith(_ALWAYS_OURS)
            or not any(
                name.startswith(prefix) and not environment.get(server)
                for server, prefix in _FOR_SERVER.items()
            )
        )
    }
    for name in ("NO_PROXY", "no_proxy"):
        allowed[name] = _with_loopback(allowed.get(name) or allowed.get(name.swapcase(), ""))
    return allowed


def clean_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Remove foreign settings from this process and its children, and switch telemetry off.

    Call it before Prefect, MLflow or DVC are imported: they read their settings once.
    """
    cleaned = without_foreign_settings(environment)
    for name in set(environment) - set(cleaned):
        del environment[name]
    environment.update(cleaned)
    for name, value in _QUIET.items():
        environment.setdefault(name, value)


def quiet_decoders(environment: MutableMapping[str, str] = os.environ) -> None:
    """Silence warnings of FFmpeg and OpenCV on the terminal; hemlets reports errors itself.

    Call it before a video is opened: OpenCV reads the variables once.
    """
    environment.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    environment.setdefault("OPENCV_LOG_LEVEL", "SILENT")


def put_project_first(environment: MutableMapping[str, str] = os.environ) -> None:
    """Find the project's own packages before others of the same name on ``PYTHONPATH``.

    The pipeline's packages have common names (``flows``, ``serving``). Children find them first
    too. Nothing changes where ``PYTHONPATH`` is not set, or hemlets is installed as a library.
    """
    root = Path(__file__).resolve().parents[2]
    before = environment.get("PYTHONPATH")
    if before and (root / "flows").is_dir() and before.split(os.pathsep)[0] != str(root):
        environment["PYTHONPATH"] = os.pathsep.join([str(root), before])
        sys.path.insert(0, str(root))


def require_reachable(variable: str, *, health: str = "") -> None:
    """Refuse a server of the user's that does not answer, within seconds.

    Nothing is asked where the variable is unset or names no HTTP address.

    Args:
        variable: Environment variable with the server's URL.
        health: Path of the request, appended to the URL.

    Raises:
        WorkspaceError: Nothing answers there.
    """
    import urllib.error
    import urllib.request  # it takes longer to import than most commands need to print --help

    url = os.environ.get(variable, "")
    if not url.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(url.rstrip("/") + health, timeout=_ANSWERS_WITHIN_S):
            pass
    except urllib.error.HTTPError:
        pass  # It answers; whether it lets us in is for its client to say.
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise WorkspaceError(
            f"no server answers at the address that {variable} names: {reason}",
            where=f"{variable}={redact_url(url.partition('?')[0])}",
            expected="a server that runs and can be reached from here",
            remedy=f"start it or correct the address; unset {variable} to use the workspace's own",
        ) from error


def _with_loopback(no_proxy: str) -> str:
    hosts = [host.strip() for host in no_proxy.split(",") if host.strip()]
    if "*" in hosts:
        return no_proxy
    return ",".join([*hosts, *(host for host in LOOPBACK_HOSTS if host not in hosts)])
