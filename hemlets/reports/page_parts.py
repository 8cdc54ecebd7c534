"""What the pages of benchmarks share: style, how a figure is set, pictures and their legend."""

from __future__ import annotations

import base64
from html import escape
from typing import Final

from hemlets.core.wording import counted
from hemlets.evaluation.scoring.summary import Figure
from hemlets.reports.drawing import png
from hemlets.reports.pictures import legend

__all__ = ["MANY_COLUMNS", "PICTURE_LEGEND", "STYLE", "figure_html", "legend_html", "picture_html"]

MANY_COLUMNS: Final = 6
"""Columns beyond which a table is set small to fit on paper."""

STYLE: Final = """
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
td.name { white-space: nowrap; } td.name code { overflow-wrap: normal; }
figure { display: inline-block; margin: .4rem; text-align: left; }
figcaption { font-size: .85em; overflow-wrap: anywhere; }
img, svg { max-width: 100%; height: auto; }
@media (max-width: 700px) {
  /* A sentence in a narrow column runs down the whole screen: it gets a line of its own. */
  .figures thead { display: none; }
  .figures, .figures tbody { display: block; }
  .figures tr { display: flex; flex-wrap: wrap; align-items: baseline;
    border-bottom: 1px solid #ddd; }
  .figures td { border: 0; padding: .2rem .4rem; box-sizing: border-box; }
  .figures td:first-child { flex: 1 0 100%; font-weight: bold; }
  .figures td.meaning { flex: 1 0 100%; font-size: .9em; }
  .figures td[data-of]::before { content: attr(data-of) ": "; color: #555; font-size: .8em; }
  .figures .interval { display: inline; margin-left: .5em; }
  th, td { padding: .3rem .4rem; }
  .legend img { max-width: none; }
}
@media print {
  body { margin: 0; max-width: none; font-size: 11px; print-color-adjust: exact; }
  h2, h2 + p, .legend, p:has(+ .scroll, + table, + svg, + img) { break-after: avoid; }
  h2 + p.alone { break-after: auto; }
  tr, figure, svg, img, p, li { break-inside: avoid; }
  /* Tables break between rows, and their heading stands on each page. */
  thead, summary, summary + p { break-after: avoid; }
  details td, details th { padding: .1rem .7rem; }
  .scroll { overflow: visible; }
  .wide { font-size: 8px; } .wide td, .wide th { padding: .1rem .15rem; }
  .wide .interval { white-space: normal; }
  td.name { white-space: normal; } td.name code { overflow-wrap: anywhere; }
  figure { width: 47%; margin: .2rem; }
  .pictures figure { width: auto; }
  .chart { max-height: 11cm; }
  td[title], th[title] { text-decoration: none; }
  /* Nothing can be unfolded on paper. */
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""


PICTURE_LEGEND: Final = (
    " Left the image, right both poses from the side with the camera on the left and both pelves "
    "where the lines cross; the bar there is half a metre long. Bold with filled dots: "
    "predicted; thin and pale with open dots: the truth. Orange is the person's right, blue the "
    "left; spine and head are yellow where predicted and white where true."
)
"""What pictures of samples show, for the sentence before them."""


def figure_html(figure: Figure, unit: str) -> str:
    """A figure with its interval below it; a dash where it isn't defined."""
    if figure.mean is None:
        return "–"
    text = f"{figure.mean:.1f}"
    if figure.low is not None and figure.high is not None:
        text += f"<span class='interval'>{figure.low:.1f}–{figure.high:.1f}</span>"
    hover = (
        f"{counted(figure.samples, 'sample')} of {counted(figure.sequences, 'sequence')}, in {unit}"
    )
    return f"<span title='{escape(hover)}'>{text}</span>"


def picture_html(picture: bytes, alt: str) -> str:
    """A PNG picture within the page."""
    data = base64.b64encode(picture).decode()
    return f"<img alt='{escape(alt)}' src='data:image/png;base64,{data}'>"


def legend_html() -> str:
    """The colours of predicted and true limbs, as a picture."""
    shown = picture_html(png(legend()), "Colours of predicted and true limbs")
    return f"<div class='scroll legend'>{shown}</div>"
