"""Group a benchmark's samples by subject, action, visibility, truncation and size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hemlets.core.arrays import Array, Bool
from hemlets.core.skeleton import N_JOINTS
from hemlets.evaluation.scoring.truth import Facet, Truth

SLICE_FIELDS = {
    "action": "action",
    "subject": "subject",
    "camera_id": "camera",
    "family": "family of motions",
}
_MOST_VALUES = 40


def slices(truth: Truth) -> Iterator[tuple[str, str, Bool]]:
    """Yield grouping, group, and the mask (N,) of its samples.

    Fields with one value, with more than 40, or with the same groups as an earlier field are
    skipped.
    """
    used: list[Facet] = []
    for field, title in SLICE_FIELDS.items():
        facet = truth.facets[field]
        present = np.unique(facet.codes)
        if 1 < len(present) <= _MOST_VALUES and not any(_alike(facet, one) for one in used):
            used.append(facet)
            for code in sorted(present, key=lambda code: facet.words[code]):
                yield title, facet.words[code] or "(none)", facet.codes == code
    truncated = truth.columns["truncated"].sum(1)
    title = "joints outside the image"
    yield title, "none", truncated == 0
    yield title, "1 to 4", (truncated >= 1) & (truncated <= 4)
    yield title, "5 or more", truncated >= 5
    seen, half = truth.columns["visible"].sum(1), N_JOINTS // 2
    title = "visible joints"
    yield title, f"all {N_JOINTS}", seen == N_JOINTS
    yield title, f"{half} to {N_JOINTS - 1} of {N_JOINTS}", (seen >= half) & (seen < N_JOINTS)
    yield title, f"0 to {half - 1} of {N_JOINTS}", seen < half
    height = _box_height_px(truth)
    title = "height of the person's box"
    yield title, "below 100 px", height < 100
    yield title, "100 px to below 200 px", (height >= 100) & (height < 200)
    yield title, "200 px to below 400 px", (height >= 200) & (height < 400)
    yield title, "400 px or more", height >= 400


def _alike(one: Facet, other: Facet) -> bool:
    """Return whether two fields group the samples identically."""
    pairs = one.codes.astype(np.int64) * max(len(other.words), 1) + other.codes
    parts = len(np.unique(pairs))
    return parts == len(np.unique(one.codes)) == len(np.unique(other.codes))


def _box_height_px(truth: Truth) -> Array:
    box = truth.columns["box_xyxy"]
    return np.asarray(box[:, 3] - box[:, 1])
