"""The HTML page of a benchmark: figures, protocol, worst samples, the paper's cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hemlets.evaluation.metrics.definitions import METRICS, metric_of
from hemlets.evaluation.metrics.meanings import (
    PREDICTORS,
    RENDERED_ANEW,
    compared_over,
    explain,
    glossary,
    what_was_given,
)
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.metrics.rotations import REST_OF
from hemlets.evaluation.scoring.summary import (
    FEW_SAMPLES,
    TILT,
    Figure,
    MetricSummary,
    PaperFigure,
    SliceSummary,
    Summary,
    TableSummary,
)
from hemlets.reports.drawing import joint_error_chart, png
from hemlets.reports.kit import MANY_COLUMNS, render_page, save_page
from hemlets.reports.pictures import SKELETON_LEGEND, legend

ENOUGH_SEQUENCES: Final = 20
"""With fewer sequences a bootstrap interval is too narrow."""

_WHOLE: Final = ("Avg", "All")
"""Titles of the paper's columns over all samples."""

_RENDERED: Final = "open-rendered"


def write_benchmark_page(
    path: Path,
    summary: Summary,
    gallery: Sequence[tuple[str, bytes]] = (),
    remarks: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the page of a benchmark atomically."""
    save_page(path, benchmark_html(summary, gallery, remarks))


def benchmark_html(
    summary: Summary,
    gallery: Sequence[tuple[str, bytes]] = (),
    remarks: Sequence[tuple[str, str]] = (),
) -> str:
    """Render the page; arguments as for :func:`write_benchmark_page`."""
    version = summary.predictions.model_version
    parsed = [MetricName.parse(metric.name) for metric in summary.metrics]
    shared = _shared_inputs(parsed)
    joints = [
        (name.replace("_", " "), value)
        for name, value in summary.joints_mm.items()
        if value is not None
    ]
    names = [metric.name for metric in summary.metrics]
    names += [table.average_name for table in summary.tables]
    calibration = summary.calibration
    return render_page(
        "benchmark.html",
        summary=summary,
        predictor=next((text for name, text in PREDICTORS.items() if version.startswith(name)), ""),
        given=[*summary.privileges, *_camera(summary)] if summary.privileges else [],
        shared=shared,
        sample_sets=list(dict.fromkeys(name.split for name in parsed)),
        metrics=[
            (metric, _meaning(name, shared=bool(shared)))
            for metric, name in zip(summary.metrics, parsed, strict=True)
            if metric.key not in REST_OF.values()
        ],
        rest=rest_figures(summary.metrics),
        rest_meaning=METRICS["theta_rest_deg"].explanation,
        left_out=[f"{key} was not measured: {why}" for key, why in summary.left_out.items()],
        enough=ENOUGH_SEQUENCES,
        rendered=_is_rendered(summary),
        rendered_anew=RENDERED_ANEW,
        words=glossary(parsed[0], rendered=_is_rendered(summary)).items(),
        remarks=remarks,
        tables=[_table(table, summary) for table in summary.tables],
        many_columns=MANY_COLUMNS,
        paper=_paper(summary),
        joints=joints,
        joint_chart=joint_error_chart(_known(summary.joints_mm)) if joints else b"",
        headline=next(m for m in summary.metrics if m.key == summary.headline),
        few=FEW_SAMPLES,
        every_part=[part for part in _grouping(summary.slices) if part.by != TILT],
        tilts=[part for part in summary.slices if part.by == TILT],
        calibration=calibration if calibration and calibration["bins"] else None,
        gallery=gallery,
        skeletons=SKELETON_LEGEND,
        legend=png(legend()) if gallery else b"",
        names=list(dict.fromkeys(names)),
    )


def rest_figures(metrics: Sequence[MetricSummary]) -> dict[str, Figure]:
    """Return the rest pose's figures by the key of the compared metric; empty without θ."""
    by_key = {metric.key: metric.figure for metric in metrics}
    return {key: by_key[rest] for key, rest in REST_OF.items() if rest in by_key}


def _known(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _is_rendered(summary: Summary) -> bool:
    """Return whether the samples are people rendered by this project."""
    return summary.protocol.datasets == (_RENDERED,)


def _camera(summary: Summary) -> list[str]:
    """Describe the camera if the scale depends on it."""
    given = summary.predictions.depth_source == "bone-length-prior"
    return ["The camera's focal length and principal point were given."] if given else []


def _shared_inputs(names: Sequence[MetricName]) -> str:
    """Describe the inputs common to all figures; empty if they differ."""
    given = {what_was_given(name) for name in names}
    return given.pop() if len(given) == 1 else ""


def _meaning(name: MetricName, *, shared: bool) -> str:
    """Explain meaning and protocol; only the part that the page does not state once for all."""
    if not shared:
        return explain(name)
    return f"{metric_of(name.key).explanation} {compared_over(name)}".strip()


def _table(table: TableSummary, summary: Summary) -> dict[str, Any]:
    titles = [cell.title for cell in table.cells]
    methods: dict[str, list[PaperFigure]] = {}
    for figure in summary.paper:
        if not figure.why_apart and figure.cell.key == table.key:
            methods.setdefault(figure.cell.method, []).append(figure)
    return {
        "found": table,
        "metric": next(m for m in summary.metrics if m.key == table.key),
        "average": "mean of the columns" if "mean-of-" in table.average_name else "all samples",
        "paper": [(method, _printed(found, titles)) for method, found in methods.items()],
    }


def _printed(figures: Sequence[PaperFigure], titles: Sequence[str]) -> list[dict[str, str] | None]:
    """Select the paper's cells of one method, in the order of our columns."""
    cells = {("Avg" if f.cell.column in _WHOLE else f.cell.column): f for f in figures}
    return [
        None
        if (figure := cells.get(title)) is None
        else {
            "value": figure.cell.value,
            "hover": f"Table {figure.table} of the paper. {figure.cell.quirk}".strip(),
        }
        for title in [*titles, "Avg"]
    ]


def _paper(summary: Summary) -> list[str]:
    """List sources of the paper's cells on this page, and why others are not compared."""
    apart = [figure for figure in summary.paper if figure.why_apart]
    comparable = [figure for figure in summary.paper if not figure.why_apart]
    notes = []
    if comparable:
        notes.append(
            "Rows in grey are the paper's own, as printed, from "
            + " and ".join(dict.fromkeys(f"Table {f.table}" for f in comparable))
            + "."
        )
        notes += list(dict.fromkeys(f.cell.quirk for f in comparable if f.cell.quirk))
    return notes + [
        f"Table {f.table}, {f.cell.method}, {f.cell.column} ({f.cell.value}): not compared, "
        f"because the protocols differ or the paper doesn't state them ({f.why_apart}). "
        f"{f.cell.quirk}".rstrip()
        for f in apart
    ]


def _grouping(parts: Sequence[SliceSummary]) -> list[SliceSummary]:
    """Remove fields that put every sample into its own group."""
    largest: dict[str, int] = {}
    for part in parts:
        largest[part.by] = max(largest.get(part.by, 0), part.figure.samples)
    return [part for part in parts if largest[part.by] > 1]
