"""Following people through videos: ``python tests/benchmarks/bench_video.py``.

Renders clips of 1280 × 720 pixels in which two to four people cross, hide each other, leave and
come back (``clips.py``), writes them as H.264 or VP8, and runs what ``hemlets video`` runs on each,
from decoding to the annotated file. Measures misses, identity switches, MOTA and IDF1 (``mot.py``),
frames a second, and the time from a frame's decoding to its picture, which of a file waits for the
frames that smoothing without lag takes. Writes ``results/video.csv``; ends with 1 where the clip of
two people is slower than 15 frames a second on a machine that was free to be faster.
"""

from __future__ import annotations

from conditions import BUSY, Timing, cores, machine, waited_ms

import argparse
import csv
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from clips import FPS, HEIGHT, WIDTH, rendered
from mot import score
from video_files import write_video

from hemlets.cli.footage import VideoPredictor
from hemlets.inference.types import Box
from hemlets.inference.video_source import VideoSource
from hemlets.inference.video_writer import playable_suffix

RESULTS = Path(__file__).parent / "results"
LIMIT_MS = 1000 / 15
TIMED = "two cross"
THREADS = 2


def _box(values: np.ndarray) -> Box:
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom


def main() -> int:
    """Render, follow, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each clip")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write into")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    predictor = VideoPredictor.load(fast=True)
    rows, kept = [], True
    for scene in rendered(options.seconds):
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / f"clip{playable_suffix()}"
            write_video(file, scene.frames, FPS, (WIDTH, HEIGHT))
            finder = predictor.following(every=3)
            finder(0, scene.frames[0])  # packs the detector's weights
            finder = predictor.following(every=3)
            ready, begun = waited_ms(), (time.perf_counter(), time.process_time())
            out = Path(scratch) / "out"
            shown = predictor.follow(VideoSource.open(file), finder, folder=out)
            count = len(scene.frames)
            each = Timing(
                1e3 * (time.perf_counter() - begun[0]) / count,
                1e3 * (time.process_time() - begun[1]) / count,
                (waited_ms() - ready) / count,
            )
            content = json.loads((out / "clip.json").read_text())
        boxes: list[dict[int, Box]] = [{} for _ in scene.frames]
        for track in content["tracks"]:
            for frame, estimate in zip(track["frames"], track["estimates"], strict=True):
                left, top, right, bottom = estimate["box_xyxy_px"]
                boxes[frame][track["person"]] = (left, top, right, bottom)
        truth = [{n: _box(b) for n, b in people.items()} for people in scene.people]
        result = score(truth, boxes)
        limit = LIMIT_MS if scene.name == TIMED else None
        kept_here = True if limit is None else each.keeps(limit, alone=options.threads == 1)
        kept &= kept_here is not False
        if kept_here is None:
            print(BUSY)
        rows.append({
            "machine": machine(), "cores": cores(), "threads": options.threads,
            "model": predictor.predictor.version, "clip": scene.name, "frames": count,
            "people": result.people, "missed": result.missed, "others": result.others,
            "switches": result.switches, "mota_pct": f"{result.mota_pct:.1f}",
            "idf1_pct": f"{result.idf1_pct:.1f}", "encoder": shown.encoder,
            "wall_ms": f"{each.wall_ms:.1f}", "busy_ms": f"{each.busy_ms:.1f}",
            "waited_ms": f"{each.waited_ms:.1f}", "frames_s": f"{1e3 / each.wall_ms:.1f}",
            "latency_ms": f"{1e3 * float(np.median(shown.took_s)):.0f}",
            "limit_ms": "" if limit is None else f"{limit:.1f}",
        })  # fmt: skip
        print(rows[-1], flush=True)
        with (options.results / "video.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
