"""Judging predictions: files first, scores second, always beside baselines.

``Predictions`` are written by whoever predicts; ``score`` compares the file with annotations;
``Scores`` carry means, bootstrap intervals over sequences of clips and slices, under names that
tell the protocol.
"""

from hemlets.evaluation.baselines import LinearLifter, MeanPose
from hemlets.evaluation.intervals import Interval, PairedRatio, bootstrap_mean, paired_ratio
from hemlets.evaluation.leaks import check_no_leak
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.predictions import Predictions, PredictionsInfo
from hemlets.evaluation.scoring.samples import SampleScores
from hemlets.evaluation.scoring.score import score, score_samples
from hemlets.evaluation.scoring.scores import Scores, Slice, compare, summarise

__all__ = [
    "Interval",
    "LinearLifter",
    "MeanPose",
    "MetricName",
    "PairedRatio",
    "Predictions",
    "PredictionsInfo",
    "SampleScores",
    "Scores",
    "Slice",
    "bootstrap_mean",
    "check_no_leak",
    "compare",
    "paired_ratio",
    "score",
    "score_samples",
    "summarise",
]
