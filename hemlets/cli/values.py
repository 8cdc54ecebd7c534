"""Parse boxes, cameras and mesh formats from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from hemlets.core.errors import ConfigError, DataError, InputError
from hemlets.core.files import parse_json, read_json
from hemlets.inference import request
from hemlets.inference.types import Box, Camera

_BOX_FORM: Final = "x0,y0,x1,y1 in pixels: left, top, right, bottom, e.g. 120,40,380,610"
_CAMERA_FORM: Final = (
    "four numbers fx,fy,cx,cy in pixels, e.g. 1145,1144,512,515, or a JSON file with these four "
    "names"
)


def parse_box(text: str) -> Box:
    """Parse a box ``x0,y0,x1,y1``.

    Raises:
        ConfigError: Not four finite numbers, or a box without area.

    >>> parse_box("10, 20, 30, 60")
    (10.0, 20.0, 30.0, 60.0)
    """
    try:
        return request.parse_box(f"[{text}]", "--box")
    except InputError as error:
        raise ConfigError(
            f"{text!r} is not a box",
            where="--box",
            expected=f"x0 < x1 and y0 < y1; {_BOX_FORM}",
            remedy="a box given as x,y,width,height becomes x,y,x+width,y+height",
        ) from error


def parse_camera(text: str) -> Camera:
    """Parse intrinsics ``fx,fy,cx,cy``, or read them from a JSON file.

    The file has the keys fx, fy, cx, cy, at the top or below ``camera_px``, as in the JSON that
    `hemlets predict` writes.

    Raises:
        ConfigError: Neither of them, or not a camera.

    >>> parse_camera("1100,1100,320,240").cx
    320.0
    """
    file = Path(text)
    if file.suffix.lower() == ".json" or ("," not in text and file.is_file()):
        return _camera_from_file(file)
    return _camera(f"[{text}]", f"{text!r} is not a camera", "--camera")


def parse_mesh_format(text: str) -> str:
    """Return the suffix of a mesh format.

    Raises:
        ConfigError: An unknown format.

    >>> parse_mesh_format("GLB")
    '.glb'
    """
    from hemlets.body.export import MESH_SUFFIXES

    suffix = "." + text.lower().lstrip(".")
    if suffix not in MESH_SUFFIXES:
        raise ConfigError(
            f"{text!r} can't be written",
            where="--mesh",
            expected=", ".join(name.lstrip(".") for name in MESH_SUFFIXES),
        )
    return suffix


def _camera_from_file(file: Path) -> Camera:
    where = f"--camera {file}"
    try:
        content: Any = read_json(file, parse_json)
    except DataError as error:
        raise ConfigError(error.what, where=where, expected=_CAMERA_FORM) from error
    except OSError as error:
        raise ConfigError(
            f"the file can't be read: {error.strerror or error}",
            where=where,
            expected=_CAMERA_FORM,
        ) from error
    values = content.get("camera_px", content) if isinstance(content, dict) else content
    return _camera(values, "the file holds no camera", where)


def _camera(value: Any, what: str, where: str) -> Camera:
    try:
        return request.parse_camera(value, where)
    except InputError as error:
        raise ConfigError(f"{what}: {error.what}", where=where, expected=_CAMERA_FORM) from error
