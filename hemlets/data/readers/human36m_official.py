"""Human3.6M in the official form: CDF positions, metadata.xml, videos.

Cameras are calibrated for each subject: w0 of metadata.xml lists 6 extrinsics for each camera
and subject, then 9 intrinsics for each camera (focal 2, centre 2, radial 3, tangential 2).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import DataError
from hemlets.data.readers.assemble import AGREE, Sequence3D, assemble, stepped
from hemlets.data.readers.cameras3d import CENTRE_TO_CORNER, Camera
from hemlets.data.readers.contract import ImageRef, ReadOptions, SourceRows
from hemlets.data.readers.files3d import numbers, read_cdf, sequence_name
from hemlets.data.readers.maps3d import HUMAN36M_32
from hemlets.data.readers.quarantine import Quarantine

CAMERAS: Final = ("54138969", "55011271", "58860488", "60457274")
SUBJECTS: Final = {
    "S1": "train", "S5": "train", "S6": "train", "S7": "train", "S8": "train",
    "S9": "test", "S11": "test",
}  # fmt: skip
"""Protocol 1. Subjects without published positions (S2, S3, S4, S10) are not read."""

TRAIN_STEP: Final = 5
TEST_STEP: Final = 64
_SIZES: Final = {
    "54138969": (1000, 1002), "55011271": (1000, 1000),
    "58860488": (1000, 1000), "60457274": (1000, 1002),
}  # fmt: skip
_N_SUBJECTS: Final = 11
_N_POINTS: Final = 32
_CORRUPT: Final = ("S11", "Directions", "54138969")
_DRIFTING: Final = frozenset((("S9", "Greeting"), ("S9", "SittingDown 1"), ("S9", "Waiting 1")))
_TOO_LARGE: Final = 20_000_000


def split_of(subject: str, *, where: str) -> str:
    """Return the split of a subject by protocol 1.

    Raises:
        DataError: The subject has no published positions.
    """
    if subject not in SUBJECTS:
        raise DataError(
            f"Human3.6M has no positions of a subject {subject!r}",
            where=where,
            expected=", ".join(SUBJECTS),
            remedy="name the folder as the dataset does",
        )
    return SUBJECTS[subject]


def is_left_out(subject: str, action: str, camera: str, options: ReadOptions) -> bool:
    """Return whether a sequence is corrupt, or drifts and is excluded by the settings."""
    drifts = (subject, action) in _DRIFTING and options.settings.get("drifting") == "exclude"
    return (subject, action, camera) == _CORRUPT or drifts


def found(root: Path) -> bool:
    """Return whether a folder holds the official form."""
    return bool(_position_files(root))


def _position_files(root: Path) -> list[Path]:
    below = "S*/MyPoseFeatures/D2_Positions/*.cdf"
    return sorted({*root.glob(below), *root.glob(f"*/{below}")})


def read_cameras(path: Path) -> dict[tuple[str, str], Camera]:
    """Read cameras by subject and name from metadata.xml.

    Raises:
        DataError: The file is absent or damaged, or a camera in it is implausible.
    """
    values = _calibration(path)
    cameras = {}
    for c, name in enumerate(CAMERAS):
        inner = values[6 * _N_SUBJECTS * len(CAMERAS) + 9 * c :][:9]
        for s in range(_N_SUBJECTS):
            outer = values[6 * (c * _N_SUBJECTS + s) :][:6]
            subject = f"S{s + 1}"
            cameras[subject, name] = _camera(outer, inner, name).require_sane(
                where=f"{path}: w0, {subject}, camera {name}"
            )
    return cameras


def _camera(outer_6: Array, inner_9: Array, name: str) -> Camera:
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("XYZ", outer_6[:3]).as_matrix()
    k1, k2, k3, p1, p2 = inner_9[4:]
    return Camera(
        rotation_33=rotation,
        # The dataset's T is the position of the camera.
        translation_3_mm=-rotation @ outer_6[3:],
        intrinsics_4_px=np.concatenate([inner_9[:2], inner_9[2:4] + CENTRE_TO_CORNER]),
        distortion_5=np.array([k1, k2, p1, p2, k3]),
        size=_SIZES[name],
    )


def _calibration(path: Path) -> Array:
    wanted = len(CAMERAS) * (6 * _N_SUBJECTS + 9)
    try:
        if path.stat().st_size > _TOO_LARGE:
            raise DataError("metadata.xml is too large to be the dataset's", where=path)
        text = path.read_text(encoding="utf-8")
        # Entities can read files or expand without bound; the dataset's file has none.
        if "<!ENTITY" in text or "<!DOCTYPE" in text:
            raise DataError("metadata.xml declares entities", where=path, expected="none")
        node = ElementTree.fromstring(text).find("w0")
        values = np.array(
            (node.text or "" if node is not None else "").strip("[] \n").split(), float
        )
    except FileNotFoundError as error:
        raise DataError.missing(
            "the cameras' file",
            path,
            expected="metadata.xml of Human3.6M's visualisation code",
            remedy="put it into the dataset's folder",
        ) from error
    except (OSError, UnicodeDecodeError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f"metadata.xml is damaged: {error}", where=path) from error
    if len(values) != wanted:
        raise DataError(
            f"metadata.xml has {len(values)} camera parameters",
            where=f"{path}: w0",
            expected=str(wanted),
        )
    return values


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of the official form, one batch per sequence and camera."""
    metadata = next(iter([*root.glob("metadata.xml"), *root.glob("*/metadata.xml")]), None)
    cameras = read_cameras(metadata or root / "metadata.xml")
    for path in _position_files(root):
        with quarantine.guard(path):
            yield from _read_one(root, path, cameras, options, quarantine)


def _read_one(
    root: Path,
    path: Path,
    cameras: dict[tuple[str, str], Camera],
    options: ReadOptions,
    quarantine: Quarantine,
) -> list[SourceRows]:
    person = path.parents[2]
    split = split_of(person.name, where=str(path))
    action, _, name = path.stem.rpartition(".")
    sequence_name(action, where=str(path))
    if (person.name, name) not in cameras:
        raise DataError(
            f"there is no camera {name!r}", where=path, expected=", ".join(CAMERAS),
            remedy="name the file as the dataset does: Directions 1.54138969.cdf",
        )  # fmt: skip
    if split not in options.splits:
        quarantine.skip_split("sequence", split)
        return []
    if is_left_out(person.name, action, name, options):
        quarantine.skip("sequence that is corrupt or drifts")
        return []
    camera = cameras[person.name, name]
    joints2d, valid2d = _positions(path, 2)
    joints3d, valid3d = _camera_frame(person, action, name, camera)
    if len(joints2d) != len(joints3d):
        raise DataError(
            f"{len(joints2d)} frames in 2D, {len(joints3d)} in 3D",
            where=path,
            expected="as many of both",
            remedy="extract both archives of this subject again",
        )
    chosen = stepped(len(joints2d), options, TRAIN_STEP if split == "train" else TEST_STEP)
    return assemble(
        Sequence3D(
            file=path,
            source="human36m",
            split=split,
            subject=person.name,
            clip=f"{person.name}_{action}",
            family=person.name,
            action=action.split(" ")[0],
            camera_id=name,
            frames_F=chosen,
            rows_F=chosen,
            images=_images(root, person, action, name, chosen),
            joints2d_FJ2_px=joints2d[chosen] + CENTRE_TO_CORNER,
            valid2d_FJ=valid2d[chosen],
            joints3d_FJ3_mm=joints3d[chosen],
            valid3d_FJ=valid3d[chosen],
            intrinsics_px=camera.intrinsics_4_px,
            distortion_5=camera.distortion_5,
            size=camera.size,
            reprojection_limit=AGREE,
        ),
        quarantine,
    )


@lru_cache(maxsize=4)
def _world(path: Path, changed_ns: int) -> tuple[Array, Array]:
    del changed_ns
    return _positions(path, 3)


def _camera_frame(person: Path, action: str, name: str, camera: Camera) -> tuple[Array, Array]:
    features = person / "MyPoseFeatures"
    mono = features / "D3_Positions_mono" / f"{action}.{name}.cdf"
    if mono.is_file():
        return _positions(mono, 3)
    world = features / "D3_Positions" / f"{action}.cdf"
    if not world.is_file():
        raise DataError(
            "there are no 3D positions of this sequence",
            where=mono,
            expected=f"this file, or {world.relative_to(person.parent)}",
            remedy="extract Poses_D3_Positions_mono or Poses_D3_Positions of this subject",
        )
    joints, valid = _world(world, world.stat().st_mtime_ns)
    return np.where(valid[..., None], camera.to_camera(joints), 0.0), valid


def _positions(path: Path, coordinates: int) -> tuple[Array, Array]:
    values = numbers(read_cdf(path, "Pose"), (None, _N_POINTS * coordinates), where=f"{path}: Pose")
    return HUMAN36M_32.apply(values.reshape(len(values), _N_POINTS, coordinates))


def _images(root: Path, person: Path, action: str, name: str, frames: Array) -> list[ImageRef]:
    stills = person / "Images" / f"{action}.{name}"
    if stills.is_dir():
        folder = stills.relative_to(root).as_posix()
        return [ImageRef(f"{folder}/{int(frame) + 1:06d}.jpg") for frame in frames]
    video = (person / "Videos" / f"{action}.{name}.mp4").relative_to(root).as_posix()
    return [ImageRef(video, int(frame)) for frame in frames]
