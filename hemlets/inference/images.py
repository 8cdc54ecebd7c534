"""Read photographs from files, folders, arrays and PIL images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import InputError

if TYPE_CHECKING:
    from PIL import Image as Pil

Image = npt.NDArray[np.uint8]
ImageSource = "str | PathLike[str] | Image | Pil.Image"

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of photographs in a folder."""

_LARGEST_FILE: Final = 200_000_000
_FORM: Final = "a JPEG, PNG, WebP, BMP or TIFF file"


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
    from hemlets.data.table import decode_image

    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(
                f"the file has {path.stat().st_size / 1e6:.0f} MB",
                where=path,
                expected=f"at most {_LARGEST_FILE / 1e6:.0f} MB",
                remedy="scale the photo down",
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            "the photo does not exist",
            where=path,
            expected=_FORM,
            remedy="check the path; relative ones start at the folder that you are in",
        ) from None
    except IsADirectoryError:
        raise InputError(
            "this is a folder, not a photo",
            where=path,
            expected=f"{_FORM}, or several",
            remedy=f"name the photos in it, e.g. {path}/*.jpg",
        ) from None
    except OSError as error:
        raise InputError(
            f"the photo can't be read: {error.strerror or error}",
            where=path,
            expected="a file that you may read",
        ) from error
    return decode_image(data, where=str(path))


def to_photo(source: object) -> Photo:
    """Convert a path, an RGB array or a PIL image.

    Raises:
        InputError: Another type, or a file that can't be read.
    """
    if isinstance(source, str | PathLike):
        path = Path(fspath(source))
        return Photo(read_photo(path), path.name)
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or not source.size:
            raise InputError(
                f"an array of shape {source.shape} and type {source.dtype}",
                where="image",
                expected="RGB of shape (H, W, 3), uint8",
                remedy="from OpenCV, turn the channels around: image[..., ::-1]",
            )
        return Photo(np.ascontiguousarray(source), "image")
    if _is_pil(source):
        from PIL import ImageOps

        name = Path(getattr(source, "filename", "") or "image").name
        upright = ImageOps.exif_transpose(source).convert("RGB")
        return Photo(np.asarray(upright, np.uint8), name)
    raise InputError(
        f"an image of type {type(source).__name__}",
        where="image",
        expected="a path, an RGB array or a PIL image, or a list, folder or generator of them",
    )


def several(source: object) -> Iterator[object] | None:
    """Iterate over a folder, list or generator of photographs; None for a single one.

    Raises:
        InputError: A folder without photographs.
    """
    if isinstance(source, str | PathLike):
        folder = Path(fspath(source))
        if not folder.is_dir():
            return None
        photos = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        if not photos:
            raise InputError(
                "there are no photos in this folder", where=folder, expected=", ".join(SUFFIXES)
            )
        return iter(photos)
    if isinstance(source, np.ndarray) or _is_pil(source):
        return None
    return iter(source) if isinstance(source, Iterable) else None


def _is_pil(source: object) -> TypeGuard[Pil.Image]:
    # Does not import PIL: only a caller that has imported it can pass its images.
    return any(
        base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in type(source).__mro__
    )
