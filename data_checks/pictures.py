"""Small pictures of rows: the image with box, 2D joints and bones on it."""

from __future__ import annotations

import base64

import numpy as np

from data_checks.columns.base import Array
from hemlets.annotations import Annotations, ShardReader, decode_image
from hemlets.errors import HemletsError
from hemlets.skeleton import JOINTS, PARTS

__all__ = ["picture_of"]

_SIDE = 288
_BOX, _LEFT, _RIGHT, _MIDDLE = (255, 214, 0), (66, 133, 244), (229, 57, 53), (240, 240, 240)


def picture_of(table: Annotations, reader: ShardReader, row: int) -> str | None:
    """A PNG of one row as a ``data:`` address; None when the image can't be read.

    The person's left is blue and the right red.
    """
    import cv2

    try:
        image = decode_image(reader.jpeg(str(table.shard[row]), int(table.shard_row[row])))
    except (
        HemletsError,
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
    ):
        return None
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    _draw_box(canvas, table.box_xyxy[row] * scale)
    _draw_bones(canvas, table.joints2d_px[row] * scale, table.valid2d[row])
    _, data = cv2.imencode(".png", canvas[..., ::-1])
    return "data:image/png;base64," + base64.b64encode(bytes(data)).decode()


def _draw_box(canvas: Array, box_px: Array) -> None:
    import cv2

    if np.isfinite(box_px).all():
        left, top, right, bottom = (int(v) for v in np.clip(box_px, -9_999, 9_999))
        cv2.rectangle(canvas, (left, top), (right, bottom), _BOX, 1, cv2.LINE_AA)


def _draw_bones(canvas: Array, joints_J2_px: Array, valid_J: Array) -> None:
    import cv2

    usable_J = valid_J & np.isfinite(joints_J2_px).all(1)
    points = [
        (int(x), int(y)) for x, y in np.clip(np.nan_to_num(joints_J2_px), -9_999, 9_999).tolist()
    ]
    for part in PARTS:
        if usable_J[part.parent] and usable_J[part.child]:
            colour = _colour(part.name)
            cv2.line(canvas, points[part.parent], points[part.child], colour, 2, cv2.LINE_AA)
    for joint, name in enumerate(JOINTS):
        if usable_J[joint]:
            cv2.circle(canvas, points[joint], 3, _colour(name), -1, cv2.LINE_AA)


def _colour(name: str) -> tuple[int, int, int]:
    if name.startswith("left_"):
        return _LEFT
    return _RIGHT if name.startswith("right_") else _MIDDLE
