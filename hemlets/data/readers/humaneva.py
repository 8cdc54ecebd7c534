"""HumanEva-I (Sigal et al. 2010), in the 15-joint mat form used in pose evaluation.

``Train/S1/Walking_1.mat`` holds ``poses_3d`` (F × 15 × 3, the world in mm) and ``poses_2d``
(camera × F × 15 × 2), computed from the motion capture by the dataset's own code. Calibration
files and videos are the dataset's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import DataError
from hemlets.data.readers.assemble import AGREE, Sequence3D, assemble, stepped
from hemlets.data.readers.cameras3d import CENTRE_TO_CORNER, Camera
from hemlets.data.readers.contract import (
    Dataset,
    ImageRef,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.files3d import numbers, read_mat, require, sequence_name
from hemlets.data.readers.maps3d import HUMANEVA15
from hemlets.data.readers.quarantine import Quarantine

CAMERAS: Final = ("C1", "C2", "C3")
"""The colour cameras."""

_SIZE: Final = (640, 480)
_SPLITS: Final = {"Train": "train", "Validate": "validation"}

# First frame of each split's part (train follows validation in every sequence), and the video
# frame of each camera at the first frame of the motion capture, counted from 1.
_STARTS: Final = {
    "S1": {"Walking": 590, "Jog": 367, "ThrowCatch": 473, "Gestures": 395, "Box": 385},
    "S2": {"Walking": 438, "Jog": 398, "ThrowCatch": 550, "Gestures": 500, "Box": 382},
    "S3": {"Walking": 448, "Jog": 401, "ThrowCatch": 493, "Gestures": 533, "Box": 512},
}
_VALIDATION_START: Final = 5
_SYNC: Final = {
    "S1": {
        "Walking": (82, 81, 82), "Jog": (51, 51, 50), "ThrowCatch": (61, 61, 60),
        "Gestures": (45, 45, 44), "Box": (57, 57, 56),
    },
    "S2": {
        "Walking": (115, 115, 114), "Jog": (100, 100, 99), "ThrowCatch": (127, 127, 127),
        "Gestures": (122, 122, 121), "Box": (119, 119, 117),
    },
    "S3": {
        "Walking": (80, 80, 80), "Jog": (65, 65, 65), "ThrowCatch": (79, 79, 79),
        "Gestures": (83, 83, 82), "Box": (1, 1, 1),
    },
}  # fmt: skip
_LENGTHS: Final = {"fc": 2, "cc": 2, "alpha_c": 1, "kc": 5, "Rc_ext": 9, "omc_ext": 3, "Tc_ext": 3}


def read_calibration(path: Path) -> Camera:
    """Read a camera: ``C1.cal`` (25 numbers of text) or ``C1.mat`` with the same names.

    In order: focal lengths, centre, skew, 5 distortions, the rotation's rows, the rotation as a
    vector, and the translation in millimetres; x_cam = R x_world + T.

    Raises:
        DataError: The file is absent or damaged, or the camera is implausible.
    """
    values = _mat_values(path) if path.suffix == ".mat" else _text_values(path)
    if abs(values["alpha_c"][0]) > 1e-6:
        raise DataError("the camera is skewed", where=f"{path}: alpha_c", expected="0")
    k1, k2, p1, p2, k3 = values["kc"]
    return Camera(
        rotation_33=values["Rc_ext"].reshape(3, 3),
        translation_3_mm=values["Tc_ext"],
        intrinsics_4_px=np.concatenate([values["fc"], values["cc"] + CENTRE_TO_CORNER]),
        distortion_5=np.array([k1, k2, p1, p2, k3]),
        size=_SIZE,
    ).require_sane(where=str(path))


def _text_values(path: Path) -> dict[str, Array]:
    try:
        flat = np.array(path.read_text(encoding="utf-8").replace(",", " ").split(), float)
    except FileNotFoundError as error:
        raise DataError.missing(
            "the camera's calibration",
            path,
            remedy="unpack HumanEva_I's Calibration_Data beside the poses",
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"the calibration is damaged: {error}", where=path) from error
    if len(flat) != sum(_LENGTHS.values()):
        raise DataError(
            f"the calibration has {len(flat)} numbers", where=path,
            expected=f"{sum(_LENGTHS.values())}: {', '.join(_LENGTHS)}",
        )  # fmt: skip
    ends = np.cumsum(list(_LENGTHS.values()))[:-1]
    return dict(zip(_LENGTHS, np.split(flat, ends), strict=True))


def _mat_values(path: Path) -> dict[str, Array]:
    fields = read_mat(path)
    require(fields, list(_LENGTHS), where=path)
    return {
        name: numbers(np.ravel(fields[name]), (length,), where=f"{path}: {name}")
        for name, length in _LENGTHS.items()
    }


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of HumanEva-I, one batch per sequence and camera."""
    cameras: dict[tuple[str, str], Camera] = {}
    for path in sorted([*root.glob("Train/S*/*.mat"), *root.glob("Validate/S*/*.mat")]):
        split = _SPLITS[path.parts[-3]]
        if split not in options.splits:
            quarantine.skip_split("sequence", split)
            continue
        with quarantine.guard(path):
            yield from _read_sequence(root, path, cameras, options, quarantine)


def _read_sequence(
    root: Path,
    path: Path,
    cameras: dict[tuple[str, str], Camera],
    options: ReadOptions,
    quarantine: Quarantine,
) -> Iterator[SourceRows]:
    part, subject = path.parts[-3:-1]
    sequence_name(path.stem, where=str(path))
    action = path.stem.split("_")[0]
    if subject not in _STARTS or action not in _STARTS[subject]:
        raise DataError(
            f"there is no sequence {path.stem} of {subject}", where=path,
            expected="S1 to S3, " + ", ".join(_STARTS["S1"]),
            remedy="name the file as the dataset does: Walking_1.mat",
        )  # fmt: skip
    fields = read_mat(path)
    require(fields, ("poses_3d", "poses_2d"), where=path)
    world = numbers(fields["poses_3d"], (None, 15, 3), where=f"{path}: poses_3d")
    shape = (len(CAMERAS), len(world), 15, 2)
    points2d = numbers(fields["poses_2d"], shape, where=f"{path}: poses_2d")
    start = _STARTS[subject][action] if part == "Train" else _VALIDATION_START
    # The dataset's mark of frames without motion capture, not damage.
    measured = np.asarray(np.isfinite(world).all((1, 2)))
    chosen = stepped(len(world), options)
    chosen = chosen[measured[chosen]]
    for index, name in enumerate(CAMERAS):
        with quarantine.guard(path):
            if (subject, name) not in cameras:
                cameras[subject, name] = read_calibration(_calibration_file(root, subject, name))
            camera = cameras[subject, name]
            joints2d, valid2d = HUMANEVA15.apply(points2d[index, chosen] + CENTRE_TO_CORNER)
            joints3d, valid3d = HUMANEVA15.apply(camera.to_camera(world[chosen]))
            video = f"{subject}/Image_Data/{path.stem}_({name}).avi"
            first = start + _SYNC[subject][action][index] - 1
            if len(chosen):
                yield from assemble(
                    Sequence3D(
                        file=path,
                        source="humaneva",
                        split=_SPLITS[part],
                        subject=subject,
                        clip=f"{part}_{subject}_{path.stem}",
                        family=f"{part}_{subject}_{path.stem}",
                        action=action,
                        camera_id=name,
                        frames_F=chosen + start,
                        rows_F=chosen,
                        images=[ImageRef(video, int(frame) + first) for frame in chosen],
                        joints2d_FJ2_px=joints2d,
                        valid2d_FJ=valid2d,
                        joints3d_FJ3_mm=joints3d,
                        valid3d_FJ=valid3d,
                        intrinsics_px=camera.intrinsics_4_px,
                        distortion_5=camera.distortion_5,
                        size=_SIZE,
                        reprojection_limit=AGREE,
                    ),
                    quarantine,
                )


def _calibration_file(root: Path, subject: str, name: str) -> Path:
    folder = root / subject / "Calibration_Data"
    mat = folder / f"{name}.mat"
    return mat if mat.is_file() else folder / f"{name}.cal"


DATASET = Dataset(
    name="humaneva",
    title="HumanEva-I",
    paper="Sigal, Balan, Black: HumanEva, IJCV 2010",
    licence="HumanEva terms of use, humaneva.is.tue.mpg.de",
    document="the dataset's Release_Code (body_pose, calibration) and the paper's section 3",
    supervision=(Supervision.JOINTS_3D, Supervision.JOINTS_2D, Supervision.RELATIONS),
    layout=(
        LayoutEntry(
            pattern="Train/S*/*.mat|Validate/S*/*.mat",
            what="15-joint poses_3d and poses_2d of each sequence",
        ),
        LayoutEntry(
            pattern="S*/Calibration_Data/C*.cal|S*/Calibration_Data/C*.mat",
            what="the colour cameras' calibration",
        ),
        LayoutEntry(
            pattern="S*/Image_Data/*.avi", what="videos: Walking_1_(C1).avi", required=False
        ),
    ),
    joints=(
        "pelvis and limbs of the 15; the thorax is the middle of the shoulders; its head is a "
        "point within the head and its thorax no neck: head top, neck, nose and spine are unknown"
    ),
    conventions=(
        "Millimetres in the world, brought to the camera frame by Rc_ext and Tc_ext. Pixels count "
        "from the centre of the top-left pixel (MATLAB's calibration toolbox): 0.5 is added to "
        "them and to the principal point. Video frames follow the motion capture's by the "
        "published synchronisation. Boxes come from the joints."
    ),
    faults=(
        "frames where the motion capture failed are not a number and are not read",
        "the validation part of every sequence comes first, the training part second",
    ),
    reader="hemlets.data.readers.humaneva:read",
)
