"""Who is found in photographs, and how fast: ``python tests/benchmarks/bench_detector.py``.

Finding: every annotated person of the samples' photographs whose box is at least 40 px high is
looked for; one is found where a detection's box overlaps the annotated joints' box (COCO: the
annotated box) by 0.3 or more. Photographs of nobody come with scikit-learn and, where its wheel is
installed, scikit-image. Samples that are not there are left out. Writes ``results/detector.csv``.

Speed: a photograph of 640 × 480 pixels with three people, from pixels to joints and meshes, with
the model that `hemlets.load()` takes, as it is and fast (without the flip test, in bfloat16). The
limits are the fast one's. They are of two cores' wall clock; on one thread the processor's own time
is held against them, as in ``bench_inference.py``. Writes ``results/detector_speed.csv``; ends with
1 where one is exceeded on a machine that was free to keep it.
"""

from __future__ import annotations

from conditions import BUSY, cores, machine, timed

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.io import loadmat

import hemlets
from hemlets.core.boxes import box_iou
from hemlets.inference.detector import MultiPoseDetector
from hemlets.inference.images import Image, read_photo
from hemlets.inference.people import predict_people
from hemlets.inference.request import ImageRequest

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SAMPLES = Path(os.environ.get("HEMLETS_SAMPLES") or HERE.parents[2] / "shared" / "samples")
PORTRAIT = HERE.parent / "models" / "golden" / "two_people.png"

OVERLAP = 0.3
SMALLEST_PX = 40.0
LIMITS_MS = {"predict one": 25.0, "all": 120.0}
THREADS = 2

Boxes = npt.NDArray[np.float64]

NO_PEOPLE = (
    "brick", "cell", "chelsea", "chessboard_GRAY", "clock_motion", "coffee", "coins", "color",
    "grass", "gravel", "horse", "hubble_deep_field", "ihc", "logo", "microaneurysms", "moon",
    "motorcycle_left", "motorcycle_right", "page", "phantom", "retina", "rocket", "text",
)  # fmt: skip
"""Of scikit-image's pictures those without people."""


@dataclass
class Found:
    """How many people of a set were found.

    Attributes:
        photographs: Looked at.
        people: Annotated.
        found: Of them.
        missed: The photographs of the others.
        others: Detections of nobody who is annotated. Where not everybody is, they are no fault.
    """

    photographs: int = 0
    people: int = 0
    found: int = 0
    missed: list[str] = field(default_factory=list)
    others: int = 0


def _around(points_N2: npt.NDArray[np.floating]) -> Boxes:
    return np.concatenate([points_N2.min(0), points_N2.max(0)]).astype(float)


def _lspet(folder: Path) -> Iterator[tuple[Path, list[Boxes]]]:
    joints_J3N = loadmat(folder / "joints.mat")["joints"]
    for i, path in enumerate(sorted((folder / "images").iterdir())):
        known = joints_J3N[:, 2, i] > 0
        yield path, [_around(joints_J3N[known, :2, i])]


def _coco(folder: Path) -> Iterator[tuple[Path, list[Boxes]]]:
    content = json.loads((folder / "person_keypoints.json").read_text())
    for path in sorted(folder.glob("*.jpg")):
        boxes = [np.array(a["bbox"], float) for a in content["annotations"]
                 if a["image_id"] == int(path.stem)]  # fmt: skip
        yield path, [np.concatenate([box[:2], box[:2] + box[2:]]) for box in boxes]


def _mpii(folder: Path) -> Iterator[tuple[Path, list[Boxes]]]:
    for entry in json.loads((folder / "mpii.json").read_text()):
        known = np.array(entry["joints_vis"]) > 0
        yield folder / entry["image"], [_around(np.array(entry["joints"])[known])]


def _frames(file: Path) -> Iterator[tuple[Path, list[Boxes]]]:
    content = np.load(file)
    for name, part in zip(content["imgname"], content["part"], strict=True):
        yield file.parent / str(name), [_around(part[part[:, 2] > 0, :2])]


def _openpose(folder: Path) -> Iterator[tuple[Path, list[Boxes]]]:
    left, top, width, height = json.loads((folder / "im1010_bbox.json").read_text())["bbox"]
    yield folder / "im1010.jpg", [np.array([left, top, left + width, top + height], float)]


def _nobody() -> Iterator[tuple[Path, list[Boxes]]]:
    for package, folder, names in (
        ("sklearn", "datasets/images", ("china", "flower")),
        ("skimage", "data", NO_PEOPLE),
    ):
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        place = Path(spec.submodule_search_locations[0]) / folder
        for name in names:
            yield from ((path, []) for path in sorted(place.glob(f"{name}.*")))


def photographs() -> dict[str, Iterable[tuple[Path, list[Boxes]]]]:
    """Photographs and their people's boxes, by set."""
    sets: dict[str, Iterable[tuple[Path, list[Boxes]]]] = {"nobody": _nobody()}
    if not SAMPLES.is_dir():
        return sets
    return sets | {
        "lspet": _lspet(SAMPLES / "lspet"),
        "coco": _coco(SAMPLES / "coco"),
        "mpii": _mpii(SAMPLES / "mpii"),
        "openpose": _openpose(SAMPLES / "openpose"),
        "human36m": _frames(SAMPLES / "human36m" / "h36m_body3d.npz"),
        "mpi_inf_3dhp": _frames(SAMPLES / "mpi_inf_3dhp" / "3dhp_train.npz"),
    }


def look(detector: MultiPoseDetector, photos: Iterable[tuple[Path, list[Boxes]]]) -> Found:
    """Look for everybody in the photographs of a set."""
    result = Found()
    for path, boxes in photos:
        result.photographs += 1
        found = [person.box_xyxy for person in detector.find(read_photo(path))]
        wanted = [box for box in boxes if box[3] - box[1] >= SMALLEST_PX]
        result.people += len(wanted)
        for box in wanted:
            best = max(found, key=lambda other: box_iou(other, box), default=None)
            if best is None or box_iou(best, box) < OVERLAP:
                result.missed.append(path.name)
                continue
            result.found += 1
            found = [other for other in found if other is not best]
        result.others += len(found)
    return result


def three_people() -> Image:
    """A photograph of 640 × 480 pixels with three people, from the committed portrait."""
    portrait = cv2.resize(read_photo(PORTRAIT)[:, :109], (204, 240))
    image = np.full((480, 640, 3), 120, np.uint8)
    for i in range(3):
        left, top = 10 + 210 * i, 120 + 20 * i
        image[top : top + 240, left : left + 204] = portrait
    return image


def measure_speed(threads: int) -> tuple[list[dict[str, object]], bool]:
    """Times of the parts and of the whole, and whether the limit is kept."""
    torch.set_num_threads(threads)
    image, request = three_people(), ImageRequest()
    rows: list[dict[str, object]] = []
    kept = True
    for fast in (False, True):
        model = hemlets.load(fast=fast)
        people = model.find(image, request)
        assert len(people) == 3, f"{len(people)} people were found in place of three"
        device = model.predictor.device
        works = {
            "find": partial(model.find, image, request),
            "predict one": partial(predict_people, model.predictor, image, people[:1]),
            "predict three": partial(predict_people, model.predictor, image, people),
            "all": partial(model, image),
        }
        for part, work in works.items():
            took = timed(work, device, 20)
            limit = LIMITS_MS.get(part) if fast else None
            alone = threads == 1 and device.type == "cpu"
            kept_here = True if limit is None else took.keeps(limit, alone=alone)
            kept &= kept_here is not False
            if kept_here is None:
                print(BUSY)
            rows.append({
                "machine": machine(), "device": device.type, "cores": cores(),
                "threads": threads, "model": model.predictor.version, "fast": fast,
                "part": part, "wall_ms": f"{took.wall_ms:.1f}",
                "busy_ms": f"{took.busy_ms:.1f}", "waited_ms": f"{took.waited_ms:.1f}",
                "limit_ms": limit or "",
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows, kept


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    """Measure both and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--only", choices=("find", "speed"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write into")
    options = parser.parse_args()
    kept = True
    if options.only != "find":
        rows, kept = measure_speed(options.threads)
        _write(options.results / "detector_speed.csv", rows)
    if options.only != "speed":
        torch.set_num_threads(options.threads)
        detector, rows = MultiPoseDetector.load(), []
        for name, photos in photographs().items():
            result = look(detector, photos)
            rows.append({
                "set": name, "photographs": result.photographs, "people": result.people,
                "found": result.found, "others": result.others,
                "missed": " ".join(result.missed),
            })  # fmt: skip
            print(rows[-1], flush=True)
        _write(options.results / "detector.csv", rows)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
