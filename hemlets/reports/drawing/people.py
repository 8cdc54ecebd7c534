"""Draw all people of an image: shaded bodies, the nearest in front, and skeletons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.body.placement import PlacedBody, align_to_image
from hemlets.inference.types import BodyEstimate
from hemlets.reports.drawing.mesh import overlay, render_mesh
from hemlets.reports.drawing.skeleton import draw_skeleton, seen_in

Image = npt.NDArray[np.uint8]

PERSON_COLOURS: Final = (
    (172, 196, 232), (240, 200, 140), (170, 220, 170), (225, 170, 200), (200, 190, 150),
    (150, 215, 215),
)  # fmt: skip
"""Distinguishable colours; a track has one colour."""


def draw_people(
    image_HW3: Image,
    people: Sequence[tuple[BodyEstimate, PlacedBody]],
    *,
    numbers: Sequence[int] | None = None,
    skeleton: bool = True,
) -> Image:
    """Draw all bodies over an image; return a new RGB image.

    Args:
        image_HW3: RGB.
        people: Predictions and placed bodies.
        numbers: Track numbers, which select colours; by default the order.
        skeleton: Whether to draw the 2D skeletons too.
    """
    size = image_HW3.shape[1], image_HW3.shape[0]
    colours = [
        PERSON_COLOURS[number % len(PERSON_COLOURS)]
        for number in (range(len(people)) if numbers is None else numbers)
    ]
    farthest_first = sorted(range(len(people)), key=lambda i: -float(people[i][0].root_mm[2]))
    picture: Image = image_HW3.copy()
    for index in farthest_first:
        estimate, placed = people[index]
        camera = estimate.camera
        shown = align_to_image(
            placed,
            estimate.joints2d_px,
            (camera.fx, camera.fy, camera.cx, camera.cy),
            confidence=estimate.confidence,
            size=size,
        )
        mesh = render_mesh(
            shown.vertices_V3_mm, shown.faces_F3, camera, size, colour=colours[index]
        )
        picture = overlay(picture, mesh)
        if skeleton:
            sure = seen_in(size, estimate.joints2d_px, estimate.confidence)
            draw_skeleton(picture, estimate.joints2d_px, confidence=sure)
    return picture
