"""3DPW (von Marcard et al. 2018): sequence pickles with SMPL, a moving camera and 2D detections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import DataError
from hemlets.core.pickles import load_pickle
from hemlets.data.readers.assemble import Sequence3D, assemble, stepped
from hemlets.data.readers.boxes import from_joints
from hemlets.data.readers.cameras3d import CENTRE_TO_CORNER, MM_PER_M, Camera, project
from hemlets.data.readers.contract import (
    Dataset,
    ImageRef,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.files3d import numbers, require, sequence_name
from hemlets.data.readers.maps3d import COCO18, SMPL_24
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.smpl3d import rotated_root

_N_BETAS: Final = 10
_GENDERS: Final = {"m": "male", "f": "female"}
_FIELDS: Final = (
    "sequence", "betas", "poses", "trans", "genders", "poses2d", "jointPositions",
    "cam_poses", "campose_valid", "cam_intrinsics", "img_frame_ids",
)  # fmt: skip


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of 3DPW, one batch per sequence and person."""
    for path in sorted(root.glob("sequenceFiles/*/*.pkl")):
        split = path.parent.name
        if split not in options.splits:
            quarantine.skip_split("sequence", split)
            continue
        with quarantine.guard(path):
            yield from _read_sequence(path, split, options, quarantine)


def _read_sequence(
    path: Path, split: str, options: ReadOptions, quarantine: Quarantine
) -> Iterator[SourceRows]:
    fields = load_pickle(path)
    if not isinstance(fields, dict):
        raise DataError("the sequence is no record", where=path, expected=", ".join(_FIELDS))
    require(fields, _FIELDS, where=path)
    sequence_name(fields["sequence"], where=f"{path}: sequence")
    if fields["sequence"] != path.stem:
        raise DataError(
            f"the file holds the sequence {fields['sequence']}", where=path, expected=path.stem,
            remedy="rename the file back, or fetch it again",
        )  # fmt: skip
    people = len(fields["poses"])
    for name in ("betas", "trans", "genders", "poses2d", "jointPositions", "campose_valid"):
        if len(fields[name]) != people:
            raise DataError.damaged(f"{name} is of {len(fields[name])} people", path, str(people))
    for person in range(people):
        with quarantine.guard(path):
            yield from _read_person(path, split, fields, person, options, quarantine)


def _read_person(
    path: Path,
    split: str,
    fields: dict[str, Any],
    person: int,
    options: ReadOptions,
    quarantine: Quarantine,
) -> list[SourceRows]:
    def values(name: str, *shape: int | None) -> Array:
        return numbers(fields[name][person], shape, where=f"{path}: {name}[{person}]")

    extrinsics = numbers(fields["cam_poses"], (None, 4, 4), where=f"{path}: cam_poses")
    frames = len(extrinsics)
    poses, trans = values("poses", frames, 72), values("trans", frames, 3)
    joints = values("jointPositions", frames, 72).reshape(frames, 24, 3)
    points2d = values("poses2d", frames, 3, 18).transpose(0, 2, 1)
    aligned = np.ravel(values("campose_valid", frames)) > 0
    betas = np.ravel(numbers(np.ravel(fields["betas"][person]), (None,), where=f"{path}: betas"))
    gender = fields["genders"][person]
    if gender not in _GENDERS or len(betas) < _N_BETAS:
        raise DataError.damaged(
            f"person {person} has gender {gender!r} and {len(betas)} shape values",
            path,
            "m or f, and 10 or more",
        )
    intrinsics = _intrinsics(fields, path)
    chosen = stepped(frames, options)
    chosen = chosen[aligned[chosen]]
    if not len(chosen):
        return []
    rotation, shift = extrinsics[chosen, :3, :3], extrinsics[chosen, :3, 3]
    _require_rotations(rotation, chosen, path)
    in_camera = np.einsum("fij,fkj->fki", rotation, joints[chosen]) + shift[:, None]
    joints3d, valid3d = SMPL_24.apply(in_camera * MM_PER_M)
    detected = points2d[chosen]
    joints2d, valid2d = COCO18.apply(detected[..., :2] + CENTRE_TO_CORNER, detected[..., 2] > 0)
    with np.errstate(invalid="ignore"):
        seen = project(in_camera, intrinsics)
    ids = np.ravel(fields["img_frame_ids"])
    if len(ids) != frames:
        raise DataError.damaged(
            f"{len(ids)} image numbers for {frames} camera poses",
            f"{path}: img_frame_ids",
            str(frames),
        )
    name = path.stem
    return assemble(
        Sequence3D(
            file=path,
            source="threedpw",
            split=split,
            subject=f"{name}_{person}",
            clip=name,
            family=name,
            person=str(person),
            frames_F=chosen,
            rows_F=chosen,
            images=[ImageRef(f"imageFiles/{name}/image_{int(f):05d}.jpg") for f in chosen],
            joints2d_FJ2_px=joints2d,
            valid2d_FJ=valid2d,
            joints3d_FJ3_mm=joints3d,
            valid3d_FJ=valid3d,
            intrinsics_px=intrinsics,
            box_F4_px=from_joints(seen, np.asarray(np.isfinite(seen).all(-1))),
            box_source="projected joints",
            theta_F243=rotated_root(poses[chosen].reshape(-1, 24, 3), rotation),
            betas_F10=np.tile(betas[:_N_BETAS], (len(chosen), 1)),
            # The root rotates about the rest pelvis, which does not move.
            transl_F3_mm=(in_camera[:, 0] - (joints[chosen, 0] - trans[chosen])) * MM_PER_M,
            gender=_GENDERS[gender],
        ),
        quarantine,
    )


def _intrinsics(fields: dict[str, Any], path: Path) -> Array:
    matrix = numbers(fields["cam_intrinsics"], (3, 3), where=f"{path}: cam_intrinsics")
    values = np.array(
        [
            matrix[0, 0],
            matrix[1, 1],
            matrix[0, 2] + CENTRE_TO_CORNER,
            matrix[1, 2] + CENTRE_TO_CORNER,
        ]
    )
    Camera(
        rotation_33=np.eye(3),
        translation_3_mm=np.zeros(3),
        intrinsics_4_px=values,
        distortion_5=np.zeros(5),
    ).require_sane(where=f"{path}: cam_intrinsics")
    return values


def _require_rotations(rotation_F33: Array, frames: Array, path: Path) -> None:
    product = np.einsum("fij,fkj->fik", rotation_F33, rotation_F33)
    wrong = (np.abs(product - np.eye(3)) > 1e-3).any((1, 2)) | (np.linalg.det(rotation_F33) < 0)
    if wrong.any():
        raise DataError.damaged(
            "a camera pose is no rotation",
            f"{path}: cam_poses, row {frames[wrong][0]}",
            "a rigid motion",
        )


DATASET = Dataset(
    name="threedpw",
    title="3DPW",
    paper="von Marcard et al.: Recovering Accurate 3D Human Pose in The Wild, ECCV 2018",
    licence="3DPW licence, virtualhumans.mpi-inf.mpg.de/3DPW",
    document="readme_and_demo.zip of the dataset",
    supervision=(
        Supervision.JOINTS_3D,
        Supervision.JOINTS_2D,
        Supervision.RELATIONS,
        Supervision.SMPL,
    ),
    layout=(
        LayoutEntry(
            pattern="sequenceFiles/*/*.pkl", what="sequences, below train, validation and test"
        ),
        LayoutEntry(pattern="imageFiles/*/*.jpg", what="images by sequence", required=False),
    ),
    joints=(
        "3D: SMPL's hips, knees, ankles, shoulders, elbows, wrists, neck and second spine joint, "
        "pelvis and thorax the middles of hips and shoulders, neither nose nor head top. 2D: "
        "OpenPose's nose and limbs; its neck is a middle of shoulders and gives the thorax"
    ),
    conventions=(
        "Metres in the world, brought to millimetres in the camera frame by cam_poses; θ's root "
        "likewise. Pixels count from the centre of the top-left pixel (OpenCV's calibration): 0.5 "
        "is added to them and to the principal point. 2D joints are detections of OpenPose, not "
        "annotations, and differ from the projected SMPL joints by their definition. Boxes come "
        "from the projected 24 joints."
    ),
    faults=(
        "frames whose camera pose could not be aligned (campose_valid 0) are not read",
        "a person's 2D joints are all zero where fewer than six were detected: no valid 2D",
        "images of portrait sequences are stored upright: the camera belongs to them as stored",
    ),
    reader="hemlets.data.readers.threedpw:read",
)
