"""Cut validation and gate splits from the training rows by clip.

All rows of a clip are in one split, which depends on the clip's name alone: more data never move a
clip to another split.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from hemlets.core.arrays import Objects
from hemlets.data.versions.ingest_config import SplitCut

CUT: Final = ("validation", "gate")
"""Splits that are cut from the training rows if a dataset has none."""


def cut_of_clip(clip: str, config: SplitCut) -> str:
    """Return the split of a training clip: ``train``, ``validation`` or ``gate``.

    >>> cut_of_clip("S1/walking", SplitCut(validation=0.0, gate=0.0))
    'train'
    """
    digest = hashlib.sha256(f"{config.seed}/{clip}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < config.validation:
        return "validation"
    return "gate" if place < config.validation + config.gate else "train"


def cut_splits(clips: Objects, config: SplitCut) -> Objects:
    """Assign splits (N,) to training rows by their clips."""
    names, place = np.unique(clips.astype(str), return_inverse=True)
    cut = np.array([cut_of_clip(str(name), config) for name in names], object)
    return np.asarray(cut[place], object)
