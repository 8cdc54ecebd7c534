"""Training annotations of an arm: 3D joints for a share of the people, weak labels for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from flows.ablation.arms import Rest
from hemlets.core.arrays import Bool
from hemlets.data.table import FIELDS, Annotations
from hemlets.data.weak_labels import DEFAULT, read_annotators

_SEED: Final = 20_741


def has_depth(learnt: Bool, share_pct: int) -> Bool:
    """Mask of people with 3D joints; every larger share includes the smaller ones.

    Args:
        learnt: People that an arm may learn from.
        share_pct: Percentage of these people.
    """
    order = np.random.default_rng(_SEED).permutation(np.flatnonzero(learnt))
    known = np.zeros(len(learnt), bool)
    known[order[: max(1, round(len(order) * share_pct / 100))]] = True
    return known


def relabelled(
    rows: Annotations, known_B: Bool, rest: Rest, *, annotators: Path = DEFAULT
) -> Annotations:
    """Hide the depth of some people, and label their parts as annotators would.

    Keeps all rows in order. Hidden people and wrong labels are the same for every arm and seed.
    Where both schemes label a part, FBI's label is used.

    Args:
        rows: The training people, all with 3D joints.
        known_B: People who keep their 3D joints.
        rest: Labels of the other people.
        annotators: Rates of skips and errors, see `hemlets.data.weak_labels`.
    """
    hidden = ~known_B
    if not hidden.any():
        return rows
    columns: dict[str, Any] = {f.name: rows.column(f.name).copy() for f in FIELDS}
    values = np.zeros_like(columns["relations"])
    known = np.zeros_like(columns["relations_valid"])
    schemes = read_annotators(annotators)
    # FBI comes last, so that it overwrites the other scheme's labels.
    for number, scheme in enumerate(("ordinal", "fbi")):
        if scheme in rest.split("+"):
            label = schemes[scheme].label  # type: ignore[index]
            rng = np.random.default_rng((_SEED, number))
            found = label(rows.joints3d_mm, rows.valid3d, rng, scheme=scheme)  # type: ignore[arg-type]
            values = np.where(found.valid_NK, found.values_NK, values)
            known |= found.valid_NK
    for name in (
        "joints3d_mm", "valid3d", "theta", "betas", "transl_mm", "smpl_valid", "transl_valid",
    ):  # fmt: skip
        columns[name][hidden] = 0
    columns["relations"][hidden] = values[hidden]
    columns["relations_valid"][hidden] = known[hidden]
    columns["relations_source"][hidden] = rest if known.any() else ""
    return Annotations.from_columns(columns)
