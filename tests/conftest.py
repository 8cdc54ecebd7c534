"""What all tests need: the same surroundings on every machine, and groups for parallel runs."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# One thread a process: the workers share the cores, and a sum has one order.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
# A shell's own settings of the product and of its libraries would change what is tested.
_FOREIGN = ("HEMLETS_", "MLFLOW_", "PREFECT_", "AWS_", "DVC_", "XDG_", "TS_", "LC_", "TORCH")
_KEPT = ("HEMLETS_SAMPLES", "HEMLETS_SAMPLE_PICTURES")

# Costly fixtures of the session, by room and name: one worker runs all tests that share one.
_SHARED = {("flows", "finished"): "one retraining", ("serving", "server"): "one TorchServe"}
# The longest groups, which are started first.
_FIRST = (*_SHARED.values(), "tests/training/test_engine.py")


def pytest_configure(config: pytest.Config) -> None:
    """Give every test process the same home, locale, umask, threads and signals."""
    # A shell that started the tests in its background has SIGINT ignored, which children inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(0o022)
    if hasattr(config, "workerinput"):
        return  # A worker inherits the environment of the process that started it.
    for name in list(os.environ):
        if name.startswith(_FOREIGN) and name not in _KEPT:
            del os.environ[name]
    home = tempfile.mkdtemp(prefix="hemlets-tests-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ |= dict.fromkeys(_THREADS, "1") | {"HOME": home, "LANG": "C.UTF-8"}
    os.environ.setdefault("HEMLETS_SAMPLES", str(ROOT.parent / "shared" / "samples"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the tests for parallel workers: by costly fixture, else by file."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    groups = {item: _group(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    # Stable: within the longest groups, and among all others, the order stays random.
    order = {group: number for number, group in enumerate(_FIRST)}
    items.sort(key=lambda item: order.get(groups[item], len(order)))


def _group(item: pytest.Item) -> str:
    path = item.path.relative_to(ROOT)
    for (room, fixture), group in _SHARED.items():
        if room in path.parts and fixture in getattr(item, "fixturenames", ()):
            return group
    return path.as_posix()


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
