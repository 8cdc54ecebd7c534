"""Bytes from strangers: decoded whole and upright, or refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from hemlets.core.errors import InputError
from hemlets.data.table import decode_image, encode_jpeg
from hemlets.data.table.images import MAX_PIXELS


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A smooth picture of 60×40 whose corners differ."""
    y, x = np.mgrid[:40, :60]
    pixels = np.stack([4 * x, 6 * y, 255 - 2 * (x + y)], -1).clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_their_pixels(picture: Image.Image, kind: str) -> None:
    assert np.array_equal(decode_image(_encoded(picture, kind)), np.asarray(picture))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_give_nearly_their_pixels(picture: Image.Image, kind: str) -> None:
    found = decode_image(_encoded(picture, kind, quality=95)).astype(int)
    assert np.abs(found - np.asarray(picture)).mean() < 4


def test_encoding_repeats_to_the_byte_and_survives(picture: Image.Image) -> None:
    pixels = np.asarray(picture)
    assert encode_jpeg(pixels) == encode_jpeg(pixels)
    assert np.abs(decode_image(encode_jpeg(pixels)).astype(int) - pixels).mean() < 4


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("L", "JPEG"), ("LA", "PNG"), ("RGBA", "PNG"), ("RGBA", "TIFF"), ("P", "PNG"),
     ("1", "PNG"), ("CMYK", "JPEG"), ("CMYK", "TIFF")],
)  # fmt: skip
def test_every_kind_of_pixel_becomes_rgb(picture: Image.Image, mode: str, kind: str) -> None:
    data = _encoded(picture.convert(mode), kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    found = decode_image(data)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.abs(found - expected).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_become_eight(picture: Image.Image, kind: str) -> None:
    grey = np.asarray(picture.convert("L"))
    found = decode_image(_encoded(Image.fromarray(grey.astype(np.uint16) * 257), kind))
    assert np.array_equal(found, np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright_by_their_exif(
    picture: Image.Image, kind: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    data = _encoded(picture, kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    found = decode_image(data)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_a_truncated_image_is_refused(picture: Image.Image, kind: str, share: float) -> None:
    data = _encoded(picture.resize((300, 200)), kind)
    with pytest.raises(InputError, match="photo 7"):
        decode_image(data[: int(len(data) * share)], where="photo 7")


def test_bytes_after_a_jpegs_end_are_no_fault(picture: Image.Image) -> None:
    # Phones append videos and maps of depth.
    data = _encoded(picture, "JPEG")
    assert np.array_equal(decode_image(data + b"a video follows"), decode_image(data))


@pytest.mark.parametrize(
    "data", [b"", b"not an image", b"\xff\xd8\xff\xe0", b"GIF89a" + bytes(50), b"%PDF-1.7\n"]
)
def test_what_is_no_image_is_refused_with_the_formats_that_are(data: Any) -> None:
    with pytest.raises(InputError, match="JPEG, PNG"):
        decode_image(data)


def test_a_bomb_is_refused_from_its_header() -> None:
    # 60,000 × 60,000 pixels: 10 GB if a decoder believed it.
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))
    with pytest.raises(InputError):
        decode_image(data + chunk(b"IEND", b""))


def test_an_image_just_too_large_is_told_the_limit() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    data = _encoded(Image.new("1", (side, side)), "PNG")
    with pytest.raises(InputError, match=r"at most 50,000,000 pixels[\s\S]*scale it down"):
        decode_image(data)
