"""Left and right, and proportions, where only 2D joints are known.

A picture alone tells less than 3D joints do, and what it tells is likely, not certain, so a row
that fails is a warning; that too many rows of a dataset fail blocks.

- Whole arms or legs: where shoulders and hips are both seen broadside, in one piece with an
  upright trunk, left and right lie on the same sides of it. A twist by more than a right angle
  is needed to undo that.
- A pair of joints: exchanged, both bones at it run across. Where exchanging them would shorten
  both limbs together by far, they look swapped.
- The whole body: one picture can't tell. Over a dataset, noses are seen more often on people
  whose left shoulder lies on the right of the picture, who face the camera.
"""

from __future__ import annotations

import numpy as np

from data_checks.columns.base import Array, Column, Columns, Float
from hemlets.core.skeleton import FLIP_PARTS, N_JOINTS, PART_CHILD, PART_PARENT, PARTS, Joint
from hemlets.data.table import Annotations

_BROADSIDE = 0.35
"""Least width of shoulders and of hips over the trunk's length; full width is 0.5 to 0.9."""

MAX_GAIN = 2.2
"""Times that a limb's two bones together get shorter, on both sides, by exchanging a pair."""

_LONG = {
    "torso": 0.29, "left_thigh": 0.25, "right_thigh": 0.25, "left_shin": 0.26,
    "right_shin": 0.26, "left_upper_arm": 0.17, "right_upper_arm": 0.17,
    "left_forearm": 0.15, "right_forearm": 0.15,
}  # fmt: skip
_NAMES = [part.name for part in PARTS]
_LARGE = [_NAMES.index(name) for name in _LONG]
_SHARES = np.array(list(_LONG.values()))


def side_columns(table: Annotations) -> Columns:
    """Expectations of 2D joints of rows without 3D."""
    points_NJ2 = _flat_joints(table)
    facing_N = _opposed(points_NJ2)
    gain_NX = np.stack([_gain(points_NJ2, name) for name in _PAIRS], 1)
    gain_N = np.where(np.isnan(gain_NX), -np.inf, gain_NX).max(1)
    ratio_NB = _lengths(points_NJ2)[:, _LARGE] / _SHARES
    with np.errstate(divide="ignore"):
        usual_N = _nanmedian(ratio_NB)
        stretch_NB = ratio_NB / usual_N[:, None]
    stretch_N = np.where(np.isnan(stretch_NB), -np.inf, stretch_NB).max(1)

    def pair(row: int) -> str:
        name = _PAIRS[int(np.nanargmax(gain_NX[row]))].lower()
        return f"limbs are {gain_N[row]:.1f} times shorter with left and right {name} exchanged"

    def long(row: int) -> str:
        bone = int(np.nanargmax(stretch_NB[row]))
        name = _NAMES[_LARGE[bone]].replace("_", " ")
        return f"the {name} is {stretch_N[row]:.1f} times as long as the other bones suggest"

    return {
        "left_right_limb_2d": Column(
            values=facing_N,
            observed=lambda row: (
                "shoulders and hips, both broadside, have left and right on opposite sides"
            ),
        ),
        "left_right_pair_2d": Column(
            values=np.where(np.isfinite(gain_N), gain_N, np.nan), observed=pair
        ),
        "bones_in_proportion_2d": Column(
            values=np.where(np.isfinite(stretch_N), stretch_N, np.nan), observed=long
        ),
    }


def faces_camera(table: Annotations) -> tuple[Array, Array]:
    """People without 3D who stand broadside and have a nose.

    Returns:
        Whether the left shoulder lies on the right of the picture, and whether the nose is
        seen, for these people.
    """
    points_NJ2 = _flat_joints(table)
    up, shoulders, _ = _trunk(points_NJ2)
    seen_NJ, known_NJ = np.asarray(table.visible), np.asarray(table.valid2d)
    usable_N = np.asarray(np.abs(shoulders) > _BROADSIDE)
    usable_N &= known_NJ[:, Joint.NOSE] & (up[:, 1] < 0)
    usable_N &= seen_NJ[:, Joint.LEFT_SHOULDER] | seen_NJ[:, Joint.RIGHT_SHOULDER]
    front_N = np.asarray(shoulders > 0)
    return front_N[usable_N], seen_NJ[usable_N, Joint.NOSE]


_PAIRS = ("KNEE", "ANKLE", "ELBOW", "WRIST")


def _flat_joints(table: Annotations) -> Float:
    joints_NJ2 = table.joints2d_px.astype(np.float64)
    usable_NJ = (
        table.valid2d & ~table.truncated & np.isfinite(joints_NJ2).all(2)
        & ~np.asarray(table.valid3d.any(1))[:, None]
    )  # fmt: skip
    return np.where(usable_NJ[..., None], joints_NJ2, np.nan)


def _trunk(points_NJ2: Float) -> tuple[Float, Float, Float]:
    """The trunk's direction, and how far right of its right the left shoulder and hip lie."""
    shoulders = points_NJ2[:, [Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]]
    hips = points_NJ2[:, [Joint.LEFT_HIP, Joint.RIGHT_HIP]]
    up = shoulders.mean(1) - hips.mean(1)
    length = np.linalg.norm(up, axis=1, keepdims=True) + 1e-9
    up = up / length
    right = np.stack([-up[:, 1], up[:, 0]], 1)
    widths = [
        ((pair[:, 0] - pair[:, 1]) * right).sum(1) / length[:, 0] for pair in (shoulders, hips)
    ]
    return up, widths[0], widths[1]


def _opposed(points_NJ2: Float) -> Float:
    """1 where shoulders and hips contradict each other, NaN where they aren't broadside."""
    _, shoulders, hips = _trunk(points_NJ2)
    broad = (np.abs(shoulders) > _BROADSIDE) & (np.abs(hips) > _BROADSIDE / 2)
    return np.where(broad, (shoulders * hips < 0).astype(np.float64), np.nan)


def _gain(points_NJ2: Float, name: str) -> Float:
    """How many times shorter both limbs get when a pair of joints is exchanged."""
    pair = [Joint[f"LEFT_{name}"], Joint[f"RIGHT_{name}"]]
    order = np.arange(N_JOINTS)
    order[pair] = order[pair[::-1]]
    parts = [i for i, n in enumerate(_NAMES)
             if n.startswith("left_") and pair[0] in (PART_PARENT[i], PART_CHILD[i])]  # fmt: skip
    both = parts + [FLIP_PARTS[part] for part in parts]
    now, then = (_lengths(p)[:, both].sum(1) for p in (points_NJ2, points_NJ2[:, order]))
    return np.asarray(now / (then + 1e-9))


def _lengths(points_NJ2: Float) -> Float:
    bones = points_NJ2[:, PART_CHILD] - points_NJ2[:, PART_PARENT]
    return np.asarray(np.linalg.norm(bones, axis=2))


def _nanmedian(values_NK: Float) -> Float:
    ordered = np.sort(values_NK, axis=1)
    count = np.isfinite(ordered).sum(1)
    middle = ordered[np.arange(len(ordered)), np.maximum(count - 1, 0) // 2]
    return np.asarray(np.where(count >= 4, middle, np.nan))
