"""A camera's units are told apart by the size of the image."""

from __future__ import annotations

import pytest

from hemlets.core.intrinsics import intrinsics_fault

SIZE = (640, 480)


@pytest.mark.parametrize(
    "camera",
    [(1145.0, 1143.8, 512.5, 515.4), (500.0, 510.0, 64.0, 48.0), (70.0, 70.0, 320.0, 240.0),
     (1000.0, 1000.0, -800.0, 240.0), (20_000.0, 20_000.0, 320.0, 240.0)],
)  # fmt: skip
def test_a_camera_in_pixels_is_plausible_also_where_the_image_is_a_crop(camera):
    assert intrinsics_fault(camera, SIZE) == ""


@pytest.mark.parametrize(
    ("camera", "fault"),
    [
        ((0.9, 1.2, 0.5, 0.5), "look normalised"),
        ((1.8, 1.8, 320.0, 240.0), "look normalised"),
        ((1000.0, 1000.0, 0.5, 0.5), "principal point 0.5, 0.5 looks normalised"),
        ((1000.0, 1000.0, 5000.0, 5000.0), "lies far from an image of 640×480"),
        ((1000.0, 1000.0, 320.0, -2500.0), "lies far from"),
        ((1e6, 1e6, 320.0, 240.0), "not in pixels"),
        ((0.0, 1000.0, 320.0, 240.0), "not above 0"),
        ((float("nan"), 1000.0, 320.0, 240.0), "not finite"),
    ],
)
def test_another_unit_or_another_images_camera_is_named(camera, fault):
    assert fault in intrinsics_fault(camera, SIZE)
