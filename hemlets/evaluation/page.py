"""A benchmark as one HTML page that needs nothing else: figures, how they were got, pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from hemlets.drawing import joint_error_chart
from hemlets.evaluation.meanings import MEANINGS, compared_over, explain, what_was_given
from hemlets.evaluation.names import MetricName
from hemlets.evaluation.rotations import REST_OF
from hemlets.evaluation.summary import (
    Figure,
    MetricSummary,
    PaperFigure,
    SliceSummary,
    Summary,
    TableSummary,
)
from hemlets.files import atomic_path

__all__ = ["PICTURE_LEGEND", "STYLE", "figure_html", "page_html", "rest_figures", "write_page"]

_ENOUGH = 20
"""Sequences below which a bootstrap interval is too narrow."""

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th { vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
td[title], th[title] { text-decoration: underline dotted #999; cursor: help; }
.interval { color: #555; font-size: .8em; white-space: nowrap; display: block; }
.paper, .paper td { color: #777; }
td.meaning, th.meaning { text-align: left; }
.given { color: #b00020; border-left: .4rem solid #b00020; background: #b0002010;
  padding: .6rem 1rem; }
.note { color: #444; font-size: .9em; }
code { font-size: .85em; overflow-wrap: anywhere; }
.pictures th { text-align: left; }
figure { display: inline-block; margin: .4rem; text-align: left; } figcaption { font-size: .85em; }
img, svg { max-width: 100%; height: auto; }
@media print {
  body { margin: 0; max-width: none; font-size: 11px; print-color-adjust: exact; }
  h2, h2 + p { break-after: avoid; }
  h2 + p.alone { break-after: auto; }
  tr, figure, svg, img, p, li { break-inside: avoid; }
  tr:first-child, summary { break-after: avoid; }
  details table { break-inside: avoid; }
  details td, details th { padding: .1rem .7rem; }
  .scroll { overflow: visible; }
  figure { width: 47%; margin: .2rem; }
  .pictures figure { width: auto; }
  .chart { max-height: 11cm; }
  td[title], th[title] { text-decoration: none; }
  /* Nothing can be unfolded on paper. */
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""


PICTURE_LEGEND = (
    " Left the image, right both poses from the side with the camera on the left. Bold with "
    "filled dots: predicted; thin and pale with open dots: the truth. Orange is the person's "
    "right, blue the left."
)
"""What pictures of samples show, for the sentence before them."""


def write_page(
    path: Path,
    summary: Summary,
    gallery: Sequence[tuple[str, bytes]] = (),
    remarks: Sequence[str] = (),
) -> None:
    """Write the page of a benchmark, whole or not at all.

    Args:
        path: of the HTML file.
        summary: of the benchmark.
        gallery: captions and PNG pictures of the worst samples.
        remarks: what else is to be said of the figures, a paragraph each.
    """
    text = page_html(summary, gallery, remarks)
    with atomic_path(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def page_html(
    summary: Summary,
    gallery: Sequence[tuple[str, bytes]] = (),
    remarks: Sequence[str] = (),
) -> str:
    """The page as text; arguments as of :func:`write_page`."""
    protocol, info = summary.protocol, summary.predictions
    parts = [
        f"<h1>{escape(protocol.title)}</h1>",
        f"<p>Predictions of model <strong>{escape(info.model_version)}</strong> on data version "
        f"<code>{escape(info.data_version)}</code>, split {escape(info.split)}: {summary.samples:,}"
        f" samples of {summary.sequences:,} sequences. Predicted in {escape(info.precision)} by "
        f"code version <code>{escape(info.code_version)}</code>.</p>",
        _given(summary),
        "<h2>Figures</h2>",
        _shared(summary),
        _metrics(summary),
        "<p class='note'>A figure is a mean over samples. Below it stands its 95&nbsp;% interval: "
        f"the sequences were drawn anew with replacement {summary.resamples:,} times, since frames "
        "of one sequence resemble each other. A sequence here is "
        f"{escape(protocol.sequences)}.{_too_few(summary.sequences)}"
        + (
            " “Rest pose” is what a body at rest has of the same figure, which knows nothing of "
            "the image; it has no error of joints or surface here."
            if rest_figures(summary.metrics)
            else ""
        )
        + "</p>",
        *(f"<p>{escape(remark)}</p>" for remark in remarks),
        *(_table(table, summary) for table in summary.tables),
        _paper(summary),
        _joints(summary),
        _slices(summary),
        _calibration(summary),
        _gallery(summary, gallery),
        "<h2>The protocol</h2>",
        f"<p>{escape(protocol.document.strip())}</p>",
        _list(protocol.notes),
        "<details><summary>Full names of the figures</summary><ul>"
        + "".join(f"<li><code>{escape(name)}</code></li>" for name in _names(summary))
        + "</ul></details>",
    ]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(protocol.title)}: {escape(info.model_version)}</title>"
        f"<style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def figure_html(figure: Figure, unit: str) -> str:
    """A figure with its interval below it; a dash where it isn't defined."""
    if figure.mean is None:
        return "–"
    text = f"{figure.mean:.1f}"
    if figure.low is not None and figure.high is not None:
        text += f"<span class='interval'>{figure.low:.1f}–{figure.high:.1f}</span>"
    hover = f"{figure.samples:,} samples of {figure.sequences:,} sequences, in {unit}"
    return f"<span title='{escape(hover)}'>{text}</span>"


def _too_few(sequences: int) -> str:
    if sequences >= _ENOUGH:
        return ""
    return f" <strong>With only {sequences} of them the intervals are too narrow.</strong>"


def _names(summary: Summary) -> list[str]:
    names = [metric.name for metric in summary.metrics]
    names += [table.average_name for table in summary.tables]
    return list(dict.fromkeys(names))


def _given(summary: Summary) -> str:
    if not summary.privileges:
        return ""
    return (
        "<div class='given'><strong>These figures were helped by the truth.</strong>"
        + _list(summary.privileges)
        + "</div>"
    )


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(i)}</li>" for i in items) + "</ul>" if items else ""


def _given_to_all(summary: Summary) -> str:
    """What every figure's predictor was given; empty where the figures differ in it."""
    given = {what_was_given(MetricName.parse(metric.name)) for metric in summary.metrics}
    return given.pop() if len(given) == 1 else ""


def _shared(summary: Summary) -> str:
    """What holds for all figures, said once."""
    given = _given_to_all(summary)
    if not given:
        return ""
    sets = list(dict.fromkeys(MetricName.parse(metric.name).split for metric in summary.metrics))
    named = " and ".join(f"“{escape(word)}”" for word in sets)
    return (
        f"<p>All figures are of these samples, which the figures' full names call {named}. "
        f"{escape(given)}</p>"
    )


def _told(metric: MetricSummary, *, shared: bool) -> str:
    """What a figure means and how it was got, without what is said of all."""
    name = MetricName.parse(metric.name)
    if not shared:
        return explain(name)
    return f"{MEANINGS.get(name.key, '')} {compared_over(name)}".strip()


def _metrics(summary: Summary) -> str:
    shared = bool(_given_to_all(summary))
    rest = rest_figures(summary.metrics)
    rows = "".join(
        f"<tr><td title='{escape(m.name)}'>{escape(m.title)}</td>"
        f"<td>{figure_html(m.figure, m.unit)}</td>"
        + (f"<td>{figure_html(rest[m.key], m.unit) if m.key in rest else ''}</td>" if rest else "")
        + f"<td class='meaning'>{escape(_told(m, shared=shared))}</td></tr>"
        for m in summary.metrics
        if m.key not in REST_OF.values()
    )
    beside = f"<th title='{escape(MEANINGS['theta_rest_deg'])}'>rest pose</th>" if rest else ""
    left = _list([f"{key} is not here: {why}" for key, why in summary.left_out.items()])
    return (
        f"<div class='scroll'><table><tr><th>figure</th><th>value</th>{beside}"
        "<th class='meaning'>what it means and how it was got</th></tr>"
        f"{rows}"
        "</table></div>" + left
    )


def rest_figures(metrics: Sequence[MetricSummary]) -> dict[str, Figure]:
    """By key of a figure, what a body at rest has of it; empty where θ isn't measured."""
    by_key = {metric.key: metric.figure for metric in metrics}
    return {key: by_key[rest] for key, rest in REST_OF.items() if rest in by_key}


def _table(table: TableSummary, summary: Summary) -> str:
    metric = next(m for m in summary.metrics if m.key == table.key)
    average = "mean of the columns" if "mean-of-" in table.average_name else "all samples"
    head = "".join(f"<th>{escape(cell.title)}</th>" for cell in table.cells)
    ours = "".join(f"<td>{figure_html(cell.figure, metric.unit)}</td>" for cell in table.cells)
    titles = [cell.title for cell in table.cells]
    paper = "".join(
        _paper_row(method, cells, titles)
        for method, cells in _by_method(summary, table.key).items()
    )
    return (
        f"<h2>{escape(metric.title)} {escape(table.title)}</h2><div class='scroll'><table>"
        f"<tr><th></th>{head}<th title='{escape(table.average_name)}'>{average}</th></tr>"
        f"<tr><td>{escape(summary.predictions.model_version)}</td>{ours}"
        f"<td><strong>{figure_html(table.average, metric.unit)}</strong></td></tr>{paper}"
        "</table></div>"
        + (
            f"<p class='note'>All samples are of “{escape(titles[0])}”.</p>"
            if len(titles) == 1
            else ""
        )
    )


def _by_method(summary: Summary, key: str) -> Mapping[str, list[PaperFigure]]:
    methods: dict[str, list[PaperFigure]] = {}
    for figure in summary.paper:
        if not figure.why_apart and figure.cell.key == key:
            methods.setdefault(figure.cell.method, []).append(figure)
    return methods


def _paper_row(method: str, figures: list[PaperFigure], titles: list[str]) -> str:
    cells = {("Avg" if f.cell.column == "all" else f.cell.column): f for f in figures}

    def cell(title: str) -> str:
        figure = cells.get(title)
        if figure is None:
            return "<td></td>"
        hover = f"Table {figure.table}. {figure.cell.source}. {figure.cell.quirk}"
        return f"<td title='{escape(hover)}'>{escape(figure.cell.value)}</td>"

    return (
        f"<tr class='paper'><td>{escape(method)}, as printed</td>"
        + "".join(cell(title) for title in [*titles, "Avg"])
        + "</tr>"
    )


def _paper(summary: Summary) -> str:
    apart = [figure for figure in summary.paper if figure.why_apart]
    beside = [figure for figure in summary.paper if not figure.why_apart]
    if not apart and not beside:
        return (
            "<h2>The paper</h2><p class='note alone'>No cell of the tables of the paper (“HEMlets "
            "PoSh”) that could be read was measured by this protocol, so none stands beside these "
            "figures.</p>"
        )
    said = []
    if beside:
        said.append(
            "Rows in grey are the paper's own, cell for cell as printed; empty cells could not be "
            "read in a source. Each cell's source and quirks show when you point at it:"
        )
        said += list(dict.fromkeys(f"{f.cell.source}. {f.cell.quirk}" for f in beside))
    said += [
        f"Table {f.table}, {f.cell.method}, {f.cell.column}: not set beside ours, since the "
        f"protocols differ or the source doesn't tell ({f.why_apart}). {f.cell.quirk}"
        for f in apart
    ]
    return "<h2>The paper</h2><div class='paper'>" + _list(said) + "</div>"


def _joints(summary: Summary) -> str:
    known = {name: value for name, value in summary.joints_mm.items() if value is not None}
    if not known:
        return ""
    chart = base64.b64encode(joint_error_chart(known)).decode()
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{value:.1f}</td></tr>"
        for name, value in known.items()
    )
    return (
        "<h2>Error by joint</h2><p>Mean distance in mm with both pelves at the same point, not "
        "aligned otherwise; right and left are the person's own. The darker and larger a dot, the "
        "larger the error; the pelvis has none by construction.</p>"
        "<img class='chart' alt='Skeleton with the error of each joint' "
        f"src='data:image/png;base64,{chart}'>"
        f"<details><summary>As a table</summary><table>{rows}</table></details>"
    )


def _slices(summary: Summary) -> str:
    metric = next(m for m in summary.metrics if m.key == summary.headline)
    if not summary.slices:
        return ""

    def rows(parts: Sequence[SliceSummary]) -> str:
        return "".join(
            f"<tr><td>{escape(part.by)}</td><td class='meaning'>{escape(part.value)}</td>"
            f"<td>{figure_html(part.figure, metric.unit)}</td><td>{part.figure.samples:,}</td></tr>"
            for part in parts
        )

    head = (
        "<tr><th>told apart by</th><th class='meaning'>part</th>"
        f"<th>{escape(metric.title)}</th><th>samples</th></tr>"
    )
    every = rows(_several(summary.slices))
    # A part that is the whole says nothing about where it is worst.
    worst = [part for part in summary.worst_slices if part.figure.samples < summary.samples]
    table = f"<table>{head}{rows(worst)}</table>" if worst else "<p>No such part is left.</p>"
    return (
        f"<h2>Where it is worst</h2><p>{escape(metric.title)} over parts of the samples, each of "
        "at least five samples and less than all; the worst first. Over all samples: "
        f"{'–' if metric.figure.mean is None else f'{metric.figure.mean:.1f}'}. Intervals as above"
        ". Visible joints are those that the annotation calls so; the height is that of the "
        f"person's box in the image.</p>{table}"
        f"<details><summary>All parts</summary>{_tilts(summary)}"
        f"<table>{head}{every}</table></details>"
    )


def _tilts(summary: Summary) -> str:
    """What the rows by tilt are, which are of some joints only."""
    if not any(part.by.startswith("tilt") for part in summary.slices):
        return ""
    return (
        "<p class='note'>Rows by tilt are of bones, not of samples: the mean error of the joint at "
        "a bone's outer end, by how far the true bone leans out of the image plane. A sample "
        "counts in each row that it has a bone of, so these can't be set beside the MPJPE of all "
        "joints.</p>"
    )


def _several(parts: Sequence[SliceSummary]) -> list[SliceSummary]:
    """Without what tells every sample apart from every other: it lists samples, not parts."""
    largest: dict[str, int] = {}
    for part in parts:
        largest[part.by] = max(largest.get(part.by, 0), part.figure.samples)
    return [part for part in parts if largest[part.by] > 1]


def _calibration(summary: Summary) -> str:
    found = summary.calibration
    if not found or not found["bins"]:
        return ""
    side, middle = 260, 170
    ticks = "".join(
        f"<text x='{30 + side * at:.0f}' y='{side + 22}' font-size='10' text-anchor='middle'>"
        f"{at:g}</text><text x='27' y='{13 + side * (1 - at):.0f}' font-size='10' "
        f"text-anchor='end'>{at:g}</text>"
        for at in (0, 0.5, 1)
    )
    dots = "".join(
        f"<circle cx='{30 + side * b['confidence']:.1f}' cy='{10 + side * (1 - b['right']):.1f}' "
        f"r='5' fill='#1f77b4'><title>{b['joints']:,} joints: confidence {b['confidence']:.2f}, "
        f"right {100 * b['right']:.0f} %</title></circle>"
        for b in found["bins"]
    )
    rows = "".join(
        f"<tr><td>{b['confidence']:.2f}</td><td>{100 * b['right']:.0f} %</td>"
        f"<td>{b['joints']:,}</td></tr>"
        for b in found["bins"]
    )
    return (
        "<h2>Confidence</h2><p>A confidence is honest if joints that carry 0.8 are right eight "
        "times of ten; right means nearer than 150 mm with both pelves at the same point. Dots on "
        "the line would be honest, below it too sure, above it not sure enough. Mean distance from "
        f"the line over all joints: {found['expected_error']:.3f}, where 0 is honest and 1 the "
        "worst. The pelvis counts among the joints, though it is right by construction.</p>"
        f"<svg width='{side + 50}' height='{side + 40}' role='img' aria-label='Confidence against "
        f"share of right joints'><rect x='30' y='10' width='{side}' height='{side}' fill='none' "
        f"stroke='#999'/><line x1='30' y1='{10 + side}' x2='{30 + side}' y2='10' stroke='#999'/>"
        f"{ticks}{dots}<text x='{side / 2}' y='{side + 36}' font-size='12'>confidence</text>"
        f"<text x='9' y='{middle}' font-size='12' transform='rotate(-90 9 {middle})'>"
        "share right</text></svg>"
        "<details><summary>As a table</summary><table><tr><th>confidence</th><th>right</th>"
        f"<th>joints</th></tr>{rows}</table></details>"
    )


def _gallery(summary: Summary, gallery: Sequence[tuple[str, bytes]]) -> str:
    metric = next(m for m in summary.metrics if m.key == summary.headline)
    listed = "".join(
        f"<tr><td><code>{escape(w.sample_id)}</code></td><td>{w.value:.1f}</td>"
        f"<td class='meaning'>{escape(w.about)}</td></tr>"
        for w in summary.worst
    )
    pictures = "".join(
        f"<figure><img alt='{escape(caption)}' "
        f"src='data:image/png;base64,{base64.b64encode(png).decode()}'>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, png in gallery
    )
    return (
        f"<h2>The worst samples</h2><p>By {escape(metric.title)}, the worst first."
        f"{PICTURE_LEGEND if gallery else ''}"
        " After the error: the subject, the action and the camera, as far as they are known."
        f"</p>{pictures}"
        f"<details><summary>As a table</summary><table><tr><th>sample</th>"
        f"<th>{escape(metric.title)}</th><th class='meaning'>subject, action, camera</th></tr>"
        f"{listed}</table></details>"
    )
