"""Read photographs from files, folders, bytes, arrays and PIL images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fsdecode, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import InputError
from hemlets.core.redaction import redact_url
from hemlets.data.images import require_few_pixels, to_rgb

if TYPE_CHECKING:
    from PIL import Image as Pil

Image = npt.NDArray[np.uint8]
ImageSource = "str | PathLike[str] | bytes | Readable | Image | Pil.Image"

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of photographs in a folder."""

_UNREAD_SUFFIXES: Final = (
    ".heic", ".heif", ".avif", ".gif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw",
)  # fmt: skip
"""Suffixes of photographs that can't be read: refused by name instead of ignored."""

_LARGEST_FILE: Final = 200_000_000
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9]+:/", re.IGNORECASE)
_PATTERN: Final = re.compile(r"[*?[]")
_FORM: Final = "a JPEG, PNG, WebP, BMP or TIFF file"


class Readable(Protocol):
    """A file that was opened for reading bytes."""

    def read(self, size: int = ..., /) -> bytes:
        """At most so many bytes."""


class Photo(NamedTuple):
    """A decoded photograph.

    Attributes:
        image_HW3: RGB, upright.
        name: File name, or "image".
    """

    image_HW3: Image
    name: str


def read_photo(path: Path) -> Image:
    """Read a photograph as upright RGB (H, W, 3).

    Raises:
        InputError: The file can't be read or is not an image.
    """
    from hemlets.data.images import decode_image

    try:
        with path.open("rb") as file:
            # Pipes and devices have no size, and may have no end.
            size = path.stat().st_size
            data = b"" if size > _LARGEST_FILE else file.read(_LARGEST_FILE + 1)
        if max(size, len(data)) > _LARGEST_FILE:
            raise _too_many_bytes(max(size, len(data)), path)
    except FileNotFoundError:
        if _ADDRESS.match(str(path)):
            scheme, _, rest = str(path).partition(":")
            raise InputError(
                "this is an address, not a file",
                where=redact_url(f"{scheme}:/{rest}"),
                expected=_FORM,
                remedy=f"give its path, {rest}"
                if scheme.lower() == "file"
                else "download the photo, and give its file",
            ) from None
        raise InputError(
            "the photo does not exist",
            where=path,
            expected=_FORM,
            remedy="name the photos, or in Python their folder: patterns are not expanded here"
            if _PATTERN.search(str(path))
            else "check the path; relative ones start at the folder that you are in",
        ) from None
    except IsADirectoryError:
        raise InputError(
            "this is a folder, not a photo",
            where=path,
            expected=f"{_FORM}, or several",
            remedy=f"name the photos in it, e.g. {path}/*.jpg",
        ) from None
    except (OSError, ValueError) as error:  # A null byte in a path is a ValueError.
        raise InputError(
            f"the photo can't be read: {getattr(error, 'strerror', None) or error}",
            where=path,
            expected="a file that you may read",
        ) from error
    return decode_image(data, where=str(path))


def to_photo(source: object) -> Photo:
    """Convert a path, a file's bytes, an open file, an RGB array or a PIL image.

    Raises:
        InputError: Another type, or an image that can't be used.
    """
    from hemlets.data.images import decode_image

    if isinstance(source, str | PathLike):
        path = to_path(source)
        return Photo(read_photo(path), path.name)
    if isinstance(source, bytes | bytearray | memoryview):
        return Photo(decode_image(bytes(source)), "image")
    if _is_file(source):
        return _read_open_file(source)
    if _is_pil(source):
        name = Path(getattr(source, "filename", "") or "image").name
        require_few_pixels(*source.size, name)
        rgb_HW3 = to_rgb(source, name)
        _require_rgb(rgb_HW3)
        return Photo(rgb_HW3, name)
    if hasattr(source, "__array__"):
        array = np.asarray(source)
        _require_rgb(array)
        return Photo(np.ascontiguousarray(array), "image")
    raise InputError(
        f"an image of type {type(source).__name__}",
        where="image",
        expected="a path, a file's bytes, an RGB array or a PIL image, or a list, folder or "
        "generator of them",
        remedy="OpenCV's imread gives None for a file that it can't read: give its path instead"
        if source is None
        else None,
    )


def to_path(source: str | PathLike[str]) -> Path:
    """Convert a path, with ``~`` expanded."""
    return Path(os.path.expanduser(fsdecode(fspath(source))))  # noqa: PTH111 - it never raises


def unread_photos(folder: Path) -> list[str]:
    """Names of a folder's photographs whose format can't be read, such as HEIC."""
    return sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _UNREAD_SUFFIXES)


def several(source: object) -> Iterator[object] | None:
    """Iterate over a folder, list or generator of photographs; None for a single one.

    Raises:
        InputError: A folder without photographs.
    """
    if isinstance(source, str | PathLike):
        folder = to_path(source)
        if not os.path.isdir(folder):  # noqa: PTH112 - too long a name raises no error
            return None
        known = (*SUFFIXES, *_UNREAD_SUFFIXES)
        photos = sorted(p for p in folder.iterdir() if p.suffix.lower() in known)
        if not photos:
            raise InputError(
                "there are no photos in this folder", where=folder, expected=", ".join(SUFFIXES)
            )
        return iter(photos)
    single = isinstance(source, bytes | bytearray | memoryview | Mapping)
    if single or hasattr(source, "__array__") or _is_pil(source) or _is_file(source):
        return None
    return iter(source) if isinstance(source, Iterable) else None


def _require_rgb(array: npt.NDArray[Any]) -> None:
    shape, kind = array.shape, array.dtype
    if array.ndim == 3 and shape[2] == 3 and kind == np.uint8 and array.size:
        require_few_pixels(shape[1], shape[0], "image")
        return
    raise InputError(
        f"an array of shape {shape} and type {kind}",
        where="image",
        expected="RGB of shape (H, W, 3), uint8",
        remedy=_remedy(array),
    )


def _remedy(array: npt.NDArray[Any]) -> str:
    """Name the operation that turns an array into an image."""
    shape, kind = array.shape, array.dtype
    if not array.size:
        return "give an image that has pixels"
    if kind.kind not in "biuf":
        return "give several paths or images as a list: list(images)"
    if array.ndim == 4:
        return "give the images of a batch as a list: list(images)"
    if array.ndim == 2:
        return "repeat a grey image's channel: np.repeat(image[..., None], 3, 2)"
    if array.ndim == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        return "put the channels last: image.transpose(1, 2, 0)"
    if array.ndim == 3 and shape[2] == 1:
        return "repeat a grey image's channel: np.repeat(image, 3, 2)"
    if array.ndim == 3 and shape[2] == 4:
        return "leave the alpha channel out: image[..., :3]"
    if np.issubdtype(kind, np.floating):
        if np.nanmax(array) <= 1:
            return "the values look like 0 to 1: (255 * image).round().astype(np.uint8)"
        return "round the values, if they are 0 to 255: image.round().astype(np.uint8)"
    if kind == np.uint16:
        return "make 16 bits 8: (image // 257).astype(np.uint8)"
    if np.issubdtype(kind, np.integer):
        return "store the values, if they are 0 to 255, as bytes: image.astype(np.uint8)"
    return "from OpenCV, turn the channels around: image[..., ::-1]"


def _read_open_file(file: Readable) -> Photo:
    from hemlets.data.images import decode_image

    given = getattr(file, "name", None)
    name = Path(given).name if isinstance(given, str) else "image"
    try:
        data = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the file can't be read: {error}", where=name, expected="a file opened for reading"
        ) from error
    if not isinstance(data, bytes):
        raise InputError(
            "the file was opened as text",
            where=name,
            expected="bytes",
            remedy='open it with mode "rb"',
        )
    if len(data) > _LARGEST_FILE:
        raise _too_many_bytes(len(data), name)
    return Photo(decode_image(data, where=name), name)


def _too_many_bytes(size: int, where: str | Path) -> InputError:
    return InputError(
        f"the file has {size / 1e6:.0f} MB",
        where=where,
        expected=f"at most {_LARGEST_FILE / 1e6:.0f} MB",
        remedy="scale the photo down",
    )


def _is_file(source: object) -> TypeGuard[Readable]:
    return callable(getattr(source, "read", None))


def _is_pil(source: object) -> TypeGuard[Pil.Image]:
    # Does not import PIL: only a caller that has imported it can pass its images.
    return any(
        base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in type(source).__mro__
    )
