"""The project's automations in a real Prefect server; `test_nights` sees them act."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from flows.services.automations import apply_automations
from hemlets.core.errors import ConfigError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture
def client(prefect_url) -> Iterator[SyncPrefectClient]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as asked:
        yield asked


@pytest.fixture
def applied(client, project) -> Iterator[Callable[[], list[str]]]:
    """Applies the project's automations, and returns their names."""
    yield lambda: apply_automations(project / "infra" / "automations.yaml")
    for automation in client.read_automations():
        client.delete_automation(automation.id)


def test_they_are_brought_up_to_date_and_not_created_twice(client, applied, inbox) -> None:
    assert applied() == applied() == ["hemlets-lost-runs", "hemlets-crashed-runs"]
    assert len(client.read_automations_by_name("hemlets-lost-runs")) == 1
    (automation,) = client.read_automations_by_name("hemlets-crashed-runs")
    (action,) = automation.actions
    assert action.type == "send-notification"


def test_nobody_to_notify_leaves_the_other_automation(client, applied, monkeypatch) -> None:
    monkeypatch.setenv("HEMLETS_NOTIFY", "")
    assert applied() == ["hemlets-lost-runs"]
    assert client.read_automations_by_name("hemlets-crashed-runs") == []
    monkeypatch.setenv("HEMLETS_NOTIFY", "custom-webhook/no-such-block")
    with pytest.raises(ConfigError, match="Prefect has no block 'custom-webhook/no-such-block'"):
        applied()
