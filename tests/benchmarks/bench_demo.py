"""From a bare clone to a served model: ``python tests/benchmarks/bench_demo.py``.

Clones the last commit into an empty folder and runs a newcomer's commands there: ``make setup``,
``make demo``, and ``make demo`` again with nothing changed. Memory is the proportional set size of
the flow and all its children together, looked at twice a second. Writes ``results/demo.csv`` and
ends with exit code 1 beyond a limit.
"""

from __future__ import annotations

from conditions import cores, machine

import argparse
import contextlib
import csv
import math
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import psutil

REPOSITORY = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "demo.csv"
COLUMNS = ("machine", "cores", "commit", "what", "seconds", "limit_s", "peak_gb", "limit_gb")
SETUP_AND_FLOW_S, FLOW_S, AGAIN_S, PEAK_GB = 900.0, 600.0, 40.0, 5.4
_LOOK_S: Final = 0.5
_INHERITED: Final = ("VIRTUAL_ENV", "PYTHONPATH", "HEMLETS_HOME", "MAKEFLAGS")


class Took(NamedTuple):
    """What a command took."""

    seconds: float
    peak_gb: float


def run(command: list[str], folder: Path, log: Path) -> Took:
    """Run a command to its end, looking at its memory.

    Raises:
        SystemExit: It failed; names its log.
    """
    environment = {k: v for k, v in os.environ.items() if k not in _INHERITED}
    start, peak = time.perf_counter(), 0
    with log.open("wb") as stream:
        process = psutil.Popen(
            command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            peak = max(peak, _memory(process))
            time.sleep(_LOOK_S)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    return Took(time.perf_counter() - start, peak / 1e9)


def _memory(process: psutil.Process) -> int:
    total = 0
    # A process may end while it is looked at.
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total


def main() -> int:
    """Measure and write a row a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clone, log = Path(scratch) / "hemlets", Path(scratch) / "log"
        subprocess.run(["git", "clone", "-q", REPOSITORY, clone], check=True)
        commit = subprocess.check_output(
            ["git", "rev-parse", "--short", "HEAD"], cwd=clone, text=True
        ).strip()
        setup = run(["make", "setup"], clone, log)
        first = run(["make", "demo"], clone, log)
        print(log.read_text())
        again = run(["make", "demo"], clone, log)
    whole = Took(setup.seconds + first.seconds, max(setup.peak_gb, first.peak_gb))
    measured = {
        "installed": (setup, math.inf),
        "first demo": (first, FLOW_S),
        "second demo": (again, AGAIN_S),
        "from clone to served": (whole, SETUP_AND_FLOW_S),
    }
    kept = True
    with options.results.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for what, (took, limit_s) in measured.items():
            limit = f"{limit_s:g}" if math.isfinite(limit_s) else ""
            values = (f"{took.seconds:.0f}", limit, f"{took.peak_gb:.1f}", f"{PEAK_GB:g}")
            writer.writerow((machine(), cores(), commit, what, *values))
            kept &= took.peak_gb <= PEAK_GB and took.seconds <= limit_s
            print(f"{what}: {took.seconds:.0f} s, {took.peak_gb:.1f} GB")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
