"""A benchmark on photographs as an HTML page: figures side by side, and everybody, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from hemlets.core.arrays import Floating
from hemlets.data.images import decode_image
from hemlets.data.transforms import square_crop
from hemlets.evaluation.photos import PhotoAnswers, PhotoPerson, share_right
from hemlets.reports.drawing import png
from hemlets.reports.drawing.skeleton import draw_skeleton
from hemlets.reports.kit import render_page, save_page

_SIDE_PX: Final = 192
_MOST_PICTURES: Final = 60


def write_photos_page(
    path: Path,
    people: Sequence[PhotoPerson],
    answers: Sequence[PhotoAnswers],
    rows: Sequence[dict[str, str]],
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: ``.html``.
        people: The benchmark's.
        answers: Of each network; people are sorted by the first one's.
        rows: ``figure``, ``value`` and ``model`` of each figure.
    """
    right = [[share_right(p, joints) for p, joints in zip(people, a.joints2d_px, strict=True)]
             for a in answers]  # fmt: skip
    order = sorted(range(len(people)), key=lambda i: (np.nan_to_num(right[0][i], nan=2.0), i))
    pictures = []
    for i in order[:_MOST_PICTURES]:
        shares = ", ".join(f"{a.name.split()[0]} {a.name.split()[-1]} {100 * r[i]:.0f} %"
                           for a, r in zip(answers, right, strict=True))  # fmt: skip
        picture = _picture(people[i], [a.joints2d_px[i] for a in answers])
        pictures.append((f"{people[i].name}: {shares}", png(picture)))
    figures = dict.fromkeys(row["figure"] for row in rows)
    values = {(row["figure"], row["model"]): row["value"] for row in rows}
    names = [answer.name for answer in answers]
    table = [(figure, [values.get((figure, name), "–") for name in names]) for figure in figures]
    page = render_page("photos.html", people=len(people), names=names, table=table,
                       pictures=pictures)  # fmt: skip
    save_page(path, page)


def _picture(person: PhotoPerson, joints2d_px: Sequence[Floating]) -> np.ndarray:
    """The crop with each network's skeleton, side by side; crosses where joints are annotated."""
    crop = square_crop(person.box_xyxy, _SIDE_PX)
    plain = crop.extract(decode_image(person.image.read_bytes(), where=str(person.image)))
    tiles = []
    for joints in joints2d_px:
        tile = plain.copy()
        draw_skeleton(tile, np.asarray(crop.to_crop(joints)))
        for x, y in crop.to_crop(person.joints2d_px[person.valid2d]):
            place = round(float(x) - 0.5), round(float(y) - 0.5)
            cv2.drawMarker(tile, place, (255, 255, 255), cv2.MARKER_CROSS, 9, 3)
            cv2.drawMarker(tile, place, (0, 0, 0), cv2.MARKER_CROSS, 7, 1)
        tiles.append(tile)
    return np.concatenate(tiles, 1)
