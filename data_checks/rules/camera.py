"""Camera: intrinsics, and 3D joints seen through them."""

from __future__ import annotations

import numpy as np

from data_checks.datasets import DATASETS
from data_checks.rows import Rows, once
from data_checks.rule import Measured, largest, numbers, rule
from hemlets.core.arrays import Array, Float
from hemlets.core.skeleton import JOINTS
from hemlets.data.readers.cameras3d import project

_TOLERANCE_PX = 1.0
_TOLERANCE_OF_BOX = 0.01
_FEWEST_JOINTS = 6


@once
def _camera(rows: Rows) -> Float:
    """fx, fy, cx, cy (N, 4) in px; NaN where the camera is unknown."""
    camera_N4 = rows.table.camera.astype(np.float64)
    known_N = rows.table.camera_valid & np.isfinite(camera_N4).all(1)
    return np.where(known_N[:, None], camera_N4, np.nan)


def _intrinsics(rows: Rows, values_N: Array) -> Measured:
    return numbers(
        values_N,
        lambda row: "fx, fy, cx, cy = {:g}, {:g}, {:g}, {:g} px, image {:g}×{:g} px".format(
            *_camera(rows)[row], *rows.sizes[row]
        ),
    )


@rule("cameras", "camera", at_least=1)
def camera_focal_positive(rows: Rows) -> Measured:
    """The focal lengths fx and fy are above 1 pixel.

    A focal length of zero or below mirrors or collapses the projection.
    """
    return _intrinsics(rows, _camera(rows)[:, :2].min(1))


@rule("cameras", "camera", at_least=0.8, at_most=1.25)
def camera_pixels_square(rows: Rows) -> Measured:
    """Fx and fy differ by at most 25 %.

    Pixels are nearly square; a larger ratio means swapped or scaled intrinsics.
    """
    fx_N, fy_N = _camera(rows)[:, :2].T
    return _intrinsics(rows, fx_N / fy_N).where((fx_N > 0) & (fy_N > 0))


@rule("cameras", "camera", at_most=3)
def camera_centre_near(rows: Rows) -> Measured:
    """The principal point lies inside the image or at most three image sides beyond it.

    A stored image may be a crop of a larger photograph; a point farther off means intrinsics of
    another image.
    """
    centre_N2 = _camera(rows)[:, 2:]
    off_N = np.maximum(-centre_N2, centre_N2 - rows.sizes).max(1) / rows.sizes.max(1)
    return _intrinsics(rows, np.maximum(off_N, 0))


@rule("cameras", "joints2d_px", at_most=1)
def reprojection_matches(rows: Rows) -> Measured:
    """3D joints land on their 2D joints within 1 pixel plus 1 % of the box.

    2D, 3D and camera contradict each other: a label is swapped, shifted or scaled. Datasets whose
    camera or 2D joints were fitted have a wider tolerance.
    """
    lens_N5 = rows.table.distortion.astype(np.float64)
    seen_NJ2 = project(rows.joints3d, _camera(rows)[:, None], lens_N5[:, None])
    error_NJ = np.linalg.norm(seen_NJ2 - rows.joints2d, axis=2)
    error_NJ = np.where(rows.table.valid2d & np.isfinite(error_NJ), error_NJ, np.nan)
    limit_N = _reprojection_limit(rows)

    def observed(row: int, joint: int) -> str:
        count = int((error_NJ[row] > limit_N[row]).sum())
        return (
            f"{JOINTS[joint]} is projected {error_NJ[row, joint]:.1f} px from its 2D joint "
            f"(limit {limit_N[row]:.1f} px; {count} joints beyond it)"
        )

    return largest(error_NJ / limit_N[:, None], observed)


@rule("cameras", "camera", at_most=0.25)
def camera_centre_in_source(rows: Rows) -> Measured:
    """The principal point lies within 25 % of the sides from the middle of the dataset's images.

    A camera file with a wrong width or height; one in circulation has a height of 204 in place of
    2048. Where a dataset has images of several sizes, the size that fits best counts.
    """
    placed_N3 = rows.table.stored_from_source.astype(np.float64)
    scale_N1 = np.where(placed_N3[:, 2:] > 0, placed_N3[:, 2:], np.nan)
    centre_N2 = _camera(rows)[:, 2:] / scale_N1 + placed_N3[:, :2]
    skew_N = np.full(len(rows), np.nan)
    for name, mask_N in rows.of_source.items():
        if name in DATASETS and DATASETS[name].image_sizes:
            sizes_S2 = np.array(DATASETS[name].image_sizes, np.float64)
            off_NS = np.abs(centre_N2[mask_N, None] / sizes_S2 - 0.5).max(2)
            skew_N[mask_N] = off_NS.min(1)
    return numbers(
        skew_N,
        lambda row: (
            "principal point {:.0f}, {:.0f} px of the dataset's own image: one of its sides is not "
            "what the camera says".format(*centre_N2[row])
        ),
    )


@rule("3D joints", "joints2d_px, joints3d_mm", at_most=0.5)
def joints3d_over_2d(rows: Rows) -> Measured:
    """Without a camera: 3D joints, scaled and shifted, lie over their 2D joints.

    Swapped or turned axes, or 2D and 3D of different frames. The measure is the root of the mean
    squared distance over that of the 2D joints from their middle: 0 for a person far away, 1
    where x and y have nothing to do with the picture.
    """
    flat_NJ2, seen_NJ2 = rows.joints3d[..., :2], rows.joints2d
    used_NJ = rows.table.valid2d & np.isfinite(seen_NJ2).all(2) & np.isfinite(flat_NJ2).all(2)
    used_NJ &= ~rows.table.camera_valid[:, None]
    some_N = used_NJ.sum(1) >= _FEWEST_JOINTS
    a, b = (_centred(points[some_N], used_NJ[some_N]) for points in (flat_NJ2, seen_NJ2))
    scale_N = np.maximum((a * b).sum((1, 2)) / (a * a).sum((1, 2)), 0)
    missed_N = ((scale_N[:, None, None] * a - b) ** 2).sum((1, 2)) / (b * b).sum((1, 2))
    apart_N = np.full(len(rows), np.nan)
    apart_N[some_N] = np.sqrt(missed_N)
    return numbers(
        apart_N,
        lambda row: (
            f"scaled and shifted, x and y of the 3D joints miss the 2D joints by "
            f"{100 * apart_N[row]:.0f} % of the person's extent"
        ),
    )


def _reprojection_limit(rows: Rows) -> Float:
    """Accepted error (N,), px."""
    side_N = (rows.boxes[:, 2:] - rows.boxes[:, :2]).max(1)
    share_N = np.full(len(rows), _TOLERANCE_OF_BOX)
    for name, mask_N in rows.of_source.items():
        if name in DATASETS:
            share_N[mask_N] = DATASETS[name].reprojection_of_box
    finite_N = np.nan_to_num(side_N, posinf=0.0, neginf=0.0)
    return np.asarray(_TOLERANCE_PX + share_N * np.maximum(finite_N, 0))


def _centred(points_NJ2: Float, used_NJ: Array) -> Float:
    known = np.where(used_NJ[..., None], points_NJ2, 0)
    middle = known.sum(1) / np.maximum(used_NJ.sum(1), 1)[:, None]
    return np.where(used_NJ[..., None], points_NJ2 - middle[:, None], 0)
