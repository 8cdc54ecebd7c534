"""The project's automations in a real Prefect server; `test_nights` sees them act."""

from __future__ import annotations

import pytest

from hemlets.core.errors import ConfigError

pytestmark = [pytest.mark.services, pytest.mark.slow]


def test_they_are_brought_up_to_date_and_not_created_twice(prefect, automations, inbox) -> None:
    assert automations() == automations() == ["hemlets-lost-runs", "hemlets-crashed-runs"]
    assert len(prefect.read_automations_by_name("hemlets-lost-runs")) == 1
    (automation,) = prefect.read_automations_by_name("hemlets-crashed-runs")
    (action,) = automation.actions
    assert action.type == "send-notification"


def test_nobody_to_notify_leaves_the_other_automation(prefect, automations, monkeypatch) -> None:
    monkeypatch.setenv("HEMLETS_NOTIFY", "")
    assert automations() == ["hemlets-lost-runs"]
    assert prefect.read_automations_by_name("hemlets-crashed-runs") == []
    monkeypatch.setenv("HEMLETS_NOTIFY", "custom-webhook/no-such-block")
    with pytest.raises(ConfigError, match="Prefect has no block 'custom-webhook/no-such-block'"):
        automations()
