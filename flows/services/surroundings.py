"""The doctor's checks of the environment: servers, proxies, encodings, other projects."""

from __future__ import annotations

import os
import sys

from flows.services.checks import Check, Status
from hemlets.core.environment import (
    MLFLOW_SERVER,
    PREFECT_SERVER,
    require_reachable,
    without_foreign_settings,
)
from hemlets.core.errors import WorkspaceError
from hemlets.core.redaction import redact_url

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def check_server(variable: str) -> Check:
    """Check whether the server named by a variable answers."""
    name = {MLFLOW_SERVER: "MLflow server", PREFECT_SERVER: "Prefect server"}[variable]
    url = os.environ.get(variable, "")
    if not url.startswith(("http://", "https://")):
        return Check(
            name=name, status=Status.OK, found=f"{variable} names none: the workspace's own"
        )
    try:
        require_reachable(variable, health="/health")
    except WorkspaceError as error:
        return Check(name=name, status=Status.FAIL, found=error.what, remedy=error.remedy or "")
    return Check(name=name, status=Status.OK, found=f"{redact_url(url)} answers")


def check_proxies() -> Check:
    """List proxies; loopback bypasses them."""
    found = {
        name: value
        for name in _PROXIES
        if (value := os.environ.get(name) or os.environ.get(name.lower()))
    }
    listed = ", ".join(f"{name}={redact_url(value)}" for name, value in found.items())
    return Check(
        name="proxies",
        status=Status.OK,
        found=f"{listed}; not used for this machine's own servers" if listed else "none",
    )


def check_foreign_settings() -> Check:
    """List variables of other projects, which hemlets ignores."""
    remaining = without_foreign_settings(os.environ)
    ignored = sorted(set(os.environ) - set(remaining))
    return Check(
        name="foreign settings",
        status=Status.WARN if ignored else Status.OK,
        found=f"ignored: {', '.join(ignored)}" if ignored else "none",
        remedy=f"set {PREFECT_SERVER} or {MLFLOW_SERVER} as well if they are meant for hemlets"
        if ignored
        else "",
    )


def check_encodings() -> Check:
    """Check that file names and terminal support Unicode."""
    names, terminal = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "none"
    good = names.lower().replace("-", "") == "utf8"
    return Check(
        name="encodings",
        status=Status.OK if good else Status.WARN,
        found=f"file names in {names}, terminal in {terminal}",
        remedy="" if good else "set PYTHONUTF8=1, or a UTF-8 locale such as LANG=C.UTF-8",
    )
