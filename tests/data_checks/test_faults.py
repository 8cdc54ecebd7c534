"""Faults of single rows: each is named with its row, its field and what was seen there.

All faults of one kind of people stand in one table, one fault a row, which is validated once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from data_checks.result import ValidationResult
from hemlets.core.skeleton import FLIP_JOINTS, JOINTS, Joint, depth_relations

Columns = dict[str, Any]
Check = Callable[[Columns], ValidationResult]
NOSE, WRIST = int(Joint.NOSE), int(Joint.LEFT_WRIST)


@dataclass(frozen=True)
class Fault:
    name: str
    make: Callable[[Columns, int], None]
    expectation: str
    field: str
    observed: str = ""


def put(field: str, entry: tuple[Any, ...], value: Any) -> Callable[[Columns, int], None]:
    def make(columns: Columns, row: int) -> None:
        columns[field][(row, *entry)] = value

    return make


def scale(field: str, entry: tuple[Any, ...], factor: float) -> Callable[[Columns, int], None]:
    def make(columns: Columns, row: int) -> None:
        columns[field][(row, *entry)] *= np.float32(factor)

    return make


def relabel(*names: str, relations: bool = True) -> Callable[[Columns, int], None]:
    """Exchange left and right in 2D and 3D and recompute relations."""
    order = np.arange(18)
    for name in names:
        left, right = Joint[f"LEFT_{name}"], Joint[f"RIGHT_{name}"]
        order[[left, right]] = right, left

    def make(columns: Columns, row: int) -> None:
        for field in ("joints2d_px", "joints3d_mm", "visible", "truncated"):
            columns[field][row] = columns[field][row][order]
        columns["relations"][row] = depth_relations(columns["joints3d_mm"][row])[0]

    return make


def relabel_body(columns: Columns, row: int) -> None:
    for field in ("joints2d_px", "joints3d_mm", "visible", "truncated"):
        columns[field][row] = columns[field][row][list(FLIP_JOINTS)]
    columns["relations"][row] = depth_relations(columns["joints3d_mm"][row])[0]


def relabel_2d(columns: Columns, row: int) -> None:
    pair = [Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE]
    for field in ("joints2d_px", "truncated", "visible"):
        columns[field][row, pair] = columns[field][row, pair[::-1]]


def hidden_nan(columns: Columns, row: int) -> None:
    columns["valid3d"][row, NOSE] = False
    columns["joints3d_mm"][row, NOSE] = np.nan


def stretch_arm(columns: Columns, row: int) -> None:
    columns["joints3d_mm"][row, WRIST, 2] += 900
    joints, camera = columns["joints3d_mm"][row], columns["camera"][row]
    columns["joints2d_px"][row] = joints[:, :2] / joints[:, 2:] * camera[:2] + camera[2:]
    columns["relations"][row] = depth_relations(joints)[0]


def flag_seen_joint(columns: Columns, row: int) -> None:
    columns["truncated"][row, int(np.flatnonzero(columns["visible"][row])[0])] = True


def turn_relation(columns: Columns, row: int) -> None:
    columns["relations"][row, 6] = -1 if columns["relations"][row, 6] >= 0 else 1


def borrow(field: str, joiner: str = "") -> Callable[[Columns, int], None]:
    """Take a name over from the last row, which is of another split."""

    def make(columns: Columns, row: int) -> None:
        other = str(columns[field][-1]).split("+")[0]
        columns[field][row] = f"{columns[field][row]}{joiner}{other}" if joiner else other

    return make


def far_mask(columns: Columns, row: int) -> None:
    import cv2

    mask = np.zeros((160, 160), np.uint8)
    mask[:2, :2] = 255
    columns["mask"][row] = cv2.imencode(".png", mask)[1].tobytes()


def small_mask(columns: Columns, row: int) -> None:
    import cv2

    columns["mask"][row] = cv2.imencode(".png", np.zeros((20, 30), np.uint8))[1].tobytes()


PAIRS = ("HIP", "KNEE", "ANKLE", "SHOULDER", "ELBOW", "WRIST")
LENGTHS = ("KNEE", "ANKLE", "SHOULDER", "ELBOW", "WRIST")

RENDERED = (
    *(Fault(f"swapped {n.lower()}s", relabel(n), "body_matches_joints", "joints3d_mm", n.lower())
      for n in PAIRS),
    Fault("NaN in 3D", put("joints3d_mm", (NOSE, 2), np.nan), "joints3d_mm_finite", "joints3d_mm",
          "nose is nan"),
    Fault("NaN not annotated", hidden_nan, "joints3d_mm_finite", "joints3d_mm", "nose is nan"),
    Fault("NaN in 2D", put("joints2d_px", (NOSE, 0), np.nan), "joints2d_px_finite", "joints2d_px"),
    Fault("infinite θ", put("theta", (4, 1), np.inf), "theta_finite", "theta", "left_knee is inf"),
    Fault("NaN in β", put("betas", (3,), np.nan), "betas_finite", "betas", "β3"),
    Fault("NaN in the box", put("box_xyxy", (2,), np.nan), "box_xyxy_finite", "box_xyxy", "right"),
    Fault("NaN in the camera", put("camera", (0,), np.nan), "camera_finite", "camera", "fx is nan"),
    Fault("NaN translation", put("transl_mm", (1,), np.nan), "transl_mm_finite", "transl_mm", "y"),
    Fault("box too far right", put("box_xyxy", (2,), 190), "box_inside_image", "box_xyxy",
          "160×160"),
    Fault("box negative", put("box_xyxy", (1,), -9), "box_inside_image", "box_xyxy"),
    Fault("box reversed", put("box_xyxy", (), (90, 10, 20, 80)), "box_ordered", "box_xyxy"),
    Fault("tiny box", put("box_xyxy", (), (50, 50, 53, 53)), "box_large_enough", "box_xyxy"),
    Fault("another's box", put("box_xyxy", (), (0, 0, 30, 30)), "joints_in_box", "box_xyxy"),
    Fault("unknown split", put("split", (), "tran"), "split_known", "split", "tran"),
    Fault("leaking clip", borrow("clip", "+"), "clip_in_one_split", "clip", "test"),
    Fault("leaking family", borrow("family"), "family_in_one_split", "family", "test"),
    Fault("leaking image", borrow("image_hash"), "image_in_one_split", "image_hash", "test"),
    Fault("metres", scale("joints3d_mm", (), 0.001), "skeleton_size", "joints3d_mm", "metres"),
    Fault("negative focal length", scale("camera", (0,), -1), "camera_focal_positive", "camera"),
    Fault("fx twice fy", scale("camera", (0,), 2), "camera_pixels_square", "camera"),
    Fault("fx twice fy, projected", scale("camera", (0,), 2), "reprojection_matches",
          "joints2d_px"),
    Fault("another image's centre", put("camera", (slice(2, 4),), 5000), "camera_centre_near",
          "camera", "5000"),
    Fault("behind the camera", scale("joints3d_mm", (slice(None), 2), -1), "depth_positive",
          "joints3d_mm"),
    Fault("truncated inside", flag_seen_joint, "truncated_flag_right", "truncated"),
    Fault("visible and truncated", flag_seen_joint, "visible_flag_right", "visible"),
    Fault("wrong relation", turn_relation, "relations_match_depth", "relations", "left_forearm"),
    Fault("unknown relation", put("relations", (0,), 3), "relations_known_values", "relations",
          "torso: 3"),
    Fault("degrees", scale("theta", (), 57.3), "theta_within_half_turn", "theta", "rad"),
    Fault("impossible shape", put("betas", (2,), 9), "betas_plausible", "betas", "β2 = 9.00"),
    Fault("body elsewhere", scale("transl_mm", (), 1.1), "body_matches_joints", "joints3d_mm"),
    Fault("no such shard row", put("shard_row", (), 4000), "shard_readable", "shard", "4000"),
    Fault("negative shard row", put("shard_row", (), -1), "shard_readable", "shard"),
    Fault("shard elsewhere", put("shard", (), "../annotations.parquet"), "shard_readable", "shard",
          "out of its folder"),
    Fault("shard row of another", put("shard_row", (), 0), "shard_holds_sample", "shard_row",
          "holds sample"),
    Fault("bytes of another", put("shard_row", (), 0), "image_hash_matches", "image_hash"),
    Fault("size of another", put("image_width", (), 161), "image_size_matches",
          "image_width, image_height", "161×160"),
    Fault("mask no PNG", put("mask", (), b"not a png"), "mask_decodes", "mask", "not a readable"),
    Fault("mask of another size", small_mask, "mask_decodes", "mask", "30×20"),
    Fault("mask of another person", far_mask, "joints_on_mask", "mask", "visible joints"),
)  # fmt: skip

CAPTURED = (
    *(Fault(f"swapped {n.lower()}s", relabel(n), "left_right_pair", "joints3d_mm",
            f"left_{n.lower()} and") for n in LENGTHS),
    Fault("swapped legs", relabel("HIP", "KNEE", "ANKLE"), "left_right_limb", "joints3d_mm"),
    Fault("swapped arms", relabel("SHOULDER", "ELBOW", "WRIST"), "left_right_limb", "joints3d_mm"),
    Fault("swapped hips", relabel("HIP"), "left_right_limb", "joints3d_mm"),
    Fault("swapped body", relabel_body, "left_right_body", "joints3d_mm", "whole body"),
    Fault("swapped in 2D only", relabel_2d, "reprojection_matches", "joints2d_px", "ankle"),
    Fault("arm too long", stretch_arm, "bones_in_proportion", "joints3d_mm", "left forearm"),
    Fault("arms unequal", stretch_arm, "bones_symmetric", "joints3d_mm", "forearm"),
    Fault("centimetres", scale("joints3d_mm", (), 0.1), "skeleton_size", "joints3d_mm",
          "centimetres"),
)  # fmt: skip


def with_faults(columns: Columns, faults: tuple[Fault, ...]) -> Columns:
    for row, fault in enumerate(faults, start=1):
        fault.make(columns, row)
    return columns


@pytest.fixture(scope="module")
def of_rendered(check: Check, fresh: Callable[[], Columns]) -> ValidationResult:
    return check(with_faults(fresh(), RENDERED))


@pytest.fixture(scope="module")
def of_captured(
    check: Check, fresh: Callable[[], Columns], as_captured: Callable[[Columns], Columns]
) -> ValidationResult:
    return check(with_faults(as_captured(fresh()), CAPTURED))


def assert_named(result: ValidationResult, fault: Fault, row: int) -> None:
    finding = next((f for f in result.blocking if f.expectation == fault.expectation), None)
    assert finding is not None, result.message()
    assert finding.field == fault.field
    seen = {named.number: named.observed for named in finding.rows}
    assert fault.observed in seen[row]


@pytest.mark.parametrize(
    ("row", "fault"), enumerate(RENDERED, start=1), ids=[fault.name for fault in RENDERED]
)
def test_a_fault_of_a_rendered_person_is_named(of_rendered, row: int, fault: Fault):
    assert_named(of_rendered, fault, row)


@pytest.mark.parametrize(
    ("row", "fault"), enumerate(CAPTURED, start=1), ids=[fault.name for fault in CAPTURED]
)
def test_a_fault_of_a_person_without_a_body_model_is_named(of_captured, row: int, fault: Fault):
    assert_named(of_captured, fault, row)


def test_people_without_a_fault_are_not_blamed(of_captured: ValidationResult):
    blamed = {row.number for finding in of_captured.blocking for row in finding.rows}

    assert blamed == set(range(1, len(CAPTURED) + 1))


def test_joints_are_called_by_their_names(of_rendered: ValidationResult):
    finding = next(f for f in of_rendered.blocking if f.expectation == "reprojection_matches")

    assert any(name in finding.observed for name in JOINTS)
