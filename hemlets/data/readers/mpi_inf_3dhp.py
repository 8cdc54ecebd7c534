"""MPI-INF-3DHP (Mehta et al. 2017): training sequences, test sequences, and the npz form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.pickles import load_pickle
from hemlets.data.readers.assemble import AGREE, Sequence3D, assemble, stepped
from hemlets.data.readers.cameras3d import Camera, fitted_intrinsics
from hemlets.data.readers.contract import (
    Dataset,
    ImageRef,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.files3d import numbers, read_hdf5, read_mat, require
from hemlets.data.readers.image_names import ImageFinder
from hemlets.data.readers.maps3d import MPI_TEST_17, MPI_TRAIN_28
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.spin_npz import Naming, camera_from_pickle, read_rows

TRAIN_STEP: Final = 10
"""Default step between frames of the training videos (25 or 50 a second)."""

_CAMERAS: Final = (0, 1, 2, 4, 5, 6, 7, 8)
"""Cameras at chest, knee and head height; the others look down from the ceiling."""

# Not "**": a sequence's folder may hold a hundred thousand frames.
_TEST_DEPTHS: Final = ("TS*/annot_data.mat", "*/TS*/annot_data.mat", "*/*/TS*/annot_data.mat")

_N_CAMERAS: Final = 14
_N_TRAIN: Final = 28
_N_TEST: Final = 17
_SIZE: Final = 2048
_TYPO: Final = (2048, 204)
_ACTIVITIES: Final = (
    "", "Stand/Walk", "Exercise", "Sit On Chair", "Crouch/Reach", "On the Floor", "Sports",
    "Miscellaneous",
)  # fmt: skip
_TEST_SIZES: Final = {"TS5": (1920, 1080), "TS6": (1920, 1080)}
_NAME: Final = re.compile(r"(S\d+)_(Seq\d+)_Cam(\d+)_(\d{6})\.(?:jpg|png)")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of MPI-INF-3DHP, one batch per sequence and camera.

    Settings: ``cameras`` lists numbers of the training cameras (``0,1,2``) or is ``all``;
    ``test_3d`` is ``univ`` (as in published scores) or ``metric``.
    """
    cameras = _wanted_cameras(options)
    for split in sorted({"train", "test"} - options.splits):
        quarantine.skip_split("part", split)
    if "train" in options.splits:
        for path in sorted(root.glob("S*/Seq*/annot.mat")):
            with quarantine.guard(path):
                yield from _read_train(root, path, cameras, options, quarantine)
        yield from _read_npz(root, options, quarantine)
    if "test" in options.splits:
        for path in sorted(p for depth in _TEST_DEPTHS for p in root.glob(depth)):
            with quarantine.guard(path):
                yield from _read_test(root, path, options, quarantine)


def _wanted_cameras(options: ReadOptions) -> tuple[int, ...]:
    text = options.settings.get("cameras")
    if text is None:
        return _CAMERAS
    try:
        numbers_ = range(_N_CAMERAS) if text == "all" else [int(part) for part in text.split(",")]
    except ValueError:
        numbers_ = [-1]
    if not all(0 <= number < _N_CAMERAS for number in numbers_):
        raise ConfigError(
            f"cameras is {text!r}", where="cameras", expected="all, or numbers 0 to 13: 0,1,2"
        )
    return tuple(numbers_)


def read_calibration(path: Path) -> dict[int, Camera]:
    """Read cameras by number from ``camera.calibration`` (Skeletool's text form, millimetres).

    Raises:
        DataError: The file is absent or damaged, or a camera in it is implausible.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError("the sequence has no camera file", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the camera file is damaged: {error}", where=path) from error
    cameras: dict[int, Camera] = {}
    entry: dict[str, Array] = {}
    for number, line in enumerate(lines, 1):
        key, *rest = line.split() or [""]
        if key not in ("name", "size", "intrinsic", "extrinsic"):
            continue
        try:
            entry = {} if key == "name" else entry
            entry[key] = np.array(rest, float)
            if key == "extrinsic":
                name = int(entry["name"][0])
                cameras[name] = _skeletool(entry, f"{path}: camera {name}")
        except (ValueError, KeyError, IndexError) as error:
            raise DataError(
                f"the camera file is damaged: {error}", where=f"{path}, line {number}"
            ) from error
    return cameras


def _skeletool(entry: dict[str, Array], where: str) -> Camera:
    inner, outer = entry["intrinsic"].reshape(4, 4), entry["extrinsic"].reshape(4, 4)
    width, height = (int(side) for side in entry["size"])
    return Camera(
        rotation_33=outer[:3, :3],
        translation_3_mm=outer[:3, 3],
        intrinsics_4_px=np.array([inner[0, 0], inner[1, 1], inner[0, 2], inner[1, 2]]),
        distortion_5=np.zeros(5),
        size=(width, _SIZE) if (width, height) == _TYPO else (width, height),
    ).require_sane(where=where)


def _read_train(
    root: Path, path: Path, cameras: tuple[int, ...], options: ReadOptions, quarantine: Quarantine
) -> Iterator[SourceRows]:
    fields = read_mat(path)
    require(fields, ("annot2", "annot3"), where=path)
    calibration = read_calibration(path.with_name("camera.calibration"))
    for number in cameras:
        with quarantine.guard(path):
            yield from _one_camera(root, path, fields, number, calibration, options, quarantine)


def _cell(fields: dict[str, Any], name: str, number: int, coordinates: int, path: Path) -> Array:
    cells = np.ravel(fields[name])
    place = f"{path}: {name}, camera {number}"
    if number >= len(cells):
        raise DataError(f"there are {len(cells)} cameras", where=place, expected=str(_N_CAMERAS))
    values = numbers(cells[number], (None, _N_TRAIN * coordinates), where=place)
    return values.reshape(len(values), _N_TRAIN, coordinates)


def _one_camera(
    root: Path,
    path: Path,
    fields: dict[str, Any],
    number: int,
    calibration: dict[int, Camera],
    options: ReadOptions,
    quarantine: Quarantine,
) -> list[SourceRows]:
    if number not in calibration:
        raise DataError(
            f"camera {number} is missing",
            where=path.with_name("camera.calibration"),
            expected=f"cameras 0 to {_N_CAMERAS - 1}",
            remedy="fetch the sequence's camera file again",
        )
    camera = calibration[number]
    points2d = _cell(fields, "annot2", number, 2, path)
    points3d = _cell(fields, "annot3", number, 3, path)
    if len(points2d) != len(points3d):
        raise DataError.damaged(
            f"{len(points2d)} frames in annot2, {len(points3d)} in annot3",
            f"{path}: camera {number}",
            "as many of both",
        )
    chosen = stepped(len(points2d), options, TRAIN_STEP)
    joints2d, valid2d = MPI_TRAIN_28.apply(points2d[chosen])
    joints3d, valid3d = MPI_TRAIN_28.apply(points3d[chosen])
    subject, sequence = path.parts[-3:-1]
    folder = path.parent.relative_to(root).as_posix()
    stills = path.parent / "imageFrames" / f"video_{number}"
    images = [
        ImageRef(f"{folder}/imageFrames/video_{number}/frame_{int(frame) + 1:06d}.jpg")
        if stills.is_dir()
        else ImageRef(f"{folder}/imageSequence/video_{number}.avi", int(frame))
        for frame in chosen
    ]
    return assemble(
        Sequence3D(
            file=path,
            source="mpi_inf_3dhp",
            split="train",
            subject=subject,
            clip=f"{subject}_{sequence}",
            family=subject,
            camera_id=str(number),
            frames_F=chosen,
            rows_F=chosen,
            images=images,
            joints2d_FJ2_px=joints2d,
            valid2d_FJ=valid2d,
            joints3d_FJ3_mm=joints3d,
            valid3d_FJ=valid3d,
            intrinsics_px=camera.intrinsics_4_px,
            size=camera.size,
            reprojection_limit=AGREE,
        ),
        quarantine,
    )


def _read_test(
    root: Path, path: Path, options: ReadOptions, quarantine: Quarantine
) -> list[SourceRows]:
    wanted = options.settings.get("test_3d", "univ")
    if wanted not in ("univ", "metric"):
        raise ConfigError(f"test_3d is {wanted!r}", where="test_3d", expected="univ or metric")
    fields = read_hdf5(
        path, ("annot2", "annot3", "univ_annot3", "valid_frame", "activity_annotation")
    )
    scored = "univ_annot3" if wanted == "univ" else "annot3"
    require(fields, ("annot2", "annot3", scored, "valid_frame", "activity_annotation"), where=path)
    flat = {name: _test_points(fields[name], name, path) for name in ("annot2", "annot3", scored)}
    valid = np.ravel(fields["valid_frame"]) > 0
    activity = np.ravel(fields["activity_annotation"]).astype(int)
    lengths = {len(valid), len(activity), *(len(points) for points in flat.values())}
    if len(lengths) != 1:
        raise DataError.damaged(f"the arrays have {sorted(lengths)} frames", path, "one length")
    # annot3 projects onto annot2 exactly, so the camera, which the archive lacks, can be fitted.
    intrinsics = fitted_intrinsics(flat["annot3"][valid], flat["annot2"][valid])
    chosen = stepped(len(valid), options)
    chosen = chosen[valid[chosen]]
    if not len(chosen):
        return []
    joints2d, valid2d = MPI_TEST_17.apply(flat["annot2"][chosen])
    joints3d, valid3d = MPI_TEST_17.apply(flat[scored][chosen])
    subject = path.parent.name
    folder = path.parent.relative_to(root).as_posix()
    made = assemble(
        Sequence3D(
            file=path,
            source="mpi_inf_3dhp",
            split="test",
            subject=subject,
            clip=subject,
            family=subject,
            camera_id="",
            frames_F=chosen,
            rows_F=chosen,
            images=[
                ImageRef(f"{folder}/imageSequence/img_{int(frame) + 1:06d}.jpg") for frame in chosen
            ],
            joints2d_FJ2_px=joints2d,
            valid2d_FJ=valid2d,
            joints3d_FJ3_mm=joints3d,
            valid3d_FJ=valid3d,
            intrinsics_px=intrinsics,
            size=_TEST_SIZES.get(subject, (_SIZE, _SIZE)),
            reprojection_limit=None if intrinsics is None or wanted == "univ" else AGREE,
        ),
        quarantine,
    )
    return [_with_activities(rows, activity, path) for rows in made]


def _test_points(value: Any, name: str, path: Path) -> Array:
    coordinates = 2 if name == "annot2" else 3
    # MATLAB's axes are coordinate × joint × 1 × frame.
    points = numbers(np.asarray(value), (coordinates, _N_TEST, 1, None), where=f"{path}: {name}")
    return points[:, :, 0].transpose(2, 1, 0)


def _with_activities(rows: SourceRows, activity: Array, path: Path) -> SourceRows:
    number = activity[np.asarray(rows.columns["frame"])]
    if number.min() < 0 or number.max() >= len(_ACTIVITIES):
        raise DataError.damaged(
            f"the activity {number.max()} is unknown", f"{path}: activity_annotation", "1 to 7"
        )
    columns = {**rows.columns, "action": [_ACTIVITIES[int(n)] for n in number]}
    return SourceRows(columns=columns, images=rows.images, masks=rows.masks)


def _read_npz(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    cameras = _pickled_cameras(root / "cameras_train.pkl", quarantine)

    def naming(name: str) -> Naming:
        match = _NAME.fullmatch(PurePosixPath(name).name)
        if match is None:
            raise DataError(
                f"the image name {name!r} is not of this form",
                expected="S1_Seq1_Cam0_000001.jpg",
                remedy="name the images as the file's makers do",
            )
        subject, sequence, camera, frame = match.groups()
        return Naming(
            split="train",
            subject=subject,
            clip=f"{subject}_{sequence}",
            frame=int(frame) - 1,
            camera_id=camera,
            camera=cameras.get(f"{subject}_{sequence}_Cam{camera}"),
        )

    finder = ImageFinder(root)
    for path in sorted(root.glob("*3dhp*train*.npz")):
        with quarantine.guard(path):
            yield from read_rows(
                path, "mpi_inf_3dhp", naming, options, quarantine, map17=MPI_TEST_17, finder=finder
            )


def _pickled_cameras(path: Path, quarantine: Quarantine) -> dict[str, Camera]:
    if not path.is_file():
        return {}
    cameras: dict[str, Camera] = {}
    with quarantine.guard(path):
        entries = load_pickle(path)
        if not isinstance(entries, dict):
            raise DataError("the cameras are no table", where=path, expected="by S1_Seq1_Cam0")
        for name, entry in entries.items():
            place = f"{path}: {name}"
            with quarantine.guard(place):
                size = (entry.get("w"), entry.get("h")) if isinstance(entry, dict) else ()
                fixed = {**entry, "h": float(_SIZE)} if size == _TYPO else entry
                cameras[name] = camera_from_pickle(fixed, transposed=False, where=place)
    return cameras


DATASET = Dataset(
    name="mpi_inf_3dhp",
    title="MPI-INF-3DHP",
    paper="Mehta et al.: Monocular 3D Human Pose Estimation in the Wild, 3DV 2017",
    licence="MPI-INF-3DHP terms of use, README.txt of the dataset",
    document="README.txt and mpii_get_joint_set.m of the dataset",
    supervision=(Supervision.JOINTS_3D, Supervision.JOINTS_2D, Supervision.RELATIONS),
    layout=(
        LayoutEntry(
            pattern="|".join(("S*/Seq*/annot.mat", *_TEST_DEPTHS, "*3dhp*train*.npz")),
            what="training or test annotations, or their npz form",
        ),
        LayoutEntry(
            pattern="S*/Seq*/camera.calibration|cameras_train.pkl",
            what="training cameras",
            required=False,
        ),
        LayoutEntry(
            pattern="S*/Seq*/imageSequence/*.avi|S*/Seq*/imageFrames/video_*/*.jpg"
            "|TS*/imageSequence/*.jpg|*/TS*/imageSequence/*.jpg|*.jpg|images/*.jpg",
            what="videos, or frames extracted as imageFrames/video_0/frame_000001.jpg",
            required=False,
        ),
    ),
    joints=(
        "training: pelvis, spine, neck, head (as nose) and head top are the 5th, 4th, 6th, 7th and "
        "8th of 28; test: 15th, 16th, 2nd, 17th, 1st of 17; the thorax is the middle of the "
        "shoulders"
    ),
    conventions=(
        "Millimetres in the camera frame, undistorted images. The dataset does not say what its "
        "pixels count from: nothing is added. Boxes come from the joints. Training takes annot3 of "
        "every 10th frame, testing univ_annot3 of every valid frame. The test cameras are fitted "
        "to annot2 and annot3, of which one is the other's projection."
    ),
    faults=(
        "published scores use univ_annot3 (a body of one size), which is not metric: the setting "
        "test_3d=metric takes annot3",
        "a published pickle of the cameras gives training images a height of 204 instead of 2048: "
        "put right where the width is 2048, any other disagreement refuses the camera",
        "the capture is markerless: limbs of one frame can differ by a third in length (S8 Seq1, "
        "camera 8, frame 2164); kept, as the 2D agrees",
        "frames with valid_frame 0 have no annotation and are not read",
    ),
    reader="hemlets.data.readers.mpi_inf_3dhp:read",
    settings=("cameras", "test_3d"),
)
