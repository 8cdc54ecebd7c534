"""Facts of a whole table: names and their splits, usual lengths, distributions.

The table is read once, chunk by chunk. Rules of single rows look up facts about other rows here.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_checks.datasets import DATASETS
from data_checks.distributions import Distributions
from data_checks.names import Codes, SharedNames
from data_checks.near import NearDuplicates
from data_checks.proportions import Reference
from data_checks.rows import Chunk, TableFile, bone_lengths, known_joints
from data_checks.rules.body import Moments
from hemlets.core.arrays import Array, Bool, Float32, Int64
from hemlets.core.boxes import box_iou
from hemlets.data.table import BACKGROUND_SPLITS, Annotations

_CODED = ("split", "source", "clip", "family", "subject")
_COLUMNS = (*_CODED, "sample_id", "image_hash", "shard", "shard_row")

DECODED_ROWS = 500
"""Number of rows whose images are decoded; all of a smaller table."""

POSED_ROWS = 200_000
"""Number of rows whose body is posed again; posing takes 80 µs each."""

_SAME_BOX_IOU = 0.9
_LARGE_GROUP = 200


@dataclass(frozen=True, kw_only=True)
class Census:
    """Facts of a whole table that rules of single rows need.

    Attributes:
        rows: Number of rows.
        codes: Text columns with few values.
        ids: Sample ids, one per row.
        hashes: Image hashes, one per row.
        boxes: (N, 4) boxes.
        stored: Whether any row has a stored image.
        reference: Usual lengths of bones.
        distributions: Label distributions.
        theta: Spread of θ.
        near: Near-duplicate images in different splits.
    """

    rows: int
    codes: dict[str, Codes]
    ids: pa.Array
    hashes: pa.Array
    boxes: Float32
    stored: bool
    reference: Reference
    distributions: Distributions
    theta: Moments
    near: NearDuplicates

    @classmethod
    def of(cls, table: Annotations, shards: Path) -> Census:
        """Take the census of a table in memory."""
        return cls.take(
            [Chunk(table=table, rows=np.arange(len(table)))] if len(table) else [], shards
        )

    @classmethod
    def take(cls, chunks: TableFile | list[Chunk], shards: Path) -> Census:
        """Read a table once, in chunks; ``shards`` is the folder of its images."""
        parts: list[pa.Table] = []
        boxes: list[Array] = [np.zeros((0, 4), np.float32)]
        lengths: list[Array] = [np.zeros((0, 14), np.float32)]
        distributions, theta = Distributions(), Moments()
        for chunk in chunks.chunks() if isinstance(chunks, TableFile) else chunks:
            table = chunk.table
            parts.append(table.table.select(_COLUMNS))
            boxes.append(table.box_xyxy)
            with np.errstate(invalid="ignore", over="ignore"):
                joints_NJ3 = known_joints(table)
                lengths_NP = bone_lengths(joints_NJ3)
                lengths.append(lengths_NP.astype(np.float32))
                distributions.add(table, joints_NJ3, lengths_NP)
                theta.add(table)
        empty = Annotations.schema.empty_table().select(_COLUMNS)
        whole = pa.concat_tables([part.cast(empty.schema) for part in parts] or [empty])
        codes = {name: Codes.of(whole.column(name)) for name in (*_CODED, "shard")}
        people = codes["subject"].values + codes["source"].values * np.int64(2**32)
        with np.errstate(invalid="ignore", over="ignore"):
            reference = Reference.of(np.concatenate(lengths), codes["source"].values, people)
        return cls(
            rows=len(whole), codes=codes, boxes=np.concatenate(boxes),
            ids=whole.column("sample_id").combine_chunks(),
            hashes=whole.column("image_hash").combine_chunks(),
            stored=any(codes["shard"].names), reference=reference, distributions=distributions,
            theta=theta,
            near=NearDuplicates.find(
                shards, codes["shard"], whole.column("shard_row").to_numpy(),
                codes["split"].values, compared=_people(codes["split"]),
            ),
        )  # fmt: skip

    @cached_property
    def _hash_groups(self) -> tuple[Int64, list[str]]:
        """Return repeated hashes, and the number of each row's hash among them or -1."""
        return _repeated(self.hashes)

    @cached_property
    def images(self) -> SharedNames:
        """Images by hash, over splits; unique images have no name."""
        group_N, names = self._hash_groups
        shared = Codes(names=["", *names], values=(group_N + 1).astype(np.int32))
        return SharedNames.of(
            "image", shared, self.codes["split"], joined=False, ignored=frozenset((0,))
        )

    @cached_property
    def clips(self) -> SharedNames:
        """Motion clips over splits, each within its dataset."""
        return self._shared("clip", real_too=True)

    @cached_property
    def families(self) -> SharedNames:
        """Motion families over splits, for rendered data only."""
        return self._shared("family", real_too=False)

    @cached_property
    def duplicated_ids(self) -> dict[str, list[int]]:
        """Rows of each repeated sample id."""
        group_N, names = _repeated(self.ids)
        found: dict[str, list[int]] = defaultdict(list)
        for row in np.flatnonzero(group_N >= 0).tolist():
            found[names[group_N[row]]].append(int(row))
        return found

    @cached_property
    def twins(self) -> dict[int, list[int]]:
        """Rows of the same split with the same image and box, by row."""
        group_N, _ = self._hash_groups
        split_N = self.codes["split"].values
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row in np.flatnonzero(group_N >= 0).tolist():
            groups[int(group_N[row]), int(split_N[row])].append(int(row))
        twins: dict[int, list[int]] = defaultdict(list)
        for group in groups.values():
            # A real picture shows a handful of people: a larger group is one picture repeated,
            # and comparing all its pairs would take quadratic time.
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
        """Subjects over training and test, if the protocol separates them."""
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
        side_N = tested[split.values] if self.rows else split.values
        sides = Codes(names=["the training side", "test"], values=side_N.astype(np.int32))
        return SharedNames.of("subject", scoped, sides, joined=False, ignored=ignored)

    def sample(self, count: int) -> Bool:
        """Choose ``count`` rows by content; all rows of a small table. Mask (N,)."""
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
    def decoded(self) -> Bool:
        """Rows (N,) whose images are decoded."""
        return self.sample(DECODED_ROWS)

    @cached_property
    def posed(self) -> Bool:
        """Rows (N,) whose body is posed again."""
        return self.sample(POSED_ROWS)

    def splits(self) -> dict[str, int]:
        """Rows of each existing split."""
        split = self.codes["split"]
        counts = np.bincount(split.values, minlength=len(split.names))
        return {name: int(count) for name, count in zip(split.names, counts, strict=True)}

    def sources(self) -> list[str]:
        """Existing sources."""
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
        """Return a field whose names are prefixed by known datasets."""
        own, source = self.codes[field], self.codes["source"]
        key = own.values * np.int64(max(len(source.names), 1)) + source.values
        pairs, inverse = np.unique(key, return_inverse=True)
        names, datasets = [], []
        for pair in pairs:
            name = own.names[pair // len(source.names)]
            dataset = source.names[pair % len(source.names)]
            names.append(f"{dataset}\0{name}" if dataset in DATASETS else name)
            datasets.append(dataset)
        return Codes(names=names, values=inverse.reshape(-1).astype(np.int32)), datasets


def _people(splits: Codes) -> Bool:
    """Mark rows (N,) of splits of people; empty scenes may look alike."""
    shown = np.array([name not in BACKGROUND_SPLITS for name in splits.names], bool)
    return shown[splits.values] if len(shown) else np.zeros(0, bool)


def _repeated(texts: pa.Array) -> tuple[Int64, list[str]]:
    """Number texts that occur more than once, -1 for others; return these texts too."""
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
    return box_iou(a.astype(np.float64), b.astype(np.float64))
