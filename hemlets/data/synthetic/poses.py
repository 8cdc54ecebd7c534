"""Draw plausible poses from motion capture: a frame, another clip's limbs, anatomical noise.

The bundled clips move 13 of SMPL's 24 joints, and come from few people; a model would learn
constants for the other joints. So every joint moves here: trunk bend is shared among spine joints,
neck and head turn, collars follow the arms, and wrists, hands, ankles and toes move.

For θ's axes see `hemlets.body.limits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation

from hemlets.assets.clips import MotionClip, load_clips
from hemlets.body.limits import limit_pose
from hemlets.core.arrays import Float
from hemlets.core.errors import DataError
from hemlets.core.skeleton import SMPL_JOINTS
from hemlets.data.synthetic.config import OpenDataConfig

_INDEX = {name: index for index, name in enumerate(SMPL_JOINTS)}


def _joints(names: str) -> list[int]:
    return [_INDEX[name] for name in names.split()]


_SPINE = _joints("spine1 spine2 spine3")
_NECK = _joints("neck head")
_COLLARS = _joints("left_collar right_collar")
_SHOULDERS = _joints("left_shoulder right_shoulder")
_SIDES = np.array([1.0, -1.0])
"""Sign of x on the body's left and right."""

_LEFT_ARM = _joints("left_shoulder left_elbow left_wrist left_hand")
_RIGHT_ARM = _joints("right_shoulder right_elbow right_wrist right_hand")
_LEFT_LEG = _joints("left_hip left_knee left_ankle left_foot")
_RIGHT_LEG = _joints("right_hip right_knee right_ankle right_foot")
_MIXED_GROUPS: tuple[list[int], ...] = (
    [*_NECK, *_LEFT_ARM, *_RIGHT_ARM],
    [*_SPINE, *_NECK, *_LEFT_ARM, *_RIGHT_ARM],
    [*_LEFT_LEG, *_RIGHT_LEG],
    _LEFT_ARM,
    _RIGHT_ARM,
)

# Standard deviation of the noise about x, y, z of each joint's own frame, radians: small off the
# axis of hinges, largest for joints that the clips leave at rest.
_NOISE_RAD = {
    "hip": (0.12, 0.08, 0.08),
    "knee": (0.12, 0.02, 0.02),
    "ankle": (0.16, 0.10, 0.10),
    "foot": (0.16, 0.03, 0.05),
    "spine1": (0.05, 0.05, 0.05),
    "spine2": (0.05, 0.05, 0.05),
    "spine3": (0.05, 0.05, 0.05),
    "neck": (0.08, 0.08, 0.08),
    "head": (0.10, 0.10, 0.08),
    "collar": (0.05, 0.05, 0.06),
    "shoulder": (0.15, 0.15, 0.15),
    "elbow": (0.04, 0.20, 0.03),
    "wrist": (0.30, 0.18, 0.30),
    "hand": (0.05, 0.08, 0.15),
}
_TRUNK_BEND_RAD = np.array([0.16, 0.16, 0.10])
_LOOK_RAD = np.array([0.18, 0.30, 0.10])


def _kind(name: str) -> str:
    return name.removeprefix("left_").removeprefix("right_")


def _noise_table() -> Float:
    return np.array([_NOISE_RAD.get(_kind(name), (0.0, 0.0, 0.0)) for name in SMPL_JOINTS])


_NOISE_J3 = _noise_table()


class MotionLibrary:
    """Clips by split, with drawing probabilities.

    A family's probability grows with the variety of its motion and with the root of its number of
    clips; within a family, a clip's grows with the root of its length. So neither long clips nor
    large families dominate.

    Raises:
        DataError: A family's clips are in more than one split.
    """

    def __init__(self, clips: Sequence[MotionClip]) -> None:
        self.clips = tuple(sorted(clips, key=lambda clip: clip.name))
        split_of: dict[str, str] = {}
        for clip in self.clips:
            if split_of.setdefault(clip.family, clip.split) != clip.split:
                raise DataError(
                    f"the motion family is in {split_of[clip.family]} and in {clip.split}",
                    where=f"{clip.family}: {clip.name}",
                    expected="all clips of a family in one split",
                )
        self._theta = {
            clip.name: clip.theta_F72.reshape(len(clip), -1, 3).astype(np.float64)
            for clip in self.clips
        }

    @classmethod
    def bundled(cls) -> MotionLibrary:
        """The clips that ship with the project, in their default splits."""
        return cls(load_clips())

    def theta_of(self, clip: MotionClip) -> Float:
        """Return a clip's axis-angles (F, 24, 3), radians."""
        return self._theta[clip.name]

    @cached_property
    def _tables(self) -> dict[str, tuple[tuple[MotionClip, ...], Float]]:
        tables: dict[str, tuple[tuple[MotionClip, ...], Float]] = {}
        for split in {clip.split for clip in self.clips}:
            clips = tuple(clip for clip in self.clips if clip.split == split)
            odds = np.zeros(len(clips))
            for family in sorted({clip.family for clip in clips}):
                members = [i for i, clip in enumerate(clips) if clip.family == family]
                richness = np.mean([self.theta_of(clips[i])[:, 1:].std(0).mean() for i in members])
                lengths = np.sqrt([len(clips[i]) for i in members])
                odds[members] = (0.1 + richness) * np.sqrt(len(members)) * lengths / lengths.sum()
            tables[split] = clips, np.cumsum(odds / odds.sum())
        return tables

    def of_split(self, split: str) -> tuple[MotionClip, ...]:
        """Return the clips of one split, sorted by name."""
        return self._tables[split][0] if split in self._tables else ()

    def draw(self, rng: np.random.Generator, split: str) -> MotionClip:
        """Draw a random clip of a split.

        Raises:
            DataError: The split has no clip.
        """
        if split not in self._tables:
            raise DataError("no motion clip belongs to the split", where=split)
        clips, cumulative = self._tables[split]
        position = int(np.searchsorted(cumulative, rng.random(), side="right"))
        return clips[min(position, len(clips) - 1)]


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A pose and its origin.

    Attributes:
        theta_J3: Axis-angles (24, 3) in radians; the root in the clip's world, y up.
        clip: Name of the clip, or of both clips of a mixture, joined by ``+``.
        family: Their families, joined in the same way where they differ.
        frame: Frame number in the first clip.
    """

    theta_J3: Float
    clip: str
    family: str
    frame: int


def draw_pose(
    rng: np.random.Generator, library: MotionLibrary, split: str, config: OpenDataConfig
) -> Pose:
    """Draw a pose of a split."""
    clip = library.draw(rng, split)
    frame = int(rng.integers(len(clip)))
    theta = library.theta_of(clip)[frame].copy()
    names, families = [clip.name], [clip.family]
    if rng.random() < config.mixture_probability:
        other = library.draw(rng, split)
        group = _MIXED_GROUPS[rng.integers(len(_MIXED_GROUPS))]
        if other.name != clip.name:
            theta[group] = library.theta_of(other)[rng.integers(len(other))][group]
            names.append(other.name)
            families += [other.family] if other.family != clip.family else []

    if split == "train":
        _free_limbs(rng, theta, config.free_limb_probability)
    scale = config.pose_noise
    _share(rng, theta, _SPINE, _TRUNK_BEND_RAD * scale)
    _share(rng, theta, _NECK, _LOOK_RAD * scale)
    theta += rng.standard_normal(theta.shape) * _NOISE_J3 * scale
    _tilt(rng, theta, config.tumble_probability)
    theta = limit_pose(theta)
    _raise_collars(theta)
    return Pose(
        theta_J3=limit_pose(theta), clip="+".join(names), family="+".join(families), frame=frame
    )


def _share(rng: np.random.Generator, theta_J3: Float, chain: list[int], extra_std: Float) -> None:
    """Add a bend to a chain and distribute the whole bend among its joints."""
    whole = theta_J3[chain].sum(0) + rng.normal(0.0, 1.0, 3) * extra_std
    shares = rng.dirichlet(np.full(len(chain), 8.0))
    theta_J3[chain] = shares[:, None] * whole


def _tilt(rng: np.random.Generator, theta_J3: Float, tumble_probability: float) -> None:
    """Lean the body a little, or rotate it at random."""
    if rng.random() < tumble_probability:
        turn = Rotation.from_quat(rng.standard_normal(4))
    else:
        lean_x, lean_z = rng.normal(0.0, 0.08, 2)
        turn = Rotation.from_rotvec([lean_x, 0.0, lean_z])
    theta_J3[0] = (turn * Rotation.from_rotvec(theta_J3[0])).as_rotvec()


def _free_limbs(rng: np.random.Generator, theta_J3: Float, probability: float) -> None:
    for side, arm in zip(_SIDES, (_LEFT_ARM, _RIGHT_ARM), strict=True):
        if rng.random() < probability:
            shoulder, elbow = arm[:2]
            theta_J3[shoulder] = _free_shoulder(rng, float(side))
            theta_J3[elbow] = 0.0, -side * rng.uniform(0.0, 2.3), 0.0
    for side, leg in zip(_SIDES, (_LEFT_LEG, _RIGHT_LEG), strict=True):
        if rng.random() < probability:
            hip, knee = leg[:2]
            flexion = rng.uniform(-0.5, 1.9)
            spread = rng.uniform(-0.15, 0.8)
            swing = Rotation.from_euler("xz", [-flexion, side * spread])
            twist = Rotation.from_rotvec([0.0, rng.uniform(-0.5, 0.5), 0.0])
            theta_J3[hip] = (swing * twist).as_rotvec()
            # The knee bends less behind a thigh that is stretched backwards.
            theta_J3[knee] = rng.uniform(0.0, 1.3 + 0.55 * max(flexion, 0.0)), 0.0, 0.0


def _free_shoulder(rng: np.random.Generator, side: float) -> Float:
    """Draw a direction of the upper arm outside the trunk and the back."""
    while True:
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        outward, front = direction[0] * side, direction[2]
        if outward > -0.3 and front > -0.5 and (outward > 0.15 or front > 0.5):
            break
    rest = np.array([side, 0.0, 0.0])
    axis = np.cross(rest, direction)
    sine = float(np.linalg.norm(axis))
    swing = Rotation.from_rotvec(axis / max(sine, 1e-9) * np.arctan2(sine, rest @ direction))
    twist = Rotation.from_rotvec(rest * rng.uniform(-1.0, 1.0))
    return np.asarray((swing * twist).as_rotvec())


def _raise_collars(theta_J3: Float) -> None:
    """Move a part of each arm's elevation and reach to the collar; the arm's direction stays.

    The shoulder girdle takes about a third of an arm's elevation above the horizontal
    (scapulohumeral rhythm, Inman et al. 1944).
    """
    arms = Rotation.from_rotvec(theta_J3[_SHOULDERS])
    directions = arms.apply(np.stack([_SIDES, 0 * _SIDES, 0 * _SIDES], -1))
    raised = np.arcsin(np.clip(directions[:, 1], -1.0, 1.0))
    lift = 0.35 * np.maximum(raised, 0.0) + 0.08 * np.minimum(raised, 0.0)
    reach = 0.22 * directions[:, 2]
    carried = np.stack([0 * lift, -_SIDES * reach, _SIDES * lift], -1)
    collars = Rotation.from_rotvec(theta_J3[_COLLARS] + carried)
    theta_J3[_SHOULDERS] = (Rotation.from_rotvec(carried).inv() * arms).as_rotvec()
    theta_J3[_COLLARS] = collars.as_rotvec()
