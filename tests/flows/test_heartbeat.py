"""A run gives a sign of life while its process writes it, and harms nothing by it."""

import threading
import time

import pytest

from flows.tracking.heartbeat import INTERVAL_S, Heartbeat
from flows.tracking.run_owner import EXPIRY_S, HEARTBEAT_TAG


class Tracker:
    """Notes which runs gave a sign of life; raises where it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.beats: list[str] = []
        self.error = error
        self.beaten = threading.Semaphore(0)

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        assert name == HEARTBEAT_TAG
        assert abs(int(value) - time.time()) < 60
        self.beats.append(run_id)
        self.beaten.release()
        if self.error is not None:
            raise self.error

    def wait_for(self, beats: int) -> None:
        for _ in range(beats):
            assert self.beaten.acquire(timeout=10)


@pytest.fixture
def heart():
    made = Heartbeat(interval_s=0.01)
    yield made
    for run in ("one", "two"):
        made.end(run)


def test_open_runs_take_turns_so_that_there_is_one_call_an_interval(heart) -> None:
    tracker = Tracker()
    heart.begin(tracker, "one")
    heart.begin(tracker, "two")
    tracker.wait_for(6)
    assert tracker.beats[:6] == ["one", "two"] * 3


def test_a_tracker_that_is_gone_ends_nothing(heart) -> None:
    tracker = Tracker(ConnectionError("no route"))
    heart.begin(tracker, "one")
    tracker.wait_for(3)


def test_a_run_that_has_ended_gives_none(heart) -> None:
    tracker = Tracker()
    heart.begin(tracker, "one")
    heart.begin(tracker, "two")
    heart.end("one")
    tracker.wait_for(3)
    assert set(tracker.beats[-2:]) == {"two"}


def test_the_thread_ends_with_the_last_run_and_comes_again_with_the_next(heart) -> None:
    tracker = Tracker()
    heart.begin(tracker, "one")
    tracker.wait_for(1)
    heart.end("one")
    time.sleep(0.1)
    quiet = len(tracker.beats)
    time.sleep(0.1)
    assert len(tracker.beats) == quiet
    heart.begin(tracker, "two")
    while "two" not in tracker.beats:
        tracker.wait_for(1)


def test_several_signs_may_be_lost_before_a_run_counts_as_abandoned() -> None:
    assert INTERVAL_S >= 60
    assert EXPIRY_S / INTERVAL_S >= 5
