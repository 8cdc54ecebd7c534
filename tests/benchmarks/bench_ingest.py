"""Ingest of a million annotation rows: ``python tests/benchmarks/bench_ingest.py``.

The rows are synthetic: what a reader gives for 3D data, in chunks as readers give them. Images
are left out, since they cost what decoding and compressing costs (``bench_loading.py``). Writes
one row a machine to ``results/ingest.csv`` and ends with exit code 1 beyond a limit.
"""

from __future__ import annotations

from conditions import machine

import argparse
import csv
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hemlets.data.readers.contract import Dataset, ImageRef, ReadOptions, SourceRows
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig

RESULTS = Path(__file__).parent / "results" / "ingest.csv"
COLUMNS = ("machine", "rows", "seconds", "cpu_seconds", "peak_gb", "limit_s", "limit_gb")
LIMIT_S, LIMIT_GB = 180.0, 3.0
CHUNK = 5_000


def read(
    root: Path, options: ReadOptions, quarantine: Quarantine | None = None
) -> Iterator[SourceRows]:
    """Rows as of a large 3D dataset: nothing of them repeats, so nothing compresses well."""
    rows = int((root / "rows.txt").read_text())
    rng = np.random.default_rng(0)
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        numbers = range(start, start + count)
        joints3d = rng.normal((0, 0, 4000), 400, (count, 18, 3)).astype(np.float32)
        joints2d = (1100 * joints3d[..., :2] / joints3d[..., 2:] + 500).astype(np.float32)
        corners = np.concatenate([joints2d.min(1) - 10, joints2d.max(1) + 10], 1)
        yield SourceRows(
            columns={
                "sample_id": [f"sequence-{i // 2000:04d}/{i:07d}" for i in numbers],
                "split": ["train"] * count,
                "subject": [f"S{i // 100_000}" for i in numbers],
                "clip": [f"sequence-{i // 2000:04d}" for i in numbers],
                "frame": np.arange(start, start + count, dtype=np.int32) % 2000,
                "box_xyxy": corners.astype(np.float32),
                "joints2d_px": joints2d,
                "joints3d_mm": joints3d,
                "valid2d": np.ones((count, 18), bool),
                "valid3d": np.ones((count, 18), bool),
                "camera": np.tile(np.float32([1100, 1100, 500, 500]), (count, 1)),
                "camera_valid": np.ones(count, bool),
                "theta": rng.normal(0, 0.3, (count, 24, 3)).astype(np.float32),
                "betas": rng.normal(0, 1, (count, 10)).astype(np.float32),
                "smpl_valid": np.ones(count, bool),
            },
            images=tuple(ImageRef(f"videos/{i // 2000:04d}.mp4", i % 2000) for i in numbers),
        )


DATASET = Dataset(
    name="synthetic-rows",
    title="Synthetic rows",
    paper="none",
    licence="none",
    document="none",
    supervision=(),
    layout=(),
    joints="all",
    conventions="the table's own",
    reader="bench_ingest:read",
)


def main() -> int:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "source")
        root.mkdir()
        (root / "rows.txt").write_text(str(options.rows))
        config = IngestConfig(images="none", shard_size=16_384)
        start, cpu = time.perf_counter(), time.process_time()
        result = ingest(DATASET, root, Path(scratch, "data"), config)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert sum(result.samples.values()) == options.rows, result
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{options.rows:,} rows: {seconds:.0f} s ({cpu:.0f} s of a core), {peak:.2f} GB at most")
    values = (machine(), options.rows, f"{seconds:.0f}", f"{cpu:.0f}", f"{peak:.2f}",
              LIMIT_S, LIMIT_GB)  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    rows = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["machine"] != machine()]
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, dict(zip(COLUMNS, map(str, values), strict=True))])
    return int(seconds > LIMIT_S or peak > LIMIT_GB)


if __name__ == "__main__":
    sys.exit(main())
