"""The watch: check the profile's sources and the endpoint's prediction log at short intervals.

Sources are compared by their listings, without reading files. Each state of a source causes one
event ``hemlets.data.arrived``; drift causes ``hemlets.drift.alarm``. Both start the deployment in
``infra/prefect.yaml``.
"""

from __future__ import annotations

from prefect import flow, get_run_logger

from flows.drift import check_drift
from flows.profile import Profile, load_profile
from flows.services.events import emit
from flows.sources import STATES, list_source
from flows.start_parameters import Override, ProfileChoice
from flows.steps.sync import state_of
from hemlets.core.errors import HemletsError
from hemlets.core.files import read_json, write_json
from hemlets.core.workspace import Workspace


@flow(name="watch", persist_result=False)
def watch(
    profile: ProfileChoice = "demo",
    overrides: list[Override] | None = None,
    home: str | None = None,
) -> dict[str, int]:
    """Check the sources and the prediction log of a profile, and emit events.

    Args:
        profile: Name of a profile, or the path of a file.
        overrides: ``section.key=value`` settings that override the profile.
        home: The workspace; by default ``HEMLETS_HOME``.

    Returns:
        New or changed files by source.

    Raises:
        HemletsError: A source can't be listed; the others were looked at.
    """
    workspace = Workspace.at(home)
    return look(workspace, load_profile(profile, tuple(overrides or ())))


def look(workspace: Workspace, profile: Profile) -> dict[str, int]:
    """Announce the sources that have enough new files; see `watch`.

    Raises:
        HemletsError: A source can't be listed; the others were looked at.
    """
    log = get_run_logger()
    found: dict[str, int] = {}
    failed: HemletsError | None = None
    for source in profile.sources:
        try:
            listing = list_source(source)
        except HemletsError as error:
            failed = error
            log.error("%s", error)
            continue
        known = state_of(workspace, source.name).get("files", {})
        new = found[source.name] = listing.new_since(known)
        log.info("%s: %d new or changed files", source.name, new)
        seen = workspace.home / "ingested" / STATES / f"{source.name}.announced.json"
        if new >= source.wake_at and (not seen.exists() or read_json(seen) != listing.hash):
            emit("data.arrived", {"source": source.name, "files": new, "profile": profile.name})
            write_json(seen, listing.hash)
    if failed is not None:
        raise failed
    drift = check_drift(workspace, profile)
    if drift is not None:
        log.info("drift: %s (%s)", ", ".join(drift.alarms) or "none", drift.page)
    return found
