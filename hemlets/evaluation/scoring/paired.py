"""Compare two stored benchmarks sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hemlets.core.errors import DataError
from hemlets.core.wording import truncate_list
from hemlets.evaluation.intervals import RESAMPLES, PairedRatio, paired_ratio
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.protocols.oracle_inputs import has_truth_put_in, knows_distance
from hemlets.evaluation.scoring.results import SampleFigures, read_sample_figures, read_summary
from hemlets.evaluation.scoring.summary import Summary


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A benchmark read from its folder."""

    label: str
    folder: Path
    summary: Summary
    samples: SampleFigures

    def name(self, key: str) -> MetricName:
        """Return the full name of a figure.

        Raises:
            DataError: The run has no such figure.
        """
        return MetricName.parse(self.summary.metric(key).name)


def read_run(folder: Path, label: str | None = None) -> Run:
    """Read a benchmark's folder; the label is the model's version by default.

    Raises:
        DataError: It has no benchmark.
    """
    summary = read_summary(folder)
    return Run(
        label=label or summary.predictions.model_version,
        folder=folder,
        summary=summary,
        samples=read_sample_figures(folder, summary),
    )


def paired_change(run: Run, first: Run, key: str, *, resamples: int = RESAMPLES) -> PairedRatio:
    """Compute the relative change of a mean from the first run's, over the same samples.

    Raises:
        DataError: The samples differ, a run lacks the metric, or there are fewer than two
            sequences.
    """
    row_of = {name: row for row, name in enumerate(run.samples.sample_id)}
    apart = sorted(row_of.keys() ^ set(first.samples.sample_id))
    if apart:
        raise DataError(
            f"{run.label} and {first.label} were not scored on the same samples",
            where=truncate_list(apart),
            remedy="score both against the same annotations",
        )
    order = np.array([row_of[name] for name in first.samples.sample_id])
    run.name(key)
    first.name(key)
    return paired_ratio(
        run.samples.by_key[key][order],
        first.samples.by_key[key],
        first.samples.sequence.astype(str),
        resamples=resamples,
    )


def compare_for_promotion(
    challenger: Run, champion: Run, key: str, *, resamples: int = RESAMPLES
) -> PairedRatio:
    """Compute challenger's mean / champion's mean − 1 on the same samples, with its interval.

    Args:
        challenger: The new model's benchmark.
        champion: The promoted model's benchmark.
        key: An error, e.g. ``mpjpe_mm``.
        resamples: Number of resamples.

    Raises:
        DataError: Samples or data differ; protocols differ in more than the flip test, which is a
            part of the model; a metric is missing or better when larger; fewer than two sequences;
            or a predictor used an oracle input.
    """
    ours, theirs = challenger.name(key), champion.name(key)
    if ours.higher_is_better:
        raise DataError(
            f"{key} is better when it is larger, so a ratio above 1 would be an improvement",
            expected="an error, such as mpjpe_mm",
        )
    for who, name in (("challenger", ours), ("champion", theirs)):
        if knows_distance(name.depth):
            raise DataError(
                f"the {who} was given the true distance of each person: {name.full}",
                expected="a distance that the predictor estimates: no promotion rests on an oracle",
                remedy="predict again with the distance from the lengths of the bones",
            )
        if has_truth_put_in(name.depth):
            raise DataError(
                f"the {who} had the true pose or shape put in: {name.full}",
                expected="predictions of the model alone: no promotion rests on an oracle",
            )
    if any(
        getattr(ours, part) != getattr(theirs, part)
        for part in ("key", "split", "over", "root", "align", "box", "depth")
    ):
        raise DataError(
            f"the challenger's figure is {ours.full}, the champion's {theirs.full}",
            expected="the same protocol but for the flip test, which is a part of the model",
            remedy="predict and score both in the same way",
        )
    versions = [run.summary.predictions.data_version for run in (challenger, champion)]
    if versions[0] != versions[1]:
        raise DataError(
            f"the challenger was scored on data version {versions[0]}, the champion on "
            f"{versions[1]}",
            expected="the same data version",
            remedy="let the champion predict these samples again",
        )
    return paired_change(challenger, champion, key, resamples=resamples)
