"""What only the whole table knows: names and their splits, usual lengths, distributions.

Read once, column by column, piece by piece; the expectations of single rows then look up here
what they need of the others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_checks.columns.anatomy import Reference, bone_lengths, known_joints
from data_checks.columns.base import Array
from data_checks.columns.population import Moments, Statistics, Tally
from data_checks.datasets import DATASETS
from data_checks.names import Codes, SharedNames
from data_checks.near import NearDuplicates
from data_checks.stream import Chunk, TableFile
from hemlets.data.table import BACKGROUND_SPLITS, FIELDS, Annotations

_CODED = ("split", "source", "clip", "family", "subject", "camera_id")
_UNIQUE = ("sample_id", "image_hash")
DECODED_ROWS = 500
"""Rows whose pixels are looked at; all of them in smaller tables."""

POSED_ROWS = 200_000
"""Rows whose body is posed anew; all of them in smaller tables. Posing takes 80 µs each."""

_SAME_BOX_IOU = 0.9
_LARGE_GROUP = 200

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Census:
    """The whole table, in as much as single rows are judged by it.

    Attributes:
        rows: Rows of the table.
        codes: Text columns with few values.
        ids: Sample ids, one each row.
        hashes: Image hashes, one each row.
        boxes: (N, 4) boxes.
        stored: Whether any row has a stored image.
        reference: Usual lengths of bones.
        tally: Label distributions.
        theta: Spread of θ.
        near: Images that look alike across splits.
    """

    rows: int
    codes: dict[str, Codes]
    ids: pa.Array
    hashes: pa.Array
    boxes: npt.NDArray[np.float32]
    stored: bool
    reference: Reference
    tally: Tally
    theta: Moments
    near: NearDuplicates

    @classmethod
    def of(cls, table: Annotations, shards: Path) -> Census:
        """The census of a table in memory."""
        return cls.take([Chunk.whole(table)] if len(table) else [], shards)

    @classmethod
    def take(cls, chunks: TableFile | list[Chunk], shards: Path) -> Census:
        """Read a table once.

        Args:
            chunks: The table.
            shards: The folder of the image shards.
        """
        codes = {name: Codes() for name in _CODED}
        texts: dict[str, list[pa.Array]] = {name: [] for name in _UNIQUE}
        boxes: list[Array] = [np.zeros((0, 4), np.float32)]
        lengths: list[Array] = [np.zeros((0, 14), np.float32)]
        places: list[pa.Table] = []
        tally, theta = Tally(), Moments()
        rows = 0
        for chunk in chunks.chunks() if isinstance(chunks, TableFile) else chunks:
            table = chunk.table
            rows += len(table)
            for name, code in codes.items():
                code.add(table.table.column(name))
            for name, parts in texts.items():
                parts.append(table.table.column(name).combine_chunks())
            places.append(table.table.select(["shard", "shard_row"]))
            boxes.append(table.box_xyxy)
            with np.errstate(invalid="ignore", over="ignore"):
                joints_NJ3 = known_joints(table)
                lengths_NP = bone_lengths(joints_NJ3)
                lengths.append(lengths_NP.astype(np.float32))
                tally.add(table, joints_NJ3, lengths_NP)
                theta.add(table)
        people = codes["subject"].values + codes["source"].values * np.int64(2**32)
        with np.errstate(invalid="ignore", over="ignore"):
            reference = Reference.of(np.concatenate(lengths), codes["source"].values, people)
        where = Codes()
        shard_rows: list[Array] = [np.zeros(0, np.int32)]
        for place in places:
            where.add(place.column("shard"))
            shard_rows.append(place.column("shard_row").to_numpy())
        return cls(
            rows=rows, codes=codes, boxes=np.concatenate(boxes),
            ids=_joined(texts["sample_id"]), hashes=_joined(texts["image_hash"]),
            stored=any(where.names), reference=reference, tally=tally, theta=theta,
            near=NearDuplicates.find(
                shards, where, np.concatenate(shard_rows), codes["split"].values,
                compared=_people(codes["split"]),
            ),
        )  # fmt: skip

    @cached_property
    def _hash_groups(self) -> tuple[Ints, list[str]]:
        """Number of each row's image hash among those that occur twice or more, else -1."""
        return _repeated(self.hashes)

    @cached_property
    def images(self) -> SharedNames:
        """Images by their hash, over splits. Rows whose hash is their own have no name."""
        group_N, names = self._hash_groups
        shared = Codes.numbered(["", *names], group_N + 1)
        return SharedNames.of(
            "image", shared, self.codes["split"], joined=False, ignored=frozenset((0,))
        )

    @cached_property
    def clips(self) -> SharedNames:
        """Motion clips over splits, each within its dataset."""
        return self._shared("clip", real_too=True)

    @cached_property
    def families(self) -> SharedNames:
        """Families of motions over splits. Real datasets aren't split by family."""
        return self._shared("family", real_too=False)

    @cached_property
    def duplicated_ids(self) -> dict[str, list[int]]:
        """Rows of each sample id that occurs more than once."""
        group_N, names = _repeated(self.ids)
        found: dict[str, list[int]] = defaultdict(list)
        for row in np.flatnonzero(group_N >= 0).tolist():
            found[names[group_N[row]]].append(int(row))
        return found

    @cached_property
    def twins(self) -> dict[int, list[int]]:
        """For rows with some, the others of their split with the same image and box."""
        group_N, _ = self._hash_groups
        split_N = self.codes["split"].values
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row in np.flatnonzero(group_N >= 0).tolist():
            groups[int(group_N[row]), int(split_N[row])].append(int(row))
        twins: dict[int, list[int]] = defaultdict(list)
        for group in groups.values():
            # A real picture shows a handful of people: a larger group is one picture over and
            # over, and comparing all its pairs would take quadratic time.
            if len(group) > _LARGE_GROUP:
                for row in group:
                    twins[row] = [other for other in group[:4] if other != row]
                continue
            for position, row in enumerate(group):
                for other in group[position + 1 :]:
                    if _iou(self.boxes[row], self.boxes[other]) >= _SAME_BOX_IOU:
                        twins[row].append(other)
                        twins[other].append(row)
        return twins

    @cached_property
    def subjects_tested_on(self) -> SharedNames:
        """Subjects of datasets whose protocol tests on other subjects, over two camps."""
        scoped, datasets = self._scoped("subject")
        ignored = frozenset(
            number
            for number, (name, dataset) in enumerate(zip(scoped.names, datasets, strict=True))
            if not name.rsplit("\0", 1)[-1]
            or dataset not in DATASETS
            or not DATASETS[dataset].tested_by_subject
        )
        split = self.codes["split"]
        tested = np.array([name == "test" for name in split.names], bool)
        camps = Codes.numbered(
            ["the training side", "test"], tested[split.values] if self.rows else split.values
        )
        return SharedNames.of("subject", scoped, camps, joined=False, ignored=ignored)

    def sample(self, count: int) -> npt.NDArray[np.bool_]:
        """Rows (N,) to look at closely: all of a small table, else as many, drawn by content."""
        chosen = np.ones(self.rows, bool)
        if self.rows > count:
            digest = hashlib.sha256()
            for buffer in self.hashes.buffers():
                digest.update(buffer or b"")
            rng = np.random.default_rng(int.from_bytes(digest.digest()[:8], "little"))
            chosen[:] = False
            chosen[rng.choice(self.rows, count, replace=False)] = True
        return chosen

    @cached_property
    def decoded(self) -> npt.NDArray[np.bool_]:
        """Rows whose pixels are looked at."""
        return self.sample(DECODED_ROWS)

    @cached_property
    def posed(self) -> npt.NDArray[np.bool_]:
        """Rows whose body is posed anew."""
        return self.sample(POSED_ROWS)

    def splits(self) -> dict[str, int]:
        """Rows of each split that occurs."""
        counts = self.codes["split"].counts()
        return {n: int(c) for n, c in zip(self.codes["split"].names, counts, strict=True)}

    def sources(self) -> list[str]:
        """The sources that occur."""
        return list(self.codes["source"].names)

    def _shared(self, field: str, *, real_too: bool) -> SharedNames:
        scoped, datasets = self._scoped(field)
        ignored = frozenset(
            number
            for number, (name, dataset) in enumerate(zip(scoped.names, datasets, strict=True))
            if not name.rsplit("\0", 1)[-1] or (dataset in DATASETS and not real_too)
        )
        return SharedNames.of(field, scoped, self.codes["split"], joined=True, ignored=ignored)

    def _scoped(self, field: str) -> tuple[Codes, list[str]]:
        """A field whose names count within their dataset, where that is a known one."""
        own, source = self.codes[field], self.codes["source"]
        key = own.values * np.int64(max(len(source.names), 1)) + source.values
        pairs, inverse = np.unique(key, return_inverse=True)
        names, datasets = [], []
        for pair in pairs:
            name = own.names[pair // len(source.names)]
            dataset = source.names[pair % len(source.names)]
            names.append(f"{dataset}\0{name}" if dataset in DATASETS else name)
            datasets.append(dataset)
        return Codes.numbered(names, inverse), datasets


def null_cells(table: TableFile) -> Statistics:
    """Null cells in each column, also inside its arrays.

    Raises:
        pyarrow.ArrowException: A column's data is damaged.
        OSError: The file can't be read.
    """
    counts = {field.name: 0 for field in FIELDS}
    first: dict[str, int] = {}
    for chunk in table.chunks():
        for field in FIELDS:
            column = chunk.table.table.column(field.name).combine_chunks()
            flat = column.flatten() if field.shape else column
            found = column.null_count + (flat.null_count if field.shape else 0)
            if found and field.name not in first:
                first[field.name] = int(chunk.rows[0]) + _first_null(column, flat)
            counts[field.name] += found
    return Statistics(
        names=tuple(counts),
        fields=tuple(counts),
        values=tuple(float(count) for count in counts.values()),
        observed=tuple(
            f"{count} null cells in {name}"
            + (f", the first in row {first[name]}" if name in first else "")
            for name, count in counts.items()
        ),
    )


def _first_null(column: pa.Array, flat: pa.Array) -> int:
    if column.null_count:
        return int(column.is_null().index(True).as_py())
    return int(flat.is_null().index(True).as_py()) // max(1, len(flat) // len(column))


def _people(splits: Codes) -> npt.NDArray[np.bool_]:
    """Rows (N,) of splits of people. Empty scenes may look alike: many are plain."""
    shown = np.array([name not in BACKGROUND_SPLITS for name in splits.names], bool)
    return shown[splits.values] if len(shown) else np.zeros(0, bool)


def _joined(parts: list[pa.Array]) -> pa.Array:
    return pa.concat_arrays(parts) if parts else pa.array([], pa.string())


def _repeated(texts: pa.Array) -> tuple[Ints, list[str]]:
    """A number for each text that occurs twice or more, -1 for others; and these texts."""
    encoded = texts.dictionary_encode()
    code_N = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    count_C = np.bincount(code_N, minlength=len(encoded.dictionary))
    names = encoded.dictionary.to_pylist() if len(encoded.dictionary) < len(texts) else []
    keep = [c for c in np.flatnonzero(count_C > 1) if names[c]]
    number_C = np.full(len(count_C), -1, np.int64)
    number_C[keep] = np.arange(len(keep))
    return number_C[code_N] if len(code_N) else code_N, [names[c] for c in keep]


def _iou(a: Array, b: Array) -> float:
    if np.array_equal(a, b, equal_nan=True):
        return 1.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(size, 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0
