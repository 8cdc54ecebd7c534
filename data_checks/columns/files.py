"""Shards and masks: the bytes that a row points to.

Every row's bytes are read and hashed. Images are decoded for all rows of a small table and for
a sample of a large one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_checks.columns.base import Array, Column, Columns
from hemlets.core.errors import DataError, InputError
from hemlets.data.table import Annotations, ShardReader, decode_image

_MIN_VISIBLE_JOINTS = 4
_MASK_SLACK_OF_BOX = 0.03

_SHARD_ERRORS = (DataError, pa.ArrowException, AttributeError, TypeError, ValueError, OSError)
"""A shard of another form fails in as many ways as there are forms."""


def file_columns(table: Annotations, shards: Path, *, decoded: Array, stored: bool) -> Columns:
    """What reading the stored images and masks shows.

    Args:
        table: Some rows.
        shards: The folder of the image shards.
        decoded: (N,) rows whose pixels are looked at, too.
        stored: Whether the version has images at all; without any, their absence is a choice.
    """
    return _Files(table, ShardReader(shards), decoded, stored).columns()


def decode_mask(data: bytes) -> Array | None:
    """Pixels (H, W) of a stored mask, True on the person; None when it is not a readable PNG."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


class _Files:
    def __init__(
        self, table: Annotations, reader: ShardReader, decoded: Array, stored: bool
    ) -> None:
        rows = len(table)
        self.table = table
        self.reader = reader
        self.decoded = decoded
        self.stored = stored
        self.shards = table.shard.tolist()
        self.shard_rows = table.shard_row.tolist()
        self.hashes = table.image_hash.tolist()
        self.values = {
            name: np.full(rows, np.nan)
            for name in (
                "shard_readable", "shard_holds_sample", "image_hash_matches", "image_decodes",
                "image_size_matches", "mask_decodes", "joints_on_mask",
            )
        }  # fmt: skip
        self.seen: dict[tuple[str, int], str] = {}
        self.ids = table.sample_id
        self.masks = table.mask
        self.boxes = table.box_xyxy
        self.joints = table.joints2d_px
        self.visible = table.visible & table.valid2d & ~table.truncated
        self.sizes = list(zip(table.image_width.tolist(), table.image_height.tolist(), strict=True))

    def columns(self) -> Columns:
        for row in range(len(self.table)) if self.stored else ():
            self._look_at_bytes(row)
        for row in np.flatnonzero(self.decoded).tolist():
            self._look_at_pixels(int(row))
        return {
            name: Column(values=values, observed=self._observer(name))
            for name, values in self.values.items()
        }

    def _observer(self, name: str) -> Callable[[int], str]:
        return lambda row: self.seen[name, row]

    def _judge(self, name: str, row: int, problem: str | None) -> None:
        self.values[name][row] = float(problem is not None)
        if problem is not None:
            self.seen[name, row] = problem

    def _look_at_bytes(self, row: int) -> None:
        name, shard_row = self.shards[row], self.shard_rows[row]
        mislaid = None
        try:
            try:
                data = self.reader.jpeg(name, shard_row, self.ids[row])
            except DataError as error:
                data = self.reader.jpeg(name, shard_row)
                mislaid = f"shard {name!r}: {error.what}"
        except _SHARD_ERRORS as error:
            what = error.what if isinstance(error, DataError) else f"can't be read: {error}"
            self._judge("shard_readable", row, f"shard {name!r}: {what}")
            return
        self._judge("shard_readable", row, None)
        self._judge("shard_holds_sample", row, mislaid)
        digest = hashlib.sha256(data).hexdigest()
        stated = self.hashes[row]
        self._judge(
            "image_hash_matches",
            row,
            None
            if digest == stated
            else f"stored bytes have SHA-256 {digest[:12]}…, the table says {stated[:12]}…",
        )

    def _look_at_pixels(self, row: int) -> None:
        width, height = self.sizes[row]
        if self.values["shard_readable"][row] == 0:
            try:
                found = decode_image(
                    self.reader.jpeg(self.shards[row], self.shard_rows[row])
                ).shape[1::-1]
            except InputError as error:
                self._judge("image_decodes", row, error.what)
            else:
                self._judge("image_decodes", row, None)
                self._judge(
                    "image_size_matches",
                    row,
                    None
                    if found == (width, height)
                    else f"the image is {found[0]}×{found[1]} px, the table says {width}×{height}",
                )
        stored = bytes(self.masks[row])
        if not stored:
            return
        mask_HW = decode_mask(stored)
        if mask_HW is None:
            self._judge("mask_decodes", row, f"{len(stored)} bytes that are not a readable PNG")
        elif mask_HW.shape != (height, width):
            size = f"{mask_HW.shape[1]}×{mask_HW.shape[0]}"
            self._judge("mask_decodes", row, f"the mask is {size} px, the image {width}×{height}")
        else:
            self._judge("mask_decodes", row, None)
            self._look_at_joints_on(mask_HW, row)

    def _look_at_joints_on(self, mask_HW: Array, row: int) -> None:
        visible_J = self.visible[row] & np.isfinite(self.joints[row]).all(1)
        side = float((self.boxes[row][2:] - self.boxes[row][:2]).max())
        if visible_J.sum() < _MIN_VISIBLE_JOINTS or not np.isfinite(side):
            return
        import cv2

        reach = max(1, round(_MASK_SLACK_OF_BOX * side))
        grown_HW = cv2.dilate(mask_HW.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8))
        height, width = grown_HW.shape
        x_J, y_J = np.floor(self.joints[row][visible_J]).astype(int).T
        hits_J = grown_HW[np.clip(y_J, 0, height - 1), np.clip(x_J, 0, width - 1)] > 0
        share = float(hits_J.mean())
        self.values["joints_on_mask"][row] = share
        self.seen["joints_on_mask", row] = (
            f"{int(hits_J.sum())} of {len(hits_J)} visible joints lie on the person's mask"
        )
