"""The log of answers: append-only, idempotent, ordered by itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hemlets.annotation.answers import Event, require_name, require_sound, state_of
from hemlets.annotation.questions import FBI, MIRRORED, MODES
from hemlets.annotation.store import AnswerStore
from hemlets.core.errors import DataError, InputError

ASKED = [question.name for question in FBI]


def event(
    key: str, kind: str = "answer", question: str = "head", value: str = "F", **more
) -> Event:
    values = {"task": "a/1", "annotator": "anna", "elapsed_ms": 900} | more
    return Event(key=f"key-{key:0>4}", kind=kind, question=question, value=value, **values)


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(tmp_path / "log.sqlite", source="version x")


def test_an_event_sent_again_with_its_key_counts_once(store: AnswerStore) -> None:
    first = store.add(event("1"), ASKED)
    again = store.add(event("1"), ASKED)
    assert again.state == first.state
    assert [one.key for one in store.events()] == ["key-0001"]


def test_a_key_of_another_answer_is_refused(store: AnswerStore) -> None:
    store.add(event("1"), ASKED)
    with pytest.raises(InputError, match="key"):
        store.add(event("1", value="B"), ASKED)
    assert [one.value for one in store.events()] == ["F"]


def test_the_log_can_neither_be_changed_nor_shortened(store: AnswerStore) -> None:
    store.add(event("1"), ASKED)
    with sqlite3.connect(store.path) as base:
        for change in ("UPDATE answers SET value = 'B'", "DELETE FROM answers"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                base.execute(change)


def test_a_clock_that_goes_back_does_not_change_which_answer_counts(
    store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime

    from hemlets.annotation import store as module

    class Clock(datetime):
        hours = iter((20, 4))

        @classmethod
        def now(cls, zone=None):
            return datetime(2026, 1, 1, next(cls.hours), tzinfo=UTC)

    monkeypatch.setattr(module, "datetime", Clock)
    store.add(event("1", value="F"), ASKED)
    state = store.add(event("2", value="B"), ASKED).state
    assert [one.time[11:13] for one in store.events()] == ["20", "04"]
    assert state.answers == {"head": "B"}


def test_undo_takes_back_the_last_event_and_is_itself_kept(store: AnswerStore) -> None:
    store.add(event("1"), ASKED)
    store.add(event("2", question="torso", value="B"), ASKED)
    state = store.add(event("3", "undo", "", "key-0002"), ASKED).state
    assert state.answers == {"head": "F"}
    assert state.last == "key-0001"
    assert len(list(store.events())) == 3


def test_a_task_is_finished_with_its_last_part_and_open_again_after_undo(
    store: AnswerStore,
) -> None:
    for number, name in enumerate(ASKED):
        assert not store.closed(["a/1"], "anna")
        store.add(event(str(number), question=name), ASKED)
    assert store.closed(["a/1"], "anna")
    store.add(event("99", "undo", "", "key-0013"), ASKED)
    assert not store.closed(["a/1"], "anna")


def test_annotators_and_modes_do_not_see_each_others_answers(store: AnswerStore) -> None:
    store.add(event("1"), ASKED)
    assert store.state("a/1", "ben", ASKED).answers == {}
    with AnswerStore(store.path, source="version x", mode="ordinal") as other:
        assert other.state("a/1", "anna", []).answers == {}
        assert list(other.events()) == []


def test_a_log_of_another_source_is_refused(store: AnswerStore) -> None:
    with pytest.raises(DataError, match="version x"):
        AnswerStore(store.path, source="version y")


def test_a_file_that_is_no_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    path.write_text("sample_id,part,label\n" * 100)
    with pytest.raises(DataError, match="--store"):
        AnswerStore(path, source="version x")
    assert path.read_text().startswith("sample_id")


def test_swapping_sides_keeps_each_answer_with_its_segment() -> None:
    events = [
        event("1", question="left_forearm", value="F"),
        event("2", "joint", "left_wrist", "10,20"),
        event("3", "flag", "swapped", "on"),
        event("4", question="left_forearm", value="B"),
    ]
    state = state_of(events, ASKED, "fbi")
    assert state.answers == {"right_forearm": "F", "left_forearm": "B"}
    assert state.joints == {"right_wrist": (10.0, 20.0)}
    assert state.flags == {"swapped"}


def test_swapping_turns_a_pair_whose_joints_change_places() -> None:
    pair = "right_knee>left_knee"
    assert MIRRORED["ordinal"][pair] == (pair, True)
    events = [event("1", question=pair, value="F"), event("2", "flag", "swapped", "on")]
    assert state_of(events, [], "ordinal").answers == {pair: "B"}


def test_the_ordinal_scheme_asks_91_questions() -> None:
    assert len(MODES["ordinal"]) == 91


@pytest.mark.parametrize(
    "wrong",
    [
        event("1", value="X"), event("1", question="tail"),
        event("1", "flag", "no_person", "maybe"),
        event("1", "joint", "left_wrist", "1e9,0"), event("1", "joint", "left_wrist", "nan,0"),
        event("1", "undo", "", "../../x"), event("1", elapsed_ms=-1), event("../../etc"),
        event("1", annotator=" "), event("1", annotator='a",b'), event("1", annotator="x" * 41),
    ],
)  # fmt: skip
def test_what_no_page_sends_is_refused(wrong: Event) -> None:
    with pytest.raises(InputError):
        require_sound(wrong, "fbi")


def test_a_name_may_be_of_any_script() -> None:
    assert require_name(" Анна 雪 ") == "Анна 雪"
