"""Scoring from files: time and memory of every pose protocol.

    python tests/benchmarks/bench_scoring.py [--samples 100000] [--large 2000000]

Files in the datasets' layouts are written first and not timed. Scoring is timed from the files to
the summary with its intervals, each protocol in a process of its own, without its imports. Peak
memory is the process's largest resident set (``ru_maxrss``), imports and Arrow's buffers included.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

RESULTS = Path(__file__).parent / "results" / "scoring.csv"
COLUMNS = (
    "machine", "protocol", "samples", "cores", "seconds", "cpu_seconds", "peak_gb", "limit_s",
    "limit_gb",
)  # fmt: skip
LIMIT_S, LIMIT_GB = 20, 2.0
_BLOCK = 20_000


def write_files(folder: Path, protocol: str, samples: int) -> None:
    """Predictions and annotations of a protocol."""
    from layouts import LAYOUTS, layout_of, predictions_of

    groups = len(LAYOUTS[protocol][1])
    rows = layout_of(protocol, each=-(-min(_BLOCK, samples) // groups))
    predictions_of(rows).write(folder / "block.parquet")
    block = {"predictions": pq.read_table(folder / "block.parquet"), "annotations": rows.table}
    for name, table in block.items():
        with pq.ParquetWriter(folder / f"{name}.parquet", table.schema, compression="zstd") as file:
            # The same poses again and again, under other names: arithmetic takes no less time.
            for start in range(0, samples, len(rows)):
                part = table.slice(0, min(len(rows), samples - start))
                column = part.schema.get_field_index("sample_id")
                ids = pa.array([f"{start}/{i}" for i in range(len(part))])
                file.write_table(
                    part.set_column(column, part.schema.field(column), ids), row_group_size=16_384
                )


def score(folder: Path, protocol: str) -> tuple[float, float, float]:
    """Seconds, seconds of the processor and peak GB of scoring the files of a folder."""
    # Arrow imports pandas when it is first used, which is no part of scoring.
    import pandas  # noqa: F401

    from hemlets.evaluation.protocols import load_protocol
    from hemlets.evaluation.scoring.sample_scores import score
    from hemlets.evaluation.scoring.summary import summarise
    from hemlets.evaluation.scoring.truth import Truth

    begun, busy = time.perf_counter(), time.process_time()
    chosen = load_protocol(protocol)
    truth = Truth.read(folder / "annotations.parquet", chosen)
    summarise(score(folder / "predictions.parquet", truth, chosen))
    seconds = time.perf_counter() - begun
    return (
        seconds,
        time.process_time() - busy,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    )


def machine() -> str:
    """The processor's name."""
    listing = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in listing if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _apart(arguments: list[str]) -> list[float]:
    command = [sys.executable, __file__, *arguments]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in said.split()]


def main() -> None:
    """Write files, score them, write the table of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=2_000_000, help="0 leaves it out")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--score", nargs=2, metavar=("FOLDER", "PROTOCOL"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--write", nargs=3, metavar=("FOLDER", "PROTOCOL", "N"), help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    if given.score:
        print(*score(Path(given.score[0]), given.score[1]))
        return
    if given.write:
        write_files(Path(given.write[0]), given.write[1], int(given.write[2]))
        return
    pose = [
        "human36m-p1",
        "human36m-p2",
        "human36m-pa",
        "humaneva",
        "mpi_inf_3dhp",
        "threedpw",
        "open",
    ]
    jobs = [(name, given.samples) for name in pose]
    jobs += [("human36m-p2", given.large)] if given.large else []
    cores, total, lines = len(os.sched_getaffinity(0)), np.zeros(2), []
    for name, samples in jobs:
        with tempfile.TemporaryDirectory() as scratch:
            _apart(["--write", scratch, name, str(samples)])
            seconds, busy, peak = _apart(["--score", scratch, name])
        large = samples != given.samples
        total += 0.0 if large else np.array([seconds, busy])
        figures = [f"{seconds:.1f}", f"{busy:.1f}", f"{peak:.2f}"]
        lines.append([machine(), name, samples, cores, *figures, "", LIMIT_GB if large else ""])
        print(*lines[-1], flush=True)
    sums = [f"{value:.1f}" for value in total]
    whole = [machine(), "all pose protocols", given.samples, cores, *sums, "", LIMIT_S, ""]
    lines.append(whole)
    with given.results.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(lines)


if __name__ == "__main__":
    main()
