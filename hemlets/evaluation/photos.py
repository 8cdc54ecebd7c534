"""Evaluate on photographs: a few annotated people of public datasets in one folder.

Subfolders ``lspet``, ``coco``, ``mpii``, ``human36m`` and ``mpi_inf_3dhp`` have the datasets' own
layouts; all are optional. Boxes are the annotations' own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from hemlets.body import BodyModel
from hemlets.body.placement import align_to_image, place_body
from hemlets.core.arrays import Bool, Floating
from hemlets.core.boxes import box_iou
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.skeleton import Joint
from hemlets.data.readers.catalogue import find
from hemlets.data.readers.contract import ReadOptions, SourceRows
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.table import decode_image
from hemlets.evaluation.metrics.joints import similarity_aligned_errors_mm
from hemlets.inference.people import PersonDetector
from hemlets.inference.predictor import Predictor
from hemlets.inference.types import BodyEstimate, Box, Camera, PredictionRequest

DATASETS: Final = ("lspet", "coco", "mpii", "human36m", "mpi_inf_3dhp")

LIMBS: Final = (
    Joint.RIGHT_HIP, Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE,
    Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE,
    Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST,
    Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST,
)  # fmt: skip
"""The 12 joints that all datasets and pose networks have."""

SURE: Final = 0.5
TORSO_SHARE: Final = 0.2
BOX_SHARE: Final = 0.05
FOUND_IOU: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class PhotoPerson:
    """An annotated person.

    Attributes:
        name: The reader's sample id.
        dataset: One of `DATASETS`.
        image: The photograph.
        number: Number of a photograph of LSPET; 0 elsewhere.
        box_xyxy: Pixels.
        joints2d_px: (18, 2).
        valid2d: (18,).
        joints3d_mm: (18, 3) in the camera frame.
        valid3d: (18,); none if the dataset has no 3D.
        camera: None if unknown.
    """

    name: str
    dataset: str
    image: Path
    number: int
    box_xyxy: tuple[float, float, float, float]
    joints2d_px: Floating
    valid2d: Bool
    joints3d_mm: Floating
    valid3d: Bool
    camera: Camera | None


def load_photos(folder: Path) -> list[PhotoPerson]:
    """Load the people of a folder, by dataset.

    Raises:
        DataError: The folder has none of the datasets, or one can't be read.
    """
    found: list[PhotoPerson] = []
    for dataset in DATASETS:
        root = folder / dataset
        if root.is_dir():
            options = ReadOptions(frame_step=1)
            for rows in find(dataset).read(root, options, Quarantine()):
                found += _people(dataset, root, rows)
    if not found:
        raise DataError(
            "the folder holds no photographs with annotations",
            where=folder,
            expected=f"one or more of the subfolders {', '.join(DATASETS)}",
        )
    return found


def _people(dataset: str, root: Path, rows: SourceRows) -> list[PhotoPerson]:
    def column(name: str, default: Any) -> Any:
        values = rows.columns.get(name)
        return (
            np.broadcast_to(default, (len(rows), *np.shape(default))) if values is None else values
        )

    nothing = np.zeros(len(Joint), bool)
    camera = column("camera", np.zeros(4, np.float32))
    known = column("camera_valid", np.asarray(False))
    people = []
    for row, image in enumerate(rows.images):
        number = re.search(r"im(\d+)\.jpg$", image.path)
        left, top, right, bottom = (float(v) for v in rows.columns["box_xyxy"][row])
        fx, fy, cx, cy = (float(v) for v in camera[row])
        given = Camera(fx=fx, fy=fy, cx=cx, cy=cy) if known[row] else None
        people.append(
            PhotoPerson(
                name=str(rows.columns["sample_id"][row]),
                dataset=dataset,
                image=root / image.path,
                number=int(number[1]) if number and dataset == "lspet" else 0,
                box_xyxy=(left, top, right, bottom),
                joints2d_px=np.asarray(rows.columns["joints2d_px"][row], np.float64),
                valid2d=np.asarray(column("valid2d", nothing)[row], bool),
                joints3d_mm=np.asarray(
                    column("joints3d_mm", np.zeros((len(Joint), 3)))[row], np.float64
                ),
                valid3d=np.asarray(column("valid3d", nothing)[row], bool),
                camera=given,
            )
        )
    return people


def hits_of_torso(person: PhotoPerson, joints2d_px: Floating) -> Bool:
    """Mark limb joints within 0.2 torso lengths of the truth; none if the torso is unknown.

    The torso is the longer annotated diagonal from a shoulder to the opposite hip.
    """
    diagonals = [
        float(np.linalg.norm(person.joints2d_px[a] - person.joints2d_px[b]))
        for a, b in (
            (Joint.LEFT_SHOULDER, Joint.RIGHT_HIP),
            (Joint.RIGHT_SHOULDER, Joint.LEFT_HIP),
        )
        if person.valid2d[a] and person.valid2d[b]
    ]
    limit = TORSO_SHARE * max(diagonals, default=0.0)
    return _hits(person, joints2d_px, limit) if limit else np.zeros(0, bool)


def hits_of_box(person: PhotoPerson, joints2d_px: Floating) -> Bool:
    """Mark limb joints within 5 % of the box's longer side of the truth."""
    left, top, right, bottom = person.box_xyxy
    return _hits(person, joints2d_px, BOX_SHARE * max(right - left, bottom - top))


def _hits(person: PhotoPerson, joints2d_px: Floating, limit_px: float) -> Bool:
    joints = [joint for joint in LIMBS if person.valid2d[joint]]
    error = np.linalg.norm(joints2d_px[joints] - person.joints2d_px[joints], axis=-1)
    return np.asarray(error <= limit_px, bool)


def aligned_error_mm(person: PhotoPerson, joints3d_mm: Floating) -> float | None:
    """Compute PA-MPJPE of the 12 limb joints; None without annotation or prediction in 3D."""
    limbs = list(LIMBS)
    if not person.valid3d[limbs].all() or not np.isfinite(joints3d_mm[limbs]).all():
        return None
    errors = similarity_aligned_errors_mm(
        joints3d_mm[None, limbs], person.joints3d_mm[None, limbs], np.ones((1, len(limbs)), bool)
    )
    return float(errors.mean())


class Figure(NamedTuple):
    """A figure and its number of people."""

    value: float
    people: int


def photo_figures(
    people: Sequence[PhotoPerson], joints2d_px: Sequence[Floating], joints3d_mm: Sequence[Floating]
) -> dict[str, Figure]:
    """Compute figures by name over some people and their predictions, in the same order.

    Returns:
        ``lspet_pck_torso_pct``, ``coco_mpii_pck_box_pct``, in which a joint that is not finite is
        wrong, and the PA-MPJPE of 12 joints of each dataset with 3D joints, over those who were
        predicted; those without people are left out.
    """
    shares: dict[str, list[Bool]] = {}
    errors: dict[str, list[float]] = {}
    for person, flat, deep in zip(people, joints2d_px, joints3d_mm, strict=True):
        if person.dataset == "lspet":
            shares.setdefault("lspet_pck_torso_pct", []).append(hits_of_torso(person, flat))
        elif person.dataset in ("coco", "mpii"):
            shares.setdefault("coco_mpii_pck_box_pct", []).append(hits_of_box(person, flat))
        error = aligned_error_mm(person, deep)
        if error is not None:
            errors.setdefault(f"{person.dataset}_pa_mpjpe_mm", []).append(error)
    figures = {
        name: Figure(100 * float(np.concatenate(hits).mean()), sum(len(h) > 0 for h in hits))
        for name, hits in shares.items()
        if any(map(len, hits))
    }
    return figures | {
        name: Figure(float(np.mean(values)), len(values)) for name, values in errors.items()
    }


def share_right(person: PhotoPerson, joints2d_px: Floating) -> float:
    """Share of a person's annotated limb joints that are right; NaN where none is annotated.

    Within 0.2 torso, or 5 % of the box where the torso is unknown.
    """
    hits = hits_of_torso(person, joints2d_px)
    hits = hits if len(hits) else hits_of_box(person, joints2d_px)
    return float(hits.mean()) if len(hits) else float("nan")


def sure_figures(
    people: Sequence[PhotoPerson], joints2d_px: Sequence[Floating], confidence: Sequence[Floating]
) -> dict[str, Figure]:
    """What a joint's confidence means, over people whose torso is annotated.

    Returns:
        ``joints_sure_pct``: limb joints with a confidence of 0.5 and more;
        ``sure_joints_right_pct``: those of them within 0.2 torso.
    """
    hits, sure = [], []
    for person, flat, each in zip(people, joints2d_px, confidence, strict=True):
        right = hits_of_torso(person, flat)
        if len(right):
            hits.append(right)
            sure.append(each[[joint for joint in LIMBS if person.valid2d[joint]]] >= SURE)
    if not hits:
        return {}
    right, known = np.concatenate(hits), np.concatenate(sure)
    figures = {"joints_sure_pct": Figure(100 * float(known.mean()), len(hits))}
    if known.any():
        figures["sure_joints_right_pct"] = Figure(100 * float(right[known].mean()), len(hits))
    return figures


def numbered(people: Sequence[PhotoPerson], lspet: str) -> list[PhotoPerson]:
    """Remove people of LSPET whose photograph's number is outside ``FIRST-LAST``.

    Raises:
        ConfigError: The range can't be parsed.
    """
    found = re.fullmatch(r"(\d+)-(\d+)", lspet)
    if found is None:
        raise ConfigError(
            f"{lspet!r} is no range of photographs", where="--lspet", expected="e.g. 251-300"
        )
    first, last = int(found[1]), int(found[2])
    return [p for p in people if p.dataset != "lspet" or first <= p.number <= last]


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoAnswers:
    """A network's predictions for some people, in their order.

    Attributes:
        name: Of the network, with its version.
        joints2d_px: (18, 2) of each person, NaN for missing joints and missed people.
        joints3d_mm: (18, 3) of each, the same.
        confidence: (18,) of each, the same.
        wall_ms: Median time of a crop.
        busy_ms: The processors' time, all threads together.
        mesh2d_px: (18, 2) joints of each body, placed as pictures show it; empty for a network
            without bodies.
        mesh3d_mm: (18, 3), the same, in the camera frame.
    """

    name: str
    joints2d_px: list[Floating]
    joints3d_mm: list[Floating]
    confidence: list[Floating]
    wall_ms: float
    busy_ms: float
    mesh2d_px: list[Floating] = field(default_factory=list)
    mesh3d_mm: list[Floating] = field(default_factory=list)

    def figures(self, people: Sequence[PhotoPerson]) -> dict[str, Figure]:
        """All figures by name.

        ``missed_in_crop`` counts those without an answer; the bodies' figures begin with ``mesh_``.
        """
        missed = sum(bool(np.isnan(joints).all()) for joints in self.joints2d_px)
        count = len(people)
        bodies = photo_figures(people, self.mesh2d_px, self.mesh3d_mm) if self.mesh2d_px else {}
        return (
            photo_figures(people, self.joints2d_px, self.joints3d_mm)
            | {f"mesh_{name}": figure for name, figure in bodies.items()}
            | sure_figures(people, self.joints2d_px, self.confidence)
            | {
                "missed_in_crop": Figure(missed, count),
                "crop_wall_ms": Figure(self.wall_ms, count),
                "crop_busy_ms": Figure(self.busy_ms, count),
            }
        )


def predict_photos(predictor: Predictor, people: Sequence[PhotoPerson]) -> PhotoAnswers:
    """Predict everybody, one at a time, from their true box, and true camera where it is known.

    Raises:
        InputError: An image can't be read.
    """
    estimates: list[BodyEstimate] = []
    took = []
    for person in people:
        request = PredictionRequest(
            image_HW3=decode_image(person.image.read_bytes(), where=str(person.image)),
            box_xyxy=person.box_xyxy,
            camera=person.camera,
        )
        begun, busy = time.perf_counter(), time.process_time()
        estimates += predictor.predict([request])
        took.append((1e3 * (time.perf_counter() - begun), 1e3 * (time.process_time() - busy)))
    wall_ms, busy_ms = np.median(took, axis=0)
    body = BodyModel.named(predictor.card.body)
    meshes = [_mesh_joints(body, estimate) for estimate in estimates]
    return PhotoAnswers(
        name=f"hemlets {predictor.version}",
        joints2d_px=[e.joints2d_px for e in estimates],
        joints3d_mm=[e.joints3d_mm for e in estimates],
        confidence=[e.confidence for e in estimates],
        wall_ms=float(wall_ms),
        busy_ms=float(busy_ms),
        mesh2d_px=[flat for flat, _ in meshes],
        mesh3d_mm=[deep for _, deep in meshes],
    )


def _mesh_joints(body: BodyModel, estimate: BodyEstimate) -> tuple[Floating, Floating]:
    """Joints (18, 2) in the image and (18, 3) in space of a body, placed as pictures show it."""
    camera = estimate.camera
    placed = align_to_image(
        place_body(body, estimate.theta, estimate.betas, estimate.root_mm),
        estimate.joints2d_px,
        (camera.fx, camera.fy, camera.cx, camera.cy),
        confidence=estimate.confidence,
    )
    joints = placed.joints_J3_mm.astype(np.float64)
    slopes = joints[:, :2] / np.maximum(joints[:, 2:], 1.0)
    return slopes * (camera.fx, camera.fy) + (camera.cx, camera.cy), joints


def people_missed(detector: PersonDetector, people: Sequence[PhotoPerson]) -> list[PhotoPerson]:
    """Annotated people whom a detector doesn't find in their whole photograph, by IoU of 0.3."""
    found: dict[Path, list[Box]] = {}
    missed = []
    for person in people:
        if person.image not in found:
            image = decode_image(person.image.read_bytes(), where=str(person.image))
            detected = (detection.box_xyxy for detection in detector.detect(image))
            found[person.image] = [box for box in detected if box is not None]
        overlaps = (box_iou(box, person.box_xyxy) for box in found[person.image])
        if max(overlaps, default=0.0) < FOUND_IOU:
            missed.append(person)
    return missed
