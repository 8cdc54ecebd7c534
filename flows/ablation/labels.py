"""The training annotations of an arm: 3D joints of a share of the people, weak labels of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flows.ablation.arms import Rest
from hemlets.data.table import FIELDS, Annotations
from hemlets.data.weak_labels import DEFAULT, read_annotators

_SEED: Final = 20_741


def has_depth(count: int, share_pct: int) -> npt.NDArray[np.bool_]:
    """People whose 3D joints are known: a smaller share is part of every larger one."""
    order = np.random.default_rng(_SEED).permutation(count)
    known = np.zeros(count, bool)
    known[order[: max(1, round(count * share_pct / 100))]] = True
    return known


def relabelled(
    rows: Annotations, share_pct: int, rest: Rest, *, annotators: Path = DEFAULT
) -> Annotations:
    """Hide the depth of all people but a share, and label their parts as annotators would.

    Rows and their order stay. The same people are hidden and the same parts wrong in every arm,
    whatever its seed. Where both schemes label a part, FBI's answer counts.

    Args:
        rows: The training people, all with 3D joints.
        share_pct: Of people whose 3D joints stay.
        rest: Labels of the others.
        annotators: Rates of skips and errors, see `hemlets.data.weak_labels`.
    """
    hidden = ~has_depth(len(rows), share_pct)
    if not hidden.any():
        return rows
    columns: dict[str, Any] = {f.name: rows.column(f.name).copy() for f in FIELDS}
    values = np.zeros_like(columns["relations"])
    known = np.zeros_like(columns["relations_valid"])
    schemes = read_annotators(annotators)
    # FBI last, over what the other scheme says.
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
