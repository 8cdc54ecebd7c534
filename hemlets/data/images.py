"""Decode and encode images. Bytes are untrusted until they are decoded here."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS: Final = 50_000_000
"""Larger images are refused from their header, before a pixel is decoded."""

MAX_SCANS: Final = 100
"""Progressive JPEGs with more scans are refused; encoders write about 10."""

MAX_SCANNED_PIXELS: Final = 10 * MAX_PIXELS
"""Largest pixels × scans of a JPEG: every scan visits every pixel."""

_START_OF_SCAN: Final = b"\xff\xda"
_ORIENTATION: Final = 0x112
_MAX_EXTRANEOUS_BYTES: Final = 64
"""Some cameras pad a JPEG by a few bytes; more are a piece of another file."""

READABLE: Final[Mapping[str, tuple[tuple[int, bytes], ...]]] = {
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "WEBP": ((8, b"WEBP"),),
    "BMP": ((0, b"BM"),),
    "TIFF": ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")),
}
"""Formats that are decoded, each by the bytes at a place of its files."""

_UNREADABLE: Final[Mapping[str, tuple[tuple[int, bytes], ...]]] = {
    "a camera's raw image": ((4, b"ftypcrx"), (8, b"CR\x02"), (0, b"FUJIFILM")),
    "a GIF": ((0, b"GIF8"),),
    "a PDF": ((0, b"%PDF"),),
    "an SVG": ((0, b"<svg"),),
    "an AVIF image": ((4, b"ftypavif"), (4, b"ftypavis")),
    "a HEIC image": tuple(
        (4, b"ftyp" + brand)
        for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    ),
    "a JPEG 2000 image": ((4, b"jP  \r\n"), (0, b"\xff\x4f\xff\x51")),
    "a JPEG XL image": ((4, b"JXL "), (0, b"\xff\x0a")),
    "a Photoshop file": ((0, b"8BPS"),),
    "an HDR image": ((0, b"#?RADIANCE"),),
    "an OpenEXR image": ((0, b"v/1\x01"),),
    "an icon": ((0, b"\0\0\1\0"),),
}
_NOT_IMAGES: Final = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS",
}
_EXPECTED: Final = f"one of {', '.join(READABLE)}"
_REMEDY: Final = "send the original file, or save it again with an image editor"
_RAW_TAGS: Final = (0xC612, 0x14A)
"""DNGVersion and SubIFDs: such a TIFF begins with a small preview of a raw image."""

_UPRIGHT: Final[dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
"""Operations that turn pixels upright, by EXIF orientation (1 is upright)."""


def decode_image(data: bytes, *, where: str = "image") -> npt.NDArray[np.uint8]:
    """Decode image bytes to RGB of shape (H, W, 3), upright by its EXIF orientation.

    What is transparent is shown on white. The work is bounded before decoding: by pixels, and for
    JPEG by scans.

    Raises:
        InputError: Not a whole image of a supported format, or too much work.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, which are refused below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=tuple(READABLE)) as header:
                width, height = header.size
                # First: reading a PNG's Exif decodes its pixels.
                require_few_pixels(width, height, where)
                is_jpeg = header.format in ("JPEG", "MPO")
                # A JPEG's further images are thumbnails and depth; the first is the photo.
                several = not is_jpeg and getattr(header, "is_animated", False)
                bands = header.mode
                is_raw = header.format == "TIFF" and any(t in header.getexif() for t in _RAW_TAGS)
                orientation = header.getexif().get(_ORIENTATION, 1) if is_jpeg else 1
                if header.format == "PNG":
                    header.verify()
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(f"{int(pixels[0]):,}" if pixels else "too many", where) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise _unreadable(data, where) from None
    if several:
        raise InputError(
            "the file holds several images or is animated",
            where=where,
            expected="one image",
            remedy="save the image that is meant as a file of its own",
        )
    require_known_range(bands, where)
    if is_raw:
        raise _of_kind("a camera's raw image", where)
    if not is_jpeg:
        return _decode_by_pillow(data, where)
    _require_few_scans(data, width * height, where)
    pixels_HW3 = _decode_jpeg(data, where)
    turn = _UPRIGHT.get(orientation)
    return pixels_HW3 if turn is None else np.ascontiguousarray(turn(pixels_HW3))


def require_few_pixels(width: int, height: int, where: str) -> None:
    """Refuse an image of more than `MAX_PIXELS`.

    Raises:
        InputError: It is too large.
    """
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width}×{height}", where)


def require_known_range(mode: str, where: str) -> None:
    """Refuse one of Pillow's modes whose black and white are not known.

    Raises:
        InputError: Floating-point numbers or 32-bit integers.
    """
    if mode in ("F", "I"):
        kind = "floating-point numbers" if mode == "F" else "32-bit integers"
        raise InputError(
            f"the image holds {kind}, whose black and white are not known",
            where=where,
            expected="8 or 16 bits a channel",
            remedy="save it with 8 or 16 bits",
        )


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
        try:
            pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
        except ValueError as error:
            padding = re.search(r"(\d+) extraneous bytes", str(error))
            if padding is None or int(padding[1]) > _MAX_EXTRANEOUS_BYTES:
                raise
            pixels = simplejpeg.decode_jpeg(data, "RGB", strict=False)
    except ValueError as error:
        raise InputError(
            f"the JPEG is cut or damaged: {error}",
            where=where,
            expected="a whole file",
            remedy=_REMEDY,
        ) from None
    return np.asarray(pixels, np.uint8)


def to_rgb(image: Image.Image, where: str) -> npt.NDArray[np.uint8]:
    """Convert one of Pillow's images to upright RGB (H, W, 3); what is transparent, to white.

    Raises:
        InputError: Its pixels can't be decoded, or all of them are transparent.
    """
    from PIL import ImageOps

    require_known_range(image.mode, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            upright = ImageOps.exif_transpose(image)
            alpha = upright.getchannel("A").getextrema() if "A" in upright.getbands() else None
            if image.format == "BMP" and alpha == (0, 0):
                # Windows leaves the fourth byte at 0, which its viewers ignore.
                return np.asarray(upright.convert("RGB"), np.uint8)
            if alpha is not None or "transparency" in upright.info:
                return _on_white(upright, where)
            if upright.mode.startswith("I;16"):
                # Pillow would cut off what is above 255.
                grey = np.asarray(upright).astype(np.uint16) >> 8
                return np.repeat(grey.astype(np.uint8)[..., None], 3, 2)
            return np.asarray(upright.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise InputError(
            f"the {image.format or 'image'} is cut or damaged: {error}",
            where=where,
            expected="a whole image",
            remedy=_REMEDY,
        ) from None


def _on_white(image: Image.Image, where: str) -> npt.NDArray[np.uint8]:
    """RGB of an image with alpha as viewers show it, without what lies below."""
    from PIL import Image

    image = image.convert("RGBA")
    _, most = image.getchannel("A").getextrema()
    if most == 0:
        raise InputError(
            "every pixel of the image is transparent",
            where=where,
            expected="an image that shows something",
            remedy="save it without transparency",
        )
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"), np.uint8)


def _decode_by_pillow(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    # OpenCV returns damaged TIFFs as whole ones.
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=tuple(READABLE)) as stored:
        return to_rgb(stored, where)


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


def image_kind(head: bytes) -> str | None:
    """Name the format of an image file by its first bytes: a key of `READABLE`, else in words.

    >>> image_kind(b"GIF89a"), image_kind(b"BM"), image_kind(b"")
    ('a GIF', 'BMP', None)
    """
    if head[4:8] == b"ftyp" and b"avif" in head[8:32]:
        return "an AVIF image"
    text = head[:512].lstrip().lower()
    if text.startswith(b"<?xml") and b"<svg" in text:
        return "an SVG"
    kinds = {**_UNREADABLE, **READABLE}
    found = (
        kind for kind, marks in kinds.items() if any(head[at:].startswith(m) for at, m in marks)
    )
    return next(found, None)


def _unreadable(data: bytes, where: str) -> InputError:
    if not data:
        return InputError("the image is empty: it has no bytes", where=where, expected=_EXPECTED)
    for start, what in _NOT_IMAGES.items():
        if data[:32].lstrip().lower().startswith(start):
            return InputError(
                f"this is {what}, not an image",
                where=where,
                expected=_EXPECTED,
                remedy="download the image itself",
            )
    kind = image_kind(data[:512])
    if kind is None:
        return InputError(
            f"not an image that can be read ({len(data)} bytes)", where=where, expected=_EXPECTED
        )
    if kind in READABLE:
        return InputError(
            f"the {kind} image is cut or damaged",
            where=where,
            expected=_EXPECTED,
            remedy=_REMEDY,
        )
    return _of_kind(kind, where)


def _of_kind(kind: str, where: str) -> InputError:
    how = ", for example with `heif-convert PHOTO.heic PHOTO.jpg`" if "HEIC" in kind else ""
    return InputError(
        f"{kind} can't be read",
        where=where,
        expected=_EXPECTED,
        remedy=f"convert {'it' if how else kind} to JPEG{how or ' or PNG'}",
    )
