"""Runs a model over held-out splits, saves what it says, then scores the saved files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.profile import BenchmarkConfig
from hemlets.annotations import Annotations, ShardReader, decode_image
from hemlets.body import BodyModel
from hemlets.errors import DataError
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
from hemlets.inference.types import BodyEstimate, Camera, PredictionRequest

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
    _check_unseen(predictor, table, splits)
    body = BodyModel.load()
    mean_pose, lifter = MeanPose.fit(train), LinearLifter.fit(train, validation)
    held_out = {split: table.split(split) for split in splits}
    figures: dict[str, dict[str, Any]] = {split: {} for split in splits}
    total, done = sum(len(rows) for rows in held_out.values()), 0
    for split, rows in held_out.items():
        check_no_leak(train, rows)
        requests = requests_of(rows, data_folder / "shards")
        estimates: list[BodyEstimate] = []
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
            figures[split][name] = _figures(scores)
            if name == "model":
                _draw(folder / split, config, scores, model, rows, requests, estimates, body)
    write_json(folder / "figures.json", figures)


def _check_unseen(predictor: Predictor, table: Annotations, splits: Sequence[str]) -> None:
    """Refuse a model that was trained on a held-out motion, in this run or before it."""
    seen = set(predictor.card.training.get("families", []))
    for split in splits:
        held_out = {part for f in set(table.split(split).family) for part in str(f).split("+")}
        if seen & held_out:
            raise DataError(
                f"the model was trained on motion of the {split} split",
                where=", ".join(sorted(seen & held_out)),
                expected="families of motion that it has never seen",
                remedy="score it on other data, or train it anew",
            )


def _draw(
    folder: Path,
    config: BenchmarkConfig,
    scores: Scores,
    predictions: Predictions,
    rows: Annotations,
    requests: list[PredictionRequest],
    estimates: Sequence[BodyEstimate],
    body: BodyModel,
) -> None:
    errors = scores.samples.of("mpjpe_mm")
    spread = pick_samples(errors, config.pictures)
    if not len(spread):
        # No error is known, but what was predicted can still be looked at.
        spread = np.arange(min(config.pictures, len(errors)))
    worst = np.argsort(-errors, kind="stable")[: config.pictures]
    for name, chosen in (("best-to-worst", spread), ("worst", worst)):
        images = {str(rows.sample_id[i]): requests[int(i)].image_HW3 for i in chosen}
        sheet = contact_sheet(images, predictions, rows)
        (folder / f"{name}.png").write_bytes(png(sheet))
    (folder / "mesh.png").write_bytes(png(_meshes(estimates, requests, spread, body)))
    (folder / "joint-errors.png").write_bytes(joint_error_chart(scores.joints_mm))


def _meshes(
    estimates: Sequence[BodyEstimate],
    requests: Sequence[PredictionRequest],
    chosen: npt.NDArray[np.intp],
    body: BodyModel,
) -> npt.NDArray[np.uint8]:
    """Pictures of the predicted mesh on the image and from the side, three a row."""
    import cv2

    from hemlets.drawing import place_body, prediction_picture

    tiles = []
    for index in chosen:
        estimate, image = estimates[int(index)], requests[int(index)].image_HW3
        placed = place_body(body, estimate.theta, estimate.betas, estimate.root_mm)
        picture = prediction_picture(image, estimate, placed)
        tiles.append(cv2.resize(picture, (512, 256), interpolation=cv2.INTER_AREA))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 3)
    rows = [np.concatenate(tiles[at : at + 3], 1) for at in range(0, len(tiles), 3)]
    return np.concatenate(rows)


def _figures(scores: Scores) -> dict[str, Any]:
    """A predictor's means and intervals by metric key, with full names beside them."""
    return {
        metric.key: {"name": metric.full, **scores.metrics[metric.key].to_json()}
        for metric in scores.samples.names
    }


def promotion_figures(folder: Path) -> dict[str, float | None]:
    """The challenger's figures on the gate split that floors are set for; None where undefined."""
    model = Scores.read(folder / "gate" / "model")
    figures = {name.key: _finite(model.metrics[name.key].mean) for name in model.samples.names}
    own = figures.get("mpjpe_mm")
    for key, baseline in ((MEAN_POSE_RATIO, "mean-pose"), (LIFTER_RATIO, "linear-lifter")):
        other = _finite(Scores.read(folder / "gate" / baseline).metrics["mpjpe_mm"].mean)
        figures[key] = own / other if own is not None and other else None
    return figures


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
