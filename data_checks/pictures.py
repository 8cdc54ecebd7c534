"""Draw small pictures of rows: box, 2D joints and bones on the image."""

from __future__ import annotations

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import HemletsError
from hemlets.data.table import Annotations, ShardReader, decode_image

_SIDE = 288
_BOX = (255, 214, 0)
_FAR = 9_999.0


def picture_of(table: Annotations, reader: ShardReader, row: int) -> str | None:
    """Draw a PNG of one row as a ``data:`` URL; None if the image can't be read.

    The person's left is blue and the right orange.
    """
    import cv2

    from hemlets.reports.drawing import draw_skeleton, png
    from hemlets.reports.kit import png_data

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
    joints_J2 = np.where(table.valid2d[row][:, None], table.joints2d_px[row], np.nan)
    draw_skeleton(canvas, np.clip(joints_J2 * scale, -_FAR, _FAR))
    return png_data(png(canvas))


def _draw_box(canvas: Array, box_px: Array) -> None:
    import cv2

    if np.isfinite(box_px).all():
        left, top, right, bottom = (int(v) for v in np.clip(box_px, -_FAR, _FAR))
        cv2.rectangle(canvas, (left, top), (right, bottom), _BOX, 1, cv2.LINE_AA)
