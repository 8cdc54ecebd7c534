"""Two stored benchmarks compared sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hemlets.core.errors import DataError
from hemlets.core.wording import truncate_list
from hemlets.evaluation.intervals import LEVEL, RESAMPLES, PairedRatio, paired_ratio
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.protocols.oracle_inputs import has_truth_put_in, knows_distance
from hemlets.evaluation.scoring.results import SampleFigures, read_sample_figures, read_summary
from hemlets.evaluation.scoring.summary import Summary


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A benchmark read from its folder.

    Attributes:
        label: name of the run for people.
        folder: of the stored results.
        summary: of the benchmark.
        samples: figures by sample.
    """

    label: str
    folder: Path
    summary: Summary
    samples: SampleFigures

    def name(self, key: str) -> MetricName:
        """Full name of a figure.

        Raises:
            DataError: The run was not scored by it.
        """
        return MetricName.parse(self.summary.metric(key).name)


def read_run(folder: Path, label: str | None = None) -> Run:
    """A run from a benchmark's folder, labelled by its model's version by default.

    Raises:
        DataError: There is no benchmark in it.
    """
    summary = read_summary(folder)
    return Run(
        label=label or summary.predictions.model_version,
        folder=folder,
        summary=summary,
        samples=read_sample_figures(folder, summary),
    )


def paired_change(
    run: Run,
    first: Run,
    key: str,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> PairedRatio:
    """Relative change of a mean from the first run's, over the same samples, with its interval.

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
        level=level,
        seed=seed,
    )


def compare_for_promotion(
    challenger: Run,
    champion: Run,
    key: str,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> PairedRatio:
    """Challenger's mean / champion's mean − 1 on the same samples, with its interval.

    Args:
        challenger: the new model's benchmark.
        champion: the promoted model's.
        key: an error, e.g. ``mpjpe_mm``.
        resamples: resamples of sequences.
        level: coverage of the interval.
        seed: of the resamples.

    Raises:
        DataError: Other samples or data; the figures' protocols differ in more than the flip test,
            which is a part of the model; a metric is missing or better when larger; fewer than two
            sequences; or a predictor was given the true distance.
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
    return paired_change(challenger, champion, key, resamples=resamples, level=level, seed=seed)
