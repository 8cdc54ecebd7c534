"""Evaluation: from a predictions file to per-sample scores and a summary with intervals.

``score`` compares predictions with the annotated samples (``Truth``) of a ``Protocol``;
``summarise`` gives means with bootstrap intervals over sequences, tables and groups. A figure's
full name states its protocol.
"""

from hemlets.evaluation.baselines import LinearLifter, MeanPose
from hemlets.evaluation.intervals import Interval, PairedRatio, Resampler, paired_ratio
from hemlets.evaluation.leaks import check_no_leak
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.predictions import Predictions, PredictionsInfo
from hemlets.evaluation.protocols import Protocol, load_protocol, protocol_names, split_protocol
from hemlets.evaluation.scoring.paired import Run, compare_for_promotion, read_run
from hemlets.evaluation.scoring.results import write_results
from hemlets.evaluation.scoring.sample_scores import SampleScores, score
from hemlets.evaluation.scoring.summary import Summary, summarise
from hemlets.evaluation.scoring.truth import Truth

__all__ = [
    "Interval",
    "LinearLifter",
    "MeanPose",
    "MetricName",
    "PairedRatio",
    "Predictions",
    "PredictionsInfo",
    "Protocol",
    "Resampler",
    "Run",
    "SampleScores",
    "Summary",
    "Truth",
    "check_no_leak",
    "compare_for_promotion",
    "load_protocol",
    "paired_ratio",
    "protocol_names",
    "read_run",
    "score",
    "split_protocol",
    "summarise",
    "write_results",
]
