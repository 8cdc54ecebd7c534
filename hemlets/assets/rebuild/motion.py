"""Convert DeepMimic motion capture to SMPL pose clips.

Source: 20 humanoid clips in the PyPI wheel of pybullet 3.2.7 under ``pybullet_data/data/motions``
(zlib licence). A frame of that form (Peng et al. 2018, "DeepMimic", motion file layout) is

    [seconds, root position 3, root rotation 4, chest 4, neck 4, right hip 4, right knee 1,
     right ankle 4, right shoulder 4, right elbow 1, left hip 4, left knee 1, left ankle 4,
     left shoulder 4, left elbow 1]

with quaternions as w, x, y, z, angles in radians about z, and axes x front, y up, z right. At rest
that figure stands with straight legs and hanging arms.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from hemlets.assets.rebuild.rest_pose import (
    ARM_DIRECTION,
    SHIN_DIRECTION,
    THIGH_DIRECTION,
    aim,
    side_sign,
)
from hemlets.core.arrays import Float32
from hemlets.core.errors import AssetError
from hemlets.core.skeleton import SMPL_PARENTS

PYBULLET: Final = "pybullet==3.2.7"
MOTION_FOLDER: Final = "pybullet_data/data/motions/"

# x front, y up, z right → x left, y up, z front.
_TO_SMPL_AXES: Final = Rotation.from_matrix([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])

_QUATERNION_AT: Final[Mapping[int, int]] = {0: 4, 2: 16, 8: 21, 17: 25, 1: 30, 7: 35, 16: 39}
_HINGE_AT: Final[Mapping[int, int]] = {5: 20, 19: 29, 4: 34, 18: 43}
_CHEST_AT: Final = 8
_NECK_AT: Final = 12
_SPINE: Final = (3, 6, 9)
_NECK: Final = (12, 15)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One motion clip in SMPL's pose form.

    Attributes:
        name: Unique name, from the source file's.
        theta_F72: (F, 72) axis-angle in radians, float32, for the open body's rest pose.
        translation_F3_m: (F, 3) pelvis position in metres, y up, float32.
        fps: Frames a second.
        source: Name of the source file.
        source_sha256: Its hash.
    """

    name: str
    source: str
    source_sha256: str
    theta_F72: Float32
    translation_F3_m: Float32
    fps: float


def fetch_pybullet(folder: Path) -> Path:
    """Download the wheel with the clips, without installing it.

    Raises:
        AssetError: pip can't find the wheel.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
    command += [":all:", "--dest", str(folder), PYBULLET]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    wheels = sorted(folder.glob("pybullet-*.whl"))
    if done.returncode or not wheels:
        raise AssetError(
            f"pip could not download {PYBULLET}: {done.stderr.strip()[-400:]}",
            expected="a wheel for this platform",
            remedy="give a wheel that you have with --pybullet-wheel",
        )
    return wheels[0]


def read_clips(wheel: Path | None = None) -> list[Clip]:
    """Read and retarget all humanoid clips of a pybullet wheel; download it by default."""
    if wheel is None:
        with tempfile.TemporaryDirectory() as folder:
            return read_clips(fetch_pybullet(Path(folder)))
    clips = []
    with zipfile.ZipFile(wheel) as archive:
        for entry in sorted(archive.namelist()):
            stem = Path(entry).stem
            humanoid = stem.startswith("humanoid3d_") or "/walker/" in entry
            if entry.startswith(MOTION_FOLDER) and entry.endswith(".txt") and humanoid:
                prefix = "walker_" if "/walker/" in entry else ""
                name = prefix + stem.removeprefix("humanoid3d_").removeprefix("0")
                clips.append(retarget(name, archive.read(entry), source=Path(entry).name))
    return sorted(clips, key=lambda clip: clip.name)


def _shared(rotation: Rotation, joints: tuple[int, ...]) -> dict[int, Rotation]:
    """Distribute one ball joint's rotation evenly over a chain."""
    part = Rotation.from_rotvec(rotation.as_rotvec() / len(joints))
    return dict.fromkeys(joints, part)


def retarget(name: str, content: bytes, *, source: str) -> Clip:
    """Convert a DeepMimic motion file to SMPL pose.

    The chest's rotation is distributed over SMPL's three spine joints and the neck's over neck and
    head. Collars, wrists, hands and toes stay at rest.
    """
    frames_FD = np.asarray(json.loads(content)["Frames"], dtype=np.float64)
    n_frames = len(frames_FD)

    def ball(column: int) -> Rotation:
        local = Rotation.from_quat(frames_FD[:, column : column + 4], scalar_first=True)
        return _TO_SMPL_AXES * local * _TO_SMPL_AXES.inv()

    def hinge(column: int) -> Rotation:
        local = Rotation.from_euler("z", frames_FD[:, column : column + 1])
        return _TO_SMPL_AXES * local * _TO_SMPL_AXES.inv()

    local = {joint: ball(column) for joint, column in _QUATERNION_AT.items()}
    local |= {joint: hinge(column) for joint, column in _HINGE_AT.items()}
    local |= _shared(ball(_CHEST_AT), _SPINE) | _shared(ball(_NECK_AT), _NECK)

    # World rotations of the source's segments, each measured from the source's own rest pose.
    world: dict[int, Rotation] = {}
    for joint, parent in enumerate(SMPL_PARENTS):
        turn = local.get(joint, Rotation.identity(n_frames))
        world[joint] = turn if parent < 0 else world[parent] * turn

    # Turning a segment of the open body from its own rest direction into the source's comes first.
    down = (0.0, -1.0, 0.0)
    rest = {1: THIGH_DIRECTION, 4: SHIN_DIRECTION, 16: ARM_DIRECTION, 18: ARM_DIRECTION}
    rest |= {20: ARM_DIRECTION, 22: ARM_DIRECTION}
    to_source: dict[int, Rotation] = {}
    for left, direction in rest.items():
        for joint in (left, left + 1):
            mirrored = np.asarray(direction) * (side_sign(joint), 1.0, 1.0)
            to_source[joint] = aim(down, mirrored)
    posed = {j: r * to_source[j] if j in to_source else r for j, r in world.items()}

    theta_FJ3 = np.zeros((n_frames, len(SMPL_PARENTS), 3))
    for joint, parent in enumerate(SMPL_PARENTS):
        turn = posed[joint] if parent < 0 else posed[parent].inv() * posed[joint]
        theta_FJ3[:, joint] = turn.as_rotvec()
    return Clip(
        name=name,
        source=source,
        source_sha256=hashlib.sha256(content).hexdigest(),
        theta_F72=theta_FJ3.reshape(n_frames, -1).astype(np.float32),
        translation_F3_m=_TO_SMPL_AXES.apply(frames_FD[:, 1:4]).astype(np.float32),
        fps=round(1.0 / float(np.median(frames_FD[:-1, 0])), 3),
    )
