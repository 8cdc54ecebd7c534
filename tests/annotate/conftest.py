"""Small data versions, a server in this process, and a server as a real process."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemlets.annotation.answers import Event
from hemlets.annotation.questions import MODES
from hemlets.annotation.store import AnswerStore
from hemlets.core.arrays import Array
from hemlets.core.ports import free_port
from hemlets.data.table import Annotations, ShardWriter, encode_jpeg
from hemlets.data.weak_labels import Annotator

MakeVersion = Callable[..., Path]


def joints_of(rng: np.random.Generator, count: int) -> np.ndarray:
    """People of random limbs before a camera, millimetres."""
    return rng.normal(0, 300, (count, 18, 3)) + np.array([0, 0, 4_000.0])


def _blocks(rng: np.random.Generator, side: int) -> np.ndarray:
    coarse = rng.integers(0, 255, (side // 8, side // 8, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def write_version(
    folder: Path,
    people: int = 6,
    *,
    with_3d: int = 0,
    split: str = "train",
    prefix: str = "sample",
    side: int = 96,
    noise: bool = False,
) -> Path:
    """Write a data version of plain pictures: its people, of whom the last ``with_3d`` have 3D."""
    rng = np.random.default_rng(people * 7 + with_3d)
    names = [f"{prefix}/{number}" for number in range(people)]
    pictures = [
        encode_jpeg(
            _blocks(rng, side)
            if noise
            else np.full((side, side, 3), 40 + 11 * number % 200, np.uint8)
        )
        for number in range(min(people, 8))
    ]
    joints3d = joints_of(rng, people)
    known = np.zeros((people, 18), bool)
    known[people - with_3d :] = True
    joints2d = side * (0.5 + joints3d[..., :2] / 2_400)
    hashes = [hashlib.sha256(picture).hexdigest() for picture in pictures]
    table = Annotations.from_columns(
        {
            "sample_id": names, "source": ["test"] * people, "split": [split] * people,
            "subject": [f"person-{number % 5}" for number in range(people)],
            "clip": [f"clip-{number}" for number in range(people)],
            "family": ["family"] * people, "frame": np.arange(people),
            "shard": ["train-00000.arrow"] * people, "shard_row": np.arange(people),
            "image_hash": [hashes[number % len(hashes)] for number in range(people)],
            "image_width": np.full(people, side), "image_height": np.full(people, side),
            "box_xyxy": np.tile([4.0, 4, side - 4, side - 4], (people, 1)),
            "joints2d_px": joints2d, "joints3d_mm": np.where(known[..., None], joints3d, 0),
            "valid2d": np.ones((people, 18), bool), "valid3d": known,
            "visible": np.ones((people, 18), bool), "truncated": np.zeros((people, 18), bool),
            "camera": np.tile([200.0, 200, 48, 48], (people, 1)),
            "camera_valid": np.zeros(people, bool),
            "relations": np.zeros((people, 14), np.int8),
            "relations_valid": np.zeros((people, 14), bool),
            "theta": np.zeros((people, 24, 3)), "betas": np.zeros((people, 10)),
            "transl_mm": np.zeros((people, 3)), "smpl_valid": np.zeros(people, bool),
            "transl_valid": np.zeros(people, bool), "mask": [b""] * people,
        }
    )  # fmt: skip
    ShardWriter.write(
        folder / "shards" / "train-00000.arrow",
        names,
        [pictures[number % len(pictures)] for number in range(people)],
    )
    table.write(folder / "annotations.parquet")
    return folder


def add_many(store: AnswerStore, events: Iterable[Event], asked: list[str]) -> None:
    """Add events of tasks with the same questions in one transaction, without waiting for each."""
    with store._writing() as base:
        for event in events:
            store._add(base, event, asked)


@pytest.fixture(scope="session")
def make_version(tmp_path_factory: pytest.TempPathFactory) -> MakeVersion:
    """Writes data versions; see `write_version`."""

    def make(*arguments: Any, **more: Any) -> Path:
        return write_version(tmp_path_factory.mktemp("version") / "data", *arguments, **more)

    return make


class Server:
    """`hemlets annotate` as a process of its own."""

    def __init__(self, home: Path, source: Path, *options: str) -> None:
        self.home, self.source, self.options = home, source, options
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = [sys.executable, "-m", "hemlets.cli", "annotate", str(self.source)]
        self._process = subprocess.Popen(
            [*words, "--port", str(self.port), *self.options],
            env=os.environ | {"HEMLETS_HOME": str(self.home)},
            stdout=subprocess.DEVNULL,
        )
        until = time.monotonic() + 180
        while time.monotonic() < until:
            assert self._process.poll() is None, "the server has ended"
            try:
                urllib.request.urlopen(f"{self.address}/api/setup", timeout=30).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError(self.address)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as Ctrl-C would."""
        self._end(signal.SIGINT)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(120)
            self._process = None


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers, which are ended after the test."""
    servers: list[Server] = []

    def start(source: Path, *options: str) -> Server:
        server = Server(tmp_path / "workspace", source, *options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real Chromium, headless."""
    import shutil

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


_SECONDS = 1.2
"""Median time of an answer; times are log-normal."""


def _label_tasks(
    store: AnswerStore,
    joints_J3_mm: Mapping[str, Array],
    rates: Annotator,
    name: str,
    rng: np.random.Generator,
) -> None:
    """Answer all questions of tasks; a level pair is answered Unknown.

    Args:
        store: Gets the answers.
        joints_J3_mm: Joints (18, 3) in the camera frame by task, NaN where unknown.
        rates: How often the annotator skips and errs.
        name: Of the annotator.
        rng: Of all draws.
    """
    joints = np.stack(list(joints_J3_mm.values()))
    known = ~np.isnan(joints).any(-1)
    questions = MODES[store.mode]
    pairs = [int(q.parent) for q in questions], [int(q.child) for q in questions]
    relations = rates.label(np.nan_to_num(joints), known, rng, scheme=store.mode, pairs=pairs)
    letters = {1: "F", -1: "B", 0: "U"}
    asked = [question.name for question in questions]
    milliseconds = np.round(1000 * _SECONDS * rng.lognormal(0, 0.4, relations.values_NK.shape))
    add_many(
        store,
        (
            Event(
                key=f"{name}-{store.mode}-{row:06}-{part:02}",
                task=task,
                annotator=name,
                kind="answer",
                question=question,
                value=letters[int(relations.values_NK[row, part])]
                if relations.valid_NK[row, part]
                else "U",
                elapsed_ms=int(milliseconds[row, part]),
                shown={"session": "simulated"},
            )
            for row, task in enumerate(joints_J3_mm)
            for part, question in enumerate(asked)
        ),
        asked,
    )


@pytest.fixture(scope="session")
def label_tasks() -> Callable[..., None]:
    """Simulates an annotator with known rates of errors and skips, see `_label_tasks`."""
    return _label_tasks
