"""Request for one image, parsed from every kind of input.

The command line, the endpoint, the MLflow model and Python pass boxes and a camera as text, JSON,
table cells or arrays. This module validates all of them and returns an `ImageRequest`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from hemlets.core.errors import InputError
from hemlets.core.files import RepeatedKeyError, parse_json
from hemlets.inference.types import Box, Camera

MOST_BOXES: Final = 32
"""Largest number of boxes in a request to the endpoint."""

BOX_FORM: Final = "[left, top, right, bottom] in pixels, left < right and top < bottom"
CAMERA_FORM: Final = '{"fx": …, "fy": …, "cx": …, "cy": …} in pixels'

_LARGEST: Final = 1e6
_LARGEST_NORMALISED: Final = 1.5
_LARGEST_BOX: Final = 5
"""Largest side of a box relative to the image: a person may be cut by the edge; a larger box
belongs to another image or has other units."""

_TINY_IMAGE_PX: Final = 20
_FOCAL_PX: Final = (1.0, 1e6)
"""Range of focal lengths: shorter ones overflow float32 in metres; real lenses are far from both
ends."""

_FIELDS: Final = ("box", "boxes", "camera")


def _plain(value: Any) -> Any:
    """Convert NumPy arrays and numbers to Python's."""
    return value.tolist() if hasattr(value, "tolist") else value


def _ordered(box: Box) -> Box:
    left, top, right, bottom = box
    if left < right and top < bottom:
        return box
    raise ValueError("no area")


def _named(camera: Any) -> Any:
    """Convert four numbers or a `Camera` to named fields."""
    if isinstance(camera, Camera):
        return dataclasses.asdict(camera)
    camera = _plain(camera)
    if isinstance(camera, list | tuple) and len(camera) == 3:
        return _of_matrix(camera)
    if isinstance(camera, Sequence) and not isinstance(camera, str | bytes) and len(camera) == 4:
        return dict(zip(("fx", "fy", "cx", "cy"), map(_plain, camera), strict=True))
    if isinstance(camera, Mapping):
        return {name: _plain(value) for name, value in camera.items()}
    return camera


def _of_matrix(rows: Sequence[Any]) -> Any:
    """Named values of a 3×3 matrix without skew; anything else as it is."""
    match [_plain(row) for row in rows]:
        case [[fx, (0 | 0.0), cx], [(0 | 0.0), fy, cy], [(0 | 0.0), (0 | 0.0), (1 | 1.0)]]:
            return {"fx": fx, "fy": fy, "cx": cx, "cy": cy}
    return rows


# Strict numbers: true and "3" are not numbers.
_Number = Annotated[
    float,
    BeforeValidator(_plain),
    Field(strict=True, allow_inf_nan=False, ge=-_LARGEST, le=_LARGEST),
]
_Focal = Annotated[_Number, Field(ge=_FOCAL_PX[0], le=_FOCAL_PX[1])]
_Box = Annotated[
    tuple[_Number, _Number, _Number, _Number], BeforeValidator(_plain), AfterValidator(_ordered)
]


class _CameraFields(BaseModel):
    model_config = ConfigDict(extra="forbid")

    fx: _Focal
    fy: _Focal
    cx: _Number
    cy: _Number


_BOX: Final = TypeAdapter[Box](_Box)


class ImageRequest(BaseModel):
    """People to predict in one image.

    Attributes:
        boxes: People's boxes; None to detect people.
        camera: Intrinsics; None for the default field of view.
        alone: Whether the request has ``box``, so that the answer is one person, not a list.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    boxes: tuple[Box, ...] | None = None
    camera: Camera | None = None
    alone: bool = False

    @classmethod
    def parse(cls, fields: Mapping[str, Any], *, where: str = "", most: int | None = None) -> Self:
        """Parse a request from untrusted fields.

        Args:
            fields: ``box`` or ``boxes``, and ``camera``: values or JSON. None and NaN (an empty
                table cell) count as absent.
            where: Location of the fields for errors.
            most: Largest number of boxes; unlimited by default.

        Raises:
            InputError: An invalid field; names it.
        """
        known = {name: value for name, value in fields.items() if not _is_absent(value)}
        for name in known:
            if name not in _FIELDS:
                raise InputError(
                    f"unknown field {name[:40]!r}",
                    where=where or "request",
                    expected=f"image, {', '.join(_FIELDS)}",
                )
        if "box" in known and "boxes" in known:
            raise InputError(
                "both box and boxes are given",
                where=_place(where, "boxes"),
                expected="one of them, or none",
            )
        boxes: tuple[Box, ...] | None = None
        if "box" in known:
            boxes = (parse_box(known["box"], _place(where, "box")),)
        elif "boxes" in known:
            boxes = _parse_boxes(known["boxes"], _place(where, "boxes"), most)
        camera = None
        if "camera" in known:
            camera = parse_camera(known["camera"], _place(where, "camera"))
        return cls(boxes=boxes, camera=camera, alone="box" in known)


def parse_box(value: Any, where: str = "box") -> Box:
    """Parse a box from four numbers or their JSON.

    Raises:
        InputError: Not four finite numbers, or no area.

    >>> parse_box([10, 20, 30, 60])
    (10.0, 20.0, 30.0, 60.0)
    """
    value = _parsed_json(value, where, BOX_FORM)
    try:
        return _BOX.validate_python(value)
    except ValidationError:
        raise InputError(
            f"not a box: {_short(value)}",
            where=where,
            expected=BOX_FORM,
            remedy=_box_remedy(_plain(value)),
        ) from None


def _box_remedy(value: Any) -> str | None:
    if isinstance(value, int | float):
        return "give a list of boxes, also for one person: [[left, top, right, bottom]]"
    if isinstance(value, list | tuple) and any(isinstance(v, list | tuple) for v in value):
        return "give one list of boxes; for several images, call once for each of them"
    if isinstance(value, list | tuple) and len(value) > 4:
        return "leave out what follows the four numbers, such as a score"
    if isinstance(value, list | tuple) and len(value) == 4 and _is_reversed(value):
        return "a box given as x, y, width, height becomes x, y, x + width, y + height"
    return None


def _is_reversed(box: Sequence[Any]) -> bool:
    sizes = all(type(value) in (int, float) and value > 0 for value in box[2:])
    return sizes and all(type(v) in (int, float) for v in box) and (
        box[2] <= box[0] or box[3] <= box[1]
    )  # fmt: skip


def parse_camera(value: Any, where: str = "camera") -> Camera:
    """Parse intrinsics from four numbers, a mapping or JSON.

    Raises:
        InputError: Not a camera.

    >>> parse_camera((1100, 1100, 320, 240)).cx
    320.0
    """
    value = _parsed_json(value, where, CAMERA_FORM)
    try:
        fields = _CameraFields.model_validate(_named(value))
    except ValidationError as error:
        focal = next((str(e["loc"][0]) for e in error.errors() if e["loc"][:1] in _FOCALS), None)
        if focal is None or any(e["type"] in _SHAPE_ERRORS for e in error.errors()):
            raise InputError(
                f"not a camera: {_short(value)}", where=where, expected=CAMERA_FORM
            ) from None
        raise InputError(
            f"not a focal length: {_short(_named(value)[focal])}",
            where=f"{where}.{focal}",
            expected="a number from {:,.0f} to {:,.0f}, in pixels".format(*_FOCAL_PX),
        ) from None
    return Camera(fx=fields.fx, fy=fields.fy, cx=fields.cx, cy=fields.cy)


_FOCALS: Final = (("fx",), ("fy",))
_SHAPE_ERRORS: Final = ("missing", "extra_forbidden", "model_type", "model_attributes_type")


def require_overlap(box: Box, width: int, height: int, where: str) -> None:
    """Refuse a box outside its image or in other units.

    Raises:
        InputError: The overlap is below a pixel, or the box looks normalised or is far larger than
            the image.
    """
    left, top, right, bottom = box
    if max(map(abs, box)) <= _LARGEST_NORMALISED and min(width, height) > _TINY_IMAGE_PX:
        raise InputError(
            f"the box {[round(value, 3) for value in box]} looks normalised by the image size",
            where=where,
            expected=f"pixels of the {width}×{height} image",
            remedy="multiply it by the image's width and height",
        )
    if right - left > _LARGEST_BOX * width and bottom - top > _LARGEST_BOX * height:
        raise InputError(
            f"the box {[round(value, 1) for value in box]} is over {_LARGEST_BOX} times as large "
            "as the image",
            where=where,
            expected=f"pixels of the {width}×{height} image",
            remedy="scale it to this image, or leave it out: people are found then",
        )
    if min(right, width) - max(left, 0) < 1 or min(bottom, height) - max(top, 0) < 1:
        raise InputError(
            f"the box {[round(value, 1) for value in box]} shows nothing of the image",
            where=where,
            expected=f"a box that covers a pixel or more of the {width}×{height} image",
        )


def _parse_boxes(value: Any, where: str, most: int | None) -> tuple[Box, ...]:
    value = _plain(_parsed_json(value, where, f"a list of {BOX_FORM}"))
    limit = math.inf if most is None else most
    if not isinstance(value, list | tuple) or not (1 <= len(value) <= limit or most is None):
        counted = isinstance(value, list | tuple)
        raise InputError(
            f"boxes is not a list of boxes{f': it holds {len(value)}' if counted else ''}",
            where=where,
            expected=f"1 to {most} of {BOX_FORM}" if most else f"a list of {BOX_FORM}",
        )
    return tuple(parse_box(item, f"{where}[{i}]") for i, item in enumerate(value))


def _parsed_json(value: Any, where: str, expected: str) -> Any:
    """Parse a JSON field, unless the server has parsed it already."""
    if isinstance(value, bytes | bytearray | str):
        try:
            return parse_json(value)
        except RepeatedKeyError as error:
            raise InputError(str(error), where=where, expected=expected) from None
        except (ValueError, RecursionError):
            text = bytes(value) if isinstance(value, bytearray) else value
            raise InputError(
                f"not JSON: {_short(text)}",
                where=where,
                expected=expected,
                remedy="write JSON: brackets around numbers, and a digit before a decimal point",
            ) from None
    return value


def _is_absent(value: Any) -> bool:
    # pandas stores empty cells as NaN.
    return value is None or (isinstance(value, float) and math.isnan(value))


def _place(where: str, field: str) -> str:
    return f"{where} {field}" if where else field


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
