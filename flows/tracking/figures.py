"""Read a benchmark's stored figures without scoring or resampling again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hemlets.core.files import read_json
from hemlets.evaluation.metrics.definitions import metric_label
from hemlets.evaluation.metrics.names import MetricName

MEAN_POSE_RATIO: Final = "mpjpe_over_mean_pose"
LIFTER_RATIO: Final = "mpjpe_over_linear_lifter"

_BASELINES: Final = {MEAN_POSE_RATIO: "mean-pose", LIFTER_RATIO: "linear-lifter"}
_FILE: Final = "figures.json"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Means and intervals by split, predictor and metric key.

    Attributes:
        by_split: As :func:`flows.steps.scoring.score_model` wrote them.
    """

    by_split: dict[str, dict[str, dict[str, dict[str, Any]]]]

    @classmethod
    def read(cls, folder: Path) -> Figures:
        """Read the figures of a benchmark's folder.

        Raises:
            DataError: They are absent or damaged.
        """
        return cls(by_split=read_json(folder / _FILE))

    def mean(self, split: str, predictor: str, key: str) -> float | None:
        """A metric's mean; None where it is undefined or unknown."""
        value = self.by_split[split].get(predictor, {}).get(key, {}).get("mean")
        return None if value is None else float(value)

    def logged(self, split: str, predictor: str = "model") -> dict[str, float]:
        """Defined means by short name, as a tracker takes them: ``test/mpjpe_mm``.

        The figures of a baseline are in a section of their own: ``test-mean-pose/mpjpe_mm``.
        """
        figures = {}
        for entry in self.by_split[split].get(predictor, {}).values():
            samples, _, quantity = MetricName.parse(entry["name"]).short.partition("/")
            section = samples if predictor == "model" else f"{samples}-{predictor}"
            if entry["mean"] is not None:
                figures[f"{section}/{quantity}"] = float(entry["mean"])
        return figures

    def short(self, split: str, key: str) -> str:
        """Name in the tracker of a figure or a ratio, with the protocol's marks."""
        model = self.by_split[split]["model"]
        entry = model.get(key) or model["mpjpe_mm"]
        _, _, quantity = MetricName.parse(entry["name"]).short.partition("/")
        return f"{split}/{key}{quantity.removeprefix(quantity.partition('.')[0])}"

    @property
    def protocol(self) -> str:
        """The protocol that the model's figures share, for parameters and tags."""
        entry = next(iter(next(iter(self.by_split.values()))["model"].values()))
        return MetricName.parse(entry["name"]).protocol

    def rows(self) -> list[dict[str, Any]]:
        """Return all figures as one table, one row per figure."""
        return [
            {"split": split, "predictor": predictor, "metric": entry["name"],
             **{k: v for k, v in entry.items() if k != "name"}}
            for split, predictors in self.by_split.items()
            for predictor, metrics in predictors.items()
            for entry in metrics.values()
        ]  # fmt: skip

    def for_floors(self, split: str = "gate") -> dict[str, float | None]:
        """Return the model's means and its ratios to the baselines; floors apply to these."""
        means = {key: self.mean(split, "model", key) for key in self.by_split[split]["model"]}
        own = means.get("mpjpe_mm")
        for ratio, baseline in _BASELINES.items():
            other = self.mean(split, baseline, "mpjpe_mm")
            means[ratio] = own / other if own is not None and other else None
        return means

    def gaps(self, split: str = "gate") -> list[str]:
        """Describe metrics that the model lacks on samples where a baseline has them.

        A baseline has a value wherever there is ground truth. A value that the model lacks is
        therefore a failure of the model, which a mean over the other samples would hide.
        """
        predictors = self.by_split[split]
        gaps = []
        for key, entry in sorted(predictors["model"].items()):
            known = max(predictors[name].get(key, {}).get("samples", 0)
                        for name in _BASELINES.values())  # fmt: skip
            if 0 < entry["samples"] < known:
                missing = known - entry["samples"]
                gaps.append(f"{metric_label(key)} is missing on {missing} of {known} samples")
        return gaps
