"""Rendered samples a second on one core: ``python tests/benchmarks/bench_rendering.py``.

Counts the process's own processor time, posing and compression included, so that a busy machine
does not change the figure much. Writes one row a machine and image size to
``results/rendering.csv`` and ends with exit code 1 below the limit.
"""

from __future__ import annotations

from conditions import machine

import argparse
import csv
import sys
import time
from pathlib import Path

from hemlets.body.model import BodyModel
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, Studio
from hemlets.data.synthetic.people import BLOCK

RESULTS = Path(__file__).parent / "results" / "rendering.csv"
COLUMNS = ("machine", "image_px", "samples", "samples_per_s", "limit")
LIMIT_PER_S = {128: 150, 160: 120}


def measure(image_px: int, samples: int) -> float:
    """Samples a second of one core, after a warm-up block."""
    config = OpenDataConfig(image_px=image_px)
    studio = Studio(config, MotionLibrary.bundled(), BodyModel.load(resolution="lite"))
    for index in range(BLOCK):
        studio.person("train", index)
    start = time.process_time()
    for index in range(BLOCK, BLOCK + samples):
        studio.person("train", index)
    return samples / (time.process_time() - start)


def record(row: dict[str, str]) -> None:
    """Replace this machine's row of this size, or add it."""
    rows: list[dict[str, str]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    key = row["machine"], row["image_px"]
    rows = [old for old in rows if (old["machine"], old["image_px"]) != key] + [row]
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda old: (old["machine"], int(old["image_px"]))))


def main() -> int:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=8 * BLOCK)
    parser.add_argument("--image-px", type=int, nargs="+", default=sorted(LIMIT_PER_S))
    options = parser.parse_args()
    missed = False
    for image_px in options.image_px:
        rate, limit = measure(image_px, options.samples), LIMIT_PER_S.get(image_px, 0)
        print(f"{image_px} px: {rate:.0f} samples/s on one core (limit {limit})")
        values = (machine(), image_px, options.samples, f"{rate:.0f}", limit)
        record(dict(zip(COLUMNS, map(str, values), strict=True)))
        missed |= rate < limit
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
