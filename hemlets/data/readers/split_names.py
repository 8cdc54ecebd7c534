"""Find the split in the name of an annotation file, by whole words."""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = {
    "train": "train", "training": "train", "trainset": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "minival": "validation", "valset": "validation",
    "test": "test", "testing": "test", "testset": "test",
}  # fmt: skip


def named_splits(text: str) -> list[str]:
    """Return the splits whose words are in a name, sorted.

    >>> [named_splits(name) for name in ("keypoints_val2017", "carnival", "train-val")]
    [['validation'], [], ['train', 'validation']]
    """
    words = re.findall(r"[a-z]+", text.lower())
    return sorted({_WORDS[word] for word in words if word in _WORDS})
