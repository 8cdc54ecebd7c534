"""The answer log: SQLite, append-only; an answer is on disk before it is acknowledged.

Beside the log the file has what can be computed again: people found in photographs, the model's
opinions, and which tasks each annotator has finished.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from hemlets.annotation.answers import Event, State, state_of
from hemlets.annotation.questions import Mode
from hemlets.core.errors import DataError, InputError, WorkspaceError

VERSION: Final = "1"
PREPARED: Final = "prepared"
"""Metadata key; "yes" when the model has processed all images."""
_WAIT_S: Final = 20.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
  number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, mode TEXT NOT NULL,
  task TEXT NOT NULL, annotator TEXT NOT NULL, kind TEXT NOT NULL, question TEXT NOT NULL,
  value TEXT NOT NULL, elapsed_ms INTEGER NOT NULL, time TEXT NOT NULL, shown TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS answers_of_task ON answers (task, annotator);
CREATE TRIGGER IF NOT EXISTS answers_stay BEFORE UPDATE ON answers
  BEGIN SELECT RAISE(ABORT, 'the log of answers is append-only'); END;
CREATE TRIGGER IF NOT EXISTS answers_remain BEFORE DELETE ON answers
  BEGIN SELECT RAISE(ABORT, 'the log of answers is append-only'); END;
CREATE TABLE IF NOT EXISTS finished (
  annotator TEXT NOT NULL, mode TEXT NOT NULL, task TEXT NOT NULL,
  PRIMARY KEY (annotator, mode, task)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS finished_of_task ON finished (mode, task);
CREATE TABLE IF NOT EXISTS people (
  position INTEGER PRIMARY KEY, task TEXT NOT NULL UNIQUE, photo TEXT NOT NULL,
  content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS opinions (task TEXT PRIMARY KEY, content TEXT NOT NULL);
"""
_EVENT: Final = "key, task, annotator, kind, question, value, elapsed_ms, time, shown, number"


class FoundPerson(NamedTuple):
    """A person of a photograph, or a photograph in which nobody was found.

    Attributes:
        position: Place among all.
        task: Name.
        photo: File below the folder.
        content: Box, joints and size; see `hemlets.annotation.prepare`.
    """

    position: int
    task: str
    photo: str
    content: dict[str, Any]


class Added(NamedTuple):
    """The state after an event, and the number of the event before it (0 without one)."""

    state: State
    before: int


class AnswerStore:
    """The log of one source of tasks. Several processes may use the file at once.

    Args:
        path: The SQLite file; made where there is none.
        source: What is labelled; a file of another source is refused. None takes any.
        mode: Which questions are asked. The log holds both modes apart.

    Raises:
        DataError: The file is no log of answers, or one of another source.
        WorkspaceError: The file can't be written.
    """

    def __init__(self, path: Path, *, source: str | None, mode: Mode = "fbi") -> None:
        self.path, self.mode = path, mode
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(
                path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            self._base.execute("PRAGMA journal_mode=WAL")
            # An answer is synced to the disk before its transaction counts as committed.
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except OSError as error:
            raise WorkspaceError.unwritable("the log of answers", error, path) from error
        except sqlite3.DatabaseError as error:
            raise DataError.damaged(
                f"the log of answers can't be used: {error}",
                path,
                remedy="name another file with --store, or bring back a copy of this one",
            ) from error
        for name, value in (("version", VERSION), ("source", source)):
            if value is None:
                continue
            found = self._ensure_metadata(name, value)
            if found != value:
                self._base.close()
                raise DataError(
                    f"the log of answers has the {name} {found}",
                    where=path,
                    expected=value,
                    remedy="name another file with --store",
                )

    def _ensure_metadata(self, name: str, value: str) -> str:
        """Return a metadata value; set it to ``value`` if absent."""
        if not self.metadata(name):
            with self._writing() as base:
                base.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, value))
        return self.metadata(name)

    def set_metadata(self, name: str, value: str) -> None:
        """Set a metadata value."""
        with self._writing() as base:
            base.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def metadata(self, name: str) -> str:
        """Return a metadata value; empty if absent."""
        rows = self._rows("SELECT value FROM about WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was acknowledged is in it."""
        with self._lock:
            self._base.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                self._base.execute("ROLLBACK")
                raise

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._base.execute(query, values).fetchall()

    def add(self, event: Event, asked: Iterable[str]) -> Added:
        """Add an event and return the state of its task; on return it is on disk.

        The same event sent again changes nothing.

        Args:
            event: A sound one; its number and time are given here.
            asked: Names of the task's questions.

        Raises:
            InputError: Another event had the same key.
        """
        with self._writing() as base:
            return self._add(base, event, asked)

    def _add(self, base: sqlite3.Connection, event: Event, asked: Iterable[str]) -> Added:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        row = (
            event.key, self.mode, event.task, event.annotator, event.kind, event.question,
            event.value,
        )  # fmt: skip
        known = base.execute(
            "SELECT key, mode, task, annotator, kind, question, value FROM answers WHERE key = ?",
            (event.key,),
        ).fetchone()
        if known is None:
            base.execute(
                "INSERT INTO answers (key, mode, task, annotator, kind, question, value, "
                "elapsed_ms, time, shown) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, event.elapsed_ms, now, json.dumps(event.shown, sort_keys=True)),
            )
        elif known != row:
            raise InputError("another answer has this key", where="key", remedy="reload the page")
        events = list(self._events(base, event.task, event.annotator))
        place = next(i for i, one in enumerate(events) if one.key == event.key)
        state = state_of(events, asked, self.mode)
        key = (event.annotator, self.mode, event.task)
        if state.done:
            base.execute("INSERT OR IGNORE INTO finished VALUES (?, ?, ?)", key)
        else:
            base.execute("DELETE FROM finished WHERE annotator = ? AND mode = ? AND task = ?", key)
        return Added(state, events[place - 1].number if place else 0)

    def state(self, task: str, annotator: str, asked: Iterable[str]) -> State:
        """Return the state of a task for an annotator."""
        with self._lock:
            return state_of(self._events(self._base, task, annotator), asked, self.mode)

    def _events(self, base: sqlite3.Connection, task: str, annotator: str) -> Iterator[Event]:
        rows = base.execute(
            f"SELECT {_EVENT} FROM answers WHERE task = ? AND annotator = ? AND mode = ? "
            "ORDER BY number",
            (task, annotator, self.mode),
        )
        return map(_event, rows.fetchall())

    def events(self) -> Iterator[Event]:
        """Yield all events of the mode in order."""
        last = 0
        while rows := self._rows(
            f"SELECT {_EVENT} FROM answers WHERE mode = ? AND number > ? ORDER BY number "
            "LIMIT 10000",
            (self.mode, last),
        ):
            yield from map(_event, rows)
            last = rows[-1][-1]

    def tasks(self) -> list[str]:
        """Return the names of tasks with events."""
        return [row[0] for row in self._rows("SELECT DISTINCT task FROM answers")]

    def closed(self, tasks: Sequence[str], annotator: str, *, votes: int = 0) -> set[str]:
        """Select the tasks that an annotator, or ``votes`` others (0: any number), finished."""
        found: dict[str, list[str]] = {}
        for task, name in self._rows(
            f"SELECT task, annotator FROM finished WHERE mode = ? "
            f"AND task IN ({', '.join('?' * len(tasks))}) {'' if votes else 'AND annotator = ?'}",
            (self.mode, *tasks) if votes else (self.mode, *tasks, annotator),
        ):
            found.setdefault(task, []).append(name)
        return {
            task for task, names in found.items()
            if annotator in names or (votes and len(names) >= votes)
        }  # fmt: skip

    def count_finished(self, annotator: str) -> int:
        """Count the tasks that an annotator finished."""
        return int(
            self._rows(
                "SELECT count(*) FROM finished WHERE annotator = ? AND mode = ?",
                (annotator, self.mode),
            )[0][0]
        )

    def add_people(self, people: Iterable[FoundPerson]) -> None:
        """Append people found in photographs."""
        with self._writing() as base:
            base.executemany(
                "INSERT OR IGNORE INTO people VALUES (?, ?, ?, ?)",
                [(p.position, p.task, p.photo, json.dumps(p.content)) for p in people],
            )

    def count_people(self) -> int:
        """Count the people found so far."""
        return int(self._rows("SELECT count(*) FROM people")[0][0])

    def people_between(self, start: int, end: int) -> list[str]:
        """Return task names at the positions ``start`` to ``end``, exclusive."""
        query = "SELECT task FROM people WHERE position >= ? AND position < ? ORDER BY position"
        return [row[0] for row in self._rows(query, (start, end))]

    def person(self, position: int) -> FoundPerson | None:
        """Return the person at a position."""
        rows = self._rows("SELECT * FROM people WHERE position = ?", (position,))
        return _person(rows[0]) if rows else None

    def people(self) -> Iterator[FoundPerson]:
        """Yield the people found so far."""
        for row in self._rows("SELECT * FROM people ORDER BY position"):
            yield _person(row)

    def photos(self) -> set[str]:
        """Return the names of processed photographs."""
        return {row[0] for row in self._rows("SELECT DISTINCT photo FROM people")}

    def add_opinions(self, opinions: dict[str, dict[str, Any]]) -> None:
        """Store the model's predictions by task."""
        rows = [(task, json.dumps(content)) for task, content in opinions.items()]
        with self._writing() as base:
            base.executemany("INSERT OR REPLACE INTO opinions VALUES (?, ?)", rows)

    def opinion(self, task: str) -> dict[str, Any] | None:
        """Return the model's prediction of a task; None if there is none yet."""
        rows = self._rows("SELECT content FROM opinions WHERE task = ?", (task,))
        return dict(json.loads(rows[0][0])) if rows else None

    def tasks_with_opinion(self) -> set[str]:
        """Return the names of tasks with a prediction."""
        return {row[0] for row in self._rows("SELECT task FROM opinions")}

    def opinions(self) -> dict[str, dict[str, Any]]:
        """Return the model's predictions by task."""
        return {task: json.loads(text) for task, text in self._rows("SELECT * FROM opinions")}


def _person(row: tuple[int, str, str, str]) -> FoundPerson:
    position, task, photo, content = row
    return FoundPerson(position, task, photo, json.loads(content))


def _event(row: tuple[Any, ...]) -> Event:
    key, task, annotator, kind, question, value, elapsed_ms, time, shown, number = row
    return Event(
        key=key, task=task, annotator=annotator, kind=kind, question=question, value=value,
        elapsed_ms=elapsed_ms, time=time, shown=json.loads(shown), number=number,
    )  # fmt: skip
