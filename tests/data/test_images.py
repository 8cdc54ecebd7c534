"""Bytes from strangers: decoded whole and upright, or refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from hemlets.core.errors import InputError
from hemlets.data.images import MAX_PIXELS, MAX_SCANS
from hemlets.data.table import decode_image, encode_jpeg


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


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_an_image_with_exchanged_bytes_is_refused(
    picture: Image.Image, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    data = bytearray(_encoded(picture.resize((300, 200)), kind, **options))
    middle = len(data) // 2
    data[middle : middle + 200] = b"\xff" * 200
    with pytest.raises(InputError, match="send the original file"):
        decode_image(bytes(data))
    # libtiff's own message can't be turned off in Pillow.
    assert kind == "TIFF" or not capfd.readouterr().err


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


def test_a_large_png_is_refused_before_its_pixels_are_looked_at() -> None:
    """Though its pixels are damaged: Pillow decodes them all to look for Exif behind them."""
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, part in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        data += struct.pack(">I", len(part)) + kind + part
        data += struct.pack(">I", zlib.crc32(kind + part))
    with pytest.raises(InputError, match="10000×10000 pixels"):
        decode_image(data)


def test_an_image_just_too_large_is_told_the_limit() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    data = _encoded(Image.new("1", (side, side)), "PNG")
    with pytest.raises(InputError, match=r"at most 50,000,000 pixels[\s\S]*scale it down"):
        decode_image(data)


def _photo(kind: str = "JPEG", **options: object) -> bytes:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    return _encoded(coarse.resize((400, 300), Image.Resampling.BICUBIC), kind, **options)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_jpeg_that_was_cut_and_closed_again_is_refused(progressive: bool, share: float) -> None:
    data = _photo(progressive=progressive)
    with pytest.raises(InputError, match="cut or damaged"):
        decode_image(data[: int(len(data) * share)] + b"\xff\xd9")


def test_a_small_jpeg_that_claims_to_be_large_is_refused() -> None:
    data = bytearray(_photo())
    size = data.index(b"\xff\xc0") + 5
    data[size : size + 4] = struct.pack(">HH", 6000, 6000)
    with pytest.raises(InputError, match="cut or damaged"):
        decode_image(bytes(data))


def test_a_jpeg_made_of_pieces_of_two_is_refused() -> None:
    one, two = _photo(), _photo(quality=40)
    with pytest.raises(InputError, match="cut or damaged"):
        decode_image(one[: len(one) // 2] + two[len(two) // 3 :])


def test_a_jpeg_whose_line_ends_were_converted_is_refused(picture: Image.Image) -> None:
    stream = io.BytesIO()
    picture.save(stream, "JPEG")
    with pytest.raises(InputError, match="JPEG is cut or damaged"):
        decode_image(stream.getvalue().replace(b"\n", b"\r\n"))


def test_a_few_bytes_of_padding_before_the_end_are_no_fault() -> None:
    data = _photo()
    assert np.array_equal(decode_image(data[:-2] + bytes(3) + data[-2:]), decode_image(data))


def _with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan, which refines bits, is there many times."""
    data = _photo(progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (count - data[:last].count(b"\xff\xda")) + b"\xff\xd9"


def test_a_jpeg_with_very_many_scans_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("simplejpeg.decode_jpeg", decoded)
    with pytest.raises(InputError, match=f"{MAX_SCANS + 1} scans"):
        decode_image(_with_scans(MAX_SCANS + 1))


def test_an_ordinary_progressive_jpeg_is_read() -> None:
    data = _photo(progressive=True)
    assert np.array_equal(
        decode_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    )


def test_the_pixels_of_a_jpeg_are_those_of_opencv() -> None:
    import cv2

    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}):
        data = _photo(**options)
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(decode_image(data), expected)


@pytest.mark.parametrize("width", [8_000, 16_000])
def test_an_image_beyond_pillows_own_limit_is_called_too_large(
    width: int, recwarn: pytest.WarningsRecorder
) -> None:
    data = _encoded(Image.new("L", (width, 12_000)), "PNG")
    with pytest.raises(InputError, match="too large"):
        decode_image(data)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"), (b"GIF89a", "GIF"), (b"%PDF-1.7", "PDF"),
     (b"\0\0\0\x1cftypavif", "AVIF"), (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
     (b"\0\0\0\x0cJXL \r\n", "JPEG XL"), (b"II*\0\x10\0\0\0CR\x02\0", "raw"),
     (b"\0\0\0\x18ftypcrx ", "raw"), (b"8BPS\0\1", "Photoshop"),
     (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "HEIC"), (b"\0\0\0\x18ftyphevx", "HEIC"),
     (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"), (b"\0\0\1\0\1\0", "icon"),
     (b"<?xml version='1.0'?>\n<svg width='9'>", "SVG")],
)  # fmt: skip
def test_a_known_format_that_cant_be_read_is_named_with_a_remedy(start: bytes, name: str) -> None:
    with pytest.raises(InputError, match=name) as caught:
        decode_image(start + bytes(100))
    assert "convert" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no bytes"),
        (b"\n<!DOCTYPE html><html>404</html>", "web page"),
        (b"<HTML><body>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    ],
)
def test_what_came_in_place_of_an_image_is_named(data: bytes, what: str) -> None:
    with pytest.raises(InputError, match=what):
        decode_image(data)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "TIFF"])
def test_a_file_of_several_images_is_refused(picture: Image.Image, kind: str) -> None:
    data = _encoded(picture, kind, save_all=True, append_images=[picture.rotate(90)])
    with pytest.raises(InputError, match="several images"):
        decode_image(data)


def test_the_first_image_of_a_stereo_cameras_file_is_the_photo(picture: Image.Image) -> None:
    data = _encoded(picture, "MPO", save_all=True, append_images=[picture.rotate(90)])
    alone = _encoded(picture, "MPO")
    assert np.array_equal(decode_image(data), decode_image(alone))


def test_floating_point_pixels_are_refused_by_name(picture: Image.Image) -> None:
    with pytest.raises(InputError, match="floating-point"):
        decode_image(_encoded(picture.convert("F"), "TIFF"))


def test_what_is_transparent_is_shown_on_white(picture: Image.Image) -> None:
    half = picture.convert("RGBA")
    half.putalpha(Image.new("L", (30, 40), 255).crop((0, 0, 60, 40)))
    for kind in ("PNG", "TIFF"):
        found = decode_image(_encoded(half, kind))
        assert np.array_equal(found[:, :30], np.asarray(picture)[:, :30])
        assert (found[:, 30:] == 255).all()
    half.putalpha(0)
    with pytest.raises(InputError, match="every pixel of the image is transparent"):
        decode_image(_encoded(half, "PNG"))


def test_a_bitmap_whose_fourth_byte_is_left_at_0_is_opaque() -> None:
    pixels_HW4 = np.full((6, 8, 4), (10, 20, 30, 0), np.uint8)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000, 0x73524742)
    head = struct.pack("<2sIHHI", b"BM", 14 + 124 + pixels_HW4.nbytes, 0, 0, 14 + 124)
    head += struct.pack(
        "<IiiHHIIiiIIIIIII", 124, 8, 6, 1, 32, 3, pixels_HW4.nbytes, 0, 0, 0, 0, *masks
    )
    image = decode_image(head + bytes(124 - 60) + pixels_HW4.tobytes())
    assert (image == (30, 20, 10)).all()


def test_the_preview_in_a_raw_image_is_not_taken_for_the_photo(picture: Image.Image) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0xC612] = b"\1\4\0\0"
    with pytest.raises(InputError, match="a camera's raw image can't be read"):
        decode_image(_encoded(picture, "TIFF", tiffinfo=tags))


def test_a_stereo_cameras_file_is_held_to_what_other_jpegs_are(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    data = _encoded(picture, "MPO", save_all=True, append_images=[picture], exif=exif)
    assert decode_image(data).shape[:2] == picture.size
    with pytest.raises(InputError, match="cut or damaged"):
        decode_image(data[: data.index(b"\xff\xd9", len(data) // 4) - 40] + b"\xff\xd9")
