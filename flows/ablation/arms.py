"""The arms of the ablations, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flows.ablation.labels import Labels
from hemlets.models.codecs import States
from hemlets.training.config import Supervision


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train, everything else being equal.

    Attributes:
        name: In tables and runs.
        supervision: Of the intermediate maps.
        labels: What the training rows know.
        states: Of the HEMlets.
    """

    name: str
    labels: Labels
    supervision: Supervision = "both"
    states: States = 3


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table: its arms in their order, the first being what the others are held against.

    Attributes:
        name: Of the table.
        title: What it asks.
        paper: The paper's table or figure with the same question.
        arms: Names.
    """

    name: str
    title: str
    paper: str
    arms: tuple[str, ...]


_SUPERVISIONS: Final[tuple[tuple[str, Supervision], ...]] = (
    ("baseline", "none"),
    ("2d-heatmaps", "2d"),
    ("hemlets", "hemlets"),
    ("full", "both"),
)

ARMS: Final[dict[str, Arm]] = {
    arm.name: arm
    for arm in (
        *(Arm(name=name, labels="half-3d", supervision=s) for name, s in _SUPERVISIONS),
        *(Arm(name=f"{name}+2d", labels="half-2d", supervision=s) for name, s in _SUPERVISIONS),
        Arm(name="2s", labels="half-3d", states=2),
        Arm(name="5s", labels="half-3d", states=5),
        Arm(name="full+relations", labels="half-relations"),
        Arm(name="full+ordinal", labels="half-ordinal"),
        Arm(name="full+3d", labels="all-3d"),
    )
}
"""By name. ``+…`` is what the second half of the data adds."""

COMPARISONS: Final = (
    Comparison(
        name="supervision",
        title="Supervision of the intermediate maps, 3D data alone",
        paper="Table 4, first column",
        arms=("baseline", "2d-heatmaps", "hemlets", "full"),
    ),
    Comparison(
        name="supervision+2d",
        title="Supervision of the intermediate maps, with as much 2D-only data",
        paper="Table 4, second column",
        arms=("baseline+2d", "2d-heatmaps+2d", "hemlets+2d", "full+2d"),
    ),
    Comparison(
        name="states",
        title="States of a part's depth",
        paper="Figure 9",
        arms=("full", "2s", "5s"),
    ),
    Comparison(
        name="weak-labels",
        title="What the half without depth knows of its parts",
        paper="Table 5",
        arms=("full+2d", "full+relations", "full+ordinal", "full+3d"),
    ),
)
