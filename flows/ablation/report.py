"""The tables and the learning curves of an ablation, for a note or a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flows.ablation.arms import COMPARISONS, Comparison
from flows.ablation.comparison import Difference, compare
from flows.ablation.results import Row
from flows.ablation.study import Study
from hemlets.core.files import atomic_path
from hemlets.evaluation.paper import paper_tables

_SHOWN: Final = {
    "mpjpe_mm": "MPJPE",
    "pa_mpjpe_mm": "PA-MPJPE",
    "depth_mm": "depth",
    "relations_right_pct": "relations right, %",
}
_HALVES: Final = {
    "mpjpe_flat_mm": "flatter poses",
    "mpjpe_foreshortened_mm": "deeper poses",
}


def markdown(study: Study, rows: Sequence[Row]) -> str:
    """All comparisons that have runs, as Markdown."""
    crop = study.pose.crop_px // study.shrink
    lines = [
        "# Ablations on the open data",
        "",
        f"Small form ({study.pose.backbone}, crops of {crop}²), {study.samples:,} training samples "
        f"a run, every run from the same start ({study.start}). Millimetres over 18 joints "
        "relative to the pelvis; annotated boxes; the distance from the mean bone length of "
        "predicted skeletons, never from the test sample. A difference below 0 is better than "
        "the table's first row; behind it stands the 95 % interval of Student's t over pairs of "
        "equal seeds. In deeper poses more parts than in the median one are tilted by more than "
        "30° towards the camera or away from it; flatter poses are the others.",
        "",
    ]
    for comparison in COMPARISONS:
        table = _table(comparison, rows)
        if table:
            lines += [f"## {comparison.title}", "", *table, "", _paper(comparison), ""]
    return "\n".join(lines)


def _table(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    names = {**_SHOWN, **_HALVES}
    found = compare(comparison, rows, names)
    if not found:
        return []
    heads = [
        "arm",
        "seeds",
        *_SHOWN.values(),
        "MPJPE minus the first row's",
        *(f"MPJPE, {title} (minus the first row's)" for title in _HALVES.values()),
    ]
    table = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for line in found:
        first = line.arm == comparison.arms[0]
        cells = [
            line.arm,
            str(line.seeds),
            *(f"{line.means[name]:.1f}" for name in _SHOWN),
            "" if first else _interval(line.differences["mpjpe_mm"]),
            *(
                f"{line.means[name]:.1f}"
                + ("" if first else f" ({_interval(line.differences[name])})")
                for name in _HALVES
            ),
        ]
        table.append(f"| {' | '.join(cells)} |")
    return table


def _interval(difference: Difference) -> str:
    if math.isnan(difference.mean):
        return "no pair"
    if math.isnan(difference.low):
        return f"{difference.mean:+.1f}, one pair"
    return f"{difference.mean:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"


def _paper(comparison: Comparison) -> str:
    """The paper's own figures of the same question, as far as they could be read."""
    if not comparison.paper.startswith("Table"):
        return f"The paper's {comparison.paper}: a drawing, no figure of which could be read."
    number = int(comparison.paper.split()[1].rstrip(","))
    table = next(table for table in paper_tables() if table.number == number)
    cells = "; ".join(f"{row.method}: {', '.join(row.values)}" for row in table.printed)
    return f"The paper's {comparison.paper}, on other data and by its own protocol: {cells}."


def write_report(study: Study, rows: Sequence[Row], folder: Path, name: str) -> list[Path]:
    """Write ``NAME.md`` and a picture of the learning curves, ``NAME.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    page, picture = folder / f"{name}.md", folder / f"{name}.png"
    with atomic_path(page) as scratch:
        scratch.write_text(markdown(study, rows))
    _curves(rows, picture)
    return [page, picture]


def _curves(rows: Sequence[Row], path: Path) -> None:
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    for axis, comparison in zip(axes, COMPARISONS, strict=True):
        for arm in comparison.arms:
            curves = [row.curve for row in rows if row.arm == arm and row.curve]
            if not curves:
                continue
            points = min(len(curve) for curve in curves)
            samples = [at for at, _ in curves[0][:points]]
            error = np.array([[mm for _, mm in curve[:points]] for curve in curves])
            (line,) = axis.plot(samples, error.mean(0), marker="o", label=arm)
            axis.fill_between(
                samples, error.min(0), error.max(0), alpha=0.15, color=line.get_color()
            )
        axis.set_title(comparison.title, fontsize=10)
        axis.set_xlabel("training samples")
        axis.set_ylabel("validation MPJPE, mm")
        if axis.has_data():
            axis.legend(fontsize=8)
    with atomic_path(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110, metadata={"Software": None})
