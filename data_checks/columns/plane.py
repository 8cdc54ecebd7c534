"""Boxes and 2D joints against the image."""

from __future__ import annotations

import numpy as np

from data_checks.columns.base import Array, Column, Columns, Float, names_where
from hemlets.core.skeleton import JOINTS
from hemlets.data.table import Annotations

_BORDER_PX = 0.5
"""Joints this near the border may be flagged either way."""


def plane_columns(table: Annotations) -> Columns:
    """Boxes in order and in the image, joints in image and box, flags that agree."""
    box_N4 = table.box_xyxy.astype(np.float64)
    size_N2 = np.stack([table.image_width, table.image_height], 1).astype(np.float64)
    side_N2 = box_N4[:, 2:] - box_N4[:, :2]
    known_N = np.isfinite(box_N4).all(1)
    ordered_N = known_N & (side_N2 > 0).all(1)
    overhang_N = np.maximum(-box_N4[:, :2], box_N4[:, 2:] - size_N2).max(1)

    joints_NJ2 = table.joints2d_px.astype(np.float64)
    valid_NJ = table.valid2d & np.isfinite(joints_NJ2).all(2)
    truncated_NJ, visible_NJ = table.truncated, table.visible
    outside_NJ = _outside(joints_NJ2, np.zeros_like(size_N2), size_N2)
    stray_NJ = np.where(valid_NJ & ~truncated_NJ, outside_NJ, 0.0)
    mislabelled_NJ = valid_NJ & truncated_NJ & (outside_NJ < -_BORDER_PX)
    contradictory_NJ = visible_NJ & truncated_NJ

    long_side_N = np.where(ordered_N, side_N2.max(1), np.nan)
    seen_NJ = valid_NJ & visible_NJ & ~truncated_NJ
    beyond_NJ = np.where(seen_NJ, _outside(joints_NJ2, box_N4[:, :2], box_N4[:, 2:]), -np.inf)
    beyond_N = np.maximum(beyond_NJ.max(1), 0.0) / long_side_N
    span_N = _span(joints_NJ2, valid_NJ & ~truncated_NJ)
    leftover_NJ = _leftover(table)
    piled_N = _piled(joints_NJ2, valid_NJ & ~truncated_NJ)

    def box(row: int) -> str:
        left, top, right, bottom = box_N4[row]
        width, height = size_N2[row]
        return (
            f"box {left:g}, {top:g}, {right:g}, {bottom:g} in an image of {width:g}×{height:g} px"
        )

    def stray(row: int) -> str:
        joint = int(np.argmax(stray_NJ[row]))
        return (
            f"{JOINTS[joint]} lies {stray_NJ[row, joint]:.1f} px outside the image "
            "and is not marked as truncated"
        )

    def beyond(row: int) -> str:
        joint = int(np.argmax(beyond_NJ[row]))
        return f"{JOINTS[joint]} lies {beyond_NJ[row, joint]:.1f} px beyond the {box(row)}"

    return {
        "box_ordered": Column(values=np.where(known_N, side_N2.min(1), np.nan), observed=box),
        "box_inside_image": Column(
            values=np.where(ordered_N, np.maximum(overhang_N, 0.0), np.nan), observed=box
        ),
        "box_large_enough": Column(
            values=np.where(ordered_N, side_N2.min(1), np.nan), observed=box
        ),
        "joints2d_inside_image": Column(values=np.maximum(stray_NJ.max(1), 0.0), observed=stray),
        "joints2d_distinct": Column(
            values=piled_N,
            observed=lambda row: f"{piled_N[row]:.0f} joints lie at the very same place",
        ),
        "truncated_flag_right": Column(
            values=mislabelled_NJ.sum(1).astype(np.float64),
            observed=lambda row: (
                f"{names_where(JOINTS, mislabelled_NJ[row])}: marked as truncated, "
                "but inside the image"
            ),
        ),
        "visible_flag_right": Column(
            values=contradictory_NJ.sum(1).astype(np.float64),
            observed=lambda row: (
                f"{names_where(JOINTS, contradictory_NJ[row])}: both visible and truncated"
            ),
        ),
        "joints_in_box": Column(values=beyond_N, observed=beyond),
        "box_fits_joints": Column(
            values=span_N / long_side_N,
            observed=lambda row: f"joints span {span_N[row]:.1f} px of the {box(row)}",
        ),
        "unannotated_is_zero": Column(
            values=leftover_NJ.sum(1).astype(np.float64),
            observed=lambda row: (
                f"{names_where(JOINTS, leftover_NJ[row])}: not annotated, but not 0"
            ),
        ),
    }


def _outside(joints_NJ2: Float, low_N2: Float, high_N2: Float) -> Float:
    """How far each joint lies outside a rectangle, px; negative inside."""
    beyond = np.maximum(low_N2[:, None] - joints_NJ2, joints_NJ2 - high_N2[:, None])
    return np.asarray(beyond.max(2))


def _span(joints_NJ2: Float, used_NJ: Array) -> Float:
    low = np.where(used_NJ[..., None], joints_NJ2, np.inf).min(1)
    high = np.where(used_NJ[..., None], joints_NJ2, -np.inf).max(1)
    span = np.where(used_NJ.sum(1) >= 4, (high - low).max(1), np.nan)
    return np.asarray(span, np.float64)


def _leftover(table: Annotations) -> Array:
    unused2d_NJ = ~table.valid2d & (table.joints2d_px != 0).any(2)
    unused3d_NJ = ~table.valid3d & (table.joints3d_mm != 0).any(2)
    return np.asarray(unused2d_NJ | unused3d_NJ)


def _piled(joints_NJ2: Float, used_NJ: Array) -> Float:
    """Most joints of a row that share one place to a thousandth of a pixel."""
    place_NJ = np.round(joints_NJ2[..., 0] * 1000) + 1j * np.round(joints_NJ2[..., 1] * 1000)
    same_NJJ = (place_NJ[:, :, None] == place_NJ[:, None]) & used_NJ[:, None]
    return np.asarray((same_NJJ.sum(2) * used_NJ).max(1), np.float64)
