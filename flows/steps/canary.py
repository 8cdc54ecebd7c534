"""Test a packaged model through a real TorchServe on loopback."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from flows.settings import CanaryConfig
from hemlets.data.table import Annotations, ShardReader
from hemlets.evaluation import Predictions
from hemlets.inference.types import BodyEstimate, Camera
from serving.archive import read_archive
from serving.canary import CanarySample, check_endpoint
from serving.torchserve import TorchServe


def try_endpoint(
    config: CanaryConfig,
    archive: Path,
    predictions_file: Path,
    data_folder: Path,
    *,
    instance: Path,
) -> dict[str, Any]:
    """Post stored bytes of held-out images and compare the answers with saved predictions.

    Args:
        config: Number of samples and tolerances.
        archive: The model archive.
        predictions_file: Saved predictions of the test split.
        data_folder: Data version of the predictions.
        instance: Folder of the TorchServe instance.

    Returns:
        The canary's result as plain values, with ``passed`` and ``summary``.
    """
    predictions = Predictions.read(predictions_file)
    rows = Annotations.read(data_folder / "annotations.parquet").split(predictions.info.split)
    count = min(config.samples, len(predictions))
    chosen = np.linspace(0, len(predictions) - 1, count).astype(int)
    reader = ShardReader(data_folder / "shards")
    samples, expected = {}, {}
    for index in chosen:
        name = str(predictions.sample_id[index])
        sample = samples[name] = _stored_sample(rows, rows.row_of[name], reader)
        assert sample.box is not None
        assert sample.camera is not None
        expected[name] = BodyEstimate(
            joints3d_mm=predictions.joints3d_mm[index],
            root_mm=predictions.root_mm[index],
            joints2d_px=predictions.joints2d_px[index],
            confidence=predictions.confidence[index],
            theta=predictions.theta[index],
            betas=predictions.betas[index],
            box_xyxy=sample.box,
            camera=sample.camera,
            model_version=predictions.info.model_version,
        )
    with TorchServe(instance) as server:
        server.register(archive)
        with server.client(read_archive(archive).name) as client:
            result = check_endpoint(
                client,
                samples,
                expected,
                joints_tolerance_mm=config.joints_tolerance_mm,
                theta_tolerance_rad=config.theta_tolerance_rad,
                betas_tolerance=config.betas_tolerance,
            )
    # The stage's result holds the archive; the served copy is not needed.
    shutil.rmtree(server.store, ignore_errors=True)
    return {**result.to_json(), "summary": result.summary}


def _stored_sample(rows: Annotations, row: int, reader: ShardReader) -> CanarySample:
    """Stored bytes of a row's image, with the annotated box and, if known, the camera."""
    left, top, right, bottom = rows.box_xyxy[row].tolist()
    fx, fy, cx, cy = rows.camera[row].tolist()
    name = str(rows.sample_id[row])
    return CanarySample(
        image=reader.jpeg(rows.shard[row], int(rows.shard_row[row]), name),
        box=(left, top, right, bottom),
        camera=Camera(fx=fx, fy=fy, cx=cx, cy=cy) if rows.camera_valid[row] else None,
    )
