"""The arms of the ablations and the comparisons between them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from hemlets.models.codecs import States
from hemlets.training.config import Supervision

Rest = Literal["absent", "2d", "ordinal", "fbi", "fbi+ordinal"]
"""Labels of training people whose depth is hidden: none (people left out), 2D joints, or 2D joints
with the relations of a simulated annotator (`hemlets.data.weak_labels`)."""

MIXED_PCT: Final = 30
"""Share of people with 3D joints in the comparisons with 2D data."""
SHARES_PCT: Final = (30, 10, 3, 1)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One training configuration of the ablation.

    Attributes:
        name: Name in tables and runs.
        share_pct: Share of the training people with 3D joints.
        rest: Labels of the other training people.
        supervision: Supervision of the intermediate maps.
        states: Number of states of a HEMlet.
        joint_units: Unit of L_3D, and so of alpha.
    """

    name: str
    share_pct: int = 100
    rest: Rest = "absent"
    supervision: Supervision = "both"
    states: States = 3
    joint_units: Literal["voxels", "normalised"] = "voxels"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table of arms; each later arm is compared with the first.

    Attributes:
        name: Name of the table.
        title: Question that the table answers.
        paper: The paper's table or figure with the same question; empty where it has none.
        figure: The figure that decides, one of `flows.ablation.scoring.FIGURES`.
        arms: Names of the arms.
    """

    name: str
    title: str
    paper: str
    figure: str = "mpjpe_mm"
    arms: tuple[str, ...]


_SUPERVISIONS: Final[tuple[tuple[str, Supervision], ...]] = (
    ("baseline", "none"),
    ("2d-heatmaps", "2d"),
    ("hemlets", "hemlets"),
    ("full", "both"),
)
_MIXED: Final = tuple(f"{name}@{MIXED_PCT}+2d" for name, _ in _SUPERVISIONS)


def _arms() -> list[Arm]:
    arms = [Arm(name=name, supervision=s) for name, s in _SUPERVISIONS]
    arms += [
        Arm(name=name, share_pct=MIXED_PCT, rest="2d", supervision=s)
        for name, (_, s) in zip(_MIXED, _SUPERVISIONS, strict=True)
    ]
    for share in SHARES_PCT:
        if share != MIXED_PCT:
            arms += [
                Arm(name=f"{n}@{share}+2d", share_pct=share, rest="2d", supervision=s)
                for n, s in (_SUPERVISIONS[0], _SUPERVISIONS[-1])
            ]
        arms.append(Arm(name=f"full@{share}+fbi", share_pct=share, rest="fbi"))
    arms += [
        Arm(name=f"full@{MIXED_PCT}+ordinal", share_pct=MIXED_PCT, rest="ordinal"),
        Arm(name=f"full@{MIXED_PCT}+fbi+ordinal", share_pct=MIXED_PCT, rest="fbi+ordinal"),
        Arm(name="2s", states=2),
        Arm(name="5s", states=5),
        Arm(name="full, normalised", joint_units="normalised"),
    ]
    return arms


ARMS: Final[dict[str, Arm]] = {arm.name: arm for arm in _arms()}
"""Arms by name, in running order: ``@30`` is the percentage of people with 3D joints, ``+…`` the
labels of the others."""

COMPARISONS: Final = (
    Comparison(
        name="supervision",
        title="Supervision of the intermediate maps, 3D data alone",
        paper="Table 4, last column",
        arms=tuple(name for name, _ in _SUPERVISIONS),
    ),
    Comparison(
        name="supervision+2d",
        title=f"Supervision of the intermediate maps, {MIXED_PCT} % of people with 3D joints",
        paper="Table 4, first column",
        arms=_MIXED,
    ),
    Comparison(
        name="states",
        title="States of a part's depth",
        paper="Figure 9",
        figure="validation_loss",
        arms=("full", "2s", "5s"),
    ),
    Comparison(
        name="weak-labels",
        title=f"Weak labels of the {100 - MIXED_PCT} % without 3D joints",
        paper="Table 5",
        figure="pck3d_150mm_pct",
        arms=(
            f"full@{MIXED_PCT}+2d",
            f"full@{MIXED_PCT}+ordinal",
            f"full@{MIXED_PCT}+fbi",
            f"full@{MIXED_PCT}+fbi+ordinal",
        ),
    ),
    *(
        Comparison(
            name=f"share-{share}",
            title=f"{share} % of people with 3D joints",
            paper="",
            arms=(f"baseline@{share}+2d", f"full@{share}+2d", f"full@{share}+fbi"),
        )
        for share in SHARES_PCT
    ),
    Comparison(
        name="units",
        title="Units of L_3D, and so the weight of the maps",
        paper="",
        arms=("full", "full, normalised"),
    ),
)


def in_order(names: Collection[str], seeds: int) -> list[tuple[Arm, int]]:
    """Return arms and seeds in running order: by comparison, then by seed."""
    runs = [
        (ARMS[name], seed)
        for comparison in COMPARISONS
        for seed in range(seeds)
        for name in comparison.arms
        if name in names
    ]
    return list(dict.fromkeys(runs))
