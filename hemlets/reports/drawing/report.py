"""Draw a prediction on its photo; a single person also from the side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.body.placement import PlacedBody, align_to_image
from hemlets.inference.types import BodyEstimate, Camera
from hemlets.reports.drawing.mesh import overlay, render_mesh, second_view, turn_to_side
from hemlets.reports.drawing.people import draw_people
from hemlets.reports.drawing.skeleton import draw_skeleton, line_width, seen_in

Image = npt.NDArray[np.uint8]

_PAPER: Final = (38, 40, 46)
_SMALLEST: Final = 512
_LARGEST: Final = 1600
_FILL: Final = 0.8
"""Share of the side panel that the body fills in its longer direction."""
_BACK_MM: Final = 6_000.0
"""Pelvis distance in the side panel; only affects perspective."""
_BAR_MM: Final = 500.0
_INK: Final = (225, 225, 225)


def prediction_picture(image_HW3: Image, estimate: BodyEstimate, body: PlacedBody) -> Image:
    """Draw mesh, skeleton and box on the photo, and body and joints from the side next to it.

    The 2D skeleton is the pose stage's; the mesh is the shape stage's, aligned to it
    (`align_to_image`): remaining differences are disagreements of the stages. In the side panel the
    camera is on the left and depth grows to the right; a bar is half a metre at the pelvis. Joints
    that are unsure or outside of the photo are thin and faint in both. A square photo's picture is
    twice as wide as high.

    Args:
        image_HW3: RGB photo. In the picture, its longer side has 512 to 1,600 pixels.
        estimate: The prediction.
        body: Its body, placed (`place_body`).

    Returns:
        RGB.
    """
    image, factor = _fitted(image_HW3)
    height, width = image.shape[:2]
    camera = _scaled(estimate.camera, factor)
    thickness = line_width((width, height))

    joints2d_px = estimate.joints2d_px * factor
    shown = align_to_image(
        body,
        joints2d_px,
        (camera.fx, camera.fy, camera.cx, camera.cy),
        confidence=estimate.confidence,
        size=(width, height),
    )
    front = overlay(
        image, render_mesh(shown.vertices_V3_mm, body.faces_F3, camera, (width, height))
    )
    sure = seen_in((width, height), joints2d_px, estimate.confidence)
    draw_skeleton(front, joints2d_px, confidence=sure, thickness=thickness)
    _draw_box(front, np.asarray(estimate.box_xyxy) * factor)

    panel = _side_panel(estimate, body, sure, (height, height), thickness)
    return np.concatenate([front, panel], axis=1)


def people_picture(image_HW3: Image, people: Sequence[tuple[BodyEstimate, PlacedBody]]) -> Image:
    """Draw all people's meshes, skeletons and boxes; one person also from the side."""
    if len(people) == 1:
        return prediction_picture(image_HW3, *people[0])
    image, factor = _fitted(image_HW3)
    scaled = [
        dataclasses.replace(
            estimate,
            camera=_scaled(estimate.camera, factor),
            joints2d_px=estimate.joints2d_px * np.float32(factor),
        )
        for estimate, _ in people
    ]
    picture = draw_people(
        image, [(estimate, body) for estimate, (_, body) in zip(scaled, people, strict=True)]
    )
    for estimate, _ in people:
        _draw_box(picture, np.asarray(estimate.box_xyxy) * factor)
    return picture


def _side_panel(
    estimate: BodyEstimate,
    body: PlacedBody,
    sure_J: npt.NDArray[np.float64],
    size: tuple[int, int],
    thickness: int,
) -> Image:
    width, height = size
    panel: Image = np.full((height, width, 3), _PAPER, np.uint8)
    pivot = estimate.root_mm.astype(np.float64)
    joints = turn_to_side(estimate.joints3d_mm + pivot, pivot)
    skin = turn_to_side(body.vertices_V3_mm, pivot)
    shift = np.array([0.0, 0.0, _BACK_MM]) - pivot
    camera = _framing(np.concatenate([joints, skin]) + shift, size)
    mesh = second_view(body.vertices_V3_mm + shift, body.faces_F3, camera, size, pivot + shift)
    panel = overlay(panel, mesh)
    seen = _project(joints + shift, camera)
    draw_skeleton(panel, seen, confidence=sure_J, thickness=thickness)
    # Legible in a contact sheet, too, where the picture is half as large.
    scale = max(0.4, height / 700)
    cv2.putText(
        panel, "from the side: camera on the left", (8, round(8 + 20 * scale)),
        cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, _stroke(scale), cv2.LINE_AA,
    )  # fmt: skip
    _draw_bar(panel, camera.fx * _BAR_MM / _BACK_MM, scale)
    return panel


def _draw_bar(panel: Image, length_px: float, scale: float) -> None:
    """Draw a bar of half a metre at the pelvis's distance at the panel's foot, in place."""
    right, foot = panel.shape[1] - 9, panel.shape[0] - 9
    left = right - round(length_px)
    stroke = _stroke(scale)
    cv2.line(panel, (left, foot), (right, foot), _INK, stroke, cv2.LINE_8)
    for end in (left, right):
        cv2.line(panel, (end, foot - 5 * stroke), (end, foot), _INK, stroke, cv2.LINE_8)
    text, font = f"{_BAR_MM / 1000:g} m", cv2.FONT_HERSHEY_SIMPLEX
    wide = cv2.getTextSize(text, font, scale, stroke)[0][0]
    start = min((left + right - wide) // 2, right - wide)
    cv2.putText(panel, text, (start, foot - 6), font, scale, _INK, stroke, cv2.LINE_AA)


def _stroke(scale: float) -> int:
    """Return the thickness of lines next to text of a size."""
    return max(1, round(2.5 * scale))


def _framing(points_mm: npt.NDArray[np.floating[Any]], size: tuple[int, int]) -> Camera:
    """Return the camera that shows the known points centred at a fitting size."""
    points_mm = points_mm[np.isfinite(points_mm).all(-1)]
    slopes = points_mm[:, :2] / np.maximum(points_mm[:, 2:], 1_000.0)
    low, high = slopes.min(0), slopes.max(0)
    focal = _FILL * float((np.array(size) / np.maximum(high - low, 1e-6)).min())
    centre = np.array(size) / 2 - focal * (low + high) / 2
    return Camera(fx=focal, fy=focal, cx=float(centre[0]), cy=float(centre[1]))


def _project(
    points_mm: npt.NDArray[np.floating[Any]], camera: Camera
) -> npt.NDArray[np.floating[Any]]:
    pixels: npt.NDArray[np.floating[Any]] = points_mm[:, :2] / points_mm[:, 2:]
    pixels = pixels * np.array([camera.fx, camera.fy]) + np.array([camera.cx, camera.cy])
    return pixels


def _fitted(image_HW3: Image) -> tuple[Image, float]:
    """Resize the photo for viewing; also return the factor on its coordinates."""
    longer = max(image_HW3.shape[:2])
    factor = min(max(longer, _SMALLEST), _LARGEST) / longer
    if factor == 1.0:
        return image_HW3, 1.0
    height, width = (max(1, round(side * factor)) for side in image_HW3.shape[:2])
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    fitted = cv2.resize(image_HW3, (width, height), interpolation=method)
    return np.asarray(fitted, np.uint8), factor


def _scaled(camera: Camera, factor: float) -> Camera:
    return Camera(
        fx=camera.fx * factor, fy=camera.fy * factor, cx=camera.cx * factor, cy=camera.cy * factor
    )


def _draw_box(image_HW3: Image, box: npt.NDArray[np.floating[Any]]) -> None:
    height, width = image_HW3.shape[:2]
    left, top, right, bottom = np.clip(box.round().astype(int), -1, [width, height] * 2).tolist()
    for colour, thickness in (((20, 20, 20), 3), ((235, 235, 235), 1)):
        cv2.rectangle(image_HW3, (left, top), (right - 1, bottom - 1), colour, thickness)
