"""Expectations of numbers as such, and of boxes and joints in the picture."""

from __future__ import annotations

from typing import Final

from data_checks.check import Check, Severity, at_most, within

FINITE_FIELDS: Final = (
    "box_xyxy", "joints2d_px", "joints3d_mm", "camera", "theta", "betas", "transl_mm",
    "distortion", "stored_from_source", "head_px",
)  # fmt: skip


def _finite(field: str) -> Check:
    return at_most(
        f"{field}_finite", field, 0,
        f"All numbers of {field} are finite, those marked as not annotated too.",
        "A NaN or an infinity turns the whole batch's loss into NaN, even where it is masked.",
    )  # fmt: skip


FINITE: Final = tuple(_finite(field) for field in FINITE_FIELDS)

PLANE: Final[tuple[Check, ...]] = (
    within(
        "box_ordered", "box_xyxy", 1e-3, None,
        "The box's right is beyond its left and its bottom below its top.",
        "The crop is cut from the box.",
    ),
    at_most(
        "box_inside_image", "box_xyxy", 0.5,
        "The box does not reach out of the image by more than half a pixel.",
        "A box beyond the image belongs to another image or another scale.",
    ),
    within(
        "box_large_enough", "box_xyxy", 10.0, None,
        "The box's shorter side has at least 10 pixels.",
        "Nothing can be learned from a person of a few pixels.",
    ),
    at_most(
        "joints2d_inside_image", "joints2d_px", 0.5,
        "A joint that is not marked as truncated lies inside the image.",
        "A joint outside the image has no heatmap.",
    ),
    at_most(
        "truncated_flag_right", "truncated", 0,
        "A joint that is marked as truncated lies outside the image.",
        "Slices of the metrics by truncation would be wrong.",
    ),
    at_most(
        "visible_flag_right", "visible", 0,
        "No joint is marked as both visible and truncated.",
        "Slices of the metrics by visibility would be wrong.",
    ),
    at_most(
        "joints_in_box", "box_xyxy", 0.15,
        "Visible joints lie in the box or at most 15 % of its longer side beyond it.",
        "Box and joints belong to different persons, or to different scales of the image.",
    ),
    Check(
        name="box_fits_joints", field="box_xyxy", low=0.2, severity=Severity.WARN,
        says="The joints inside the image span at least 20 % of the box's longer side.",
        reason="A box far larger than its person gives a tiny person in the crop.",
    ),
    at_most(
        "unannotated_is_zero", "valid2d, valid3d", 0,
        "Entries that are marked as not annotated are 0.",
        "Other values there suggest that the validity is wrong.",
        severity=Severity.WARN,
    ),
)  # fmt: skip

PLANE_ONLY: Final[tuple[Check, ...]] = (
    at_most(
        "joints2d_distinct", "joints2d_px", 3,
        "At most three joints lie at the very same place.",
        "A placeholder, usually 0, 0, is marked as annotated.",
    ),
    at_most(
        "left_right_limb_2d", "joints2d_px", 0,
        "Without 3D: shoulders and hips seen broadside have left and right on the same sides.",
        "The left and right labels of both arms or both legs are probably swapped; only a twist "
        "by more than a right angle looks the same.",
        severity=Severity.WARN,
    ),
    at_most(
        "left_right_pair_2d", "joints2d_px", 2.2,
        "Without 3D: exchanging left and right of a pair does not shorten the limbs by 2.2 times.",
        "The left and right labels of a pair are probably swapped; crossed limbs rarely look so.",
        severity=Severity.WARN,
    ),
    at_most(
        "bones_in_proportion_2d", "joints2d_px", 8.0,
        "Without 3D: no large bone is 8 times as long in the picture as the others suggest.",
        "Foreshortening makes bones short, never long: a joint is at the wrong place or carries "
        "another joint's name.",
        severity=Severity.WARN,
    ),
)  # fmt: skip
