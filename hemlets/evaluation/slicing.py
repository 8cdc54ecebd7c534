"""Parts of a benchmark's samples: by whom, by what, by how much is seen, by size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.evaluation.truth import Truth
from hemlets.skeleton import N_JOINTS

__all__ = ["SLICE_FIELDS", "slices"]

Bool = npt.NDArray[np.bool_]

SLICE_FIELDS = {
    "action": "action",
    "subject": "subject",
    "camera_id": "camera",
    "family": "family of motions",
}
_MOST_VALUES = 40


def slices(truth: Truth) -> Iterator[tuple[str, str, Bool]]:
    """What samples are told apart by, a value of it, and the samples that have it.

    A field with one value, or with more than 40 (every image its own subject), says nothing.
    """
    for field, title in SLICE_FIELDS.items():
        facet = truth.facets[field]
        present = np.unique(facet.codes)
        if 1 < len(present) <= _MOST_VALUES:
            for code in sorted(present, key=lambda code: facet.words[code]):
                yield title, facet.words[code] or "(none)", facet.codes == code
    truncated = truth.columns["truncated"].sum(1)
    yield "truncation", "no joint outside the image", truncated == 0
    yield "truncation", "1-4 joints outside", (truncated >= 1) & (truncated <= 4)
    yield "truncation", "5 or more joints outside", truncated >= 5
    seen = truth.columns["visible"].sum(1)
    yield "visibility", "all joints visible", seen == N_JOINTS
    yield "visibility", "half or more visible", (seen >= N_JOINTS / 2) & (seen < N_JOINTS)
    yield "visibility", "less than half visible", seen < N_JOINTS / 2
    height = _box_height_px(truth)
    yield "size", "person below 100 px high", height < 100
    yield "size", "100-200 px high", (height >= 100) & (height < 200)
    yield "size", "200-400 px high", (height >= 200) & (height < 400)
    yield "size", "400 px high or more", height >= 400


def _box_height_px(truth: Truth) -> npt.NDArray[Any]:
    box = truth.columns["box_xyxy"]
    return np.asarray(box[:, 3] - box[:, 1])
