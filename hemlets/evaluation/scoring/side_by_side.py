"""Compare several benchmarks; refuse differing protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hemlets.core.arrays import Float
from hemlets.core.errors import DataError
from hemlets.core.wording import counted
from hemlets.evaluation.intervals import PairedRatio
from hemlets.evaluation.scoring.paired import Run, paired_change
from hemlets.evaluation.scoring.summary import Figure, Summary

_SHARED_SAMPLES = 12


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """A figure of all runs under one full name.

    Attributes:
        title: Title for readers.
        name: Full name.
        unit: Unit of the figures.
        higher_is_better: Whether larger is better.
        figures: One per run; None if a run has no such figure.
        against_first: Change of the mean from the first run's on the same samples, one per further
            run; None if undefined.
    """

    title: str
    name: str
    unit: str
    higher_is_better: bool
    figures: tuple[Figure | None, ...]
    against_first: tuple[PairedRatio | None, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The common figures of runs.

    Attributes:
        runs: In the given order.
        rows: Figures over all samples.
        tables: Rows of each table's columns and its average, by title.
        samples: Ids of common samples, by decreasing spread of errors.
    """

    runs: tuple[Run, ...]
    rows: tuple[ComparedRow, ...]
    tables: dict[str, tuple[ComparedRow, ...]]
    samples: tuple[str, ...]


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Compare at least two runs.

    Raises:
        DataError: Fewer than two runs, or runs whose figures have other names or are of other
            data; each difference is named.
    """
    if len(runs) < 2:
        raise DataError(
            f"{counted(len(runs), 'run')} can't be compared", expected="two runs or more"
        )
    _refuse_apart(runs)
    first = runs[0].summary
    rows = tuple(
        ComparedRow(
            title=metric.title,
            name=metric.name,
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            figures=tuple(_figure(run.summary, metric.name) for run in runs),
            against_first=tuple(
                None if metric.higher_is_better else _change(run, runs[0], metric.key)
                for run in runs[1:]
            ),
        )
        for metric in first.metrics
    )
    return Comparison(
        runs=tuple(runs),
        rows=rows,
        tables={table.title: _table(runs, number) for number, table in enumerate(first.tables)},
        samples=_telling_samples(runs, first.headline),
    )


def _refuse_apart(runs: Sequence[Run]) -> None:
    first = runs[0]
    ours = {metric.key: metric.name for metric in first.summary.metrics}
    differs = []
    for run in runs[1:]:
        if run.summary.predictions.data_version != first.summary.predictions.data_version:
            differs.append(
                f"{run.label} was scored on data version {run.summary.predictions.data_version}, "
                f"{first.label} on {first.summary.predictions.data_version}"
            )
        if run.summary.protocol != first.summary.protocol:
            differs.append(
                f"{run.label} follows protocol {run.summary.protocol.name}"
                + (" (another version of it)" if run.summary.protocol.name
                   == first.summary.protocol.name else "")
                + f", {first.label} {first.summary.protocol.name}"
            )  # fmt: skip
        differs += dict.fromkeys(
            f"{run.label} has {theirs}, {first.label} {own}"
            for metric in run.summary.metrics
            if metric.key in ours
            for theirs, own in _other_parts(metric.name, ours[metric.key])
        )
    if differs:
        raise DataError(
            "figures of different protocols don't belong in one column",
            where="; ".join(differs),
            expected="the same full names and the same data",
            remedy="predict and score the runs in the same way, or compare those that were",
        )


def _other_parts(name: str, other: str) -> list[tuple[str, str]]:
    """List the differing parts of two full names; one line for all figures that differ in it."""
    pairs = zip(name.split("/"), other.split("/"), strict=True)
    return [(mine, theirs) for mine, theirs in pairs if mine != theirs]


def _figure(summary: Summary, name: str) -> Figure | None:
    return next((m.figure for m in summary.metrics if m.name == name), None)


def _change(run: Run, first: Run, key: str) -> PairedRatio | None:
    try:
        return paired_change(run, first, key)
    except DataError:
        # Other samples, one sequence, or a figure that a run lacks for some samples.
        return None


def _table(runs: Sequence[Run], number: int) -> tuple[ComparedRow, ...]:
    tables = [run.summary.tables[number] for run in runs]
    metric = next(m for m in runs[0].summary.metrics if m.key == tables[0].key)
    titles = list(dict.fromkeys(cell.title for table in tables for cell in table.cells))
    cells = [{cell.title: cell.figure for cell in table.cells} for table in tables]

    def row(title: str, name: str, figures: Sequence[Figure | None]) -> ComparedRow:
        return ComparedRow(
            title=title,
            name=name,
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            figures=tuple(figures),
            against_first=(None,) * (len(runs) - 1),
        )

    rows = [row(title, tables[0].name, [found.get(title) for found in cells]) for title in titles]
    average = [table.average for table in tables]
    return (*rows, row("average", tables[0].average_name, average))


def _telling_samples(runs: Sequence[Run], key: str) -> tuple[str, ...]:
    """List the samples of all runs by decreasing difference between the runs."""
    shared = set(runs[0].samples.sample_id).intersection(*(r.samples.sample_id for r in runs[1:]))
    ids = [name for name in runs[0].samples.sample_id if name in shared]
    if not ids:
        return ()
    values = np.stack([_by_id(run, key, ids) for run in runs])
    spread = np.nan_to_num(values.max(0) - values.min(0), nan=-1.0)
    order = np.argsort(-spread, kind="stable")[:_SHARED_SAMPLES]
    return tuple(str(ids[row]) for row in order)


def _by_id(run: Run, key: str, ids: Sequence[str]) -> Float:
    place = {name: row for row, name in enumerate(run.samples.sample_id)}
    return run.samples.by_key[key][[place[name] for name in ids]]
