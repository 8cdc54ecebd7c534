"""The page of evidence: conclusions, tables and a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from flows.ablation.arms import ARMS, COMPARISONS, SHARES_PCT, Comparison
from flows.ablation.comparison import compare
from flows.ablation.evidence import (
    ENOUGH_PAIRS,
    budget_sentence,
    interval,
    knowledge_sentence,
    supervision_sentence,
    unit,
    use_sentence,
    variants_sentence,
)
from flows.ablation.results import Row
from flows.ablation.scoring import FIGURES
from flows.ablation.study import Study
from hemlets.core.files import atomic_path, write_text
from hemlets.evaluation.paper import paper_tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN: Final = {
    "mpjpe_mm": "MPJPE",
    "far_mpjpe_mm": "kicks",
    "depth_mm": "depth error",
    "pa_mpjpe_mm": "PA-MPJPE",
    "pck3d_150mm_pct": "3DPCK, %",
    "relations_right_pct": "relations right, %",
    "sign_right_pct": "signs right, %",
}
_DEEPER: Final = {
    "maps_sign_right_pct": "signs right in the HEMlets, %",
    "tilt_0_30_mm": "0–30°",
    "tilt_30_60_mm": "30–60°",
    "tilt_60_90_mm": "60–90°",
    "far_sign_right_pct": "signs right on kicks, %",
    "photo_pa_mpjpe_mm": "PA-MPJPE on photographs",
    "photo_pck_torso_pct": "PCK on photographs, %",
    "cut_mpjpe_mm": "maps cut",
    "shuffled_mpjpe_mm": "another person's maps",
    "swapped_mpjpe_mm": "near and far exchanged",
    "swapped_sign_right_pct": "signs right then, %",
}


def markdown(study: Study, rows: Sequence[Row], *, seeds: int, picture: str) -> str:
    """Render the page as Markdown.

    Args:
        study: Settings.
        rows: Finished runs.
        seeds: Planned runs of each arm.
        picture: File name of the figure.
    """
    tables = [table for c in COMPARISONS if (table := _section(c, rows))]
    maps = [_line(name, rows, _DEEPER) for name in ARMS if any(r.arm == name for r in rows)]
    return "\n".join(
        [
            "# Evidence for and against HEMlets",
            "",
            f"<!-- Written by python -m flows.ablation --page from {len(rows)} runs. -->",
            "",
            f"{supervision_sentence(rows)} {variants_sentence(rows)}",
            "",
            f"{use_sentence(rows)} {knowledge_sentence(rows)}",
            "",
            f"![Differences of paired runs and validation losses]({picture})",
            "",
            "## How it was measured",
            "",
            f"{len(rows)} of {len(ARMS) * seeds} planned runs are done. Each run trains a slim "
            f"head ({study.pose.branch_channels} channels in each branch, volumes of "
            f"{'×'.join(map(str, study.pose.volume.shape_xyz))}) on features of the frozen MoveNet "
            f"encoder for {study.samples:,} crops of rendered people, by the paper's losses alone: "
            f"α = {study.alpha}, L_3D in voxels, no marginal term. In arms with people without 3D "
            "joints, half of each batch has 3D joints. Who has them is drawn once for all arms and "
            "seeds: arms are comparable at one share; errors at different shares also differ by "
            "the draw. Annotators are simulated with the rates of "
            f"`hemlets/data/weak_labels.toml`. {_world(study)}",
            "",
            "As in Human3.6M's protocols, the scored people move as the people of training do, and "
            f"are others: the last {study.held_out_share:.0%} of every motion clip are held out of "
            f"training, and arms are scored on {study.scored_samples:,} people in these frames, in "
            "annotated boxes. No rendered person or scene is in two sets. The validation split "
            "(jumps) gives the curves and the bone lengths that a person's distance is found with. "
            f"Columns named kicks are of {study.far_samples:,} "
            "people of the test split, whose motions are far from all others.",
            "",
            budget_sentence(rows),
            "",
            "No arm, setting or seed was chosen by the scored people; the budget was, by the "
            "baseline's error alone. The learning rate comes from earlier runs on other people, "
            "judged by validation loss and kicks. People with occluders, cut-off limbs and freely "
            "drawn limbs were tried first: there the baseline stayed above half of the mean pose's "
            "error, so arms were not compared.",
            "",
            "`hemlets ablate` does all of this again, and goes on where it was stopped.",
            "",
            "Differences are those to the first row of a table, with the 95 % interval of "
            f"Student's t over pairs of equal seeds. An interval from fewer than {ENOUGH_PAIRS} "
            "pairs decides nothing, and one that holds 0 shows no difference. The intervals are "
            "not corrected for the number of comparisons. A part's sign is right where its child "
            "is rightly nearer or farther than its parent, over parts tilted by more than 30°.",
            "",
            *(line for table in tables for line in table),
            "## The maps at test time, error by tilt, photographs",
            "",
            "MPJPE with maps changed on their way to the volume, without training anew: cut "
            "(zeros), those of another person, near and far layers exchanged. Errors by tilt are "
            "those of the children of parts. Photographs are frames of public datasets with 3D "
            "joints and those of LSPET with 2D joints, where a folder of them was given.",
            "",
            _head(["arm", "runs", *_DEEPER.values()]),
            *maps,
            "",
        ]
    )


def _world(study: Study) -> str:
    """Describe the rendered people."""
    low, high = study.data.elevation_deg
    words = f"Cameras look down on them by {low:g}° to {high:g}°"
    if not (study.data.truncation_probability or study.data.occluder_probability):
        words += "; as in Human3.6M, whole people stand free in the image"
    return f"{words}."


def _head(names: Sequence[str]) -> str:
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def _line(arm: str, rows: Sequence[Row], names: dict[str, str]) -> str:
    own = [row.figures for row in rows if row.arm == arm]
    cells = [_cell(float(np.mean([figures[name] for figures in own]))) for name in names]
    return f"| {' | '.join([arm, str(len(own)), *cells])} |"


def _section(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    found = compare(comparison, rows, FIGURES)
    if not found:
        return []
    decisive = comparison.figure
    shown = {**_SHOWN, **({decisive: "validation loss"} if decisive not in _SHOWN else {})}
    title = f"{shown[decisive].removesuffix(', %')} minus the first row's, {unit(decisive)}"
    lines = [f"## {comparison.title}", "", _head(["arm", "runs", *shown.values(), title])]
    for line in found:
        first = line.arm == comparison.arms[0]
        cells = [
            line.arm,
            str(line.seeds),
            *(f"{line.means[name]:.{2 if name == 'validation_loss' else 1}f}" for name in shown),
            ""
            if first
            else interval(line.differences[decisive], 3 if unit(decisive) == "voxels" else 1),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *_paper(comparison)]


def _paper(comparison: Comparison) -> list[str]:
    """The paper's figures for the same question."""
    if not comparison.paper:
        return []
    if not comparison.paper.startswith("Table"):
        return [
            f"The paper's {comparison.paper} draws validation losses without figures: 5s and 2s "
            "converge worse than HEMlets there.",
            "",
        ]
    number = int(comparison.paper.split()[1].rstrip(","))
    table = next(table for table in paper_tables() if table.number == number)
    cells = "; ".join(f"{row.method}: {', '.join(row.values)}" for row in table.printed)
    return [f"The paper's {comparison.paper}, on other data and by its own protocol: {cells}.", ""]


def write_report(
    study: Study, rows: Sequence[Row], folder: Path, name: str, seeds: int
) -> list[Path]:
    """Write ``NAME.md`` and its figure, ``NAME.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    page, picture = folder / f"{name}.md", folder / f"{name}.png"
    write_text(page, markdown(study, rows, seeds=seeds, picture=picture.name))
    _draw(rows, picture)
    return [page, picture]


def _draw(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), layout="constrained")
    for axis, comparison in zip(figure.subplots(2, 2).ravel()[:2], COMPARISONS[:2], strict=True):
        _differences(axis, comparison, rows)
    below = figure.axes[2:]
    _shares(below[0], rows)
    _curves(below[1], next(c for c in COMPARISONS if c.name == "states"), rows)
    with atomic_path(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110, metadata={"Software": None})


def _differences(axis: Axes, comparison: Comparison, rows: Sequence[Row]) -> None:
    found = compare(comparison, rows, ["mpjpe_mm"])[1:]
    for place, line in enumerate(found):
        d = line.differences["mpjpe_mm"]
        axis.plot([d.low, d.high], [place, place], color="#0072b2", linewidth=3)
        axis.plot([d.mean], [place], "o", color="#0072b2")
    axis.axvline(0, color="#24292f", linewidth=1)
    axis.set_yticks(range(len(found)), [f"{line.arm} ({line.seeds})" for line in found])
    axis.invert_yaxis()
    axis.set_title(comparison.title, fontsize=9)
    axis.set_xlabel("MPJPE minus the baseline's, mm, 95 % interval (pairs)")


def _shares(axis: Axes, rows: Sequence[Row]) -> None:
    names = (("baseline", "+2d"), ("full", "+2d"), ("full", "+fbi"))
    for name, rest in names:
        shares = (*SHARES_PCT, 100)
        arms = {s: name if s == 100 else f"{name}@{s}{rest}" for s in shares}
        errors = {s: [r.figures["mpjpe_mm"] for r in rows if r.arm == a] for s, a in arms.items()}
        done = sorted(s for s in shares if errors[s])
        axis.plot(done, [np.mean(errors[s]) for s in done], marker="o", label=f"{name}{rest}")
    axis.set_xscale("log")
    axis.set_title("Share of people with 3D joints", fontsize=10)
    axis.set_xlabel("per cent")
    axis.set_ylabel("MPJPE, mm")
    axis.legend(fontsize=8)


def _curves(axis: Axes, comparison: Comparison, rows: Sequence[Row]) -> None:
    for arm in comparison.arms:
        curves = [row.curve for row in rows if row.arm == arm and row.curve]
        if not curves:
            continue
        points = min(len(curve) for curve in curves)
        samples = [at for at, _ in curves[0][:points]]
        loss = np.array([[value for _, value in curve[:points]] for curve in curves])
        (line,) = axis.plot(samples, loss.mean(0), marker="o", label=arm)
        axis.fill_between(samples, loss.min(0), loss.max(0), alpha=0.15, color=line.get_color())
    axis.set_title(comparison.title, fontsize=9)
    axis.set_xlabel("training samples")
    axis.set_ylabel("validation loss (L_3D), voxels a joint")
    if axis.has_data():
        axis.legend(fontsize=8)
