"""Final states of a retraining: Prefect state, event, run name and notification.

Events are named ``hemlets.retraining.promoted``, ``.rejected``, ``.nothing-new`` and ``.failed``.
Notifications are off by default: ``HEMLETS_NOTIFY`` lists Prefect notification blocks, for example
``slack-webhook/team,custom-webhook/monitor``.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from flows.registry.rules import Decision, Outcome
from flows.services.events import emit
from hemlets.core.wording import counted

NOTIFY: Final = "HEMLETS_NOTIFY"

UNCHANGED: Final = (
    "nothing to learn from: data, settings, code and champion are those of the run before"
)


class FinalState(StrEnum):
    """Name of the state of a finished retraining."""

    PROMOTED = "Promoted"
    REJECTED = "Rejected"
    NOTHING_NEW = "NothingNew"
    FAILED = "Failed"

    @property
    def words(self) -> str:
        """The state in names of runs."""
        return {FinalState.NOTHING_NEW: "nothing new"}.get(self, self.value.lower())

    @property
    def slug(self) -> str:
        """The state in event names."""
        return self.words.replace(" ", "-")


def final_state(decision: Decision, *, unchanged: bool) -> FinalState:
    """State of a retraining with a decision.

    Args:
        decision: What became of the challenger.
        unchanged: Whether an earlier run with the same data, settings, code and champion finished.
    """
    if unchanged or decision.outcome is Outcome.ALREADY_CHAMPION:
        return FinalState.NOTHING_NEW
    return FinalState.PROMOTED if decision.promote else FinalState.REJECTED


def run_name() -> str:
    """Initial name of a flow run: date, profile and number."""
    from prefect.runtime import flow_run

    given: Mapping[str, Any] = flow_run.parameters
    profile = Path(str(given.get("profile", "demo"))).stem
    number = given.get("number")
    name = f"{flow_run.scheduled_start_time:%Y-%m-%d} {profile}"
    return name if number in (None, 0, "0", "date") else f"{name} #{number}"


def announce(state: FinalState, reasons: tuple[str, ...], facts: Mapping[str, Any]) -> None:
    """Rename the flow run at its end, emit the event and send the notifications.

    A tracker or an address that does not answer is logged and never changes the outcome.

    Args:
        state: How the retraining ended.
        reasons: Why, one sentence each.
        facts: Payload of the event besides the reasons: model version, report and so on.
    """
    from prefect import get_run_logger
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    log = get_run_logger()
    name = f"{flow_run.name} → {state.words}"
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, name=name)
    except Exception as error:
        log.warning("this run could not be renamed: %s", error)
    _tell(f"retraining.{state.slug}", name, reasons, facts)


def announce_resumed(lost: int) -> str:
    """Emit the event and notifications for a run that resumes work of a killed process.

    Args:
        lost: MLflow runs that it left open.

    Returns:
        The same as a sentence.
    """
    from prefect.runtime import flow_run

    why = f"an earlier run was killed ({counted(lost, 'open MLflow run')}): its steps are resumed"
    _tell("retraining.resumed", f"{flow_run.name} resumes", (why,), {})
    return why


def _tell(event: str, name: str, reasons: tuple[str, ...], facts: Mapping[str, Any]) -> None:
    from prefect import get_run_logger
    from prefect.runtime import flow_run
    from prefect.utilities.urls import url_for

    log = get_run_logger()
    with contextlib.suppress(Exception):
        if page := url_for("flow-run", obj_id=flow_run.id):
            facts = {**facts, "page": page}
    emit(event, {"flow_run": name, "reasons": list(reasons), **facts})
    for block in notification_blocks():
        try:
            _notify(block, name, reasons, facts)
        except Exception as error:
            log.warning("no notification was sent through %s: %s", block, error)


def notification_blocks() -> list[str]:
    """The Prefect blocks that ``HEMLETS_NOTIFY`` lists."""
    return [block.strip() for block in os.environ.get(NOTIFY, "").split(",") if block.strip()]


def _notify(block: str, name: str, reasons: tuple[str, ...], facts: Mapping[str, Any]) -> None:
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block

    sender = Block.load(block)
    if not isinstance(sender, NotificationBlock):
        raise TypeError("it is not a notification block")
    lines = [f"- {reason}" for reason in reasons]
    lines += [f"{key}: {'; '.join(value) if isinstance(value, list) else value}"
              for key, value in facts.items()]  # fmt: skip
    sent: Any = sender.notify("\n".join(lines), subject=f"hemlets: {name}")
    if inspect.iscoroutine(sent):
        # A notebook's loop may run in this thread already.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, sent).result()
