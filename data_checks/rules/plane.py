"""The image plane: finite numbers, boxes, 2D joints, and left and right where 3D is unknown.

A picture alone shows less than 3D joints do, and what it shows is likely, not certain. So a row
that breaks a left-right rule without 3D is a warning; too many such rows of a dataset block
(`data_checks.rules.dataset`):

- Whole arms or legs: where shoulders and hips are both seen broadside, in one piece with an
  upright trunk, left and right lie on the same sides of it. A twist by more than a right angle
  is needed to undo that.
- A pair of joints: exchanged, both bones at it run across. Where exchanging them would shorten
  both limbs together by far, they look swapped.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from data_checks.fields import first_axis
from data_checks.proportions import LARGE, NAMES, SHARES, left_parts_at, median, with_twins
from data_checks.rows import Rows, bone_lengths, once
from data_checks.rule import Measured, Rule, Severity, flagged, largest, numbers, register, rule
from hemlets.core.arrays import Array, Float
from hemlets.core.skeleton import JOINTS, N_JOINTS, Joint
from hemlets.data.table import Annotations

_BORDER_PX = 0.5
"""Joints this near the border may be flagged either way."""

BROADSIDE: Final = 0.35
"""Least width of shoulders and of hips over the trunk's length; full width is 0.5 to 0.9."""

_FINITE: Final = (
    "box_xyxy", "joints2d_px", "joints3d_mm", "camera", "theta", "betas", "transl_mm",
    "distortion", "stored_from_source", "head_px",
)  # fmt: skip


def _finite(field: str, rows: Rows) -> Measured:
    names = first_axis(field) or ("the number",)
    entries_NEC = rows.table.column(field).reshape(len(rows), len(names), -1)
    bad_NEC = ~np.isfinite(entries_NEC)

    def observed(row: int) -> str:
        entry, component = np.argwhere(bad_NEC[row])[0]
        total = int(bad_NEC[row].sum())
        more = f", {total} values in all" if total > 1 else ""
        return f"{names[entry]} is {entries_NEC[row, entry, component]}{more}"

    return numbers(bad_NEC.sum((1, 2)), observed)


def _finite_rule(field: str) -> Rule:
    return Rule(
        name=f"{field}_finite", suite="rows", field=field, at_most=0,
        measure=lambda rows: _finite(field, rows),
        says=f"All numbers of {field} are finite, also those marked as not annotated.",
        reason="A NaN or an infinity makes the whole batch's loss NaN, even where masked.",
    )  # fmt: skip


for _field in _FINITE:
    register(_finite_rule(_field))


@once
def _side(rows: Rows) -> Float:
    return rows.boxes[:, 2:] - rows.boxes[:, :2]


@once
def _ordered(rows: Rows) -> Array:
    return np.asarray(np.isfinite(rows.boxes).all(1) & (_side(rows) > 0).all(1))


@once
def _long_side(rows: Rows) -> Float:
    return np.where(_ordered(rows), _side(rows).max(1), np.nan)


@once
def _inside(rows: Rows) -> Array:
    """Annotated joints (N, 18) that are not marked as truncated."""
    finite_NJ = np.isfinite(rows.joints2d).all(2)
    return np.asarray(rows.table.valid2d & finite_NJ & ~rows.table.truncated)


@once
def _outside_image(rows: Rows) -> Float:
    return _outside(rows.joints2d, np.zeros_like(rows.sizes), rows.sizes)


def _outside(joints_NJ2: Float, low_N2: Float, high_N2: Float) -> Float:
    """How far each joint lies outside a rectangle, px; negative inside."""
    beyond = np.maximum(low_N2[:, None] - joints_NJ2, joints_NJ2 - high_N2[:, None])
    return np.asarray(beyond.max(2))


def _box(rows: Rows, values_N: Array) -> Measured:
    return numbers(values_N, lambda row: _box_text(rows, row))


def _box_text(rows: Rows, row: int) -> str:
    left, top, right, bottom = rows.boxes[row]
    width, height = rows.sizes[row]
    return f"box {left:g}, {top:g}, {right:g}, {bottom:g} in an image of {width:g}×{height:g} px"


@rule("rows", "image_width, image_height", at_least=1)
def image_has_size(rows: Rows) -> Measured:
    """Width and height are at least 1 pixel.

    A box can't be checked in an image without a size.
    """
    return numbers(rows.sizes.min(1), lambda row: "image {:g}×{:g} px".format(*rows.sizes[row]))


@rule("rows", "box_xyxy", at_least=1e-3)
def box_ordered(rows: Rows) -> Measured:
    """The box's right is beyond its left and its bottom below its top.

    The crop is cut from the box.
    """
    return _box(rows, _side(rows).min(1)).where(np.asarray(np.isfinite(rows.boxes).all(1)))


@rule("rows", "box_xyxy", at_most=0.5)
def box_inside_image(rows: Rows) -> Measured:
    """The box does not reach out of the image by more than half a pixel.

    A box beyond the image belongs to another image or another scale.
    """
    overhang_N = np.maximum(-rows.boxes[:, :2], rows.boxes[:, 2:] - rows.sizes).max(1)
    return _box(rows, np.maximum(overhang_N, 0)).where(_ordered(rows))


@rule("rows", "box_xyxy", at_least=10)
def box_large_enough(rows: Rows) -> Measured:
    """The box's shorter side has at least 10 pixels.

    Nothing can be learned from a person of a few pixels.
    """
    return _box(rows, _side(rows).min(1)).where(_ordered(rows))


@rule("rows", "joints2d_px", at_most=0.5)
def joints2d_inside_image(rows: Rows) -> Measured:
    """A joint that is not marked as truncated lies inside the image.

    A joint outside the image has no heatmap.
    """
    return largest(
        np.where(_inside(rows), np.maximum(_outside_image(rows), 0), 0),
        lambda row, joint: (
            f"{JOINTS[joint]} lies {_outside_image(rows)[row, joint]:.1f} px outside the image "
            "and is not marked as truncated"
        ),
    )


@rule("rows", "truncated", at_most=0)
def truncated_flag_right(rows: Rows) -> Measured:
    """A joint that is marked as truncated lies outside the image.

    Slices of the metrics by truncation would be wrong.
    """
    table = rows.table
    known_NJ = table.valid2d & table.truncated
    wrong_NJ = known_NJ & (_outside_image(rows) < -_BORDER_PX)
    return flagged(wrong_NJ, JOINTS, ": marked as truncated, but inside the image")


@rule("rows", "visible", at_most=0)
def visible_flag_right(rows: Rows) -> Measured:
    """No joint is marked as both visible and truncated.

    Slices of the metrics by visibility would be wrong.
    """
    both_NJ = rows.table.visible & rows.table.truncated
    return flagged(both_NJ, JOINTS, ": both visible and truncated")


@rule("rows", "box_xyxy", at_most=0.15)
def joints_in_box(rows: Rows) -> Measured:
    """Visible joints lie in the box or at most 15 % of its longer side beyond it.

    Box and joints belong to different persons, or to different scales of the image.
    """
    box_N4 = rows.boxes
    beyond_NJ = np.where(
        _inside(rows) & rows.table.visible,
        _outside(rows.joints2d, box_N4[:, :2], box_N4[:, 2:]), -np.inf,
    )  # fmt: skip
    return numbers(
        np.maximum(beyond_NJ.max(1), 0) / _long_side(rows),
        lambda row: (
            f"{JOINTS[int(np.argmax(beyond_NJ[row]))]} lies {beyond_NJ[row].max():.1f} px beyond "
            f"the {_box_text(rows, row)}"
        ),
    )


@rule("rows", "box_xyxy", severity=Severity.WARN, at_least=0.2)
def box_fits_joints(rows: Rows) -> Measured:
    """The joints inside the image span at least 20 % of the box's longer side.

    A box far larger than its person gives a tiny person in the crop.
    """
    used_NJ = _inside(rows)
    low_N2 = np.where(used_NJ[..., None], rows.joints2d, np.inf).min(1)
    high_N2 = np.where(used_NJ[..., None], rows.joints2d, -np.inf).max(1)
    span_N = np.where(used_NJ.sum(1) >= 4, (high_N2 - low_N2).max(1), np.nan)
    return numbers(
        span_N / _long_side(rows),
        lambda row: f"joints span {span_N[row]:.1f} px of the {_box_text(rows, row)}",
    )


@rule("rows", "valid2d, valid3d", severity=Severity.WARN, at_most=0)
def unannotated_is_zero(rows: Rows) -> Measured:
    """Entries that are marked as not annotated are 0.

    Other values there suggest that the validity is wrong.
    """
    table = rows.table
    leftover_NJ = ~table.valid2d & (table.joints2d_px != 0).any(2)
    leftover_NJ |= ~table.valid3d & (table.joints3d_mm != 0).any(2)
    return flagged(leftover_NJ, JOINTS, ": not annotated, but not 0")


@rule("2D only", "joints2d_px", at_most=3)
def joints2d_distinct(rows: Rows) -> Measured:
    """At most three joints lie at exactly the same place.

    A placeholder, usually 0, 0, is marked as annotated.
    """
    flat_N = ~rows.table.valid3d.any(1)
    used_NJ, thousandths_NJ2 = _inside(rows)[flat_N], np.round(rows.joints2d[flat_N] * 1000)
    place_NJ = thousandths_NJ2[..., 0] + 1j * thousandths_NJ2[..., 1]
    same_NJJ = (place_NJ[:, :, None] == place_NJ[:, None]) & used_NJ[:, None]
    most_N = np.full(len(rows), np.nan)
    most_N[flat_N] = (same_NJJ.sum(2) * used_NJ).max(1)
    return numbers(most_N, lambda row: f"{most_N[row]:.0f} joints lie at exactly the same place")


@rule("2D only", "joints2d_px", severity=Severity.WARN, at_most=0)
def left_right_limb_2d(rows: Rows) -> Measured:
    """Without 3D: shoulders and hips seen broadside have left and right on the same sides.

    The left and right labels of both arms or both legs are probably swapped; only a twist by more
    than a right angle looks the same.
    """
    _, shoulders_N, hips_N = trunk(_flat_joints(rows))
    broadside_N = (np.abs(shoulders_N) > BROADSIDE) & (np.abs(hips_N) > BROADSIDE / 2)
    text = "shoulders and hips, both broadside, have left and right on opposite sides"
    return numbers(shoulders_N * hips_N < 0, lambda row: text).where(broadside_N)


_PAIRS = ("KNEE", "ANKLE", "ELBOW", "WRIST")


@rule("2D only", "joints2d_px", severity=Severity.WARN, at_most=2.2)
def left_right_pair_2d(rows: Rows) -> Measured:
    """Without 3D: exchanging left and right of a pair does not shorten the limbs by 2.2 times.

    The left and right labels of a pair are probably swapped; crossed limbs rarely look so.
    """
    gain_NX = np.stack([_gain(_flat_joints(rows), name) for name in _PAIRS], 1)
    return largest(
        gain_NX,
        lambda row, pair: (
            f"limbs are {gain_NX[row, pair]:.1f} times shorter with left and right "
            f"{_PAIRS[pair].lower()} exchanged"
        ),
    )


@rule("2D only", "joints2d_px", severity=Severity.WARN, at_most=8)
def bones_in_proportion_2d(rows: Rows) -> Measured:
    """Without 3D: no large bone is 8 times as long in the picture as the others suggest.

    Foreshortening makes bones short, never long: a joint is at the wrong place or carries another
    joint's name.
    """
    # The head's length says little in a picture: it bends towards the camera.
    ratio_NB = bone_lengths(_flat_joints(rows))[:, LARGE[1:]] / SHARES[1:]
    stretch_NB = ratio_NB / median(ratio_NB, fewest=4, lower=True)[:, None]
    return largest(
        stretch_NB,
        lambda row, bone: (
            f"the {NAMES[LARGE[1 + bone]].replace('_', ' ')} is {stretch_NB[row, bone]:.1f} times "
            "as long as the other bones suggest"
        ),
    )


def faces_camera(table: Annotations) -> tuple[Array, Array, Array]:
    """People without 3D who stand broadside and have a nose.

    Returns:
        For each row (N,): whether it is of such a person, whether their left shoulder lies on
        the right of the picture, and whether their nose is seen.
    """
    up_N2, shoulders_N, _ = trunk(flat_joints(table))
    usable_N = np.asarray(np.abs(shoulders_N) > BROADSIDE) & (up_N2[:, 1] < 0)
    usable_N &= table.valid2d[:, Joint.NOSE]
    usable_N &= table.visible[:, Joint.LEFT_SHOULDER] | table.visible[:, Joint.RIGHT_SHOULDER]
    return usable_N, np.asarray(shoulders_N > 0), table.visible[:, Joint.NOSE]


def flat_joints(table: Annotations) -> Float:
    """2D joints (N, 18, 2) inside the image, px, of rows without 3D; NaN elsewhere."""
    joints_NJ2 = table.joints2d_px.astype(np.float64)
    usable_NJ = (
        table.valid2d & ~table.truncated & np.isfinite(joints_NJ2).all(2)
        & ~np.asarray(table.valid3d.any(1))[:, None]
    )  # fmt: skip
    return np.where(usable_NJ[..., None], joints_NJ2, np.nan)


@once
def _flat_joints(rows: Rows) -> Float:
    return flat_joints(rows.table)


def trunk(points_NJ2: Float) -> tuple[Float, Float, Float]:
    """Direction of the trunk (N, 2), and how far to its right the left shoulder and hip lie (N,).

    The distances are relative to the trunk's length.
    """
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


def _gain(points_NJ2: Float, name: str) -> Float:
    """How many times shorter both limbs get when a pair of joints is exchanged."""
    pair = [Joint[f"LEFT_{name}"], Joint[f"RIGHT_{name}"]]
    order = np.arange(N_JOINTS)
    order[pair] = order[pair[::-1]]
    both = with_twins(left_parts_at(pair[0]))
    now, then = (bone_lengths(p)[:, both].sum(1) for p in (points_NJ2, points_NJ2[:, order]))
    return np.asarray(now / (then + 1e-9))
