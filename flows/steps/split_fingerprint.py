"""Which rows a split consists of, as one hash: two figures are comparable on equal hashes only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hemlets.core.errors import DataError
from hemlets.core.files import read_json, write_json
from hemlets.data.table import FIELDS, Annotations

__all__ = ["HeldOut", "read_held_out", "write_held_out"]

_FILE = "held-out.json"
# Where an image is stored says nothing about what is asked and what is right.
_PLACES = ("shard", "shard_row")


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The rows that a model was scored on.

    Attributes:
        hash: SHA-256 over sample ids, image hashes and every annotation, in the samples' order
            by name. The same people with another label have another hash.
        samples: How many rows.
    """

    hash: str
    samples: int

    @classmethod
    def of(cls, rows: Annotations) -> HeldOut:
        """The identity of annotated rows, whatever their order and their shards."""
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


def write_held_out(folder: Path, splits: dict[str, HeldOut]) -> None:
    """Note beside a benchmark's figures which rows each split consisted of."""
    write_json(
        folder / _FILE,
        {name: {"hash": part.hash, "samples": part.samples} for name, part in splits.items()},
    )


def read_held_out(folder: Path, split: str) -> HeldOut:
    """What :func:`write_held_out` noted of a split.

    Raises:
        DataError: The file is absent or says nothing of this split.
    """
    noted: dict[str, Any] = read_json(folder / _FILE)
    try:
        return HeldOut(hash=str(noted[split]["hash"]), samples=int(noted[split]["samples"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the benchmark does not say which rows its {split} split had",
            where=folder / _FILE,
            remedy="delete the benchmark's folder and run it again",
        ) from error
