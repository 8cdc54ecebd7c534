"""Conclusions from the runs, in sentences that the intervals of paired runs support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from flows.ablation.arms import MIXED_PCT, SHARES_PCT
from flows.ablation.comparison import Difference, paired_difference
from flows.ablation.results import Row

ENOUGH_PAIRS: Final = 3
"""Least number of pairs of equal seeds for a conclusion."""
BUDGET: Final = 0.5
"""The baseline's error must be below this share of the mean pose's error: above it no arm has
learnt depth, so that arms can't differ."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Comparison of two arms.

    Attributes:
        arm: Name of the compared arm.
        reference: Name of the arm that it is compared with.
        figure: Name of the compared figure.
        difference: Arm minus reference, paired by seed.
    """

    arm: str
    reference: str
    figure: str
    difference: Difference

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``open`` (interval includes 0) or ``untested`` (too few pairs)."""
        d = self.difference
        if d.pairs < ENOUGH_PAIRS or math.isnan(d.low):
            return "untested"
        if d.low <= 0 <= d.high:
            return "open"
        return "better" if (d.mean > 0) == higher_is_better(self.figure) else "worse"

    @property
    def interval(self) -> str:
        """Mean and interval, with the unit."""
        digits = 3 if self.figure == "validation_loss" else 1
        return f"{interval(self.difference, digits)} {unit(self.figure)}"


def higher_is_better(figure: str) -> bool:
    """Whether a larger value of a figure of the runs is better."""
    return figure.endswith("_pct")


def unit(figure: str) -> str:
    """Unit of a figure of the runs."""
    if figure == "validation_loss":
        return "voxels"
    return "points" if figure.endswith("_pct") else figure.rsplit("_", 1)[-1]


def interval(difference: Difference, digits: int = 1) -> str:
    """Mean and 95 % interval of a difference."""
    mean, low, high = (
        f"{v:+.{digits}f}" for v in (difference.mean, difference.low, difference.high)
    )
    if math.isnan(difference.mean):
        return "no pair"
    return f"{mean}, one pair" if math.isnan(difference.low) else f"{mean} [{low}, {high}]"


def claim(rows: Sequence[Row], arm: str, reference: str, figure: str = "mpjpe_mm") -> Claim:
    """Compare two arms over their common seeds."""

    def values(name: str) -> dict[int, float]:
        return {row.seed: row.figures[figure] for row in rows if row.arm == name}

    return Claim(
        arm=arm,
        reference=reference,
        figure=figure,
        difference=paired_difference(values(arm), values(reference)),
    )


def within_run(rows: Sequence[Row], arm: str, figure: str, reference: str) -> Difference:
    """Paired difference of two figures of the same arm over its seeds."""
    own = [row for row in rows if row.arm == arm]
    return paired_difference(
        {row.seed: row.figures[figure] for row in own},
        {row.seed: row.figures[reference] for row in own},
    )


def budget_sentence(rows: Sequence[Row]) -> str:
    """State whether the baseline has learnt enough for arms to differ, on both sets of people."""
    base = [row for row in rows if row.arm == "baseline"]
    if not base:
        return "The baseline has no run yet, so that the rule is not checked."

    def against(figure: str, mean_pose_mm: float) -> str:
        error = float(np.mean([row.figures[figure] for row in base]))
        share = error / mean_pose_mm
        met = "below half" if share < BUDGET else "NOT below half"
        return f"{error:.1f} mm, {share:.0%} of the mean pose's {mean_pose_mm:.1f} mm ({met})"

    near, far = base[0].mean_pose_mm, base[0].far_mean_pose_mm
    return (
        "Arms can differ in depth only where depth is learnt, so the rule asks for a baseline "
        "below half of the mean pose's error. On the scored people the baseline's error is "
        f"{against('mpjpe_mm', near)}. On kicks it is {against('far_mpjpe_mm', far)}."
    )


_NAMES: Final = {
    "mpjpe_mm": "error",
    "validation_loss": "validation loss",
    "pck3d_150mm_pct": "3DPCK",
}


def _text(claim: Claim) -> str:
    """Verdict of a comparison as a verb phrase with its interval."""
    if claim.verdict == "untested":
        return f"is not decided yet (fewer than {ENOUGH_PAIRS} pairs of runs)"
    if claim.verdict == "open":
        return f"shows no difference ({claim.interval}: the interval holds 0)"
    verb = "raises" if claim.difference.mean > 0 else "lowers"
    return f"{verb} the {_NAMES[claim.figure]} ({claim.interval})"


def supervision_sentence(rows: Sequence[Row]) -> str:
    """State whether L_HEM helps, with 3D data alone and with 2D data."""
    alone = claim(rows, "full", "2d-heatmaps")
    mixed = claim(rows, "full@30+2d", "2d-heatmaps@30+2d")
    base = claim(rows, "full", "baseline")
    return (
        f"Adding L_HEM to L_3D and L_2D {_text(alone)} with 3D joints of everybody and "
        f"{_text(mixed)} with 3D joints of 30 % and 2D joints of the others; against the baseline "
        f"without supervision of the maps the full loss {_text(base)}."
    )


def variants_sentence(rows: Sequence[Row]) -> str:
    """Summarise Figure 9 (states of a part) and Table 5 (weak labels)."""
    two, five = (claim(rows, arm, "full", "validation_loss") for arm in ("2s", "5s"))
    ordinal, fbi, both = (
        claim(rows, f"full@{MIXED_PCT}+{rest}", f"full@{MIXED_PCT}+2d", "pck3d_150mm_pct")
        for rest in ("ordinal", "fbi", "fbi+ordinal")
    )
    return (
        f"A HEMlet of two states in place of three {_text(two)}, one of five states {_text(five)}; "
        f"in addition to 2D joints of the people without 3D joints, Ordinal's labelling "
        f"{_text(ordinal)}, FBI's {_text(fbi)} and the union of the two {_text(both)}."
    )


def use_sentence(rows: Sequence[Row]) -> str:
    """State whether the volume uses the maps, and at which share of 3D labels relations matter."""
    used = within_run(rows, "full", "shuffled_mpjpe_mm", "mpjpe_mm")
    swapped = within_run(rows, "full", "swapped_sign_right_pct", "sign_right_pct")
    if used.pairs < ENOUGH_PAIRS:
        maps = f"Whether the volume uses the maps is not decided yet ({used.pairs} runs)"
    elif used.low > 0:
        maps = f"The volume uses the maps (another person's maps: {interval(used)} mm)"
        depth = "reads depth from them" if swapped.high < 0 else "does not show to read depth there"
        maps += f" and {depth} (near and far layers exchanged: {interval(swapped)} points of signs)"
    else:
        maps = f"The volume is not shown to use the maps (another person's: {interval(used)} mm)"
    found = [(s, claim(rows, f"full@{s}+fbi", f"full@{s}+2d")) for s in SHARES_PCT]
    tested = [(s, c) for s, c in found if c.verdict != "untested"]
    if not tested:
        return f"{maps}; what weak labels add is not decided yet."
    parts = [f"at {s} % {_text(c)}" for s, c in tested]
    return f"{maps}; giving FBI labels to people without 3D joints {', '.join(parts)}."


def knowledge_sentence(rows: Sequence[Row]) -> str:
    """Compare what the HEMlets and the volume know of depth: they can only teach what they know."""
    gap = within_run(rows, "full", "maps_sign_right_pct", "sign_right_pct")
    if gap.pairs < ENOUGH_PAIRS:
        return f"What the HEMlets know of depth is not decided yet ({gap.pairs} runs)."
    own = [row.figures for row in rows if row.arm == "full"]
    maps, volume = (
        float(np.mean([figures[name] for figures in own]))
        for name in ("maps_sign_right_pct", "sign_right_pct")
    )
    signs = (
        f"The full loss's HEMlets have {maps:.1f} % of the parts' signs right and its volume "
        f"{volume:.1f} % ({interval(gap)} points)"
    )
    if gap.high < 0:
        return f"{signs}: at this budget the volume learns depth before the HEMlets do."
    if gap.low > 0:
        return f"{signs}: the HEMlets know more of depth than the volume does."
    return f"{signs}: the interval holds 0."
