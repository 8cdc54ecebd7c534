"""Predict held-out splits, save the predictions, then score the saved files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.settings import BenchmarkConfig
from flows.steps.body_metrics import write_bodies
from flows.steps.held_out import SPLITS, Judges, held_out_sets, split_of
from flows.steps.open_benchmark import write_open_benchmark
from flows.steps.presence_metrics import write_person
from flows.steps.split_fingerprint import SplitFingerprint, write_split_fingerprint
from hemlets.body import BodyModel
from hemlets.core.arrays import Image
from hemlets.core.errors import DataError
from hemlets.core.files import write_json
from hemlets.data.table import Annotations, ShardReader, stored_images
from hemlets.evaluation import (
    LinearLifter,
    MeanPose,
    Predictions,
    PredictionsInfo,
    SampleScores,
    Summary,
    Truth,
    check_no_leak,
    score,
    split_protocol,
    summarise,
    write_results,
)
from hemlets.evaluation.bodies import pick_bodies, study_bodies
from hemlets.evaluation.predicting import predict_rows
from hemlets.inference.predictor import Predictor
from hemlets.inference.types import BodyEstimate
from hemlets.reports.drawing import joint_error_chart, place_body, png, prediction_picture
from hemlets.reports.pictures import contact_sheet, pick_samples

_TILE_PX = 512, 256
"""Width and height of a mesh and its side view."""


def score_model(
    folder: Path,
    config: BenchmarkConfig,
    *,
    data_folder: Path,
    data_version: str,
    model_folder: Path,
    judges: Judges,
    code_version: str,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write predictions, scores and pictures of a model and its baselines into a folder.

    Only the model, not the baselines, is scored on the user's own held-out rows. On the test
    split, images without a person and the bodies of some samples are evaluated as well: see
    `flows.steps.presence_metrics` and `flows.steps.body_metrics`.

    The model runs on the GPU where there is one, at the precision that its card declares.

    Raises:
        DataError: A held-out split shares a clip, a family or an image with training.
    """
    table = Annotations.read(data_folder / "annotations.parquet")
    train, validation = table.split("train"), table.split("validation")
    predictor = Predictor.load(model_folder, device=_device())
    held_out = held_out_sets(table, judges)
    _check_unseen(predictor, {split: held_out[split] for split in SPLITS})
    body = BodyModel.load()
    mean_pose, lifter = MeanPose.fit(train), LinearLifter.fit(train, validation)
    figures: dict[str, dict[str, Any]] = {name: {} for name in held_out}
    # The gate does not use these results, so they are computed for the test split only.
    backgrounds = table.split("test-background")
    studied = pick_bodies(held_out["test"], config.bodies)
    total = sum(len(rows) for rows in held_out.values()) + len(backgrounds) + len(studied)
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    tested: SampleScores | None = None
    for split, rows in held_out.items():
        own = split not in SPLITS
        check_no_leak(train, rows, judges[split.partition("-")[2]] if own else ("clip", "family"))
        protocol = split_protocol(split_of(split), split)
        truth = Truth.of(rows, protocol)
        with _declared_precision():
            estimates = predict_rows(predictor, rows, data_folder / "shards", count)
        info = PredictionsInfo(
            model_version=predictor.version,
            data_version=data_version,
            split=split_of(split),
            precision=predictor.precision,
            depth_source="bone-length-prior",
            box_source="ground-truth",
            flip_test=predictor.card.flip_test,
            code_version=code_version,
        )
        model = Predictions.from_estimates(list(rows.sample_id), estimates, info)
        every = (
            {
                "model": model,
                "mean-pose": mean_pose.predict(rows, info),
                "linear-lifter": lifter.predict(rows, info),
            }
            if not own
            else {"model": model}
        )
        for name, predictions in every.items():
            path = folder / split / name / "predictions.parquet"
            predictions.write(path)
            # Scored from the written file, like predictions of any other model.
            scores = score(path, truth, protocol, body=body, known_units=True)
            summary = summarise(scores, resamples=config.resamples)
            write_results(folder / split / name, scores, summary)
            figures[split][name] = _figures(summary)
            if name == "model":
                tested = scores if split == "test" else tested
                _draw(folder / split, config, scores, model, rows, data_folder, estimates, body)
                joints = {k: v for k, v in summary.joints_mm.items() if v is not None}
                (folder / split / "joint-errors.png").write_bytes(joint_error_chart(joints))
        if split == "test":
            with _declared_precision():
                empty = predict_rows(predictor, backgrounds, data_folder / "shards", count)
            write_person(folder, predictor, estimates, empty)
            if len(studied):
                study = study_bodies(
                    body, [estimates[i] for i in studied], rows.take(studied), mean_pose, info
                )
                available = len(pick_bodies(rows, len(rows)))
                write_bodies(folder, study, available=available, resamples=config.resamples)
                count(len(studied))
    write_split_fingerprint(
        folder, {split: SplitFingerprint.of(rows) for split, rows in held_out.items()}
    )
    write_json(folder / "figures.json", figures)
    if tested is not None:
        write_open_benchmark(folder, config, data_folder=data_folder, scores=tested, body=body)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def _declared_precision() -> Iterator[None]:
    """Disable TF32, which rounds the factors of float32 products to 10 bits on GPUs."""
    import torch

    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def _check_unseen(predictor: Predictor, held_out_rows: Mapping[str, Annotations]) -> None:
    """Refuse a model that was trained on held-out motions, in this run or an earlier one."""
    seen = set(predictor.card.training.get("families", []))
    for split, rows in held_out_rows.items():
        held_out = {part for f in set(rows.family) for part in str(f).split("+")}
        if seen & held_out:
            raise DataError(
                f"the model was trained on motion of the {split} split",
                where=", ".join(sorted(seen & held_out)),
                expected="families of motion that it has never seen",
                remedy="score it on other data, or train it again",
            )


def _draw(
    folder: Path,
    config: BenchmarkConfig,
    scores: SampleScores,
    predictions: Predictions,
    rows: Annotations,
    data_folder: Path,
    estimates: Sequence[BodyEstimate],
    body: BodyModel,
) -> None:
    errors = scores.of("mpjpe_mm")
    spread = pick_samples(errors, config.pictures)
    if not len(spread):
        # No ground truth: the sheet shows predictions without errors.
        spread = np.arange(min(config.pictures, len(errors)))
    worst = np.argsort(-errors, kind="stable")[: config.pictures]
    which = sorted({int(i) for i in (*spread, *worst)})
    reader = ShardReader(data_folder / "shards")
    picked = dict(zip(which, stored_images(rows, which, reader), strict=True))
    for name, chosen in (("best-to-worst", spread), ("worst", worst)):
        images = {str(rows.sample_id[i]): picked[int(i)] for i in chosen}
        sheet = contact_sheet(images, predictions, rows, columns=2)
        (folder / f"{name}.png").write_bytes(png(sheet))
    (folder / "mesh.png").write_bytes(png(_meshes(estimates, picked, spread, body)))


def _meshes(
    estimates: Sequence[BodyEstimate],
    images: Mapping[int, Image],
    chosen: npt.NDArray[np.intp],
    body: BodyModel,
) -> Image:
    """Predicted meshes on the image and from the side, two per row."""
    tiles = []
    for index in chosen:
        estimate, image = estimates[int(index)], images[int(index)]
        placed = place_body(body, estimate.theta, estimate.betas, estimate.root_mm)
        tiles.append(_fitted(prediction_picture(image, estimate, placed)))
    tiles += [np.zeros_like(tiles[0])] * (len(tiles) % 2)
    rows = [np.concatenate(tiles[at : at + 2], 1) for at in range(0, len(tiles), 2)]
    return np.concatenate(rows)


def _fitted(picture_HW3: Image) -> Image:
    """Scale a picture to a tile, preserving its aspect ratio."""
    import cv2

    height, width = picture_HW3.shape[:2]
    factor = min(_TILE_PX[0] / width, _TILE_PX[1] / height)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    tile = np.zeros((_TILE_PX[1], _TILE_PX[0], 3), np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(picture_HW3, size, interpolation=cv2.INTER_AREA)
    return tile


def _figures(summary: Summary) -> dict[str, Any]:
    """Means and intervals of a predictor by metric key, with full names."""
    return {
        metric.key: {"name": metric.name, **metric.figure.model_dump(mode="json")}
        for metric in summary.metrics
    }
