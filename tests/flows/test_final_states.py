"""What a retraining ends in is told apart, and told to others, without a part in the outcome."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

import pytest

from flows.final_states import FinalState, announce, final_state, run_name
from flows.profile import load_profile
from flows.registry.rules import Decision, Outcome
from flows.starting import run_number
from hemlets.core.errors import ConfigError


@pytest.mark.parametrize(
    ("outcome", "unchanged", "state"),
    [
        (Outcome.PROMOTED, False, FinalState.PROMOTED),
        (Outcome.REJECTED, False, FinalState.REJECTED),
        (Outcome.REJECTED, True, FinalState.NOTHING_NEW),
        (Outcome.ALREADY_CHAMPION, True, FinalState.NOTHING_NEW),
        (Outcome.ALREADY_CHAMPION, False, FinalState.NOTHING_NEW),
    ],
)
def test_each_end_has_a_state_of_its_own(outcome, unchanged, state) -> None:
    assert final_state(Decision(outcome=outcome, reasons=()), unchanged=unchanged) is state


def test_the_number_of_a_scheduled_run_is_that_of_its_day() -> None:
    night = datetime(2026, 1, 11, 2, 0, tzinfo=UTC)
    assert run_number("date", night) == 10
    assert run_number("date", night.replace(hour=23)) == 10
    assert run_number("7", night) == run_number(7, night) == 7


@pytest.mark.parametrize(("year", "number"), [(1970, 0), (2099, 26_663)])
def test_a_clock_that_is_wrong_by_years_gives_people_that_can_be_rendered(
    tiny, year, number
) -> None:
    found = run_number("date", datetime(year, 1, 1, tzinfo=UTC))
    assert found == number
    profile = load_profile(str(tiny), ("data.samples.train=40", "fresh_share=0.25"))
    assert profile.numbered(found).data.start("train") == 10 * number


@pytest.mark.parametrize("wrong", ["-1", "tomorrow", -3])
def test_what_is_no_number_is_refused_with_the_choices(wrong) -> None:
    with pytest.raises(ConfigError, match="is not the number") as caught:
        run_number(wrong, datetime.now(UTC))
    assert "or date" in str(caught.value)


def test_each_number_has_training_people_of_its_own_and_the_same_gate(tiny) -> None:
    profile = load_profile(str(tiny), ("data.samples.train=40", "fresh_share=0.25"))
    assert [profile.numbered(number).data.first for number in (0, 1, 3)] == [0, 10, 30]
    assert profile.numbered(0) == profile
    later = profile.numbered(3).data
    assert (later.start("train"), later.start("gate"), later.start("test")) == (30, 0, 0)


@pytest.mark.services
class TestAnAnnouncement:
    @pytest.fixture
    def ended(self, prefect_url, monkeypatch):
        """Runs a flow that only announces an end, and returns its name in Prefect afterwards."""
        from prefect import flow
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: prefect_url}):

            @flow(flow_run_name=run_name, persist_result=False, validate_parameters=False)
            def ends(profile: str, number: int) -> str:
                from prefect.runtime import flow_run

                announce(FinalState.REJECTED, ("it is worse",), {"version": 3})
                return str(flow_run.id)

            def run() -> str:
                run_id = ends("demo", 12)
                with get_client(sync_client=True) as client:
                    return client.read_flow_run(run_id).name

            yield run

    def test_names_the_run_and_posts_the_decision_with_its_reasons(self, ended, inbox) -> None:
        name = ended()
        assert name.endswith(" demo #12 → rejected")
        (message,) = inbox
        assert message["subject"] == f"hemlets: {name}"
        assert "- it is worse" in message["text"]
        assert "version: 3" in message["text"]

    def test_is_sent_from_a_notebook_whose_loop_runs_in_this_thread(
        self, ended, inbox, in_notebook, monkeypatch
    ) -> None:
        from prefect.blocks.abstract import NotificationBlock

        paged: list[str | None] = []

        class Pager(NotificationBlock):
            """A block of a user's own that can only be awaited."""

            async def notify(self, body: str, subject: str | None = None) -> None:
                await asyncio.sleep(0)
                paged.append(subject)

        Pager().save("duty", overwrite=True, _sync=True)
        monkeypatch.setenv("HEMLETS_NOTIFY", f"{os.environ['HEMLETS_NOTIFY']}, pager/duty")
        name = in_notebook(ended)
        assert [message["subject"] for message in inbox] == paged == [f"hemlets: {name}"]
        assert name.endswith(" → rejected")

    @pytest.mark.parametrize("block", ["custom-webhook/nowhere", "custom-webhook/unknown"])
    def test_to_an_address_that_does_not_answer_changes_nothing(
        self, ended, monkeypatch, block
    ) -> None:
        from prefect.blocks.notifications import CustomWebhookNotificationBlock

        nowhere = CustomWebhookNotificationBlock(
            name="nowhere", url="http://127.0.0.1:9/", json_data={"text": "{{body}}"}
        )
        nowhere.save("nowhere", overwrite=True, _sync=True)  # a browser may keep a loop running
        monkeypatch.setenv("HEMLETS_NOTIFY", block)
        assert ended().endswith(" → rejected")

    def test_nobody_is_told_unless_asked_for(self, ended, inbox, monkeypatch) -> None:
        monkeypatch.delenv("HEMLETS_NOTIFY")
        ended()
        assert inbox == []
