"""Files: image shards, the images in them, and masks.

The stored bytes of every row are read and hashed. Images are decoded for all rows of a small
table and for a sample of a large one.
"""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict

import numpy as np
import pyarrow as pa

from data_checks.rows import Rows, once
from data_checks.rule import Measured, numbers, rule
from hemlets.core.arrays import Array
from hemlets.core.errors import DataError, InputError
from hemlets.data.table import ShardReader, decode_image

_MIN_VISIBLE_JOINTS = 4
_MASK_SLACK_OF_BOX = 0.03

SHARD_ERRORS = (DataError, pa.ArrowException, AttributeError, TypeError, ValueError, OSError)
"""Errors of reading a shard that is damaged or is another kind of file."""


@rule("rows", "shard", at_most=0)
def shard_readable(rows: Rows) -> Measured:
    """The row's image shard exists, can be read and has the stated row.

    Training would stop in the middle of an epoch.
    """
    return _read(rows).measured("unreadable")


@rule("rows", "shard_row", at_most=0)
def shard_holds_sample(rows: Rows) -> Measured:
    """The shard's row holds the image of this sample id.

    People would be trained on other people's labels.
    """
    return _read(rows).measured("of another sample")


@rule("rows", "image_hash", at_most=0)
def image_hash_matches(rows: Rows) -> Measured:
    """The stored bytes have the stated SHA-256.

    The image was changed or damaged after it was annotated.
    """
    return _read(rows).measured("other bytes")


@rule("rows", "image_hash", at_most=0)
def image_decodes(rows: Rows) -> Measured:
    """The image can be decoded (all rows of a small table, a sample of a large one).

    Training would stop in the middle of an epoch.
    """
    return _read(rows).measured("no image")


@rule("rows", "image_width, image_height", at_most=0)
def image_size_matches(rows: Rows) -> Measured:
    """The image has the stated width and height.

    Boxes, joints and camera would belong to another scale of the image.
    """
    return _read(rows).measured("another size")


@rule("rows", "mask", at_most=0)
def mask_decodes(rows: Rows) -> Measured:
    """Where there is a mask, it is a PNG of the image's size.

    Segmentation metrics would compare different pixels.
    """
    return _read(rows).measured("no mask")


@rule("rows", "mask", at_least=0.7)
def joints_on_mask(rows: Rows) -> Measured:
    """At least 70 % of the visible joints lie on the mask, give or take 3 % of the box.

    Image and labels are mirrored, shifted or of another person.
    """
    return _read(rows).measured("joints on mask")


class _Found:
    """Values and descriptions by topic and row; NaN where nothing was examined."""

    def __init__(self, rows: int) -> None:
        self.values: dict[str, Array] = defaultdict(lambda: np.full(rows, np.nan))
        self.texts: dict[tuple[str, int], str] = {}

    def problem(self, topic: str, row: int, text: str) -> None:
        """Note a row's problem."""
        self.values[topic][row] = 1
        self.texts[topic, row] = text

    def measured(self, topic: str) -> Measured:
        return numbers(self.values[topic], lambda row: self.texts[topic, row])


@once
def _read(rows: Rows) -> _Found:
    """Read the stored bytes of all rows, and the pixels of those to be decoded.

    A version without any images is a choice: then none is missing.
    """
    found, table, reader = _Found(len(rows)), rows.table, ShardReader(rows.shards)
    shards, shard_rows = table.shard.tolist(), table.shard_row.tolist()
    ids, hashes = table.sample_id.tolist(), table.image_hash.tolist()
    if rows.census.stored:
        for topic in ("unreadable", "of another sample", "other bytes"):
            found.values[topic][:] = 0
        for row in range(len(rows)):
            _read_bytes(found, row, reader, shards[row], shard_rows[row], ids[row], hashes[row])
    for row in np.flatnonzero(rows.census.decoded[rows.numbers]).tolist():
        size = int(table.image_width[row]), int(table.image_height[row])
        if found.values["unreadable"][row] == 0:
            _decode(found, row, reader.jpeg(shards[row], shard_rows[row]), size)
        _decode_mask(found, row, rows, size)
    return found


def _read_bytes(
    found: _Found, row: int, reader: ShardReader, shard: str, shard_row: int, name: str, stated: str
) -> None:
    try:
        try:
            data = reader.jpeg(shard, shard_row, name)
        except DataError as error:
            data = reader.jpeg(shard, shard_row)
            found.problem("of another sample", row, f"shard {shard!r}: {error.what}")
    except SHARD_ERRORS as error:
        what = error.what if isinstance(error, DataError) else f"can't be read: {error}"
        found.problem("unreadable", row, f"shard {shard!r}: {what}")
        found.values["of another sample"][row] = found.values["other bytes"][row] = np.nan
        return
    digest = hashlib.sha256(data).hexdigest()
    if digest != stated:
        text = f"stored bytes have SHA-256 {digest[:12]}…, the table says {stated[:12]}…"
        found.problem("other bytes", row, text)


def _decode(found: _Found, row: int, data: bytes, size: tuple[int, int]) -> None:
    try:
        width, height = decode_image(data).shape[1::-1]
    except InputError as error:
        found.problem("no image", row, error.what)
        return
    found.values["no image"][row] = found.values["another size"][row] = 0
    if (width, height) != size:
        text = f"the image is {width}×{height} px, the table says {size[0]}×{size[1]}"
        found.problem("another size", row, text)


def _decode_mask(found: _Found, row: int, rows: Rows, size: tuple[int, int]) -> None:
    stored = bytes(rows.table.mask[row])
    if not stored:
        return
    mask_HW = decode_mask(stored)
    if mask_HW is None:
        found.problem("no mask", row, f"{len(stored)} bytes that are not a readable PNG")
    elif mask_HW.shape != size[::-1]:
        height, width = mask_HW.shape
        text = f"the mask is {width}×{height} px, the image {size[0]}×{size[1]}"
        found.problem("no mask", row, text)
    else:
        found.values["no mask"][row] = 0
        _find_joints(found, mask_HW, row, rows)


def _find_joints(found: _Found, mask_HW: Array, row: int, rows: Rows) -> None:
    """Share of a row's visible joints that lie on its mask."""
    table, joints_J2 = rows.table, rows.joints2d[row]
    visible_J = table.visible[row] & table.valid2d[row] & ~table.truncated[row]
    visible_J &= np.isfinite(joints_J2).all(1)
    side = float((rows.boxes[row, 2:] - rows.boxes[row, :2]).max())
    if visible_J.sum() < _MIN_VISIBLE_JOINTS or not np.isfinite(side):
        return
    import cv2

    reach = max(1, round(_MASK_SLACK_OF_BOX * side))
    grown_HW = cv2.dilate(mask_HW.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8))
    height, width = grown_HW.shape
    x_J, y_J = np.floor(joints_J2[visible_J]).astype(int).T
    hits_J = grown_HW[np.clip(y_J, 0, height - 1), np.clip(x_J, 0, width - 1)] > 0
    found.values["joints on mask"][row] = float(hits_J.mean())
    found.texts["joints on mask", row] = (
        f"{int(hits_J.sum())} of {len(hits_J)} visible joints lie on the person's mask"
    )


def decode_mask(data: bytes) -> Array | None:
    """Pixels (H, W) of a stored mask, True on the person; None when it is not a readable PNG."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
