"""The page of an annotation study: figures next to the paper's, by tilt, part and annotator."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemlets.annotation.study import EDGES_DEG, PAPER, Rates, Share, suspicions
from hemlets.reports.kit import render_page, save_page

if TYPE_CHECKING:
    from hemlets.annotation.study import Study

_BAR_PX, _GAP_PX, _LEFT_PX, _HIGH_PX, _FOOT_PX = 26, 22, 44, 200, 40

_STEPS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.25)
"""Distances of the chart's lines."""


def write_annotation_page(path: Path, found: Study, *, source: str) -> None:
    """Write the page, whole or not at all."""
    save_page(path, annotation_html(found, source=source))


def annotation_html(found: Study, *, source: str) -> str:
    """The page as text."""
    fbi = found.mode == "fbi"
    titles = [f"{low:g}–{high:g}°" for low, high in pairwise(EDGES_DEG)]
    return render_page(
        "annotation.html",
        found=found,
        source=source,
        fbi=fbi,
        paper=PAPER,
        paper_image_s=PAPER["fbi_image_s" if fbi else "ordinal_image_s"],
        bins=list(zip(titles, found.bins, strict=True)),
        chart=_chart(titles, found.bins),
        parts=[(n.replace("_", " "), r) for n, r in found.parts.items() if r.skip.of],
        suspicions=suspicions(found),
        percent=_percent,
    )


def _percent(share: Share) -> dict[str, Any]:
    """A share as a figure of the kit, in per cent."""
    low, high = share.interval
    mean = share.mean
    return {
        "mean": None if mean is None else 100 * mean,
        "low": 100 * low if share.of else None,
        "high": 100 * high if share.of else None,
        "samples": share.of,
        "sequences": share.hits,
    }


def _chart(titles: Sequence[str], bins: Sequence[Rates]) -> dict[str, Any]:
    """Bars of errors and skips by bin with their intervals; pixels."""
    most = max((s.mean or 0 for rates in bins for s in (rates.error, rates.skip)), default=0)
    top = 4 * next(step for step in _STEPS if 4 * step >= most or step == _STEPS[-1])

    def y(share: float) -> float:
        return _HIGH_PX * (1 - min(share, top) / top) + 8

    bars, groups = [], []
    for number, (title, rates) in enumerate(zip(titles, bins, strict=True)):
        left = _LEFT_PX + number * (2 * _BAR_PX + _GAP_PX)
        groups.append({"title": title, "x": left + _BAR_PX})
        for place, (kind, share) in enumerate((("error", rates.error), ("skip", rates.skip))):
            if share.mean is None:
                continue
            low, high = share.interval
            bars.append(
                {
                    "kind": kind, "x": left + place * _BAR_PX, "y": y(share.mean),
                    "height": _HIGH_PX + 8 - y(share.mean), "low": y(low), "high": y(high),
                    "middle": left + (place + 0.5) * _BAR_PX,
                    "label": f"{title}, {kind}: {share.mean:.1%} of {share.of:,}",
                }
            )  # fmt: skip
    marks = [top * quarter / 4 for quarter in range(5)]
    return {
        "bars": bars, "groups": groups, "bar": _BAR_PX - 4, "left": _LEFT_PX,
        "width": _LEFT_PX + len(bins) * (2 * _BAR_PX + _GAP_PX), "base": _HIGH_PX + 8,
        "height": _HIGH_PX + _FOOT_PX, "marks": [(y(m), f"{round(100 * m, 1):g}") for m in marks],
    }  # fmt: skip
