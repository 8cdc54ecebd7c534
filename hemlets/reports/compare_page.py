"""Runs side by side as one HTML page: figures, a chart by group, the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from hemlets.core.files import atomic_path
from hemlets.core.wording import counted
from hemlets.evaluation.metrics.meanings import PREDICTORS, explain
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.metrics.rotations import REST_OF
from hemlets.evaluation.scoring.side_by_side import ComparedRow, Comparison
from hemlets.reports.benchmark_page import rest_figures
from hemlets.reports.page_parts import (
    PICTURE_LEGEND,
    STYLE,
    figure_html,
    legend_html,
    picture_html,
)

__all__ = ["compare_html", "write_compare_page"]

_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")
_ROW_PX, _WIDTH_PX, _LEFT_PX = 14, 620, 150

Pictures = Mapping[str, Sequence[tuple[str, bytes]]]
"""For each run's label, captions and PNG pictures of the same samples in the same order."""


def write_compare_page(path: Path, found: Comparison, pictures: Pictures | None = None) -> None:
    """Write the page, whole or not at all."""
    with atomic_path(path) as scratch:
        scratch.write_text(compare_html(found, pictures), encoding="utf-8")


def compare_html(found: Comparison, pictures: Pictures | None = None) -> str:
    """The page as text."""
    summary = found.runs[0].summary
    protocol = summary.protocol
    given = [
        f"{run.label}: {sentence}" for run in found.runs for sentence in run.summary.privileges
    ]
    data = escape(summary.predictions.data_version)
    parts = [
        f"<h1>{escape(protocol.title)}: {len(found.runs)} runs side by side</h1>",
        "<p>All figures in a row have the same full name, so they were measured in the same way on "
        f"the same data: {counted(summary.samples, 'sample')} of "
        f"{counted(summary.sequences, 'sequence')} of <code>{data}</code>, "
        f"{escape(summary.predictions.split)} split. A sequence is "
        f"{escape(protocol.sequences)}.</p>"
        "<p>Below each figure stands its 95&nbsp;% interval over sequences. The second line of a "
        "later run is the change of its mean against the first run's on the same samples, with "
        "the interval of the change: below 0 the error became smaller, and an interval that holds "
        "0 shows no difference. Shares (%) have no such line.</p>",
        *(
            f"<p>{escape(run.label)}: {escape(said)}</p>"
            for run in found.runs
            for name, said in PREDICTORS.items()
            if run.summary.predictions.model_version.startswith(name)
        ),
        "<div class='given'><strong>These figures were helped by the truth.</strong><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in given)
        + "</ul></div>"
        if given
        else "",
        _figures(found),
        *(_chart(title, rows, found) for title, rows in found.tables.items()),
        _pictures(found, pictures or {}),
    ]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(protocol.title)}: runs side by side</title><style>{STYLE}</style></head>"
        "\n<body>\n" + "\n".join(filter(None, parts)) + "\n</body></html>\n"
    )


def _head(found: Comparison) -> str:
    return "".join(
        f"<th style='color:{_COLOURS[i % len(_COLOURS)]}'>{escape(run.label)}</th>"
        for i, run in enumerate(found.runs)
    )


def _figures(found: Comparison) -> str:
    rest = rest_figures(found.runs[0].summary.metrics)
    rows = ""
    for row in found.rows:
        key = MetricName.parse(row.name).key
        if key in REST_OF.values():
            continue
        cells = "".join(
            f"<td>{'–' if figure is None else figure_html(figure, row.unit)}"
            + (_change(row, i - 1) if i else "")
            + "</td>"
            for i, figure in enumerate(row.figures)
        )
        # The same for all runs: it depends on the samples alone.
        beside = figure_html(rest[key], row.unit) if key in rest else ""
        cells += f"<td>{beside}</td>" if rest else ""
        rows += f"<tr><td>{escape(row.title)}</td>{cells}</tr>"
    meanings = "".join(
        f"<li><strong>{escape(row.title)}</strong>: {escape(explain(MetricName.parse(row.name)))}"
        "</li>"
        for row in found.rows
    )
    names = "".join(f"<li><code>{escape(row.name)}</code></li>" for row in found.rows)
    return (
        f"<div class='scroll'><table><thead><tr><th>figure</th>{_head(found)}"
        f"{'<th>rest pose</th>' if rest else ''}</tr></thead>{rows}</table></div>"
        f"<details open><summary>What the figures mean and how they were got</summary>"
        f"<ul class='note'>{meanings}</ul></details>"
        f"<details><summary>Full names</summary><ul>{names}</ul></details>"
    )


def _change(row: ComparedRow, number: int) -> str:
    change = row.against_first[number]
    if change is None:
        return ""
    return (
        f"<span class='interval'>{100 * change.ratio:+.1f}&nbsp;% "
        f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]</span>"
    )


def _chart(title: str, rows: Sequence[ComparedRow], found: Comparison) -> str:
    """Bars by group, one a run, with the numbers as a table below."""
    means = [f.mean for row in rows for f in row.figures if f is not None and f.mean is not None]
    top = max(means, default=0.0) or 1.0
    bars, y = "", 0
    for row in rows:
        height = _ROW_PX * len(found.runs)
        bars += (
            f"<text x='{_LEFT_PX - 8}' y='{y + height / 2 + 4:.0f}' text-anchor='end' "
            f"font-size='12'>{escape(row.title)}</text>"
        )
        for i, figure in enumerate(row.figures):
            if figure is None or figure.mean is None:
                continue
            width = max(_WIDTH_PX * figure.mean / top, 1.0)
            at = y + i * _ROW_PX
            label = f"{found.runs[i].label}, {row.title}: {figure.mean:.1f} {row.unit}"
            bars += (
                f"<rect x='{_LEFT_PX}' y='{at + 1}' width='{width:.1f}' height='{_ROW_PX - 2}' "
                f"fill='{_COLOURS[i % len(_COLOURS)]}'><title>{escape(label)}</title></rect>"
                f"<text x='{_LEFT_PX + width + 4:.1f}' y='{at + _ROW_PX - 3}' font-size='11'>"
                f"{figure.mean:.1f}</text>"
            )
        y += height + 6
    numbers = "".join(
        f"<tr><td>{escape(row.title)}</td>"
        + "".join(f"<td>{'–' if f is None else figure_html(f, row.unit)}</td>" for f in row.figures)
        + "</tr>"
        for row in rows
    )
    unit, wide = rows[0].unit if rows else "", _LEFT_PX + _WIDTH_PX + 60
    return (
        f"<h2>{escape(_measured(rows))} {escape(title)} ({escape(unit)})</h2>"
        f"<svg width='{wide}' height='{y}' viewBox='0 0 {wide} {y}' role='img' "
        f"aria-label='{escape(title)}'>{bars}</svg>"
        f"<details><summary>As a table</summary><table><thead><tr><th></th>"
        f"{_head(found)}</tr></thead>{numbers}"
        "</table></details>"
    )


def _measured(rows: Sequence[ComparedRow]) -> str:
    return MetricName.parse(rows[0].name).title.rpartition(" (")[0] if rows else ""


def _pictures(found: Comparison, pictures: Pictures) -> str:
    if not pictures:
        return ""
    rows = ""
    for number in range(min(map(len, pictures.values()))):
        rows += "<tr>" + "".join(
            f"<td><figure>{picture_html(picture, caption)}"
            f"<figcaption>{escape(caption)}</figcaption></figure></td>"
            for caption, picture in (pictures[run.label][number] for run in found.runs)
        )
        rows += "</tr>"
    return (
        f"<h2>The same samples</h2><p>Those on which the runs differ most.{PICTURE_LEGEND}</p>"
        f"{legend_html()}"
        f"<div class='scroll'><table class='pictures'><tr>{_head(found)}</tr>{rows}</table></div>"
    )
