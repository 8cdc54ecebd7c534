"""Time and memory of validating a large table: ``python tests/benchmarks/bench_validation.py``.

Writes a table of synthetic people (walks of jointed skeletons in front of four cameras, as a
motion capture studio gives them) with image shards of tiny pictures, validates it in a process of
its own and ends with exit code 1 above the limits for a million rows. Writes one row a machine and
size to ``results/validation.csv``.
"""

from __future__ import annotations

from conditions import machine

import argparse
import csv
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "validation.csv"
COLUMNS = ("machine", "rows", "images", "seconds", "cpu_seconds", "peak_mib", "findings")
LIMIT_S, LIMIT_MIB = 120.0, 3 * 1024
SHARD = 16_384

# Offsets from parent to child in the skeleton's own frame, millimetres.
_REST_MM = np.array([
    (0, 0, 0), (-130, 20, 0), (-20, 430, 0), (0, 420, 20), (130, 20, 0), (20, 430, 0),
    (0, 420, 20), (0, -240, 10), (0, -90, 0), (0, -120, -90), (0, -240, -30), (170, 0, 0),
    (60, 280, 0), (30, 250, -40), (-170, 0, 0), (-60, 280, 0), (-30, 250, -40), (0, -470, 0),
])  # fmt: skip
_PARENT = (-1, 0, 1, 2, 0, 4, 5, 0, 17, 8, 8, 17, 11, 12, 17, 14, 15, 0)


def people(start: int, stop: int) -> dict[str, Any]:
    """Columns of some rows, but for their images."""
    from hemlets.core.skeleton import depth_relations

    rng = np.random.default_rng((7, start))
    row_N = np.arange(start, stop)
    clip_N = row_N // 2000
    size_N1 = 0.9 + 0.2 * ((clip_N * 7919 % 97) / 97)[:, None]
    joints = np.zeros((len(row_N), 18, 3))
    turn = rng.uniform(-np.pi, np.pi, len(row_N))
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    bend = np.abs(rng.normal(0, 0.3, (len(row_N), 18)))
    for joint in (0, 17, 1, 4, 7, 8, 9, 10, 11, 14, 2, 5, 12, 15, 3, 6, 13, 16):
        parent = _PARENT[joint]
        if parent < 0:
            continue
        x, y, z = (_REST_MM[joint] * size_N1).T
        if joint in (3, 6, 13, 16, 12, 15):
            swing = bend[:, joint]
            y, z = y * np.cos(swing) - z * np.sin(swing), y * np.sin(swing) + z * np.cos(swing)
        x, z = x * cos[:, 0] + z * sin[:, 0], z * cos[:, 0] - x * sin[:, 0]
        joints[:, joint] = joints[:, parent] + np.stack([x, y, z], 1)
    joints += np.array([0.0, 0.0, 5000.0])
    focal = 550.0
    pixels = joints[..., :2] / joints[..., 2:] * focal + 128.0
    low, high = pixels.min(1), pixels.max(1)
    relations, known = depth_relations(joints)
    splits = np.array(["train", "validation", "gate", "test"], object)
    split = splits[np.where(clip_N % 10 < 7, 0, clip_N % 10 - 6)]
    zeros = np.zeros((len(row_N), 24, 3), np.float32)
    return {
        "sample_id": [f"studio/{row:09d}" for row in row_N],
        "source": ["studio"] * len(row_N), "split": split,
        "subject": [f"S{clip}" for clip in clip_N], "clip": [f"clip {c}" for c in clip_N],
        "family": [f"family {c}" for c in clip_N], "frame": row_N % 2000,
        "camera_id": [f"c{row % 4}" for row in row_N], "action": [f"a{c % 15}" for c in clip_N],
        "image_width": np.full(len(row_N), 256), "image_height": np.full(len(row_N), 256),
        "box_xyxy": np.concatenate([low - 24, high + 24], 1).clip(0, 256),
        "joints2d_px": pixels, "joints3d_mm": joints,
        "valid2d": np.ones((len(row_N), 18), bool), "valid3d": np.ones((len(row_N), 18), bool),
        "visible": np.ones((len(row_N), 18), bool), "truncated": np.zeros((len(row_N), 18), bool),
        "camera": np.tile([focal, focal, 128, 128], (len(row_N), 1)),
        "camera_valid": np.ones(len(row_N), bool),
        "relations": relations, "relations_valid": known,
        "relations_source": ["3d"] * len(row_N),
        "theta": zeros, "betas": np.zeros((len(row_N), 10)),
        "transl_mm": np.zeros((len(row_N), 3)), "smpl_valid": np.zeros(len(row_N), bool),
        "transl_valid": np.zeros(len(row_N), bool), "mask": [b""] * len(row_N),
    }  # fmt: skip


def build(folder: Path, rows: int, *, images: bool) -> None:
    """Write the table and, if asked for, a tiny picture for each row."""
    import cv2
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hemlets.data.table import Annotations, ShardWriter

    rng = np.random.default_rng(5)
    (folder / "shards").mkdir(parents=True)
    with pq.ParquetWriter(folder / "annotations.parquet", Annotations.schema) as writer:
        for start in range(0, rows, SHARD):
            columns = people(start, min(start + SHARD, rows))
            count = len(columns["sample_id"])
            name = f"studio-{start // SHARD:05d}.arrow" if images else ""
            columns |= {"shard": [name] * count, "shard_row": np.arange(count)}
            columns["image_hash"] = [""] * count
            if images:
                coarse = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
                pictures = [cv2.resize(c, (64, 64), interpolation=cv2.INTER_CUBIC) for c in coarse]
                jpegs = [bytes(cv2.imencode(".jpg", picture)[1]) for picture in pictures]
                columns["image_hash"] = [hashlib.sha256(jpeg).hexdigest() for jpeg in jpegs]
                columns["image_width"][:] = columns["image_height"][:] = 64
                for field in ("box_xyxy", "joints2d_px", "camera"):
                    columns[field] = np.asarray(columns[field]) / 4
                ShardWriter.write(folder / "shards" / name, columns["sample_id"], jpegs)
            table = Annotations.from_columns(columns).table
            writer.write_table(pa.table(table, schema=Annotations.schema))


def run(folder: Path) -> dict[str, Any]:
    """Validate in this process and say what it took."""
    from data_checks.validate import validate

    start = time.perf_counter()
    result = validate(folder, folder / "out")
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": f"{time.perf_counter() - start:.1f}",
        "cpu_seconds": f"{used.ru_utime + used.ru_stime:.1f}",
        "peak_mib": f"{used.ru_maxrss / 1024:.0f}",
        "findings": " ".join(f.expectation for f in (*result.blocking, *result.warnings)),
    }


def record(row: dict[str, str]) -> None:
    """Replace this machine's row of this size, or add it."""
    rows: list[dict[str, str]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    key = row["machine"], row["rows"], row["images"]
    rows = [old for old in rows if (old["machine"], old["rows"], old["images"]) != key] + [row]
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda old: (old["machine"], int(old["rows"]))))


def main() -> int:
    """Build, measure in a fresh process, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--no-images", action="store_true", help="annotations alone")
    parser.add_argument("--folder", type=Path, help="keep the table here, or use the one there")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(run(options.measure)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "version"
        if not (folder / "annotations.parquet").exists():
            build(folder, options.rows, images=not options.no_images)
        command = [sys.executable, __file__, "--measure", str(folder)]
        finished = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(finished.stdout.splitlines()[-1])
    images = "none" if options.no_images else "stored"
    print(f"{options.rows:,} rows, images {images}: {found}")
    record({"machine": machine(), "rows": str(options.rows), "images": images, **found})
    # Processor time: a busy machine does not change it much.
    slow = float(found["cpu_seconds"]) > LIMIT_S * options.rows / 1_000_000
    return int(slow or float(found["peak_mib"]) > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
