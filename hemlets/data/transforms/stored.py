"""Cut crops from stored JPEG bytes, decoded no larger than the crop needs."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.data.images import MAX_PIXELS
from hemlets.data.table import decode_image
from hemlets.data.transforms.crop import Crop

_END: Final = b"\xff\xd9"


def extract_stored(data: bytes, crop: Crop, *, where: str) -> npt.NDArray[np.uint8]:
    """Cut a crop (size, size, 3) from an image's stored bytes.

    A JPEG is decoded at half, a quarter or an eighth of its size if the crop shrinks it at least
    that much: faster, with the same pixels.

    Raises:
        InputError: The bytes are no complete image.
    """
    image, factor = decode_reduced(data, crop.side_px / crop.size_px, where=where)
    x, y = crop.centre_px
    smaller = replace(crop, centre_px=(x / factor, y / factor), side_px=crop.side_px / factor)
    return smaller.extract(image)


def decode_reduced(data: bytes, shrink: float, *, where: str) -> tuple[npt.NDArray[np.uint8], int]:
    """Decode RGB (H, W, 3), smaller by the largest of 1, 2, 4, 8 that is not beyond ``shrink``.

    Returns:
        The pixels, and the factor by which coordinates from the corner shrink.

    Raises:
        InputError: The bytes are no complete image.
    """
    import cv2

    if not _is_whole_small_jpeg(data):
        return decode_image(data, where=where), 1
    factor = next(factor for factor in (8, 4, 2, 1) if factor <= max(shrink, 1.0))
    flag = {
        1: cv2.IMREAD_COLOR_RGB,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[factor]
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        pixels = None
    if pixels is None:
        return decode_image(data, where=where), 1  # raises the error with the cause
    if factor > 1:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return np.asarray(pixels, np.uint8), factor


def _is_whole_small_jpeg(data: bytes) -> bool:
    """Return whether OpenCV alone decodes the bytes like the checked decoder."""
    from PIL import Image

    if not data.startswith(b"\xff\xd8") or not data.endswith(_END):
        return False
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as header:
            return header.size[0] * header.size[1] <= MAX_PIXELS
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
