"""What is known of the training data in an ablation's arm.

Half of the training rows, drawn once, stay whole. Of the other half the depth is hidden, and with
it everything that follows from it; an arm may be given relations of their parts back, right or
wrong as people's are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hemlets.core.files import content_hash, sha256_file
from hemlets.core.skeleton import PART_CHILD, PART_PARENT
from hemlets.data.table import FIELDS, Annotations

Labels = Literal["half-3d", "half-2d", "half-relations", "half-ordinal", "all-3d"]
"""What the second half knows: it is left out; 2D joints; those with relations of which some are
wrong; those with ordinal relations of which more are wrong; everything."""

FBI_ERROR: Final = 0.074
"""Share of wrong relations that the paper measured for annotators (section 5)."""

ORDINAL_ERROR: Final = 0.15
"""Twice that: who is asked which of two joints is nearer has no middle to choose."""

_LEVEL_MM: Final = 20.0
"""Depths nearer to each other than this look equal to one who compares joints."""

_SEED: Final = 20_741

_VERSION: Final = 1
"""Counts up when the same table is given other labels than before: old ones are not taken up."""

Array = npt.NDArray[Any]


def relabelled(annotations: Annotations, labels: Labels) -> Annotations:
    """The table as an arm sees it; the other splits than ``train`` stay as they are.

    The same rows are hidden, and the same parts wrong, whatever the arm and the seed of its runs.
    """
    rng = np.random.default_rng(_SEED)
    train = annotations.column("split") == "train"
    order = rng.permutation(int(train.sum()))
    second = np.zeros(len(annotations), bool)
    second[np.flatnonzero(train)[order[len(order) // 2 :]]] = True
    if labels == "half-3d":
        return annotations.take(~second)
    if labels == "all-3d":
        return annotations
    columns: dict[str, Any] = {f.name: annotations.column(f.name).copy() for f in FIELDS}
    known = columns["relations_valid"]
    given, given_known = np.zeros_like(columns["relations"]), np.zeros_like(known)
    if labels == "half-relations":
        given, given_known = _with_errors(columns["relations"], FBI_ERROR, rng), known
    elif labels == "half-ordinal":
        ordered = _ordinal(columns["joints3d_mm"])
        given, given_known = _with_errors(ordered, ORDINAL_ERROR, rng), known
    for name, hidden in (
        ("joints3d_mm", 0),
        ("valid3d", False),
        ("theta", 0),
        ("betas", 0),
        ("transl_mm", 0),
        ("smpl_valid", False),
        ("transl_valid", False),
    ):
        columns[name][second] = hidden
    columns["relations"][second] = given[second]
    columns["relations_valid"][second] = given_known[second]
    source = {"half-relations": "fbi", "half-ordinal": "ordinal"}.get(labels, "")
    columns["relations_source"][second] = source
    return Annotations.from_columns(columns)


def _ordinal(joints_NJ3_mm: Array) -> Array:
    """Which end of a part is nearer, by depth alone: no limit of 30°."""
    depth = joints_NJ3_mm[:, PART_PARENT, 2] - joints_NJ3_mm[:, PART_CHILD, 2]
    return np.where(np.abs(depth) > _LEVEL_MM, np.sign(depth), 0).astype(np.int8)


def _with_errors(relations_NK: Array, share: float, rng: np.random.Generator) -> Array:
    """Relations of which a share is one of the two others."""
    wrong = rng.random(relations_NK.shape) < share
    # One or two further on in the circle of −1, 0 and +1.
    other = (relations_NK + 1 + rng.integers(1, 3, relations_NK.shape)) % 3 - 1
    return np.where(wrong, other, relations_NK).astype(np.int8)


def write_labels(data: Path, folder: Path, labels: Labels) -> Path:
    """A data version with an arm's labels over another one's images; kept if it is there.

    Args:
        data: The data version.
        folder: Gets a folder for each kind of labels of each table, named by a hash of both.
        labels: What the training rows know.
    """
    source = data / "annotations.parquet"
    # Another data version in the same workspace has rows of its own.
    origin = content_hash({"annotations": sha256_file(source), "version": _VERSION})
    own = folder / f"{labels}-{origin[:16]}"
    own.mkdir(parents=True, exist_ok=True)
    # The images are where they lie now: a data version may have been moved.
    shards = own / "shards"
    shards.unlink(missing_ok=True)
    shards.symlink_to((data / "shards").resolve())
    table = own / "annotations.parquet"
    if not table.exists():
        # Masks are the bulk of a table and nothing here looks at them.
        whole = Annotations.read(source)
        columns = {f.name: whole.column(f.name) for f in FIELDS} | {"mask": [b""] * len(whole)}
        relabelled(Annotations.from_columns(columns), labels).write(table)
    return own
