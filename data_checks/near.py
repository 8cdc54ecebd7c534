"""Find images that look alike in two splits: the same photograph, cropped or compressed again.

Each stored image becomes a 64-bit difference hash and a thumbnail. Candidates are images whose
hashes differ in few bits and are equal in one of four bands of 16; they are found by sorting. A
candidate counts if the thumbnails correlate too.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_checks.names import Codes
from hemlets.core.arrays import Array, Bool, Float32, Int32, Int64
from hemlets.core.errors import DataError
from hemlets.data.images import MAX_PIXELS
from hemlets.data.table import ShardReader

HASHED_IMAGES: Final = 100_000
"""Largest number of compared images; held-out images first."""

MAX_BITS: Final = 8
"""Half the size, strong compression or 1 % cropping change no more, 19 times of 20."""

MIN_CORRELATION: Final = 0.98
"""Of thumbnails. The closest two of 800 rendered pictures reach 0.943; a picture compressed again,
at half its size or a little brighter stays above 0.995, cropped by 1 % above 0.977.
"""

_BANDS: Final = 4
_THUMB: Final = 16
_FLAT: Final = 6.0
_NEIGHBOURS: Final = 32
_LARGEST_GROUP: Final = 4096


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """Rows with a similar image in another split.

    Attributes:
        partner: The most similar row and the thumbnails' correlation, by row.
        compared: Number of compared images.
    """

    partner: dict[int, tuple[int, float]]
    compared: int

    @classmethod
    def find(
        cls,
        shards: Path,
        shard: Codes,
        shard_row: Array,
        split: Int32,
        *,
        compared: Bool,
    ) -> NearDuplicates:
        """Decode images and compare them across splits."""
        rows = np.flatnonzero(compared)
        if not len(np.unique(split[rows])) > 1 or not any(shard.names):
            return cls(partner={}, compared=0)
        chosen = rows[_chosen(split[rows])]
        hashes, thumbs, selected = _decode(shards, shard, shard_row, chosen)
        partner: dict[int, tuple[int, float]] = {}
        for a, b, correlation in matches(hashes, thumbs, split[selected]):
            one, two = int(selected[a]), int(selected[b])
            for row, other in ((one, two), (two, one)):
                if correlation > partner.get(row, (0, -1.0))[1]:
                    partner[row] = other, correlation
        return cls(partner=partner, compared=len(selected))


def matches(
    hashes: npt.NDArray[np.uint64], thumbs: Array, split: Int32
) -> list[tuple[int, int, float]]:
    """Return pairs of similar images of different splits, with their correlation.

    Args:
        hashes: (N,) 64-bit hashes.
        thumbs: (N, 256) grey thumbnails.
        split: (N,) splits.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    for band in range(_BANDS):
        value = (hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        pairs.append(_alike(np.argsort(value, kind="stable"), value, hashes, split))
    found = np.unique(np.concatenate(pairs), axis=0)
    picked = thumbs.astype(np.float32)
    left, right = (_normalised(picked[found[:, side]]) for side in (0, 1))
    correlation = (left * right).sum(1)
    return [
        (int(a), int(b), float(c))
        for (a, b), c in zip(found, correlation, strict=True)
        if c >= MIN_CORRELATION
    ]


def difference_hash(grey_HW: Array) -> int:
    """Compute 64 bits: whether each of 8×8 cells is brighter than its left neighbour."""
    import cv2

    small = cv2.resize(grey_HW, (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


def _alike(order: Int64, value: Array, hashes: npt.NDArray[np.uint64], split: Array) -> Int64:
    """Return candidates among the images that are equal in one band."""
    ordered = value[order]
    found = [np.zeros((0, 2), np.int64)]
    for step in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
        a, b = order[:-step], order[step:]
        same = (ordered[:-step] == ordered[step:]) & (split[a] != split[b])
        a, b = a[same], b[same]
        near = np.bitwise_count(hashes[a] ^ hashes[b]) <= MAX_BITS
        found.append(np.stack([a[near], b[near]], 1))
    edges = np.flatnonzero(np.diff(ordered)) + 1
    for group in np.split(order, edges):
        if len(group) <= _NEIGHBOURS + 1 or (split[group] == split[group[0]]).all():
            continue
        # So many alike are a plain background; a part of them tells as much as all.
        some = group[:: -(-len(group) // _LARGEST_GROUP)]
        for row in some:
            other = some[split[some] != split[row]]
            near = other[np.bitwise_count(hashes[other] ^ hashes[row]) <= MAX_BITS]
            found.append(np.stack([np.full(len(near), row), near], 1))
    return np.sort(np.concatenate(found), axis=1)


def _normalised(thumbs: Float32) -> Float32:
    centred = thumbs - thumbs.mean(1, keepdims=True)
    # A nearly uniform picture looks like every other one.
    flat = thumbs.std(1, keepdims=True) < _FLAT
    return np.where(flat, 0, centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-6))


def _chosen(split: Int32) -> Int64:
    """Choose rows: all, or those of the small splits and a part of the large ones."""
    if len(split) <= HASHED_IMAGES:
        return np.arange(len(split))
    rng = np.random.default_rng(len(split))
    counts = np.bincount(split)
    left, selected = HASHED_IMAGES, []
    for place, code in enumerate(np.argsort(counts)):
        rows = np.flatnonzero(split == code)
        share = left // (len(counts) - place)
        selected.append(rows if len(rows) <= share else rng.choice(rows, share, replace=False))
        left -= len(selected[-1])
    return np.sort(np.concatenate(selected))


def _decode(
    shards: Path, shard: Codes, shard_row: Array, rows: Int64
) -> tuple[npt.NDArray[np.uint64], Array, Int64]:
    import cv2

    hashes, thumbs, selected = [], [], []
    reader, current = ShardReader(shards), -1
    for row in rows[np.argsort(shard.values[rows], kind="stable")]:
        if shard.values[row] != current:
            # Another reader lets go of the shard before.
            current, reader = int(shard.values[row]), ShardReader(shards)
        try:
            data = reader.jpeg(shard.text(row), int(shard_row[row]))
        except (DataError, pa.ArrowException, AttributeError, TypeError, ValueError, OSError):
            continue
        grey = _grey(data)
        if grey is None:
            continue
        hashes.append(difference_hash(grey))
        thumbs.append(cv2.resize(grey, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).reshape(-1))
        selected.append(row)
    return (
        np.array(hashes, np.uint64),
        np.array(thumbs, np.uint8).reshape(-1, _THUMB * _THUMB),
        np.array(selected, np.int64),
    )


def _grey(data: bytes) -> Array | None:
    """Decode a small grey image; None if it can't be decoded or is too large."""
    import cv2
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "BMP", "TIFF")) as header:
            width, height = header.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if width * height > MAX_PIXELS:
        return None
    small = min(width, height) >= 8 * _THUMB
    flags = cv2.IMREAD_REDUCED_GRAYSCALE_4 if small else cv2.IMREAD_GRAYSCALE
    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return None if grey is None else np.asarray(grey)
