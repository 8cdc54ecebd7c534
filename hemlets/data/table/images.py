"""Decode and encode images. Bytes are untrusted until they are decoded here."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import InputError

MAX_PIXELS: Final = 50_000_000
"""Larger images are refused from their header, before a pixel is decoded."""

MAX_SCANS: Final = 100
"""Progressive JPEGs with more scans are refused; encoders write about 10."""

MAX_SCANNED_PIXELS: Final = 10 * MAX_PIXELS
"""Largest pixels × scans of a JPEG: every scan visits every pixel."""

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_START_OF_SCAN: Final = b"\xff\xda"
_ORIENTATION: Final = 0x112
_MAX_EXTRANEOUS_BYTES: Final = 64
"""Some cameras pad a JPEG by a few bytes; more are a piece of another file."""

_KNOWN: Final = {
    b"GIF8": "a GIF",
    b"%PDF": "a PDF",
    b"ftypavif": "an AVIF image",
    b"<svg": "an SVG",
    b"jP  \r\n": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"JXL ": "a JPEG XL image",
    b"\xff\x0a": "a JPEG XL image",
    b"ftypcrx": "a camera's raw image",
    b"CR\x02": "a camera's raw image",
    b"FUJIFILM": "a camera's raw image",
    b"8BPS": "a Photoshop file",
    b"#?RADIANCE": "an HDR image",
    b"v/1\x01": "an OpenEXR image",
}
_NOT_IMAGES: Final = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS",
}

_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"})

_UPRIGHT: Final[dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
"""OpenCV operations that turn pixels upright, by EXIF orientation (1 is upright)."""


def decode_image(data: bytes, *, where: str = "image") -> npt.NDArray[np.uint8]:
    """Decode image bytes to RGB of shape (H, W, 3), upright by its EXIF orientation.

    The work is bounded before decoding: by pixels, and for JPEG by scans.

    Raises:
        InputError: Not a whole image of a supported format, or too much work.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, which are refused below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as header:
                width, height = header.size
                is_jpeg = header.format in ("JPEG", "MPO")
                # A JPEG's further images are thumbnails and depth; the first is the photo.
                several = not is_jpeg and getattr(header, "is_animated", False)
                bands = header.mode
                orientation = header.getexif().get(_ORIENTATION, 1) if is_jpeg else 1
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(f"{int(pixels[0]):,}" if pixels else "too many", where) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise _unreadable(data, where) from None
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width}×{height}", where)
    if several:
        raise InputError(
            "the file holds several images or is animated",
            where=where,
            expected="one image",
            remedy="save the image that is meant as a file of its own",
        )
    if bands == "F":
        raise InputError(
            "the image holds floating-point numbers, whose black and white are not known",
            where=where,
            expected="8 or 16 bits a channel",
            remedy="save it with 8 or 16 bits",
        )
    if not is_jpeg:
        return _decode_by_opencv(data, where)
    _require_few_scans(data, width * height, where)
    pixels_HW3 = _decode_jpeg(data, where)
    turn = _UPRIGHT.get(orientation)
    return pixels_HW3 if turn is None else np.ascontiguousarray(turn(pixels_HW3))


def encode_jpeg(image_HW3: npt.NDArray[np.uint8], *, quality: int = 92) -> bytes:
    """Encode RGB (H, W, 3) as JPEG; the same pixels give the same bytes."""
    import cv2

    _, buffer = cv2.imencode(".jpg", image_HW3[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(buffer)


def _decode_jpeg(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Decode a JPEG as stored, and refuse what libjpeg would only warn about.

    The pixels are OpenCV's, which uses libjpeg-turbo as well but fills what is missing with grey.
    """
    import simplejpeg

    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        padding = re.search(r"(\d+) extraneous bytes", str(error))
        if padding is None or int(padding[1]) > _MAX_EXTRANEOUS_BYTES:
            raise InputError(
                f"the JPEG is cut or damaged: {error}",
                where=where,
                expected="a whole file",
                remedy="send the original file, or save it again with an image editor",
            ) from None
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=False)
    return np.asarray(pixels, np.uint8)


def _decode_by_opencv(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    import cv2

    # OpenCV logs what is wrong with a file to the terminal as well as failing.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        rgb = None
    if rgb is None:
        raise InputError(
            "the image is damaged", where=where, expected=f"one of {', '.join(_FORMATS)}"
        )
    return np.asarray(rgb, np.uint8)


def _require_few_scans(data: bytes, pixels: int, where: str) -> None:
    # The marker can't occur in compressed data, whose 0xff bytes are escaped. A thumbnail's scans
    # count too; it has few.
    scans = data.count(_START_OF_SCAN)
    most = min(MAX_SCANS, max(1, MAX_SCANNED_PIXELS // max(pixels, 1)))
    if scans > most:
        raise InputError(
            f"the JPEG has {scans:,} scans",
            where=where,
            expected=f"at most {most:,} for {pixels:,} pixels",
            remedy="save it again as a JPEG that is not progressive",
        )


def _too_large(pixels: str, where: str) -> InputError:
    return InputError(
        f"the image is too large: it has {pixels} pixels",
        where=where,
        expected=f"at most {MAX_PIXELS:,} pixels",
        remedy="scale it down",
    )


def _unreadable(data: bytes, where: str) -> InputError:
    expected = f"one of {', '.join(_FORMATS)}"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return InputError(
            "a HEIC image can't be read",
            where=where,
            expected=expected,
            remedy="convert it to JPEG, for example with `heif-convert PHOTO.heic PHOTO.jpg`",
        )
    if not data:
        return InputError("the image is empty: it has no bytes", where=where, expected=expected)
    for start, what in _NOT_IMAGES.items():
        if data[:32].lstrip().lower().startswith(start):
            return InputError(
                f"this is {what}, not an image",
                where=where,
                expected=expected,
                remedy="download the image itself",
            )
    known = next((name for start, name in _KNOWN.items() if start in data[:16]), None)
    return InputError(
        f"{known} can't be read" if known else f"not an image that can be read ({len(data)} bytes)",
        where=where,
        expected=expected,
        remedy=f"convert {known} to JPEG or PNG" if known else None,
    )
