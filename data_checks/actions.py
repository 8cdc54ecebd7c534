"""Notifications after a validation: Great Expectations' own actions, and a webhook.

A failed notification is logged; it never changes the validation's result.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from great_expectations.checkpoint import actions as gx_actions
from great_expectations.datasource.fluent.config_str import ConfigStr

_TIMEOUT_S = 10.0
_TYPES = ("webhook", "slack", "microsoft", "email", "pagerduty", "opsgenie", "sns", "api")

log = logging.getLogger(__name__)


class WebhookAction(gx_actions.ValidationAction):  # type: ignore[misc]
    """Posts the outcome as JSON to a URL.

    Attributes:
        url: The URL; ``${NAME}`` is replaced by an environment variable.
        notify_on: Outcomes to post.
    """

    type: Literal["webhook"] = "webhook"
    url: ConfigStr | str
    notify_on: Literal["all", "success", "failure"] = "all"

    def run(self, checkpoint_result: Any, action_context: Any = None) -> dict[str, Any]:
        """Post the outcome if ``notify_on`` includes it."""
        import requests

        failed = [
            {
                "expectation": item.expectation_config.meta["name"],
                "severity": item.expectation_config.severity,
                "field": item.expectation_config.meta["field"],
                "rows": item.result.get("unexpected_count", 0),
                "says": item.expectation_config.description,
            }
            for result in checkpoint_result.run_results.values()
            for item in result.results
            if not item.success
        ]
        passed = not any(item["severity"] == "critical" for item in failed)
        if not gx_actions.should_notify(success=passed, notify_on=self.notify_on):
            return {}
        url = self._substitute_config_str_if_needed(self.url, self._data_context.config_provider)
        answer = requests.post(
            url, json={"passed": passed, "failed": failed}, timeout=_TIMEOUT_S
        )  # fmt: skip
        answer.raise_for_status()
        return {"status": answer.status_code}


class NotifyAction(gx_actions.ValidationAction):  # type: ignore[misc]
    """Runs other actions; failures are logged."""

    type: Literal["notify"] = "notify"
    settings: list[dict[str, Any]]

    def run(self, checkpoint_result: Any, action_context: Any = None) -> dict[str, Any]:
        """Run every action; log those that fail."""
        for action in map(find_action, self.settings):
            action._data_context = self._data_context
            try:
                action.run(checkpoint_result=checkpoint_result, action_context=action_context)
            except Exception as error:
                log.warning("the notification %s was not delivered: %s", action.name, error)
        return {}


def find_action(settings: Mapping[str, Any]) -> gx_actions.ValidationAction:
    """Build an action from Great Expectations' settings.

    Raises:
        ValueError: The type is unknown, or a setting is wrong.
    """
    kind = settings.get("type")
    if kind not in _TYPES:
        raise ValueError(f"unknown type {kind!r}; types: {', '.join(_TYPES)}")
    made = gx_actions._VALIDATION_ACTION_REGISTRY.get(kind)
    try:
        return made(**{"name": kind, **settings})
    except ValueError as error:
        known = ", ".join(name for name in made.__fields__ if name not in ("name", "type"))
        raise ValueError(f"{str(error).splitlines()[-1].strip()}; settings: {known}") from None
