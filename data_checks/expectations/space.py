"""Expectations of cameras and of 3D joints."""

from __future__ import annotations

from typing import Final

from data_checks.check import Check, Severity, at_most, within

BY_CAMERA: Final[tuple[Check, ...]] = (
    within(
        "camera_focal_positive", "camera", 1.0, None,
        "The focal lengths fx and fy are above 1 pixel.",
        "A focal length of zero or below mirrors or collapses the projection.",
    ),
    within(
        "camera_pixels_square", "camera", 0.8, 1.25,
        "fx and fy differ by at most 25 %.",
        "Pixels are nearly square; a larger ratio means swapped or scaled intrinsics.",
    ),
    at_most(
        "camera_centre_near", "camera", 3.0,
        "The principal point lies inside the image or at most three image sides beyond it.",
        "A stored image may be a crop of a larger photograph; a point farther off means intrinsics "
        "of another image.",
    ),
    at_most(
        "reprojection_matches", "joints2d_px", 1.0,
        "3D joints land on their 2D joints within 1 pixel plus 1 % of the box.",
        "2D, 3D and camera contradict each other: a label is swapped, shifted or scaled.",
    ),
)  # fmt: skip

BY_DEPTH: Final[tuple[Check, ...]] = (
    within(
        "depth_positive", "joints3d_mm", 1.0, None,
        "Every joint lies in front of the camera.",
        "A joint behind the camera has no projection; the frame's axes are probably wrong.",
    ),
)  # fmt: skip

ANATOMY: Final[tuple[Check, ...]] = (
    within(
        "skeleton_size", "joints3d_mm", 900.0, 2600.0,
        "Head to ankles along the bones measures 900 to 2,600 mm.",
        "Metres or centimetres in place of millimetres, or a joint far off.",
    ),
    at_most(
        "bones_symmetric", "joints3d_mm", 1.2,
        "Left and right bones differ in length by at most 20 %.",
        "A joint is at the wrong place, or left and right are exchanged for one joint.",
    ),
    at_most(
        "bones_in_proportion", "joints3d_mm", 1.8,
        "No large bone is longer or shorter than usual for this skeleton by a factor of 1.8.",
        "A joint is at the wrong place or carries another joint's name.",
    ),
    at_most(
        "left_right_pair", "joints3d_mm", 0,
        "Exchanging the left and right joint of a pair does not fit the bones clearly better.",
        "The left and right labels of one pair of joints are swapped.",
    ),
    at_most(
        "left_right_limb", "joints3d_mm", 110.0,
        "Shoulders and hips are turned against each other by at most 110 degrees.",
        "The left and right labels of both arms or both legs are swapped.",
    ),
    within(
        "left_right_body", "joints3d_mm", -1.0, None,
        "Nose and knees point to the side that shoulders and hips call the front.",
        "The left and right labels of the whole body are swapped.",
    ),
)  # fmt: skip

MARKERLESS: Final[tuple[Check, ...]] = (
    at_most(
        "markerless_body_plausible", "joints3d_mm", 0,
        "Without markers: bones are symmetric, in proportion and fit their labels.",
        "A joint is off by far in this frame; markerless capture has such frames.",
        severity=Severity.WARN,
    ),
)  # fmt: skip

CAMERA_OF_SOURCE: Final[tuple[Check, ...]] = (
    at_most(
        "camera_centre_in_source", "camera", 0.25,
        "The principal point lies within 25 % of the image's sides from the middle of the "
        "dataset's own images.",
        "A camera file with a wrong width or height; one in circulation has a height of 204 in "
        "place of 2048.",
    ),
    at_most(
        "joints3d_over_2d", "joints2d_px, joints3d_mm", 0.5,
        "Without a camera: 3D joints, scaled and shifted, lie over their 2D joints.",
        "Swapped or turned axes, or 2D and 3D of different frames.",
    ),
)  # fmt: skip
