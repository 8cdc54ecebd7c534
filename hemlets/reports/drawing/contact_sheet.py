"""Draw many samples with their annotations on one sheet.

Orange is the person's right, blue the left. A hidden joint is an open dot, if the dataset knows
hidden joints; an unannotated joint is not drawn. A letter on a part is its depth relation: F
(yellow), B (violet) or 0 (white, level); unknown relations are not drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.core.errors import InputError
from hemlets.core.skeleton import JOINTS, N_JOINTS, N_PARTS, PARTS, Joint
from hemlets.data.table import Annotations, ShardReader, decode_image
from hemlets.reports.drawing.bones import BONES, LEFT, MIDDLE, RIGHT, SHIFT, fixed_point, put_text

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
Colour = tuple[int, int, int]

_PAPER: Final = (38, 40, 46)
_OUTLINE: Final = (20, 20, 20)
_BOX: Final = (235, 235, 235)
_RELATIONS: Final[dict[int, tuple[str, Colour]]] = {
    1: ("F", (255, 225, 60)),
    -1: ("B", (200, 120, 255)),
    0: ("0", (255, 255, 255)),
}
_LINE_PX: Final = 15
_CAPTION_PX: Final = 3 * _LINE_PX + 4
_LEGEND_PX: Final = 22
_LEGEND: Final = (
    "orange: right   blue: left   filled: seen   open: hidden   F/B/0: forward, backward, level"
)
_CONTEXT: Final = 1.35
"""Side of a tile's crop, in sides of the box."""

_SMALLEST_PX: Final = 48.0
_BLANK: Final = 70

# What is drawn where the joint between two others isn't annotated.
_SHORT_CUTS: Final = (
    (Joint.PELVIS, Joint.THORAX, (Joint.SPINE,)),
    (Joint.NECK, Joint.HEAD_TOP, (Joint.NOSE,)),
    (Joint.NECK, Joint.LEFT_SHOULDER, (Joint.THORAX,)),
    (Joint.NECK, Joint.RIGHT_SHOULDER, (Joint.THORAX,)),
    (Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER, (Joint.THORAX, Joint.NECK)),
    (Joint.LEFT_HIP, Joint.RIGHT_HIP, (Joint.PELVIS,)),
    (Joint.LEFT_SHOULDER, Joint.LEFT_HIP, (Joint.PELVIS, Joint.THORAX)),
    (Joint.RIGHT_SHOULDER, Joint.RIGHT_HIP, (Joint.PELVIS, Joint.THORAX)),
)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One sample of a sheet.

    Attributes:
        image_HW3: RGB.
        joints2d_px: (18, 2) in that image, from its corner.
        valid2d: (18,) annotated joints.
        visible: (18,) joints that are not hidden; all False if unknown.
        box_xyxy: The person's box.
        relations: (14,) depth relations.
        relations_valid: (14,) known relations.
        caption: Lines of text below the tile.
    """

    image_HW3: Image
    joints2d_px: Array
    valid2d: Array
    visible: Array
    box_xyxy: Array
    relations: Array
    relations_valid: Array
    caption: tuple[str, ...] = ()

    @classmethod
    def of_row(cls, image_HW3: Image, row: dict[str, Any]) -> Tile:
        """Build a tile from an RGB image and a row; relations are optional."""
        return cls(
            image_HW3=image_HW3,
            joints2d_px=np.asarray(row["joints2d_px"], np.float64),
            valid2d=np.asarray(row["valid2d"], bool),
            visible=np.asarray(row.get("visible", np.zeros(N_JOINTS)), bool),
            box_xyxy=np.asarray(row["box_xyxy"], np.float64),
            relations=np.asarray(row.get("relations", np.zeros(N_PARTS, np.int8))),
            relations_valid=np.asarray(row.get("relations_valid", np.zeros(N_PARTS, bool)), bool),
            caption=_caption(row),
        )


def _caption(row: dict[str, Any]) -> tuple[str, ...]:
    places = (str(row.get(name, "")) for name in ("source", "split", "subject"))
    lines = [
        str(row.get("sample_id", "")),
        ", ".join(place for place in places if place and place != row.get("sample_id")),
        str(row.get("action", "")),
    ]
    return tuple(line for line in lines if line)


def stored_tiles(
    annotations: Annotations, shards: ShardReader, rows: Iterable[int]
) -> Iterator[Tile]:
    """Yield tiles of some rows of a data version.

    An unreadable image gives an empty tile with a message. Without a stored image, only the
    skeleton is drawn.

    Raises:
        DataError: A shard can't be read.
    """
    picked = list(rows)
    part = annotations.take(np.array(picked, np.int64))
    names = (
        "sample_id", "source", "split", "subject", "action", "joints2d_px", "valid2d", "visible",
        "box_xyxy", "relations", "relations_valid",
    )  # fmt: skip
    columns = {name: part.column(name) for name in names}
    for index in range(len(part)):
        row = {name: values[index] for name, values in columns.items()}
        sample = str(row["sample_id"])
        if not part.shard[index]:
            size = int(part.image_height[index]), int(part.image_width[index])
            blank: Image = np.full((max(1, size[0]), max(1, size[1]), 3), _BLANK, np.uint8)
            tile = Tile.of_row(blank, row)
            yield replace(tile, caption=(*tile.caption[:2], "no image is stored"))
            continue
        jpeg = shards.jpeg(str(part.shard[index]), int(part.shard_row[index]), sample)
        try:
            yield Tile.of_row(decode_image(jpeg, where=sample), row)
        except InputError as error:
            box = np.nan_to_num(np.asarray(row["box_xyxy"], np.float64))
            yield Tile(
                image_HW3=np.zeros((1, 1, 3), np.uint8),
                joints2d_px=np.zeros((N_JOINTS, 2)),
                valid2d=np.zeros(N_JOINTS, bool),
                visible=np.zeros(N_JOINTS, bool),
                box_xyxy=box,
                relations=np.zeros(N_PARTS, np.int8),
                relations_valid=np.zeros(N_PARTS, bool),
                caption=(sample, error.what),
            )


def contact_sheet(tiles: Iterable[Tile], *, columns: int = 4, tile_px: int = 300) -> Image:
    """Arrange tiles in a grid above a legend.

    Returns:
        RGB.

    Raises:
        InputError: There is no tile.
    """
    drawn = [draw_tile(tile, tile_px) for tile in tiles]
    if not drawn:
        raise InputError("there is no sample to draw", expected="at least one")
    across = min(columns, len(drawn))
    down = -(-len(drawn) // across)
    high, wide = drawn[0].shape[:2]
    width = max(across * wide, 560)
    sheet: Image = np.full((down * high + _LEGEND_PX, width, 3), _PAPER, np.uint8)
    for index, picture in enumerate(drawn):
        top, left = index // across * high, index % across * wide
        sheet[top : top + high, left : left + wide] = picture
    _write(sheet, _LEGEND, (6, sheet.shape[0] - 7))
    return sheet


def draw_tile(tile: Tile, tile_px: int) -> Image:
    """Draw one sample: the crop around its box, its annotations, and the caption below.

    Returns:
        RGB (tile_px + caption, tile_px, 3).
    """
    scale, shift = _window(tile.box_xyxy, tile_px)
    # Pixel centres: ours lie at +0.5, OpenCV's are whole numbers.
    matrix = np.array(
        [[scale, 0, shift[0] + 0.5 * scale - 0.5], [0, scale, shift[1] + 0.5 * scale - 0.5]]
    )
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = np.asarray(
        cv2.warpAffine(
            np.ascontiguousarray(tile.image_HW3), matrix, (tile_px, tile_px), flags=method,
            borderMode=cv2.BORDER_CONSTANT, borderValue=_PAPER,
        ),
        np.uint8,
    )  # fmt: skip
    joints = np.asarray(tile.joints2d_px, np.float64) * scale + shift
    valid = np.asarray(tile.valid2d, bool) & np.isfinite(joints).all(-1)
    corners = np.asarray(tile.box_xyxy, np.float64).reshape(2, 2) * scale + shift
    if np.isfinite(corners).all():
        first, last = (np.clip(corner, -999, 9_999).round().astype(int) for corner in corners)
        for colour, width in ((_OUTLINE, 3), (_BOX, 1)):
            cv2.rectangle(picture, first.tolist(), last.tolist(), colour, width, cv2.LINE_8)
    width = max(1, tile_px // 120)
    visible = np.asarray(tile.visible, bool)
    # Most datasets don't annotate visibility; nobody annotates an invisible person.
    hidden = ~visible & (visible & valid).any()
    _draw_skeleton(picture, joints, valid, hidden, width)
    _draw_relations(picture, joints, valid, tile)
    foot: Image = np.full((_CAPTION_PX, tile_px, 3), _PAPER, np.uint8)
    for number, line in enumerate(tile.caption[:3]):
        _write(foot, _shorten(line, tile_px), (5, (number + 1) * _LINE_PX - 2))
    return np.concatenate([picture, foot])


def _window(box_xyxy: Array, tile_px: int) -> tuple[float, Array]:
    """Return scale and shift of tile = scale * image + shift."""
    box = np.nan_to_num(np.asarray(box_xyxy, np.float64), posinf=0.0, neginf=0.0)
    side = max(float(box[2] - box[0]), float(box[3] - box[1]), _SMALLEST_PX) * _CONTEXT
    scale = tile_px / side
    return scale, tile_px / 2 - scale * (box[:2] + box[2:]) / 2


def _colour(joint: Joint) -> Colour:
    name = JOINTS[joint]
    if name.startswith("right_"):
        return RIGHT
    return LEFT if name.startswith("left_") else MIDDLE


def _lines(valid: Array) -> list[tuple[Joint, Joint]]:
    """Return the bones between annotated joints, bridging unannotated ones."""
    lines = [(parent, child) for parent, child in BONES if valid[parent] and valid[child]]
    for first, last, between in _SHORT_CUTS:
        if valid[first] and valid[last] and not any(valid[joint] for joint in between):
            lines.append((first, last))
    return lines


def _draw_skeleton(
    image_HW3: Image, joints_px: Array, valid: Array, hidden: Array, width: int
) -> None:
    lines = _lines(valid)
    for outline in (True, False):
        for parent, child in lines:
            cv2.line(
                image_HW3, fixed_point(joints_px[parent]), fixed_point(joints_px[child]),
                _OUTLINE if outline else _colour(child), width + 2 if outline else width,
                cv2.LINE_AA, SHIFT,
            )  # fmt: skip
    for joint in (joint for joint in Joint if valid[joint]):
        at, radius = fixed_point(joints_px[joint]), (width + 2) << SHIFT
        cv2.circle(image_HW3, at, radius + (1 << SHIFT), _OUTLINE, cv2.FILLED, cv2.LINE_AA, SHIFT)
        cv2.circle(image_HW3, at, radius, _colour(joint), cv2.FILLED, cv2.LINE_AA, SHIFT)
        if hidden[joint]:
            inner = int((width + 0.75) * (1 << SHIFT))
            cv2.circle(image_HW3, at, inner, _OUTLINE, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _draw_relations(image_HW3: Image, joints_px: Array, valid: Array, tile: Tile) -> None:
    for number, part in enumerate(PARTS):
        known = tile.relations_valid[number] and valid[part.parent] and valid[part.child]
        mark = _RELATIONS.get(int(tile.relations[number]))
        if known and mark is not None:
            letter, colour = mark
            x, y = (joints_px[part.parent] + joints_px[part.child]) / 2
            at = round(float(np.clip(x, -99, 9_999))) - 4, round(float(np.clip(y, -99, 9_999))) + 4
            put_text(image_HW3, letter, at, scale=0.4, colour=colour)


def _write(image_HW3: Image, text: str, at: tuple[int, int]) -> None:
    cv2.putText(image_HW3, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, _BOX, 1, cv2.LINE_AA)


def _shorten(text: str, width_px: int) -> str:
    """Convert text to ASCII and shorten its middle to a tile's width."""
    plain = text.encode("ascii", "replace").decode()
    limit = max(8, width_px // 7)
    if len(plain) <= limit:
        return plain
    half = (limit - 3) // 2
    return f"{plain[:half]}...{plain[-half:]}"
