"""SURREAL (Varol et al. 2017): rendered SMPL bodies, one ``_info.mat`` per clip.

The renderer's camera matrix mirrors (its determinant is −1): a person's left side appears as the
right side in the image. The reader therefore swaps left and right joints and mirrors θ, so that
labels fit the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import DataError
from hemlets.core.skeleton import FLIP_JOINTS
from hemlets.data.readers.assemble import AGREE, Sequence3D, assemble, stepped
from hemlets.data.readers.boxes import from_mask
from hemlets.data.readers.cameras3d import MM_PER_M
from hemlets.data.readers.contract import (
    Dataset,
    ImageRef,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.files3d import numbers, read_mat, require
from hemlets.data.readers.maps3d import SMPL_24
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.smpl3d import flipped_theta, rotated_root

TRAIN_STEP: Final = 10
"""Default step between the 100 frames of a clip: a third of a second."""

SIZE: Final = (320, 240)
INTRINSICS_PX: Final = np.array([600.0, 600.0, 160.0, 120.0])
"""Lens 60 mm on a sensor of 32 mm, 320 × 240 pixels (``getIntrinsicBlender.m``)."""

_CAMERA_FROM_WORLD: Final = np.array([[0.0, 0, -1], [0, 1, 0], [-1, 0, 0]])
"""``getExtrinsicBlender.m``; its determinant is −1."""

_WORLD_FROM_BODY: Final = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
_MIRROR: Final = np.diag([-1.0, 1, 1])
_SPLITS: Final = {"train": "train", "val": "validation", "test": "test"}
_GENDERS: Final = ("female", "male")
_FIELDS: Final = ("joints2D", "joints3D", "pose", "shape", "camLoc", "zrot", "gender")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of SURREAL, one batch per clip."""
    for path in sorted(root.glob("**/*_info.mat")):
        parts = path.relative_to(root).parts
        split = next((_SPLITS[part] for part in parts if part in _SPLITS), "train")
        if split not in options.splits:
            quarantine.skip_split("clip", split)
            continue
        with quarantine.guard(path):
            yield from read_clip(root, path, split, options, quarantine)


def _by_frame(fields: dict[str, Any], name: str, shape: tuple[int, ...], path: Path) -> Array:
    values = np.asarray(fields[name])
    # A clip of one frame loses its last axis.
    values = values[..., None] if values.ndim == len(shape) else values
    return np.moveaxis(numbers(values, (*shape, None), where=f"{path}: {name}"), -1, 0)


def read_clip(
    root: Path, path: Path, split: str, options: ReadOptions, quarantine: Quarantine
) -> list[SourceRows]:
    """Read the rows of one clip.

    Raises:
        DataError: The file is damaged, or the quarantine refuses a row.
    """
    fields = read_mat(path)
    require(fields, _FIELDS, where=path)
    joints2d = _by_frame(fields, "joints2D", (2, 24), path).transpose(0, 2, 1)
    joints3d = _by_frame(fields, "joints3D", (3, 24), path).transpose(0, 2, 1)
    pose = _by_frame(fields, "pose", (72,), path)
    betas = _by_frame(fields, "shape", (10,), path)
    zrot = np.ravel(fields["zrot"]).astype(np.float64)
    gender = np.ravel(fields["gender"])
    lengths = {len(part) for part in (joints2d, joints3d, pose, betas, zrot)}
    if len(lengths) != 1:
        raise DataError.damaged(f"the arrays have {sorted(lengths)} frames", path, "one length")
    place = numbers(np.ravel(fields["camLoc"]), (3,), where=f"{path}: camLoc")
    if not len(gender) or int(gender[0]) not in (0, 1):
        raise DataError("the gender is unknown", where=f"{path}: gender", expected="0 or 1")
    chosen = stepped(len(zrot), options, TRAIN_STEP)
    in_camera = (joints3d[chosen] - place) @ _CAMERA_FROM_WORLD.T * MM_PER_M
    points2d, valid2d = SMPL_24.apply(joints2d[chosen])
    points3d, valid3d = SMPL_24.apply(in_camera)
    flip = list(FLIP_JOINTS)
    name = path.name.removesuffix("_info.mat")
    folder = path.parent.relative_to(root).as_posix()
    base = "" if folder == "." else f"{folder}/"
    boxes, masks = _masks(path.with_name(f"{name}_segm.mat"), f"{base}{name}_segm.mat", chosen)
    return assemble(
        Sequence3D(
            file=path,
            source="surreal",
            split=split,
            subject=name.rpartition("_c")[0] or name,
            clip=name,
            family=name.rpartition("_c")[0] or name,
            frames_F=chosen,
            rows_F=chosen,
            images=[ImageRef(f"{base}{name}.mp4", int(frame)) for frame in chosen],
            joints2d_FJ2_px=points2d[:, flip],
            valid2d_FJ=valid2d[:, flip],
            joints3d_FJ3_mm=points3d[:, flip],
            valid3d_FJ=valid3d[:, flip],
            intrinsics_px=INTRINSICS_PX,
            size=SIZE,
            box_F4_px=boxes,
            box_source="mask",
            theta_F243=_theta(pose[chosen].reshape(-1, 24, 3), zrot[chosen]),
            betas_F10=betas[chosen],
            gender=_GENDERS[int(gender[0])],
            masks=masks,
            reprojection_limit=AGREE,
        ),
        quarantine,
    )


def _theta(theta_F243: Array, zrot_F: Array) -> Array:
    """Return θ of the mirrored body, with its root in the camera frame.

    The camera sees C·W·Z·body(θ) with a mirroring C. The body mirrored in its own plane is M·body
    with M = diag(−1, 1, 1), so the image is also (C·W·Z·M)·(M·body(θ)), whose first factor is a
    rotation.
    """
    from scipy.spatial.transform import Rotation

    turn_F33 = Rotation.from_euler("z", zrot_F[:, None]).as_matrix()
    return rotated_root(
        flipped_theta(theta_F243), _CAMERA_FROM_WORLD @ _WORLD_FROM_BODY @ turn_F33 @ _MIRROR
    )


def _masks(
    path: Path, name: str, frames: Array
) -> tuple[Array | None, tuple[ImageRef | None, ...]]:
    if not path.is_file():
        return None, ()
    fields = read_mat(path)
    require(fields, [f"segm_{int(frame) + 1}" for frame in frames], where=path)
    boxes = [from_mask(np.asarray(fields[f"segm_{int(frame) + 1}"]) > 0) for frame in frames]
    empty = (0.0, 0.0, 0.0, 0.0)
    return (
        np.array([empty if box is None else box for box in boxes]),
        tuple(ImageRef(name, int(frame)) for frame in frames),
    )


DATASET = Dataset(
    name="surreal",
    title="SURREAL",
    paper="Varol et al.: Learning from Synthetic Humans, CVPR 2017",
    licence="SURREAL dataset licence, di.ens.fr/willow/research/surreal",
    document="README and datageneration/misc (3Dto2D, smpl_relations) of the dataset's code",
    supervision=(
        Supervision.JOINTS_3D,
        Supervision.JOINTS_2D,
        Supervision.RELATIONS,
        Supervision.SMPL,
        Supervision.MASK,
    ),
    layout=(
        LayoutEntry(
            pattern="**/*_info.mat", what="annotations of a clip, below train, val or test"
        ),
        LayoutEntry(pattern="**/*_segm.mat", what="part masks of a clip", required=False),
        LayoutEntry(pattern="**/*.mp4", what="the clip itself", required=False),
    ),
    joints=(
        "SMPL's hips, knees, ankles, shoulders, elbows, wrists, neck and second spine joint, left "
        "and right swapped; pelvis and thorax are the middles of hips and shoulders; SMPL has "
        "neither nose nor head top"
    ),
    conventions=(
        "Metres in the renderer's world, brought to millimetres in the camera frame by camLoc. 2D "
        "joints are rounded to whole pixels and agree with the projection about the image's "
        "middle (160, 120), so they count from the corner. θ has its root before zrot; the reader "
        "puts it into the camera frame. The body's translation is not given."
    ),
    faults=(
        "pictures are mirrored against their labels (the camera matrix has determinant −1): left "
        "and right are swapped and θ is mirrored; β stays, which is right as far as SMPL's shape "
        "space is symmetric",
        "some clips have people partly or wholly outside the image",
    ),
    reader="hemlets.data.readers.surreal:read",
)
