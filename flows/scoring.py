"""Runs a model over held-out splits, saves what it says, then scores the saved files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.profile import BenchmarkConfig
from hemlets.annotations import Annotations, ShardReader, decode_image
from hemlets.body import BodyModel
from hemlets.evaluation import (
    LinearLifter,
    MeanPose,
    Predictions,
    PredictionsInfo,
    Scores,
    check_no_leak,
    score,
)
from hemlets.evaluation.pictures import contact_sheet, joint_error_chart, pick_samples, png
from hemlets.files import write_json
from hemlets.inference.predictor import Predictor
from hemlets.inference.types import Camera, PredictionRequest

__all__ = ["LIFTER_RATIO", "MEAN_POSE_RATIO", "promotion_figures", "requests_of", "score_model"]

MEAN_POSE_RATIO = "mpjpe_over_mean_pose"
LIFTER_RATIO = "mpjpe_over_linear_lifter"


def requests_of(annotations: Annotations, shards: Path) -> list[PredictionRequest]:
    """Prediction requests with the annotated box and camera of each sample."""
    reader = ShardReader(shards)
    a = annotations
    requests = []
    for row in range(len(a)):
        name = str(a.sample_id[row])
        box, camera = a.box_xyxy[row], a.camera[row]
        requests.append(
            PredictionRequest(
                image_HW3=decode_image(
                    reader.jpeg(a.shard[row], int(a.shard_row[row]), name), where=name
                ),
                box_xyxy=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                camera=Camera(
                    fx=float(camera[0]),
                    fy=float(camera[1]),
                    cx=float(camera[2]),
                    cy=float(camera[3]),
                ),
            )
        )
    return requests


def score_model(
    folder: Path,
    config: BenchmarkConfig,
    *,
    data_folder: Path,
    data_version: str,
    model_folder: Path,
    splits: Sequence[str],
    code_version: str,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write predictions, scores and pictures of a model and its baselines into a folder.

    Raises:
        DataError: A held-out split shares a clip, a family or an image with training.
    """
    table = Annotations.read(data_folder / "annotations.parquet")
    train, validation = table.split("train"), table.split("validation")
    predictor = Predictor.load(model_folder)
    body = BodyModel.load()
    mean_pose, lifter = MeanPose.fit(train), LinearLifter.fit(train, validation)
    held_out = {split: table.split(split) for split in splits}
    total, done = sum(len(rows) for rows in held_out.values()), 0
    for split, rows in held_out.items():
        check_no_leak(train, rows)
        requests = requests_of(rows, data_folder / "shards")
        estimates = []
        for start in range(0, len(requests), 32):
            estimates += predictor.predict(requests[start : start + 32])
            done += len(requests[start : start + 32])
            if progress is not None:
                progress(done, total)
        info = PredictionsInfo(
            model_version=predictor.version,
            data_version=data_version,
            split=split,
            precision=predictor.card.precision,
            depth_source="bone-length-prior",
            box_source="ground-truth",
            flip_test=False,
            code_version=code_version,
        )
        model = Predictions.from_estimates(list(rows.sample_id), estimates, info)
        every = {
            "model": model,
            "mean-pose": mean_pose.predict(rows, info),
            "linear-lifter": lifter.predict(rows, info),
        }
        for name, predictions in every.items():
            path = folder / split / name / "predictions.parquet"
            predictions.write(path)
            # Scores come from the file alone, as anyone else would compute them.
            scores = score(Predictions.read(path), rows, body=body, resamples=config.resamples)
            scores.write(folder / split / name)
            if name == "model":
                _draw(folder / split, config, scores, model, rows, requests)
    write_json(folder / "figures.json", _figures(folder, splits))


def _draw(
    folder: Path,
    config: BenchmarkConfig,
    scores: Scores,
    predictions: Predictions,
    rows: Annotations,
    requests: list[PredictionRequest],
) -> None:
    errors = scores.samples.of("mpjpe_mm")
    spread = pick_samples(errors, config.pictures)
    worst = np.argsort(-errors, kind="stable")[: config.pictures]
    for name, chosen in (("best-to-worst", spread), ("worst", worst)):
        images = {str(rows.sample_id[i]): requests[int(i)].image_HW3 for i in chosen}
        sheet = contact_sheet(images, predictions, rows)
        (folder / f"{name}.png").write_bytes(png(sheet))
    (folder / "joint-errors.png").write_bytes(joint_error_chart(scores.joints_mm))


def _figures(folder: Path, splits: Sequence[str]) -> dict[str, Any]:
    """Means by split, predictor and metric key, with full names beside them."""
    figures: dict[str, Any] = {}
    for split in splits:
        figures[split] = {}
        for name in ("model", "mean-pose", "linear-lifter"):
            scores = Scores.read(folder / split / name)
            figures[split][name] = {
                metric.key: {"name": metric.full, **scores.metrics[metric.key].to_json()}
                for metric in scores.samples.names
            }
    return figures


def promotion_figures(folder: Path) -> dict[str, float | None]:
    """The challenger's figures on the gate split that floors are set for."""
    model = Scores.read(folder / "gate" / "model")
    figures: dict[str, float | None] = {
        name.key: model.metrics[name.key].mean for name in model.samples.names
    }
    own = figures.get("mpjpe_mm")
    for key, baseline in ((MEAN_POSE_RATIO, "mean-pose"), (LIFTER_RATIO, "linear-lifter")):
        other = Scores.read(folder / "gate" / baseline).metrics["mpjpe_mm"].mean
        figures[key] = own / other if own is not None and other else None
    return figures
