"""Image bytes to pixels and back. Bytes from strangers are hostile until decoded here."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import InputError

MAX_PIXELS = 50_000_000
"""Larger images are refused from their header, before a pixel is decoded."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


_JPEG_END = b"\xff\xd9"


def _is_whole(data: bytes) -> bool:
    # Phones append videos and metadata to a whole JPEG, so bytes after its end are no fault;
    # OpenCV alone fills what is missing with grey.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True


def decode_image(data: bytes, *, where: str = "image") -> npt.NDArray[np.uint8]:
    """Decode image bytes to RGB of shape (H, W, 3), upright by its EXIF orientation.

    Raises:
        InputError: Not a whole image of a supported format, or larger than ``MAX_PIXELS``.
    """
    import cv2
    from PIL import Image, UnidentifiedImageError

    formats = ", ".join(_FORMATS)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as header:
            width, height = header.size
            header_format = header.format
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InputError(
            f"not an image that can be read ({len(data)} bytes)",
            where=where,
            expected=f"one of {formats}",
        ) from None
    if width * height > MAX_PIXELS:
        raise InputError(
            f"the image has {width}×{height} pixels",
            where=where,
            expected=f"at most {MAX_PIXELS:,} pixels",
            remedy="scale it down",
        )
    if header_format == "JPEG" and not data.endswith(_JPEG_END) and not _is_whole(data):
        raise InputError(
            "the JPEG ends before its end marker", where=where, expected="a whole file"
        )
    try:
        rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        rgb = None
    if rgb is None:
        raise InputError("the image is damaged", where=where, expected=f"one of {formats}")
    return np.asarray(rgb, np.uint8)


def encode_jpeg(image_HW3: npt.NDArray[np.uint8], *, quality: int = 92) -> bytes:
    """Encode RGB (H, W, 3) as JPEG; the same pixels give the same bytes."""
    import cv2

    _, buffer = cv2.imencode(".jpg", image_HW3[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(buffer)
