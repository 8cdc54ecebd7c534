"""Summarise a benchmark in plain values, for its page and JSON file."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Int64
from hemlets.core.config import Config
from hemlets.core.errors import DataError
from hemlets.core.skeleton import JOINTS
from hemlets.evaluation.intervals import RESAMPLES, Interval, Resampler
from hemlets.evaluation.metrics.definitions import SEGMENTS
from hemlets.evaluation.metrics.segmentation import figures_pct
from hemlets.evaluation.paper import PaperCell, compare_cells
from hemlets.evaluation.predictions import PredictionsInfo
from hemlets.evaluation.protocols.oracle_inputs import oracle_inputs
from hemlets.evaluation.protocols.protocol import GroupTable, Protocol
from hemlets.evaluation.protocols.validation import columns_of, rows_of
from hemlets.evaluation.scoring.sample_scores import TILT_BINS, SampleScores
from hemlets.evaluation.scoring.slicing import slices
from hemlets.evaluation.scoring.truth import Facet

FEW_SAMPLES: Final = 5
"""Smallest group that can be listed among the worst."""

TILT: Final = "tilt of bones"
"""Name of the grouping by tilt."""

_WORST = 24


class Figure(Config):
    """A mean with its interval; None for undefined values.

    Attributes:
        mean: Mean over the samples that have it.
        low: Lower end of the 95 % bootstrap interval over sequences.
        high: Upper end.
        samples: Number of samples that have it.
        sequences: Number of their sequences.
    """

    mean: float | None
    low: float | None
    high: float | None
    samples: int
    sequences: int

    @classmethod
    def of(cls, interval: Interval) -> Figure:
        """Convert an interval."""
        return cls.model_validate(interval.to_json())


class MetricSummary(Config):
    """A figure over all samples, with its full name."""

    key: str
    name: str
    title: str
    unit: str
    higher_is_better: bool
    figure: Figure


class CellSummary(Config):
    """A column of a table."""

    title: str
    figure: Figure


class TableSummary(Config):
    """A measure by groups.

    Attributes:
        title: Kind of the groups.
        key: The measure.
        name: Full name of the cells.
        average_name: Full name of the last column, with the kind of its mean.
        cells: In the paper's order.
        average: The last column.
    """

    title: str
    key: str
    name: str
    average_name: str
    cells: tuple[CellSummary, ...]
    average: Figure


class SliceSummary(Config):
    """The headline measure over a part of the samples."""

    by: str
    value: str
    figure: Figure


class PaperFigure(Config):
    """A cell of the paper; ``why_apart`` says why it is not comparable with ours."""

    table: int
    cell: PaperCell
    why_apart: str = ""


class WorstSample(Config):
    """A sample with a large error."""

    sample_id: str
    value: float
    about: str


class Summary(Config):
    """A benchmark's results.

    Attributes:
        protocol: The protocol.
        predictions: Provenance of the predictions.
        samples: Number of samples.
        sequences: Number of sequences, the units of resampling.
        resamples: Resamples behind each interval.
        headline: Key of the measure of slices and gallery.
        metrics: Figures over all samples.
        left_out: Reason by key of each measure that could not be measured.
        tables: Figures by groups.
        joints_mm: Mean error by joint, pelvis at the origin.
        slices: Headline measure by group; also error by tilt of the part.
        worst_slices: Groups of at least five samples with a higher error than all samples, worst
            first.
        worst: Samples with the largest errors.
        calibration: Calibration of confidence; None without.
        privileges: Oracle inputs of the predictor, as sentences.
        paper: Cells of the paper.
    """

    protocol: Protocol
    predictions: PredictionsInfo
    samples: int
    sequences: int
    resamples: int
    headline: str
    metrics: tuple[MetricSummary, ...]
    left_out: dict[str, str]
    tables: tuple[TableSummary, ...]
    joints_mm: dict[str, float | None]
    slices: tuple[SliceSummary, ...]
    worst_slices: tuple[SliceSummary, ...]
    worst: tuple[WorstSample, ...]
    calibration: dict[str, Any] | None
    privileges: tuple[str, ...]
    paper: tuple[PaperFigure, ...]

    def metric(self, key: str) -> MetricSummary:
        """Return the figure of a key.

        Raises:
            DataError: The predictions were not scored by it.
        """
        for metric in self.metrics:
            if metric.key == key:
                return metric
        raise DataError(
            f"there is no metric {key!r} for {self.predictions.model_version}",
            expected="one of " + ", ".join(metric.key for metric in self.metrics),
        )

    @property
    def logged(self) -> dict[str, float]:
        """Return figures and averages of tables by full name, for a tracker."""
        found = {m.name: m.figure.mean for m in self.metrics}
        found |= {t.average_name: t.average.mean for t in self.tables}
        return {name: value for name, value in found.items() if value is not None}


def summarise(scores: SampleScores, *, resamples: int = RESAMPLES, seed: int = 0) -> Summary:
    """Compute means, intervals, tables, slices and the worst samples of a benchmark."""
    truth = scores.truth
    sequence = truth.sequence
    draw = Resampler(_by_name(sequence), resamples=resamples, seed=seed)
    metrics = tuple(
        MetricSummary(
            key=name.key,
            name=name.full,
            title=name.title,
            unit=name.unit,
            higher_is_better=name.higher_is_better,
            figure=Figure.of(
                draw.pooled(scores.pixel_counts, figures_pct, name.key)
                if name.key in SEGMENTS and scores.pixel_counts is not None
                else draw.mean(scores.of(name.key))
            ),
        )
        for name in scores.names
    )
    headline = metrics[0]
    parts = [
        SliceSummary(by=by, value=value, figure=Figure.of(draw.mean(scores.of(headline.key), rows)))
        for by, value, rows in slices(truth)
        if rows.any()
    ]
    if headline.unit == "mm" and not np.isnan(scores.tilt_errors_mm).all():
        parts += [
            SliceSummary(
                by=TILT,
                value=title,
                figure=Figure.of(draw.mean(scores.tilt_errors_mm[:, number])),
            )
            for number, title in enumerate(TILT_BINS)
        ]
    same, apart = compare_cells(scores.protocol.name, scores.names)
    return Summary(
        protocol=scores.protocol,
        predictions=scores.info,
        samples=len(scores),
        sequences=len(sequence.words),
        resamples=resamples,
        headline=headline.key,
        metrics=metrics,
        left_out=scores.left_out,
        tables=tuple(
            _table(table, scores, draw)
            for table in scores.protocol.tables
            if table.key in scores.keys
        ),
        joints_mm=_joints(scores),
        slices=tuple(parts),
        worst_slices=_worst_slices(parts, headline),
        worst=_worst(scores, headline),
        calibration=None if scores.calibration is None else scores.calibration.to_json(),
        privileges=oracle_inputs(scores.info),
        paper=(
            *(PaperFigure(table=b.table, cell=b.cell) for b in same),
            *(PaperFigure(table=a.table, cell=a.cell, why_apart=a.why) for a in apart),
        ),
    )


def _by_name(facet: Facet) -> Int64:
    """Return a facet's rows as numbers in the order of its words."""
    place = np.empty(len(facet.words), np.int64)
    place[np.argsort(np.array(facet.words, str), kind="stable")] = np.arange(len(facet.words))
    return np.asarray(place[facet.codes], np.int64)


def _table(table: GroupTable, scores: SampleScores, draw: Resampler) -> TableSummary:
    values = scores.of(table.key)
    columns = columns_of(table, scores.truth)
    rows = [rows_of(column, scores.truth) for column in columns]
    name = next(name for name in scores.names if name.key == table.key).full
    if table.average == "columns":
        average = draw.mean_of_groups(values, rows)
        of = f"{scores.protocol.samples}.mean-of-{len(columns)}-groups"
        average_name = name.replace(f"/{scores.protocol.samples}/", f"/{of}/", 1)
    else:
        average, average_name = draw.mean(values), name
    return TableSummary(
        title=table.title,
        key=table.key,
        name=name,
        average_name=average_name,
        cells=tuple(
            CellSummary(title=column.title, figure=Figure.of(draw.mean(values, part)))
            for column, part in zip(columns, rows, strict=True)
        ),
        average=Figure.of(average),
    )


def _joints(scores: SampleScores) -> dict[str, float | None]:
    known = ~np.isnan(scores.joint_errors_mm)
    count = known.sum(0)
    if not count.any():
        return {}
    total = np.where(known, scores.joint_errors_mm, 0).sum(0, dtype=np.float64)
    return {
        joint: float(total[i] / count[i]) if count[i] else None for i, joint in enumerate(JOINTS)
    }


def _worst_slices(parts: list[SliceSummary], whole: MetricSummary) -> tuple[SliceSummary, ...]:
    if whole.figure.mean is None:
        return ()
    sign, mean = (1 if whole.higher_is_better else -1), whole.figure.mean
    worse = [
        (sign * part.figure.mean, part)
        for part in parts
        # Errors by tilt are of some joints only: another figure, not a group of this one.
        if not part.by.startswith(TILT)
        and part.figure.samples >= FEW_SAMPLES
        and part.figure.mean is not None
        and sign * part.figure.mean < sign * mean
    ]
    return tuple(part for _, part in sorted(worse, key=lambda pair: pair[0]))


def _worst(scores: SampleScores, headline: MetricSummary) -> tuple[WorstSample, ...]:
    values = scores.of(headline.key)
    badness = -values if headline.higher_is_better else values
    known = np.flatnonzero(~np.isnan(values))
    rows = known[np.argsort(-badness[known], kind="stable")[:_WORST]]
    facets = scores.truth.facets
    return tuple(
        WorstSample(
            sample_id=scores.truth.ids[int(row)].as_py(),
            value=float(values[row]),
            about=", ".join(
                facet.words[facet.codes[row]]
                for facet in (facets["subject"], facets["action"], facets["camera_id"])
                if facet.words[facet.codes[row]]
            ),
        )
        for row in rows
    )
