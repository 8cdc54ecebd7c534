"""Identify the rows of a split by one hash: only figures with equal hashes are comparable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hemlets.core.errors import DataError
from hemlets.core.files import read_json, write_json
from hemlets.data.table import FIELDS, Annotations

_FILE = "held-out.json"
# The storage location of an image affects neither inputs nor labels.
_PLACES = ("shard", "shard_row")


@dataclass(frozen=True, kw_only=True)
class SplitFingerprint:
    """Identity of the rows that a model was scored on.

    Attributes:
        hash: SHA-256 over sample ids, image hashes and all annotations, ordered by sample id.
        samples: Number of rows.
    """

    hash: str
    samples: int

    @classmethod
    def of(cls, rows: Annotations) -> SplitFingerprint:
        """Fingerprint annotated rows, independently of their order and their shards."""
        order = np.argsort(rows.sample_id.astype(str), kind="stable")
        digest = hashlib.sha256()
        for field in FIELDS:
            if field.name in _PLACES:
                continue
            digest.update(f"{field.name} {field.arrow_type}\n".encode())
            values = rows.column(field.name)[order]
            if values.dtype != object:
                digest.update(np.ascontiguousarray(values).tobytes())
                continue
            for value in values:
                content = value if isinstance(value, bytes) else str(value).encode()
                digest.update(len(content).to_bytes(8, "little") + content)
        return cls(hash=digest.hexdigest(), samples=len(rows))


def write_split_fingerprint(folder: Path, splits: dict[str, SplitFingerprint]) -> None:
    """Store the fingerprint of each split with a benchmark's figures."""
    write_json(
        folder / _FILE,
        {name: {"hash": part.hash, "samples": part.samples} for name, part in splits.items()},
    )


def read_split_fingerprint(folder: Path, split: str) -> SplitFingerprint:
    """Read the fingerprint that :func:`write_split_fingerprint` stored.

    Raises:
        DataError: The file is absent or lacks this split.
    """
    stored: dict[str, Any] = read_json(folder / _FILE)
    try:
        found = stored[split]
        return SplitFingerprint(hash=str(found["hash"]), samples=int(found["samples"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the benchmark does not say which rows its {split} split had",
            where=folder / _FILE,
            remedy="delete the benchmark's folder and run it again",
        ) from error
