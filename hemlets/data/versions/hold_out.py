"""Hold rows of a dataset out of training, in a data version of their own with gate and test rows.

Whole groups (subjects or clips) are held out. The version's name contains the hash of its bytes, so
the rows can't change under the same name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import read_json, sha256_file
from hemlets.data.table import FIELDS, Annotations, ShardReader
from hemlets.data.versions.writer import SHARDS, TABLE, VERSION, VersionWriter, store_shard

Group = Literal["subject", "clip"]

SUFFIX: Final = ".held-out"
"""Suffix of the name of a dataset's held-out data version."""

_SHARD_IMAGES: Final = 512


@dataclass(frozen=True, kw_only=True)
class _Shard:
    name: str
    rows: Annotations

    def __len__(self) -> int:
        return len(self.rows)


def hold_out(
    folder: Path, out: Path, *, by: Group, gate: float, test: float, seed: int = 0
) -> dict[str, int]:
    """Write held-out rows of a data version as another data version.

    Args:
        folder: The dataset's data version, with images.
        out: Gets the new version; its rows have the splits ``gate`` and ``test``.
        by: Kind of the groups that are held out as a whole.
        gate: Share of the groups for promotion decisions.
        test: Share of the groups for reported scores.
        seed: Selects the groups.

    Returns:
        Number of rows by split.

    Raises:
        ConfigError: A row has no subject or clip, or the shares leave nothing to train on.
        DataError: The version can't be read.
    """
    table = Annotations.read(folder / TABLE)
    table = table.take(table.shows_person)
    groups = np.array([str(name) for name in table.column(by)], object)
    if not all(groups):
        raise ConfigError(
            f"{sum(not name for name in groups):,} rows have no {by}",
            where=folder / TABLE,
            remedy=f"hold out by {'clip' if by == 'subject' else 'subject'}",
        )
    splits = _splits(sorted(set(groups)), gate, test, f"{seed}")
    split = np.array([splits.get(name, "") for name in groups], object)
    recipe = {
        "kind": "held-out", "dataset": f"{folder.name}{SUFFIX}", "by": by, "gate": gate,
        "test": test, "seed": seed, "of": sha256_file(folder / TABLE),
    }  # fmt: skip
    reader = ShardReader(folder / SHARDS)
    with VersionWriter(out, recipe, purpose="holding rows out into") as writer:
        shards = list(_shards(table, split))
        for shard in shards:
            rows = shard.rows
            images = [reader.jpeg(*place) for place in zip(*_places(table, rows), strict=True)]
            store_shard(out, writer.staging, shard, rows, images)
        samples = writer.write_table(shard.rows.table for shard in shards)
        writer.finish(samples, [shard.name for shard in shards])
    return samples


def _places(table: Annotations, rows: Annotations) -> tuple[list[str], list[int], list[str]]:
    names = [str(name) for name in rows.sample_id]
    places = [table.row_of[name] for name in names]
    return (
        [str(table.shard[at]) for at in places],
        [int(table.shard_row[at]) for at in places],
        names,
    )


def _splits(groups: list[str], gate: float, test: float, seed: str) -> dict[str, str]:
    """Assign splits to groups by the order of their hashes."""
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    counts = {
        "gate": math.ceil(gate * len(order)) if gate else 0,
        "test": math.ceil(test * len(order)) if test else 0,
    }
    held = sum(counts.values())
    if not held or held >= len(order):
        raise ConfigError(
            f"{held} of {len(order)} groups would be held out",
            where="--gate, --test",
            expected="at least one that is held out and one that is trained on",
            remedy="choose other shares; or hold out by clip, of which there are more",
        )
    names = [name for name, count in counts.items() for _ in range(count)]
    return dict(zip(order, names, strict=False))


def _shards(table: Annotations, split: Any) -> Iterator[_Shard]:
    for name in ("gate", "test"):
        rows = np.flatnonzero(split == name)
        for start in range(0, len(rows), _SHARD_IMAGES):
            part = table.take(rows[start : start + _SHARD_IMAGES])
            shard = f"{name}-{start // _SHARD_IMAGES:05d}.arrow"
            columns = {field.name: part.column(field.name) for field in FIELDS}
            columns |= {
                "split": np.array([name] * len(part), object),
                "shard": np.array([shard] * len(part), object),
                "shard_row": np.arange(len(part), dtype=np.int32),
            }
            yield _Shard(name=shard, rows=Annotations.from_columns(columns))


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The held-out rows of a dataset."""

    folder: Path
    by: Group
    rows: Annotations

    @classmethod
    def read(cls, folder: Path) -> HeldOut:
        """Read a version that `hold_out` wrote.

        Raises:
            DataError: It is another data version.
        """
        recipe = read_json(folder / VERSION)
        if recipe.get("kind") != "held-out":
            raise DataError(
                "this data version holds no held-out rows",
                where=folder,
                expected="a version that hemlets data hold-out committed",
            )
        return cls(folder=folder, by=recipe["by"], rows=Annotations.read(folder / TABLE))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Fields whose values training may not share with these rows."""
        return ("subject", "clip") if self.by == "subject" else ("clip",)

    def left_for_training(self, table: Annotations) -> frozenset[str]:
        """List a dataset's samples that share no subject, clip or image with the held-out rows."""
        keep = ~np.isin(table.image_hash.astype(str), self.rows.image_hash.astype(str))
        for kind in self.kinds:
            values = self.rows.column(kind).astype(str)
            keep &= ~np.isin(table.column(kind).astype(str), values[values != ""])
        return frozenset(map(str, table.sample_id[keep]))
