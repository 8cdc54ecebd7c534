"""Find near-duplicate images by difference hashes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.core.arrays import Array, Image, Int64

_SIDE: Final = 16
MAX_BITS: Final = 12
"""Of 256. Re-encoded, resized or slightly brightened images differ in 0-8 bits; unrelated photos in
about 128 (standard deviation 8).
"""

Hashes = npt.NDArray[np.uint64]


def difference_hash(image_HW3: Image) -> Hashes:
    """Hash an RGB image: brightness differences of a 17 × 16 grid, 256 bits as (4,)."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(image_HW3), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = small[:, 1:] > small[:, :-1]
    return np.packbits(bits).view(np.uint64)


def hashes_of(images: Iterable[Image]) -> Hashes:
    """Hash images, (N, 4)."""
    found = [difference_hash(image) for image in images]
    return np.stack(found) if found else np.zeros((0, 4), np.uint64)


def near_pairs(first_N4: Hashes, second_M4: Hashes, *, max_bits: int = MAX_BITS) -> Int64:
    """Find pairs (row of the first, row of the second) with few different bits, (P, 2).

    Compares all pairs: 10,000 by 10,000 take some seconds and little memory.
    """
    found: list[Array] = []
    block = max(1, 4_000_000 // max(len(second_M4), 1))
    for start in range(0, len(first_N4), block):
        part = first_N4[start : start + block]
        bits = np.zeros((len(part), len(second_M4)), np.uint16)
        for word in range(4):
            bits += np.bitwise_count(part[:, word, None] ^ second_M4[None, :, word])
        rows, columns = np.nonzero(bits <= max_bits)
        found.append(np.stack([rows + start, columns], 1))
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)
