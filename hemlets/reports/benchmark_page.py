"""A benchmark as one HTML page that needs nothing else: figures, how they were got, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from hemlets.core.files import atomic_path
from hemlets.core.wording import counted
from hemlets.evaluation.metrics.meanings import (
    MEANINGS,
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
from hemlets.reports.drawing import joint_error_chart
from hemlets.reports.page_parts import (
    MANY_COLUMNS,
    PICTURE_LEGEND,
    STYLE,
    figure_html,
    legend_html,
    picture_html,
)

__all__ = ["page_html", "rest_figures", "write_page"]

_RENDERED: Final = "open-rendered"
_ENOUGH = 20
"""Sequences below which a bootstrap interval is too narrow."""


def write_page(
    path: Path,
    summary: Summary,
    gallery: Sequence[tuple[str, bytes]] = (),
    remarks: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the page of a benchmark, whole or not at all.

    Args:
        path: of the HTML file.
        summary: of the benchmark.
        gallery: captions and PNG pictures of the worst samples.
        remarks: what else is to be said of the figures: a heading and a paragraph each.
    """
    text = page_html(summary, gallery, remarks)
    with atomic_path(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def page_html(
    summary: Summary,
    gallery: Sequence[tuple[str, bytes]] = (),
    remarks: Sequence[tuple[str, str]] = (),
) -> str:
    """The page as text; arguments as of :func:`write_page`."""
    protocol, info = summary.protocol, summary.predictions
    parts = [
        f"<h1>{escape(protocol.title)}</h1>",
        f"<p>Predictions of model <strong>{escape(info.model_version)}</strong> on data version "
        f"<code>{escape(info.data_version)}</code>, {escape(info.split)} split: "
        f"{counted(summary.samples, 'sample')} of {counted(summary.sequences, 'sequence')}. "
        f"Predicted in {escape(info.precision)} by "
        f"code version <code>{escape(info.code_version)}</code>.</p>",
        _predictor(info.model_version),
        _given(summary),
        "<h2>Figures</h2>",
        _shared(summary),
        _metrics(summary),
        "<p class='note'>A figure is a mean over samples. Below it stands its 95&nbsp;% interval, "
        "the 2.5th to the 97.5th percentile of the means that come out when the sequences are "
        f"drawn anew with replacement, {summary.resamples:,} times: frames of one sequence "
        "resemble each other. A sequence here is "
        f"{escape(protocol.sequences)}{_rendered_anew(summary)}.{_too_few(summary.sequences)}"
        + (
            " “Rest pose” is what a body at rest has of the same figure, which knows nothing of "
            "the image; it has no error of joints or surface here."
            if rest_figures(summary.metrics)
            else ""
        )
        + "</p>",
        _words(summary),
        *(f"<h2>{escape(head)}</h2><p class='alone'>{escape(text)}</p>" for head, text in remarks),
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


def _predictor(version: str) -> str:
    """What a predictor of this project that is no network is given, and does with it."""
    said = [text for name, text in PREDICTORS.items() if version.startswith(name)]
    return f"<p>{escape(version)}: {escape(said[0])}</p>" if said else ""


def _too_few(sequences: int) -> str:
    if sequences >= _ENOUGH:
        return ""
    if sequences == 1:
        return " <strong>From one sequence alone no interval can be drawn.</strong>"
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
        + _list([*summary.privileges, *_camera(summary)])
        + "</div>"
    )


def _camera(summary: Summary) -> list[str]:
    """The camera, where scale rests on it: a photo brings it at best in its metadata."""
    given = summary.predictions.depth_source == "bone-length-prior"
    return ["The camera's focal length and principal point were given."] if given else []


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(i)}</li>" for i in items) + "</ul>" if items else ""


def _rendered(summary: Summary) -> bool:
    """Whether the samples are people whom this project rendered."""
    return summary.protocol.datasets == (_RENDERED,)


def _rendered_anew(summary: Summary) -> str:
    return f"; {RENDERED_ANEW}" if _rendered(summary) else ""


def _words(summary: Summary) -> str:
    """What the page's own words mean, once for all figures."""
    name = MetricName.parse(summary.metrics[0].name)
    told = glossary(name, rendered=_rendered(summary))
    items = "".join(
        f"<li><strong>{escape(word)}</strong>: {escape(text)}</li>" for word, text in told.items()
    )
    return f"<h2>What the words mean</h2><ul class='note'>{items}</ul>"


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
        f"<p>All figures are of these samples of the {escape(summary.predictions.split)} split; in "
        f"their full names, at the end of this page, {named} stands for this protocol. "
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
        + (
            f"<td data-of='rest pose'>{figure_html(rest[m.key], m.unit)}</td>"
            if m.key in rest
            else "<td></td>"
            if rest
            else ""
        )
        + f"<td class='meaning'>{escape(_told(m, shared=shared))}</td></tr>"
        for m in summary.metrics
        if m.key not in REST_OF.values()
    )
    beside = f"<th title='{escape(MEANINGS['theta_rest_deg'])}'>rest pose</th>" if rest else ""
    left = _list([f"{key} is not here: {why}" for key, why in summary.left_out.items()])
    return (
        f"<div class='scroll'><table class='figures'><thead><tr><th>figure</th><th>value</th>"
        f"{beside}<th class='meaning'>what it means and how it was got</th></tr></thead>"
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
        f"<h2>{escape(metric.title)} {escape(table.title)}</h2><div class='scroll'>"
        f"<table{' class=wide' if len(titles) > MANY_COLUMNS else ''}>"
        f"<thead><tr><th></th>{head}<th title='{escape(table.average_name)}'>{average}</th></tr>"
        "</thead>"
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
        why = "No cell of its tables that could be read was measured by this protocol"
        if _rendered(summary):
            why = "It measured nothing by this protocol, whose people are this project's own"
        return (
            "<h2>The paper (“HEMlets PoSh”)</h2>"
            f"<p class='note alone'>{why}, so none of its figures stands beside these.</p>"
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
    chart = picture_html(joint_error_chart(known), "Skeleton with the error of each joint")
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{value:.1f}</td></tr>"
        for name, value in known.items()
    )
    return (
        "<h2>Error by joint</h2><p>Mean distance in mm with both pelves at the same point, not "
        "aligned otherwise; right and left are the person's own. The darker and larger a dot, the "
        "larger the error; the pelvis has none by construction.</p>"
        f"{chart.replace('<img', '<img class=chart')}"
        "<details><summary>As a table</summary><table><thead><tr><th>joint</th><th>mm</th></tr>"
        f"</thead>{rows}</table></details>"
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
        "<thead><tr><th>told apart by</th><th class='meaning'>part</th>"
        f"<th>{escape(metric.title)}</th><th>samples</th></tr></thead>"
    )
    every = rows([part for part in _several(summary.slices) if part.by != TILT])
    mean = metric.figure.mean
    table = (
        f"<table>{head}{rows(summary.worst_slices)}</table>"
        if summary.worst_slices
        else "<p>There is no such part.</p>"
    )
    return (
        f"<h2>Where it is worst</h2><p>{escape(metric.title)} over parts of the samples: every "
        f"part of at least {FEW_SAMPLES} samples that is worse than all samples together, which "
        f"have {'–' if mean is None else f'{mean:.1f}'}; the worst first. Intervals as above. "
        "What the samples are told apart by: “joints outside the image” and “visible joints” are "
        "counted for each sample among its 18 joints; visible are those that the annotation "
        "calls so, hidden ones are behind the own body, behind something else or outside the "
        "image; the box is the annotated one, in pixels of the image as it is stored.</p>"
        f"{table}<details><summary>All parts</summary><table>{head}{every}</table></details>"
        f"{_tilts(summary, metric)}"
    )


def _tilts(summary: Summary, metric: MetricSummary) -> str:
    """Errors by how far bones lean, which are of some joints only."""
    parts = [part for part in summary.slices if part.by == TILT]
    if not parts:
        return ""
    rows = "".join(
        f"<tr><td>{escape(part.value)}</td><td>{figure_html(part.figure, metric.unit)}</td>"
        f"<td>{part.figure.samples:,}</td></tr>"
        for part in parts
    )
    return (
        "<h2>Error by tilt of bones</h2><p>The 14 bones are named under “What the words "
        "mean”, the outer end last; a bone's tilt is how far the true bone leans out of the plane "
        "square to the camera's optical axis, towards the camera or away from it: 0° lies in the "
        "plane, 90° points at the camera or straight away from it; from "
        "30° on it is “forward” or “backward” in the paper's words. The error is that of the "
        "joint at the bone's outer end, both pelves at the same point. It is first averaged over "
        "a sample's bones of that tilt, then over the samples that have one, which the last "
        "column counts: most samples count in several rows. So these rows can't be set beside "
        "the MPJPE of all joints.</p><div class='scroll'><table><thead><tr><th>tilt of the bone"
        "</th><th>error of its outer end (mm)</th><th>samples with such a bone</th></tr></thead>"
        f"{rows}</table></div>"
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
        f"r='5' fill='#1f77b4'><title>{counted(b['joints'], 'joint')}: confidence "
        f"{b['confidence']:.2f}, right {100 * b['right']:.0f} %</title></circle>"
        for b in found["bins"]
    )
    rows = "".join(
        f"<tr><td>{b['confidence']:.2f}</td><td>{100 * b['right']:.0f} %</td>"
        f"<td>{b['joints']:,}</td></tr>"
        for b in found["bins"]
    )
    return (
        "<h2>Confidence</h2><p>Each joint of a prediction has a confidence from 0 to 1. From "
        "this project's networks it is the height of the peak of the joint's 2D heatmap"
        f"{', averaged with the mirrored image’s' if summary.predictions.flip_test else ''} (a "
        "heatmap is taught to have a peak of 1 on the joint), as the network gives it: nothing "
        "was fitted afterwards to calibrate it, and it is of the joint's place in the image. "
        "This picture only checks it, against the error in space.</p>"
        "<p>A confidence is honest if joints that carry 0.8 are right eight "
        "times of ten; right means nearer than 150 mm with both pelves at the same point. Each dot "
        "is all joints of one tenth of confidence, at their mean confidence and the share that is "
        "right. Dots on "
        "the line would be honest, below it too sure, above it not sure enough. Mean distance from "
        f"the line, each dot counted with its joints: {found['expected_error']:.3f}, where 0 is "
        "honest and 1 the worst. The pelvis counts among the joints, though it is right by "
        "construction.</p>"
        f"<svg width='{side + 50}' height='{side + 40}' role='img' aria-label='Confidence against "
        f"share of right joints'><rect x='30' y='10' width='{side}' height='{side}' fill='none' "
        f"stroke='#999'/><line x1='30' y1='{10 + side}' x2='{30 + side}' y2='10' stroke='#999'/>"
        f"{ticks}{dots}<text x='{side / 2}' y='{side + 36}' font-size='12'>confidence</text>"
        f"<text x='9' y='{middle}' font-size='12' transform='rotate(-90 9 {middle})'>"
        "share right</text></svg>"
        "<details><summary>As a table</summary><table><thead><tr><th>mean confidence</th>"
        f"<th>right</th><th>joints</th></tr></thead>{rows}</table></details>"
    )


def _gallery(summary: Summary, gallery: Sequence[tuple[str, bytes]]) -> str:
    metric = next(m for m in summary.metrics if m.key == summary.headline)
    listed = "".join(
        f"<tr><td class='name'><code>{escape(w.sample_id)}</code></td><td>{w.value:.1f}</td>"
        f"<td class='meaning'>{escape(w.about)}</td></tr>"
        for w in summary.worst
    )
    colours = legend_html() if gallery else ""
    pictures = "".join(
        f"<figure>{picture_html(picture, caption)}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, picture in gallery
    )
    return (
        f"<h2>The worst samples</h2><p>By {escape(metric.title)}, the worst first."
        f"{PICTURE_LEGEND if gallery else ''}"
        " After the error: the subject, the action and the camera, as far as they are known"
        f"{', of rendered people the body alone' if _rendered(summary) else ''}."
        f"</p>{colours}{pictures}"
        f"<details><summary>As a table</summary><table><thead><tr><th>sample</th>"
        f"<th>{escape(metric.title)}</th><th class='meaning'>subject, action, camera</th></tr>"
        f"</thead>{listed}</table></details>"
    )
