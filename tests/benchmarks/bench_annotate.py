"""How quick the annotation page is, in a real Chromium: first and next image, parts by keys.

    python tests/benchmarks/bench_annotate.py

Measured over 60 people, and over 100,000 of whom all but 20 are finished. Keys are pressed at the
speed of somebody who knows them: 0.6 s of looking before each. Times are medians of the wall clock
(``wall``), of processor time of server and browser together (``busy``), and of their threads' time
ready to run while others had the cores (``waited``): on a busy machine only ``busy`` compares.
``limit`` is that of the project, for a free machine.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright

from hemlets.annotation.answers import Event
from hemlets.annotation.questions import FBI
from hemlets.annotation.store import AnswerStore
from hemlets.annotation.tasks import VersionTasks

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "annotate"))
from conftest import Server, add_many, write_version

RESULTS = Path(__file__).parent / "results" / "annotate.csv"
FIELDS = ("measure", "people", "unit", "wall", "worst", "busy", "waited", "limit", "load")
Time = tuple[float, float, float]
"""Wall, busy and waited, seconds."""
LOOK_S = 0.6
SIDE = 800
MANY = 100_000

# Presses a key and waits until the page shows something else; milliseconds until it is painted.
PRESS = """async ([key, what]) => {
  const shown = () => what === "image" ? document.body.dataset.position
    : document.body.dataset.position + document.getElementById("part").textContent;
  const before = shown(), start = performance.now();
  dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  while (shown() === before) await new Promise((done) => setTimeout(done, 0));
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""


def finish(folder: Path, log: Path, name: str, but: int) -> None:
    """Finish all tasks of a version but the last ones."""
    tasks = VersionTasks(folder)
    with AnswerStore(log, source=tasks.source) as store:
        names = tasks.names(0, len(tasks) - but)
        add_many(
            store,
            (
                Event(key=f"done-{number:07}", task=task, annotator=name, kind="done")
                for number, task in enumerate(names)
            ),
            [question.name for question in FBI],
        )


def used() -> tuple[float, float]:
    """Seconds that the server and the browser have run, and waited for a core, so far."""
    ran = waited = 0
    for process in psutil.Process().children(recursive=True):
        for thread in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                on_core, ready, _ = map(int, thread.read_text().split())
                ran, waited = ran + on_core, waited + ready
    return ran / 1e9, waited / 1e9


def timed(work: Callable[[], float]) -> Time:
    """Times of a call that returns its wall time in seconds."""
    before = used()
    wall = work()
    after = used()
    return wall, after[0] - before[0], after[1] - before[1]


def load_average() -> str:
    """Processes that wanted a core in the last minute."""
    return Path("/proc/loadavg").read_text().split()[0]


def measure(page: Any, server: Server, people: int, add: Callable[..., None]) -> None:
    """First image, next images, and 14 parts."""

    def opened() -> float:
        page.goto(server.address)
        page.wait_for_selector("body[data-position]")
        return float(page.evaluate("performance.now()")) / 1e3

    def followed() -> float:
        return float(page.evaluate(PRESS, ["Enter", "image"])) / 1e3

    add("first image", people, [timed(opened) for _ in range(7)], "ms", 500)
    time.sleep(2)
    following = []
    for _ in range(12):
        following.append(timed(followed))
        time.sleep(LOOK_S)
    add("next image", people, following, "ms", 50)
    add("14 parts", people, [timed(lambda: by_keys(page, 14))], "s", 15)


def by_keys(page: Any, questions: int) -> float:
    """Seconds that all questions of an image take by keys, with a look before each."""
    start = time.perf_counter()
    for number in range(questions):
        time.sleep(LOOK_S)
        page.evaluate(PRESS, ["fbu"[number % 3], "part"])
    return time.perf_counter() - start


def run(out: Path, program: str) -> None:
    """Measure, and write the results."""
    rows: list[dict[str, Any]] = []

    def add(what: str, people: int, times: list[Time], unit: str, limit: float) -> None:
        scale = 1e3 if unit == "ms" else 1
        wall, busy, waited = (
            round(scale * statistics.median(t), 1) for t in zip(*times, strict=True)
        )
        rows.append(
            {"measure": what, "people": people, "unit": unit, "wall": wall,
             "worst": round(scale * max(times)[0], 1), "busy": busy, "waited": waited,
             "limit": limit, "load": load_average()}
        )  # fmt: skip
        print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        for people, mode in ((60, "fbi"), (MANY, "fbi"), (2, "ordinal")):
            home = Path(scratch, f"{people}-{mode}")
            side = SIDE if people < MANY else 96
            folder = write_version(home / "data", people, side=side, noise=True)
            log = home / "log.sqlite"
            if people == MANY:
                finish(folder, log, "anna", but=20)
            server = Server(home, folder, "--no-opinions", "--store", str(log), "--mode", mode)
            server.start()
            page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
            page.add_init_script("localStorage.setItem('hemlets-annotator', 'anna')")
            if mode == "fbi":
                measure(page, server, people, add)
            else:
                page.goto(server.address)
                page.wait_for_selector("body[data-position]")
                add("91 pairs", people, [timed(lambda page=page: by_keys(page, 91))], "s", 60)
            server.stop()
        browser.close()
    with out.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    import shutil

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    run(parser.parse_args().out, shutil.which("chromium") or "google-chrome")
