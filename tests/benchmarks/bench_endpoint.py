"""Rate of the endpoint: ``python tests/benchmarks/bench_endpoint.py``.

The starter model with the defaults of ``hemlets serve``: TorchServe alone, through the front, and
through the front while a program keeps one core busy. The front may take a twentieth of the
processor's time of a request at most, and a busy core half of the rate. The processor's time can be
compared on a busy machine; rates are judged on a quiet one alone. Writes
``results/endpoint.csv``; ends with 1 where a limit is passed.
"""

from __future__ import annotations

from conditions import cores, machine

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from serving.archive import build_archive
from serving.client import Client
from serving.settings import ServerSettings, default_workers
from serving.torchserve import TorchServe

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "endpoint.csv"
PHOTO = ROOT / "tests/models/golden/two_people.png"
BOX = (10.0, 10.0, 60.0, 110.0)
COLUMNS = (
    "machine", "cores", "workers", "situation", "clients", "requests", "rate_per_s", "p50_ms",
    "p95_ms", "front_cpu_ms", "others_cpu_ms", "load_before",
)  # fmt: skip
QUIET = 0.5
"""Load of a machine that has its processors to itself."""
LEAST_WITH_BUSY_CORE = 0.5
MOST_OF_FRONT = 0.05


def measure(
    server: TorchServe, url: str, token: str | None, clients: int, seconds: float
) -> dict[str, object]:
    """Ask with several clients at once, and return what it took."""
    times: list[float] = []
    photo = PHOTO.read_bytes()
    end = time.monotonic() + seconds

    def ask() -> None:
        with Client(url, token, timeout_s=120) as client:
            while time.monotonic() < end:
                begun = time.perf_counter()
                client.predict(photo, BOX)
                times.append(1e3 * (time.perf_counter() - begun))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    before, begun = _cpu_s(server), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, after = time.monotonic() - begun, _cpu_s(server)
    front, others = (1e3 * (b - a) / len(times) for a, b in zip(before, after, strict=True))
    quantiles = statistics.quantiles(times, n=20)
    return {
        "requests": len(times),
        "rate_per_s": round(len(times) / took, 2),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(quantiles[-1], 1),
        "front_cpu_ms": round(front, 2),
        "others_cpu_ms": round(others, 2),
    }


def _cpu_s(server: TorchServe) -> tuple[float, float]:
    """Processor's time of the front, and of Java with its workers."""
    assert server._process is not None
    front = others = 0.0
    for process in psutil.Process(server._process.pid).children(recursive=True):
        used = sum(process.cpu_times()[:2])
        if "serving.front" in process.cmdline():
            front += used
        else:
            others += used
    return front, others


@contextmanager
def busy_core() -> Iterator[None]:
    """A program that takes all it gets of one core."""
    core = min(os.sched_getaffinity(0))
    spin = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", spin]) as program:
        try:
            yield
        finally:
            program.kill()


def main() -> int:
    """Measure and write a row for each situation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    workers = default_workers()
    settings = ServerSettings(workers=workers, startup_timeout_s=600, bundled_java=True)
    rows: list[dict[str, object]] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        TorchServe(Path(scratch) / "server", settings) as server,
    ):
        server.register(build_archive(ROOT / "hemlets/assets/starter", Path(scratch)))
        keys = server._keys
        assert keys is not None
        inside = f"http://127.0.0.1:{server.ports.inference}", keys.token("inference")
        front = server.url, server.token
        measure(server, *front, clients=workers, seconds=3.0)

        def add(situation: str, url: str, token: str | None) -> dict[str, object]:
            row = {
                "machine": machine(),
                "cores": cores(),
                "workers": workers,
                "situation": situation,
                "clients": options.clients,
                **measure(server, url, token, options.clients, options.seconds),
                "load_before": round(load, 2),
            }
            rows.append(row)
            print(row, flush=True)
            return row

        direct = add("TorchServe alone", *inside)
        through = add("through the front", *front)
        with busy_core():
            busy = add("through the front, one core busy", *front)
    with options.results.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    share = float(str(through["front_cpu_ms"])) / float(str(direct["others_cpu_ms"]))
    kept = float(str(busy["rate_per_s"])) / float(str(through["rate_per_s"]))
    print(f"the front takes {share:.1%} of a request's time; a busy core leaves {kept:.0%}")
    quiet = load <= QUIET
    if not quiet:
        print(f"load {load:.1f}: the rates are not judged")
    return 0 if share <= MOST_OF_FRONT and (kept >= LEAST_WITH_BUSY_CORE or not quiet) else 1


if __name__ == "__main__":
    sys.exit(main())
