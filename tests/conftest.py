"""What all tests need: the same surroundings on every machine, and groups for parallel runs."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

# One thread a process: the workers share the cores, and a sum has one order.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
# A shell's own settings of the product and of its libraries would change what is tested.
_FOREIGN = ("HEMLETS_", "MLFLOW_", "PREFECT_", "AWS_", "DVC_", "XDG_", "TS_", "LC_", "TORCH")
_KEPT = ("HEMLETS_SAMPLES", "HEMLETS_SAMPLE_PICTURES")

# Costly fixtures of the session, by room: one process runs all files whose tests name one.
_SHARED = {"flows": "finished", "serving": "server: TorchServe"}
# The longest groups, which are started first.
_FIRST = (
    *_SHARED.values(), "tests/flows/test_nights.py", "tests/flows/test_sync.py",
    "tests/test_surroundings.py", "tests/training/test_engine.py", "tests/annotate/test_kill.py",
    "tests/annotate/test_page.py", "tests/training/test_processes.py", "tests/test_wheel.py",
    "tests/flows/test_automations.py",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Give every test process the same home, locale, umask, threads and signals."""
    # A shell that started the tests in its background has SIGINT ignored, which children inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(0o022)
    # A tenth of the time went to garbage collection.
    gc.set_threshold(20_000, 20, 20)
    if hasattr(config, "workerinput"):
        return  # A worker inherits the environment of the process that started it.
    for name in list(os.environ):
        if name.startswith(_FOREIGN) and name not in _KEPT:
            del os.environ[name]
    home = tempfile.mkdtemp(prefix="hemlets-tests-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ |= dict.fromkeys(_THREADS, "1") | {"HOME": home, "LANG": "C.UTF-8"}
    os.environ.setdefault("HEMLETS_SAMPLES", str(ROOT.parent / "shared" / "samples"))


# xdist's own way to give groups to its scheduler (loadgroup) has no effect with pytest 9.2.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a group, which share fixtures, in one process."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid.partition("::")[0])

    return Scheduler(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest groups first; the order within them, and of all others, stays random."""
    order = {group: number for number, group in enumerate(_FIRST)}
    for item in items:
        fixture = _SHARED.get(item.path.parent.name, "")
        uses = fixture.partition(":")[0] in getattr(item, "fixturenames", ())
        assert not uses or _group(_relative(item)) == fixture, f"{item.nodeid}: {fixture} unseen"
    items.sort(key=lambda item: order.get(_group(_relative(item)), len(order)))


def _relative(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT).as_posix()


@cache
def _group(file: str) -> str:
    """The group of a file's tests: its costly fixture, else the file itself."""
    fixture = _SHARED.get(Path(file).parent.name)
    if fixture and re.search(rf"def \w+\([^)]*\b{fixture}\b", (ROOT / file).read_text()):
        return fixture
    return file


def pytest_collection_finish() -> None:
    """Examine what is imported no more."""
    gc.freeze()


@pytest.fixture(scope="session")
def samples() -> Path:
    """Photographs and pieces of the real datasets, which are no part of the project."""
    folder = Path(os.environ["HEMLETS_SAMPLES"])
    if not folder.is_dir():
        pytest.skip(f"no samples at {folder}: name their folder with HEMLETS_SAMPLES")
    return folder


@pytest.fixture
def own_children() -> Callable[[], list[BaseProcess]]:
    """Lists the running processes that the test itself started.

    A process that has ended counts as running until the thread that waits for it has noticed.
    """
    others = set(multiprocessing.active_children())

    def running() -> list[BaseProcess]:
        children = [c for c in multiprocessing.active_children() if c not in others]
        return [c for c in children if c.pid is not None and _is_running(c.pid)]

    return running


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"


@pytest.fixture
def interlaced_file(tmp_path: Path) -> Path:
    """Ten frames of 160×128 at 25 a second, of brightness 0, 20, 40, …, as fields."""
    av = pytest.importorskip("av", reason="PyAV of the extra video is not installed")
    import numpy as np

    file = tmp_path / "fields.mkv"
    with av.open(str(file), "w") as container:
        options = {"flags": "+ildct+ilme", "g": "1"}
        stream = container.add_stream("mpeg2video", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for level in range(0, 200, 20):
            picture = np.full((128, 160, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file
