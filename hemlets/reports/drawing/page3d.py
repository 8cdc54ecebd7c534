"""Show a prediction in 3D on one self-contained HTML page.

The script is plain WebGL; the page's policy forbids network access, so it works offline.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.body.placement import PlacedBody
from hemlets.core.arrays import Floating
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.inference.types import BodyEstimate
from hemlets.reports.drawing.bones import BONES, LEFT, MIDDLE, RIGHT
from hemlets.reports.drawing.people import PERSON_COLOURS
from hemlets.reports.drawing.skeleton import UNSEEN, seen_in

Image = npt.NDArray[np.uint8]

_PHOTO_PX: Final = 480
_HELP: Final = (
    "Drag to turn, wheel or two fingers to zoom. The body is the shape stage's; the lines are the "
    "pose stage's joints: orange the person's right, blue the left, yellow the middle; thin and "
    "faint where they are unsure or outside of the photo. Where body and lines part, the stages "
    "disagree."
)


def prediction_page(
    people: Sequence[tuple[BodyEstimate, PlacedBody]],
    *,
    title: str,
    image_HW3: Image | None = None,
) -> str:
    """Render the page of one image's predictions.

    Raises:
        ValueError: There are no people.
    """
    if not people:
        raise ValueError("a page needs at least one person")
    content = {
        "people": [
            _person(estimate, placed, PERSON_COLOURS[i % len(PERSON_COLOURS)], image_HW3)
            for i, (estimate, placed) in enumerate(people)
        ],
        "bones": [[int(a), int(b), _colour(b)] for a, b in BONES],
    }
    # A script element ends at the first "</", wherever it stands.
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    page = files("hemlets.reports.drawing").joinpath("page3d.html").read_text(encoding="utf-8")
    parts = {
        "title": html.escape(title),
        "photo": "" if image_HW3 is None else _photo(image_HW3, title),
        "note": html.escape(
            f"{title}, model {people[0][0].model_version}. {_doubts(people)} {_HELP}"
        ),
        "data": data,
    }
    for name, value in parts.items():
        page = page.replace("{{" + name + "}}", value, 1)
    return page


def _person(
    estimate: BodyEstimate,
    placed: PlacedBody,
    colour: tuple[int, int, int],
    image_HW3: Image | None,
) -> dict[str, Any]:
    sure: Floating = estimate.confidence
    if image_HW3 is not None:
        sure = seen_in(image_HW3.shape[1::-1], estimate.joints2d_px, sure)
    offset = placed.vertices_V3_mm.mean(0).astype(np.float64)
    relative = placed.vertices_V3_mm - offset
    step = max(float(np.abs(relative).max()) / 32_000, 1e-3)
    joints = estimate.joints3d_mm.astype(np.float64) + estimate.root_mm
    return {
        "vertices": _base64(np.rint(relative / step).astype("<i2")),
        "step_mm": step,
        "offset_mm": offset.round(3).tolist(),
        "faces": _base64(placed.faces_F3.astype("<u4")),
        "joints_mm": joints.round(1).tolist(),
        "unseen": (sure < UNSEEN).tolist(),
        "colour": list(colour),
    }


def _doubts(people: Sequence[tuple[BodyEstimate, PlacedBody]]) -> str:
    """Describe person presence in words."""
    words = {True: "yes", False: "probably not", None: "not known"}
    answers = ", ".join(
        words[estimate.person]
        + ("" if np.isnan(sure := estimate.person_confidence) else f" (confidence {sure:.2f})")
        for estimate, _ in people
    )
    return f"A person: {answers}."


def _base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _colour(joint: Joint) -> str:
    name = JOINTS[joint]
    rgb = RIGHT if name.startswith("right_") else LEFT if name.startswith("left_") else MIDDLE
    return f"#{rgb[0]:02x}{rgb[1]:02x}{rgb[2]:02x}"


def _photo(image_HW3: Image, title: str) -> str:
    height, width = image_HW3.shape[:2]
    scale = min(1.0, _PHOTO_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    data = base64.b64encode(bytes(jpeg)).decode("ascii")
    return f'<img id="photo" alt="{html.escape(title)}" src="data:image/jpeg;base64,{data}">'
