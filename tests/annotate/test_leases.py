"""Two annotators at once do not get the same image, and lose no answer if they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from annotate.leases import LEASE_S, Leases

from .conftest import MakeVersion
from .test_app import Client, testclient

from annotate.app import make_app  # isort: skip


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Team(Client):
    """A server that several annotators ask."""

    def __init__(self, folder: Path, log: Path, votes: int = 0) -> None:
        super().__init__(folder, log)
        self.clock = Clock()
        app = make_app(self.tasks, self.store, self.access, votes=votes, leases=Leases(self.clock))
        self.http = testclient.TestClient(app, base_url="http://127.0.0.1:8085")

    def open(self, name: str) -> Any:
        return self.get("open", annotator=name).json()

    def finish(self, name: str, position: int) -> Any:
        return self.post(
            self.event(position, annotator=name, kind="done", question="", value="")
        ).json()


@pytest.fixture
def team(make_version: MakeVersion, tmp_path: Path) -> Team:
    return Team(make_version(), tmp_path / "log.sqlite")


def test_the_second_annotator_gets_another_image(team: Team) -> None:
    assert [team.open(name)["position"] for name in ("anna", "ben")] == [0, 1]
    assert team.finish("anna", 0)["position"] == 2, "the image of ben is passed over"
    assert team.finish("ben", 1)["position"] == 3


def test_an_image_is_free_when_it_is_finished_or_left(team: Team) -> None:
    team.open("anna")
    team.finish("anna", 0)
    assert team.open("ben")["position"] == 0, "everybody labels all"
    assert team.get("next", annotator="ben", after=0).json()["position"] == 2
    assert team.open("carl")["position"] == 0, "ben has gone on"


def test_an_image_is_free_two_minutes_after_the_last_sign_of_its_annotator(team: Team) -> None:
    team.open("anna")
    team.clock.now += LEASE_S - 1
    team.post(team.event(0, annotator="anna"))
    team.clock.now += LEASE_S - 1
    assert team.open("ben")["position"] == 1, "she answered in the meantime"
    team.clock.now += 2
    assert team.open("carl")["position"] == 0


def test_looking_ahead_takes_no_image(team: Team) -> None:
    assert team.get("next", annotator="anna", after=-1, ahead=True).json()["position"] == 0
    assert team.open("ben")["position"] == 0


def test_who_waits_for_the_last_images_is_told(make_version: MakeVersion, tmp_path: Path) -> None:
    team = Team(make_version(2), tmp_path / "log.sqlite", votes=1)
    team.open("anna")
    team.open("ben")
    waiting = team.open("carl")
    assert (waiting["position"], waiting["held"]) == (None, True)
    team.finish("anna", 0)
    team.finish("ben", 1)
    ended = team.open("carl")
    assert (ended["position"], ended["held"]) == (None, False)


def test_answers_without_a_lease_are_stored_of_both(team: Team) -> None:
    team.open("anna")
    for name, value in (("ben", "F"), ("anna", "B")):
        assert team.post(team.event(0, annotator=name, value=value)).status_code == 200
    assert [(e.annotator, e.value) for e in team.store.events()] == [("ben", "F"), ("anna", "B")]
