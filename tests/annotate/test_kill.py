"""The server killed at random while two annotators answer: nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from annotate.cli import label
from hemlets.annotation.questions import FBI
from hemlets.annotation.store import AnswerStore
from hemlets.core.ports import free_port

from .conftest import MakeVersion

KILLS = 50
BROWSER_KILLS = int(os.environ.get("BROWSER_KILLS", "4"))
"""Seconds each: 50 are for a run by hand."""

# A page that answers by itself, and remembers what the server has acknowledged.
BY_ITSELF = """
const real = window.fetch;
window.acknowledged = [];
window.fetch = async (address, options) => {
  const answer = await real(address, options);
  if (String(address).endsWith("api/answer") && answer.ok) {
    const { key, question, value } = JSON.parse(options.body);
    window.acknowledged.push([key, question, value]);
  }
  return answer;
};
setInterval(() => {
  if (document.body?.dataset.position === undefined) return;
  const key = "fbu"[Math.floor(3 * Math.random())];
  window.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}, 40);
"""

pytest.importorskip("fastapi")


class Annotator(threading.Thread):
    """Answers one part after the other, as the page does: the same key until it is acknowledged."""

    def __init__(self, server: Command, name: str) -> None:
        super().__init__(daemon=True)
        self.server, self.annotator = server, name
        self.acknowledged: list[tuple[str, str, str, str]] = []
        self.sent: set[str] = set()
        self.ended = threading.Event()
        self._secret = ""
        self._random = random.Random(name)

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json", "X-Hemlets-Page": self._secret}
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _until_answered(self, *request: Any) -> Any:
        while True:
            try:
                status, text = self._request(*request)
                if status == 403:  # The server was started anew, with another secret.
                    page = self._request("GET", "/")[1]
                    self._secret = re.search(r'name="page" content="(.*?)"', page)[1]
                    continue
                assert status == 200, (status, text)
                return json.loads(text)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                if self.ended.is_set():
                    raise
                time.sleep(0.02)

    def run(self) -> None:
        """Answer until the test ends."""
        number = 0
        try:
            while not self.ended.is_set():
                position, part = divmod(number, len(FBI))
                query = f"/api/task?position={position % 40}&annotator={self.annotator}"
                task = self._until_answered("GET", query)
                event = {
                    "key": f"{self.annotator}-key-{number:06}", "annotator": self.annotator,
                    "position": task["position"], "task": task["id"], "kind": "answer",
                    "question": FBI[part].name, "value": self._random.choice("FBU"),
                    "elapsed_ms": 700, "shown": {"session": self.annotator},
                }  # fmt: skip
                self.sent.add(event["key"])
                answer = self._until_answered("POST", "/api/answer", event)
                assert answer["state"]["answers"][event["question"]] == event["value"]
                self.acknowledged.append(
                    (event["key"], task["id"], event["question"], event["value"])
                )
                number += 1
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            assert self.ended.is_set()


class Command:
    """`hemlets annotate` in processes that are forked from one that has imported it: 50 starts."""

    def __init__(self, source: Path, log: Path) -> None:
        self.port = free_port()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            ["annotate.app", "annotate.cli", "hemlets.annotation.tasks", "uvicorn"]
        )
        self._options = {
            "source": str(source), "store": log, "mode": "fbi", "gold": None, "queue": None,
            "votes": 0, "model": None, "opinions": False, "port": self.port, "host": "127.0.0.1",
        }  # fmt: skip
        self._process: Any = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = self._context.Process(target=label, kwargs=self._options, daemon=True)
        self._process.start()
        until = time.monotonic() + 180
        while time.monotonic() < until:
            assert self._process.is_alive(), "the server has ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.005)
        raise TimeoutError(self.port)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.join(120)


@pytest.mark.services
@pytest.mark.slow
def test_no_acknowledged_answer_is_lost_or_doubled_when_the_server_is_killed(
    make_version: MakeVersion, tmp_path: Path
) -> None:
    path = tmp_path / "log.sqlite"
    server = Command(make_version(40), path)
    server.start()
    annotators = [Annotator(server, name) for name in ("anna", "ben")]
    for one in annotators:
        one.start()
    chance = random.Random(17)
    for _ in range(KILLS):
        # By answers, not by time: also a busy machine is in the middle of its work.
        enough = sum(len(one.acknowledged) for one in annotators) + chance.randint(1, 5)
        until = time.monotonic() + 180
        while sum(len(one.acknowledged) for one in annotators) < enough:
            assert time.monotonic() < until, "the annotators do not get on"
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.02))
        server.kill()
        server.start()
    time.sleep(0.5)
    for one in annotators:
        one.ended.set()
        one.join(120)
        assert not one.is_alive()
    server.kill()
    with AnswerStore(path, source=None) as log:
        events = list(log.events())
    stored = Counter(event.key for event in events)
    by_key = {event.key: event for event in events}
    assert max(stored.values()) == 1, "an answer is doubled"
    print(f"{KILLS} kills, {len(events)} answers stored")
    for one in annotators:
        assert one.acknowledged, "both annotators got on"
        for key, _, question, value in one.acknowledged:
            assert key in by_key, f"{key} was acknowledged and is lost"
            assert (by_key[key].question, by_key[key].value) == (question, value)
        own = {key for key in stored if key.startswith(one.annotator)}
        assert own <= one.sent
        # What was on its way when the server died may be stored or not; nothing else.
        assert len(own) - len(one.acknowledged) in (0, 1)


@pytest.mark.services
def test_two_browsers_lose_and_double_no_answer_when_the_server_is_killed(
    make_version: MakeVersion, tmp_path: Path, browser: Any
) -> None:
    path = tmp_path / "log.sqlite"
    server = Command(make_version(60), path)
    server.start()
    pages = []
    for name in ("anna", "ben"):
        page = browser.new_context().new_page()
        page.add_init_script(f"localStorage.setItem('hemlets-annotator', '{name}');{BY_ITSELF}")
        page.goto(f"http://127.0.0.1:{server.port}/")
        pages.append(page)

    def acknowledged() -> list[list[str]]:
        return [one for page in pages for one in page.evaluate("window.acknowledged")]

    chance = random.Random(5)
    for _ in range(BROWSER_KILLS):
        enough = len(acknowledged()) + chance.randint(2, 8)
        until = time.monotonic() + 300
        while len(acknowledged()) < enough:
            assert time.monotonic() < until, "the pages do not get on"
        time.sleep(chance.uniform(0.0, 0.05))
        server.kill()
        server.start()
    heard = acknowledged()
    for page in pages:
        assert page.evaluate("window.acknowledged.length"), "both pages got on"
        page.context.close()
    server.kill()
    with AnswerStore(path, source=None) as log:
        events = {event.key: event for event in log.events()}
        assert len(events) == len(list(log.events())), "an answer is doubled"
    print(f"{BROWSER_KILLS} kills, {len(heard)} answers acknowledged, {len(events)} stored")
    for key, question, value in heard:
        assert key in events, f"{key} was acknowledged and is lost"
        assert (events[key].question, events[key].value) == (question, value)
