"""Every entry point prepares its process: its threads spin briefly, freed memory is reused."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from hemlets.core.process_setup import paused_collection

ROOT = Path(__file__).parents[2]

FAULTS = """
import resource, sys
import numpy as np
from hemlets.core.process_setup import prepare_process
if sys.argv[1] == "reuse":
    prepare_process()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.empty(64 << 20, np.uint8)[:: 1 << 12] = 1  # writes to each page
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

# Ends the process where torch is imported for the first time.
FIRST_IMPORT = """
import os, runpy, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            names = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
            print(*(os.environ.get(name) for name in names), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
"""

ENTRY_POINTS = {
    "command": "from hemlets.cli import main; main(['predict', 'photo.jpg'])",
    "training": "sys.argv[1:] = ['job.json']; runpy.run_module('hemlets.training', {}, '__main__')",
    "flow": "import flows.retrain",
    "ablation": "runpy.run_module('flows.ablation', {}, '__main__')",
    "endpoint": "from serving.handler import PoseHandler; PoseHandler.load(None)",
    "benchmark": "sys.path.insert(0, 'tests/benchmarks'); import bench_video",
    "worker": (
        "from hemlets.core.worker_pool import _start; _start(None, os.getppid()); import torch"
    ),
}

UNUSED = """
import numpy as np
from pathlib import Path
from hemlets.core.process_setup import prepare_process, return_unused_memory
prepare_process()
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20
held = []
for _ in range(8):
    block = np.ones(64 << 20, np.uint8)
    held.append(np.ones(100_000, np.uint8))  # the heap's top stays in use
    del block
    held.append(np.ones(65 << 20, np.uint8))
del held[1::2]
print(resident_mb())
return_unused_memory(above_bytes=1 << 30)
print(resident_mb())
return_unused_memory(above_bytes=64 << 20)
print(resident_mb())
"""


# Exit functions run in reverse order: what is registered first is called last.
EXIT = """
import atexit, gc
from hemlets.core.process_setup import prepare_process
atexit.register(lambda: print(gc.get_freeze_count() > 0, len(gc.get_objects()) < 100))
prepare_process()
"""

AFTER_PAUSE = """
import gc
from hemlets.core.process_setup import paused_collection
with paused_collection():
    made = [[] for _ in range(10_000)]
print(len(gc.get_objects(generation=2)) > 10_000, gc.get_freeze_count())
"""


def page_faults(how: str) -> int:
    run = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_blocks_of_64_mib_are_not_mapped_anew_each_time() -> None:
    assert page_faults("reuse") < page_faults("default") / 10


def waiting_at_import_of_torch(entry_point: str, **environment: str) -> list[str]:
    """OpenMP's wait policy and the turns that GNU's spins."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    others = {k: v for k, v in os.environ.items() if k not in names}
    run = [sys.executable, "-c", FIRST_IMPORT + ENTRY_POINTS[entry_point]]
    done = subprocess.run(
        run, env=others | environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_threads_spin_for_a_moment_only(entry_point: str) -> None:
    policy, turns = waiting_at_import_of_torch(entry_point)
    assert policy == "PASSIVE"
    assert 0 < int(turns) <= 10_000


def test_threads_wait_as_the_user_asks() -> None:
    asked = waiting_at_import_of_torch("training", OMP_WAIT_POLICY="ACTIVE")
    assert asked == ["ACTIVE", "None"]
    asked = waiting_at_import_of_torch("training", GOMP_SPINCOUNT="7")
    assert asked == ["PASSIVE", "7"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_returned_where_more_than_the_limit_is_unused() -> None:
    run = [sys.executable, "-c", UNUSED]
    done = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    before, within, beyond = (int(line) for line in done.split())
    assert within > before - 32
    assert beyond < before - 400


def test_no_cycles_are_searched_for_when_the_process_ends() -> None:
    done = subprocess.run([sys.executable, "-c", EXIT], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"]


def test_collection_is_paused_within_the_block_only() -> None:
    with contextlib.suppress(KeyError), paused_collection():
        within = gc.isenabled()
        raise KeyError
    assert (within, gc.isenabled()) == (False, True)


def test_collection_that_was_off_before_stays_off() -> None:
    with paused_collection():
        with paused_collection():
            pass
        assert not gc.isenabled()


def test_what_was_made_in_a_pause_is_old_afterwards_but_not_exempt() -> None:
    run = [sys.executable, "-c", AFTER_PAUSE]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "0"]
