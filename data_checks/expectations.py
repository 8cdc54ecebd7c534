"""What a data version must satisfy: every expectation with its severity, reason and bounds.

An expectation of a row is a bound on one derived column (see `data_checks.columns`). A missing
value there means that the expectation has nothing to say about the row, because the entry is
marked as not annotated or another expectation already covers what is wrong with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from hemlets.annotations import SPLITS

__all__ = [
    "BODY_LIMIT_MM",
    "DRIFT_CHECKS",
    "MIN_ROWS_PER_SPLIT",
    "RENDERED_SOURCES",
    "ROW_CHECKS",
    "SCHEMA_CHECKS",
    "SPLIT_CHECKS",
    "THETA_CHECKS",
    "Check",
    "Severity",
]

RENDERED_SOURCES: tuple[str, ...] = ("open-rendered",)
"""Sources whose 3D joints are regressed from the very body that θ and β describe."""

MIN_ROWS_PER_SPLIT = 4
"""Below it a split has no spread to speak of, whatever the profile asks for."""

BODY_LIMIT_MM = 5.0
"""Distance between a rendered person's joints and those of the body posed anew."""

_TURN = math.pi + 0.1
"""A rotation of more than half a turn has a shorter axis-angle; 0.1 rad for rounding and noise."""


class Severity(StrEnum):
    """What a failure does."""

    BLOCK = "block"
    WARN = "warn"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One expectation.

    Attributes:
        name: Names the expectation and the derived column that it bounds.
        field: Field of the annotation table that is wrong when it fails.
        says: The expectation in plain words.
        reason: What would go wrong without it.
        severity: Whether a failure stops the flow.
        kind: A bound on numbers, unique values, or membership.
        low: Smallest accepted number; no bound when None.
        high: Largest accepted number; no bound when None.
        among: Accepted values of a membership.
    """

    name: str
    field: str
    says: str
    reason: str
    severity: Severity = Severity.BLOCK
    kind: Literal["between", "unique", "among"] = "between"
    low: float | None = None
    high: float | None = None
    among: tuple[str, ...] = ()


def _at_most(
    name: str,
    field: str,
    high: float,
    says: str,
    reason: str,
    severity: Severity = Severity.BLOCK,
) -> Check:
    return Check(name=name, field=field, high=high, says=says, reason=reason, severity=severity)


def _within(
    name: str, field: str, low: float | None, high: float | None, says: str, reason: str
) -> Check:
    return Check(name=name, field=field, low=low, high=high, says=says, reason=reason)


SCHEMA_CHECKS: tuple[Check, ...] = (
    _at_most(
        "schema_matches", "annotations.parquet", 0,
        "The table can be read and has every column with the type of the annotation schema.",
        "Everything after this stage reads the table by these names and types.",
    ),
    _at_most(
        "no_nulls", "annotations.parquet", 0,
        "No cell is null.",
        "What is not annotated is marked by a validity, so a null is a fault of the writer.",
    ),
)  # fmt: skip

_IDENTITY = (
    Check(
        name="sample_id_unique", field="sample_id", kind="unique",
        says="Every sample id occurs once.",
        reason="Predictions and shards are joined to annotations by sample id.",
    ),
    Check(
        name="split_known", field="split", kind="among", among=SPLITS,
        says=f"The split is one of {', '.join(SPLITS)}.",
        reason="A row of an unknown split is silently never used.",
    ),
    _at_most(
        "person_annotated_once", "image_hash", 0,
        "No two rows of a split show the same image with the same box.",
        "A duplicated person is counted twice, in the loss and in the metrics.",
    ),
    _at_most(
        "image_in_one_split", "image_hash", 1,
        "The same image does not occur in two splits.",
        "An image that was trained on makes held-out errors look better than they are.",
    ),
    _at_most(
        "clip_in_one_split", "clip", 1,
        "A motion clip, and every mixture with it, stays in one split.",
        "Neighbouring frames of a clip are nearly the same pose.",
    ),
    _at_most(
        "family_in_one_split", "family", 1,
        "A family of motions stays in one split.",
        "The splits are made by family; a family in two of them is a leak.",
    ),
)  # fmt: skip


def _finite(field: str) -> Check:
    return _at_most(
        f"{field}_finite", field, 0,
        f"All numbers of {field} are finite, those marked as not annotated too.",
        "A NaN or an infinity turns the whole batch's loss into NaN, even where it is masked.",
    )  # fmt: skip


FINITE_FIELDS = (
    "box_xyxy", "joints2d_px", "joints3d_mm", "camera", "theta", "betas", "transl_mm",
)  # fmt: skip

_FINITE = tuple(_finite(field) for field in FINITE_FIELDS)

_PLANE = (
    _within(
        "box_ordered", "box_xyxy", 1e-3, None,
        "The box's right is beyond its left and its bottom below its top.",
        "The crop is cut from the box.",
    ),
    _at_most(
        "box_inside_image", "box_xyxy", 0.5,
        "The box does not reach out of the image by more than half a pixel.",
        "A box beyond the image belongs to another image or another scale.",
    ),
    _within(
        "box_large_enough", "box_xyxy", 10.0, None,
        "The box's shorter side has at least 10 pixels.",
        "Nothing can be learned from a person of a few pixels.",
    ),
    _at_most(
        "joints2d_inside_image", "joints2d_px", 0.5,
        "A joint that is not marked as truncated lies inside the image.",
        "A joint outside the image has no heatmap.",
    ),
    _at_most(
        "truncated_flag_right", "truncated", 0,
        "A joint that is marked as truncated lies outside the image.",
        "Slices of the metrics by truncation would be wrong.",
    ),
    _at_most(
        "visible_flag_right", "visible", 0,
        "No joint is marked as both visible and truncated.",
        "Slices of the metrics by visibility would be wrong.",
    ),
    _at_most(
        "joints_in_box", "box_xyxy", 0.15,
        "Visible joints lie in the box or at most 15 % of its longer side beyond it.",
        "Box and joints belong to different persons, or to different scales of the image.",
    ),
    Check(
        name="box_fits_joints", field="box_xyxy", low=0.2, severity=Severity.WARN,
        says="The joints inside the image span at least 20 % of the box's longer side.",
        reason="A box far larger than its person gives a tiny person in the crop.",
    ),
    _at_most(
        "unannotated_is_zero", "valid2d, valid3d", 0,
        "Entries that are marked as not annotated are 0.",
        "Other values there suggest that the validity is wrong.",
        severity=Severity.WARN,
    ),
)  # fmt: skip

_CAMERA = (
    _within(
        "camera_focal_positive", "camera", 1.0, None,
        "The focal lengths fx and fy are above 1 pixel.",
        "A focal length of zero or below mirrors or collapses the projection.",
    ),
    _within(
        "camera_pixels_square", "camera", 0.8, 1.25,
        "fx and fy differ by at most 25 %.",
        "Pixels are nearly square; a larger ratio means swapped or scaled intrinsics.",
    ),
    _at_most(
        "camera_centre_near", "camera", 3.0,
        "The principal point lies inside the image or at most three image sides beyond it.",
        "A stored image may be a crop of a larger photograph; a point farther off means intrinsics "
        "of another image.",
    ),
    _within(
        "depth_positive", "joints3d_mm", 1.0, None,
        "Every joint lies in front of the camera.",
        "A joint behind the camera has no projection; the frame's axes are probably wrong.",
    ),
    _at_most(
        "reprojection_matches", "joints2d_px", 1.0,
        "3D joints land on their 2D joints within 1 pixel plus 1 % of the box.",
        "2D, 3D and camera contradict each other: a label is swapped, shifted or scaled.",
    ),
)  # fmt: skip

_ANATOMY = (
    _within(
        "skeleton_size", "joints3d_mm", 900.0, 2600.0,
        "Head to ankles along the bones measures 900 to 2,600 mm.",
        "Metres or centimetres in place of millimetres, or a joint far off.",
    ),
    _at_most(
        "bones_symmetric", "joints3d_mm", 1.2,
        "Left and right bones differ in length by at most 20 %.",
        "A joint is at the wrong place, or left and right are exchanged for one joint.",
    ),
    _at_most(
        "bones_in_proportion", "joints3d_mm", 1.8,
        "No large bone is longer or shorter than usual for this skeleton by a factor of 1.8.",
        "A joint is at the wrong place or carries another joint's name.",
    ),
    _at_most(
        "left_right_pair", "joints3d_mm", 0,
        "Exchanging the left and right joint of a pair does not fit the bones clearly better.",
        "The left and right labels of one pair of joints are swapped.",
    ),
    _at_most(
        "left_right_limb", "joints3d_mm", 110.0,
        "Shoulders and hips are turned against each other by at most 110 degrees.",
        "The left and right labels of both arms or both legs are swapped.",
    ),
    _within(
        "left_right_body", "joints3d_mm", -1.0, None,
        "Nose and knees point to the side that shoulders and hips call the front.",
        "The left and right labels of the whole body are swapped.",
    ),
)  # fmt: skip

_SMPL = (
    _at_most(
        "theta_within_half_turn", "theta", _TURN,
        "No rotation of θ is larger than half a turn.",
        "Degrees in place of radians, or rotations that are not axis-angles.",
    ),
    _at_most(
        "betas_plausible", "betas", 5.0,
        "Every β lies within ±5 standard deviations.",
        "Such a shape does not occur; the mesh would be distorted.",
    ),
    _at_most(
        "body_matches_joints", "joints3d_mm", BODY_LIMIT_MM,
        "For rendered people, joints regressed from the posed body lie within 5 mm of joints3d.",
        "θ, β and joints contradict each other: a swapped label or another body model.",
    ),
)  # fmt: skip

_RELATIONS = (
    _at_most(
        "relations_known_values", "relations", 0,
        "Every depth relation is -1, 0 or +1.",
        "Other values have no channel in the triplet.",
    ),
    _at_most(
        "relations_match_depth", "relations", 0,
        "Depth relations equal those computed from the 3D joints.",
        "Triplets would teach the opposite of what the 3D loss teaches.",
    ),
)  # fmt: skip

_FILES = (
    _at_most(
        "shard_readable", "shard", 0,
        "The row's image shard exists, can be read and has the stated row.",
        "Training would stop in the middle of an epoch.",
    ),
    _at_most(
        "shard_holds_sample", "shard_row", 0,
        "The shard's row holds the image of this sample id.",
        "People would be trained on other people's labels.",
    ),
    _at_most(
        "image_hash_matches", "image_hash", 0,
        "The stored bytes have the stated SHA-256.",
        "The image was changed or damaged after it was annotated.",
    ),
    _at_most(
        "image_decodes", "image_hash", 0,
        "The image can be decoded (all rows of a small table, a sample of a large one).",
        "Training would stop in the middle of an epoch.",
    ),
    _at_most(
        "image_size_matches", "image_width, image_height", 0,
        "The image has the stated width and height.",
        "Boxes, joints and camera would belong to another scale of the image.",
    ),
    _at_most(
        "mask_decodes", "mask", 0,
        "Where there is a mask, it is a PNG of the image's size.",
        "Segmentation metrics would compare different pixels.",
    ),
    _within(
        "joints_on_mask", "mask", 0.7, None,
        "At least 70 % of the visible joints lie on the mask, give or take 3 % of the box.",
        "Image and labels are mirrored, shifted or of another person.",
    ),
)  # fmt: skip

ROW_CHECKS: tuple[Check, ...] = (
    *_IDENTITY, *_FINITE, *_PLANE, *_CAMERA, *_ANATOMY, *_SMPL, *_RELATIONS, *_FILES,
)  # fmt: skip

SPLIT_CHECKS: tuple[Check, ...] = (
    _within(
        "enough_rows", "split", MIN_ROWS_PER_SPLIT, None,
        f"Every split has at least {MIN_ROWS_PER_SPLIT} rows.",
        "A model can't be trained, selected, gated or scored on an empty split.",
    ),
)  # fmt: skip

THETA_CHECKS: tuple[Check, ...] = (
    Check(
        name="every_joint_moves", field="theta", low=0.01, severity=Severity.WARN,
        says="Every one of the 24 joints of θ varies by at least 0.01 rad over the table.",
        reason="The shape network can't learn a joint that never moves.",
    ),
)  # fmt: skip

DRIFT_CHECKS: tuple[Check, ...] = (
    Check(
        name="labels_like_before", field="(distribution)", high=0.2, severity=Severity.WARN,
        says="Label distributions differ from the previous version's by at most 0.2 beyond noise.",
        reason="New labels of another kind move the metrics for reasons other than the model.",
    ),
)  # fmt: skip
