"""The HTML page of several benchmarks: figures, charts by group, the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hemlets.evaluation.metrics.definitions import metric_of
from hemlets.evaluation.metrics.meanings import PREDICTORS, explain
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.metrics.rotations import REST_OF
from hemlets.evaluation.scoring.side_by_side import ComparedRow, Comparison
from hemlets.reports.benchmark_page import rest_figures
from hemlets.reports.drawing import png
from hemlets.reports.kit import render_page, save_page
from hemlets.reports.pictures import SKELETON_LEGEND, legend

_COLOURS: Final = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")
_ROW_PX, _WIDTH_PX, _LEFT_PX, _GAP_PX = 14, 620, 150, 6

Pictures = Mapping[str, Sequence[tuple[str, bytes]]]
"""By label of a run: captions and PNG pictures of the same samples in the same order."""


def write_compare_page(path: Path, found: Comparison, pictures: Pictures | None = None) -> None:
    """Write the page atomically."""
    save_page(path, compare_html(found, pictures))


def compare_html(found: Comparison, pictures: Pictures | None = None) -> str:
    """Render the page."""
    summary = found.runs[0].summary
    rest = rest_figures(summary.metrics)
    keyed = [(MetricName.parse(row.name), row) for row in found.rows]
    shown = pictures or {}
    return render_page(
        "compare.html",
        summary=summary,
        runs=[(run.label, _COLOURS[place % len(_COLOURS)]) for place, run in enumerate(found.runs)],
        predictors=[
            (run.label, text)
            for run in found.runs
            for name, text in PREDICTORS.items()
            if run.summary.predictions.model_version.startswith(name)
        ],
        given=[
            f"{run.label}: {sentence}" for run in found.runs for sentence in run.summary.privileges
        ],
        rows=[(row, rest.get(name.key)) for name, row in keyed if name.key not in REST_OF.values()],
        rest=rest,
        meanings=[(row.title, explain(name)) for name, row in keyed],
        names=[row.name for row in found.rows],
        charts=[_chart(title, rows, found) for title, rows in found.tables.items()],
        pictures=[
            [shown[run.label][number] for run in found.runs]
            for number in range(min(map(len, shown.values()), default=0))
        ],
        skeletons=SKELETON_LEGEND,
        legend=png(legend()) if shown else b"",
    )


def _chart(title: str, rows: Sequence[ComparedRow], found: Comparison) -> dict[str, Any]:
    """Compute the bars of a table's groups, one bar per run; pixels."""
    means = [f.mean for row in rows for f in row.figures if f is not None and f.mean is not None]
    top = max(means, default=0.0) or 1.0
    height = _ROW_PX * len(found.runs)
    groups, bars = [], []
    for number, row in enumerate(rows):
        y = number * (height + _GAP_PX)
        groups.append({"title": row.title, "y": y + height / 2 + 4})
        for place, figure in enumerate(row.figures):
            if figure is None or figure.mean is None:
                continue
            bars.append(
                {
                    "y": y + place * _ROW_PX,
                    "width": max(_WIDTH_PX * figure.mean / top, 1.0),
                    "colour": _COLOURS[place % len(_COLOURS)],
                    "value": figure.mean,
                    "label": f"{found.runs[place].label}, {row.title}: {figure.mean:.1f} "
                    f"{row.unit}",
                }
            )
    return {
        "measured": metric_of(MetricName.parse(rows[0].name).key).label if rows else "",
        "title": title,
        "unit": rows[0].unit if rows else "",
        "rows": rows,
        "groups": groups,
        "bars": bars,
        "left": _LEFT_PX,
        "bar_height": _ROW_PX,
        "width": _LEFT_PX + _WIDTH_PX + 60,
        "height": len(rows) * (height + _GAP_PX),
    }
