"""Emit Prefect events that automations and deployments can react to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

MODEL: Final = "hemlets-posh"
"""Name of the registered model, the subject of all events."""


def emit(name: str, payload: Mapping[str, Any]) -> None:
    """Emit ``hemlets.NAME`` about the model; log a warning if the server does not answer.

    Args:
        name: Name of the event, such as ``data.arrived``.
        payload: Payload of the event.
    """
    from prefect.events import emit_event

    try:
        emit_event(
            f"hemlets.{name}",
            resource={
                "prefect.resource.id": f"hemlets.model.{MODEL}",
                "prefect.resource.name": MODEL,
            },
            payload=dict(payload),
        )
    except Exception as error:
        logging.getLogger(__name__).warning("the event %s was not emitted: %s", name, error)


def send_now() -> None:
    """Send pending events before the process ends."""
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all(timeout=10)
