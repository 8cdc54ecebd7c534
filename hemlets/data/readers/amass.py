"""AMASS (Mahmood et al. 2019): motion without images.

A motion file gives a `MotionClip` for the renderer, and no rows of the table.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from hemlets.assets.clips import SPLITS, MotionClip, Split
from hemlets.core.arrays import Array
from hemlets.core.errors import ConfigError, DataError
from hemlets.data.readers.contract import (
    Dataset,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.files3d import npz_names, numbers, read_npz, require
from hemlets.data.readers.quarantine import Quarantine, or_refuse
from hemlets.data.readers.smpl3d import rotated_root

_BODY_JOINTS: Final = 22
"""The first 22 joints of SMPL, SMPL-H and SMPL-X are equal; AMASS's hands are not in SMPL."""

_Y_UP: Final = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""AMASS has z up."""

_REST_PELVIS_M: Final = np.array([0.0, -0.23, 0.03])
"""Position of SMPL's pelvis at rest, within some centimetres for every shape."""

_FIELDS: Final = ("trans", "poses", "mocap_framerate", "mocap_frame_rate")
_SPLITS: Final[dict[str, Split]] = {
    "HumanEva": "validation", "MPI_HDM05": "validation", "HDM05": "validation",
    "SFU": "validation", "MPI_mosh": "validation", "MoSh": "validation",
    "Transitions_mocap": "test", "Transitions": "test", "SSM_synced": "test", "SSM": "test",
}  # fmt: skip
"""The authors' usual split by subset; all other subsets train."""

_ALL: Final = frozenset(SPLITS)
_FPS: Final = (1.0, 500.0)
_FAR_M: Final = 100.0
_HIGH_M: Final = 10.0
_PELVIS_M: Final = (0.6, 1.3)
"""Height of the pelvis of somebody who stands."""

_UPRIGHT, _ALMOST_ALL = 0.8, 0.9
_POSE_VALUES: Final = (66, 72, 156, 165)
"""Axis-angles of the body, SMPL, SMPL-H and SMPL-X."""

_LARGEST_RAD: Final = 4 * np.pi
"""A sequence's axis-angles may be unwrapped by a turn; a motion in degrees is beyond."""


def read_motion(path: Path, *, name: str | None = None, family: str | None = None) -> MotionClip:
    """Read a motion file as a clip: y up, at the file's own rate, hands at rest.

    Collars, wrists, toes and heading are as captured.

    Args:
        path: An AMASS npz (SMPL-H's 156 values or SMPL-X's 165 per frame).
        name: Name of the clip; by default the path below the subset.
        family: Kind of motion; by default subset and subject.

    Raises:
        DataError: The file is damaged, or holds no motion.
    """
    fields = read_npz(path, _FIELDS)
    rate = fields.get("mocap_framerate", fields.get("mocap_frame_rate"))
    wanted = ("trans", "poses", *(("mocap_framerate",) if rate is None else ()))
    require(fields, wanted, where=path, held=npz_names(path))
    fps = float(numbers(np.ravel(np.asarray(rate)), (1,), where=f"{path}: mocap_framerate")[0])
    trans = numbers(fields["trans"], (None, 3), where=f"{path}: trans")
    given = np.asarray(fields["poses"])
    flat = given.reshape(len(given), -1) if given.ndim == 3 and given.shape[2] == 3 else given
    poses = numbers(flat, (None, None), where=f"{path}: poses")
    if len(trans) != len(poses) or not len(poses):
        raise DataError.damaged(
            f"{len(poses)} poses and {len(trans)} positions",
            path,
            "as many of both, and one at least",
        )
    if poses.shape[1] not in _POSE_VALUES:
        raise DataError(
            f"a pose has {poses.shape[1]} values",
            where=f"{path}: poses",
            expected=f"{', '.join(map(str, _POSE_VALUES))}: axis-angles of the joints",
            remedy="convert rotation matrices and quaternions to axis-angles",
        )
    if not _FPS[0] <= fps <= _FPS[1]:
        raise DataError.damaged(
            f"the frame rate is {fps}",
            f"{path}: mocap_framerate",
            f"{_FPS[0]:g} to {_FPS[1]:g} frames a second",
        )
    _require_finite(path, poses=poses, trans=trans)
    far, high = np.abs(trans).max(), np.median(np.abs(trans[:, 2]))
    if far > _FAR_M or high > _HIGH_M:
        raise DataError(
            f"the person is {far:.0f} m away"
            if far > _FAR_M
            else f"the person is {high:.0f} m high",
            where=f"{path}: trans",
            expected="metres",
            remedy="divide the positions by 1000 if they are millimetres, by 100 if centimetres",
        )
    if (largest := np.abs(poses).max()) > _LARGEST_RAD:
        raise DataError(
            f"a joint turns by {largest:.0f}: the poses look like degrees",
            where=f"{path}: poses",
            expected="axis-angles in radians",
            remedy="convert them with numpy.deg2rad",
        )
    if _stands_along_y(poses, trans):
        raise DataError(
            "the person stands along y",
            where=f"{path}: poses, trans",
            expected="z up, as AMASS has it",
            remedy="turn positions and root by 90° around x",
        )
    theta = np.zeros((len(poses), 24, 3))
    theta[:, :_BODY_JOINTS] = poses[:, : 3 * _BODY_JOINTS].reshape(-1, _BODY_JOINTS, 3)
    theta = rotated_root(theta, _Y_UP)
    subset, subject = path.parts[-3:-1] if len(path.parts) > 2 else ("", path.parent.name)
    return MotionClip(
        name=name or f"amass/{subset}/{subject}/{path.stem}",
        family=family or f"amass/{subset}/{subject}",
        split=_SPLITS.get(subset, "train"),
        fps=fps,
        theta_F72=theta.reshape(-1, 72).astype(np.float32),
        translation_F3_m=((trans + _REST_PELVIS_M) @ _Y_UP.T).astype(np.float32),
    )


def _stands_along_y(poses: Array, trans: Array) -> bool:
    """Whether a motion looks y up: body and pelvis height are along y in almost all frames."""
    from scipy.spatial.transform import Rotation

    heads_y = Rotation.from_rotvec(poses[:, :3]).as_matrix()[:, 1, 1]
    at_height = (trans[:, 1] > _PELVIS_M[0]) & (trans[:, 1] < _PELVIS_M[1])
    return bool(((heads_y > _UPRIGHT) & at_height).mean() > _ALMOST_ALL)


def _require_finite(path: Path, **fields: Array) -> None:
    for name, values in fields.items():
        wrong = np.logical_not(np.isfinite(values).all(1))
        if wrong.any():
            raise DataError(
                f"{int(wrong.sum())} of {len(values)} rows hold a value that is not finite",
                where=f"{path}, row {int(np.argmax(wrong))}, {name}",
                expected="finite numbers",
                remedy="fetch the file again, or leave it out",
            )


def read_clips(
    root: Path, options: ReadOptions | None = None, quarantine: Quarantine | None = None
) -> Iterator[MotionClip]:
    """Yield the clips of all motion files below a folder, sorted by name.

    Raises:
        DataError: A file is damaged, and no quarantine was given.
    """
    splits = _ALL if options is None else options.splits
    collector = or_refuse(quarantine)
    # Resolved, since subset and subject are the folders above a file, also above ".".
    whole = root.resolve()
    files = sorted(whole.glob("**/*_poses.npz")) + sorted(whole.glob("**/*_stageii.npz"))
    taken: set[str] = set()
    for path in files:
        clip = None
        with collector.guard(path):
            clip = read_motion(path)
        if clip is None:
            continue
        if clip.name in taken:
            collector.report(
                f"another file gives the motion {clip.name}", file=path,
                remedy="keep one of the two, each below SUBSET/SUBJECT",
            )  # fmt: skip
        elif clip.split in splits:
            taken.add(clip.name)
            yield clip


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Refuse: motions have no images to make rows of.

    Raises:
        ConfigError: Always.
    """
    del options, quarantine
    raise ConfigError(
        "AMASS holds motions without images, so there are no rows to ingest",
        where=root,
        remedy=f"render people who move so: hemlets data render amass --motions "
        f"{shlex.quote(str(root))}",
    )


DATASET = Dataset(
    name="amass",
    title="AMASS",
    paper="Mahmood et al.: AMASS, ICCV 2019",
    licence="AMASS licence, amass.is.tue.mpg.de",
    document="README and notebooks of the published AMASS code",
    supervision=(Supervision.MOTION,),
    layout=(
        LayoutEntry(
            pattern="**/*_poses.npz|**/*_stageii.npz", what="motions by subset and subject"
        ),
    ),
    joints="SMPL's rotations: the first 22 of SMPL-H's or SMPL-X's, hands at rest",
    conventions=(
        "Metres and radians, z up, brought to y up. A clip's position is the pelvis's: trans plus "
        "the rest pelvis of a mean body, within some centimetres. The frame rate is kept."
    ),
    faults=("frame rates differ by subset from 60 to 250: resample by fps, not by frames",),
    reader="hemlets.data.readers.amass:read",
)
