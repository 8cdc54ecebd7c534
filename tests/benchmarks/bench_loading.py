"""Training samples a second of one core, from shards: ``python tests/benchmarks/bench_loading.py``.

Ingests photographs as ingest stores them (a window of 2.35 boxes, 256 px across the person's
square), then reads, decodes, crops and augments them as training does. Counts the process's own
processor time, so that a busy machine does not change the figure much. Writes one row a machine
and crop size to ``results/loading.csv`` and ends with exit code 1 below the limit.
"""

from __future__ import annotations

from conditions import cores, machine

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.data.readers.contract import Dataset, ImageRef, ReadOptions, SourceRows
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.table import Annotations, encode_jpeg
from hemlets.data.transforms import AugmentationConfig
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig, SplitCut
from hemlets.models.codecs import VolumeSpec
from hemlets.training.batches import Samples

RESULTS = Path(__file__).parent / "results" / "loading.csv"
COLUMNS = (
    "machine", "cores", "threads", "clock", "crop_px", "samples", "kb_a_sample", "samples_per_s",
    "limit",
)  # fmt: skip
LIMIT_PER_S = {256: 200, 128: 200}
PHOTOS = 96


def scene(seed: int) -> npt.NDArray[np.uint8]:
    """Something with the detail of a photograph: noise of all scales, 1000 × 1000."""
    rng = np.random.default_rng(seed)
    image = np.zeros((1000, 1000, 3), np.float32)
    for size, weight in ((4, 60), (16, 45), (64, 30), (250, 14), (1000, 4)):
        layer = rng.normal(0, weight, (size, size, 3)).astype(np.float32)
        image += cv2.resize(layer, (1000, 1000), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 120, 0, 255).astype(np.uint8)


def read(
    root: Path, options: ReadOptions, quarantine: Quarantine | None = None
) -> Iterator[SourceRows]:
    """One person 360 px high in each photo, as in Human3.6M."""
    count = len(list(root.glob("*.jpg")))
    box = np.tile(np.array([400, 320, 560, 680], np.float32), (count, 1))
    joints = np.random.default_rng(0).uniform(0, 1, (count, 18, 2)) * [160, 360] + [400, 320]
    yield SourceRows(
        columns={
            "sample_id": [f"{i:04d}" for i in range(count)],
            "split": ["train"] * count,
            "clip": ["clip"] * count,
            "frame": np.arange(count, dtype=np.int32),
            "box_xyxy": box,
            "joints2d_px": joints.astype(np.float32),
            "valid2d": np.ones((count, 18), bool),
        },
        images=tuple(ImageRef(f"{i:04d}.jpg") for i in range(count)),
    )


DATASET = Dataset(
    name="photos",
    title="Photos",
    paper="none",
    licence="none",
    document="none",
    supervision=(),
    layout=(),
    joints="all",
    conventions="the table's own",
    reader="bench_loading:read",
)


def measure(folder: Path, crop_px: int, samples: int) -> float:
    """Samples a second of one core."""
    table = Annotations.read(folder / "annotations.parquet")
    loader = Samples(
        table,
        folder / "shards",
        VolumeSpec(crop_px=crop_px, cells=crop_px // 4),
        seed=0,
        augmentation=AugmentationConfig(),
    )
    indices = np.arange(64)
    loader.batch(indices, 0)
    start = time.process_time()
    for number in range(samples // 64):
        loader.batch((indices + 64 * number) % len(table), number)
    return samples / (time.process_time() - start)


def main() -> int:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1024)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    if RESULTS.exists():
        with RESULTS.open(newline="") as stream:
            rows = {(row["machine"], row["crop_px"]): row for row in csv.DictReader(stream)}
    missed = False
    with tempfile.TemporaryDirectory() as scratch:
        root, folder = Path(scratch, "photos"), Path(scratch, "data")
        root.mkdir()
        for number in range(PHOTOS):
            (root / f"{number:04d}.jpg").write_bytes(encode_jpeg(scene(number)))
        config = IngestConfig(cut=SplitCut(validation=0.0, gate=0.0))
        start = time.process_time()
        ingest(DATASET, root, folder, config)
        stored = PHOTOS / (time.process_time() - start)
        size = sum(path.stat().st_size for path in (folder / "shards").iterdir()) / PHOTOS / 1000
        print(f"ingest: {stored:.0f} images/s on one core, {size:.0f} kB each")
        for crop_px, limit in LIMIT_PER_S.items():
            rate = measure(folder, crop_px, options.samples)
            print(f"{crop_px} px: {rate:.0f} samples/s on one core (limit {limit})")
            values = (machine(), cores(), 1, "busy", crop_px, options.samples, f"{size:.0f}",
                      f"{rate:.0f}", limit)  # fmt: skip
            row = dict(zip(COLUMNS, map(str, values), strict=True))
            rows[row["machine"], row["crop_px"]] = row
            missed |= rate < limit
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
