"""Predictions of a data version's split, as the file that every scoring starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.core.wording import counted, truncate_list
from hemlets.data.table import Annotations, ShardReader, stored_images
from hemlets.evaluation.predictions import Predictions, PredictionsInfo
from hemlets.inference.predictor import Predictor
from hemlets.inference.types import BodyEstimate, Camera, PredictionRequest

RootDepth = Literal["bones", "truth"]
"""Where the pelvis' distance comes from: the lengths of predicted parts, or the annotation."""

DEPTH_SOURCES: Final[dict[RootDepth, str]] = {
    "bones": "bone-length-prior",
    "truth": "ground-truth-root",
}
"""What a metric's whole name says of it."""

_BLOCK: Final = 32


def predict_rows(
    predictor: Predictor,
    rows: Annotations,
    shards: Path,
    progress: Callable[[int], None] | None = None,
) -> list[BodyEstimate]:
    """Predict annotated rows, with a few images decoded at a time however many rows there are.

    Args:
        predictor: The model.
        rows: With boxes and, where known, cameras, which are used.
        shards: Folder of the data version's images.
        progress: Called with how many more rows were predicted.

    Raises:
        DataError: An image is not where the row says.
        InputError: An image can't be decoded; names the sample.
    """
    reader = ShardReader(shards)
    estimates: list[BodyEstimate] = []
    for start in range(0, len(rows), _BLOCK):
        block = range(start, min(start + _BLOCK, len(rows)))
        images = stored_images(rows, block, reader)
        estimates += predictor.predict(
            [
                PredictionRequest(
                    image_HW3=image, box_xyxy=_box(rows, row), camera=_camera(rows, row)
                )
                for row, image in zip(block, images, strict=True)
            ]
        )
        if progress is not None:
            progress(len(block))
    return estimates


def predict_split(
    predictor: Predictor,
    rows: Annotations,
    shards: Path,
    *,
    data_version: str,
    code_version: str,
    root_depth: RootDepth = "bones",
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predict people of one split, each in the annotated box and with the annotated camera.

    Args:
        predictor: The model.
        rows: Of one split, at least one.
        shards: Folder of the data version's images.
        data_version: Of which they are.
        code_version: That predicts.
        root_depth: ``truth`` sets every predicted skeleton at the pelvis' annotated distance, as
            some published figures have it: what is left is the error of the pose. No photo tells
            that distance, so that all that is scored from the file says so in its name, and no
            promotion is decided by it.
        progress: Told how many of how many rows are done.

    Raises:
        DataError: An image is not where the row says; or the true distance is asked for and a row
            knows none, or no camera.
        InputError: An image can't be decoded; names the sample.
    """
    if root_depth == "truth":
        _require_roots(rows)
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, len(rows))

    estimates = predict_rows(predictor, rows, shards, count)
    if root_depth == "truth":
        depths_mm = rows.joints3d_mm[:, Joint.PELVIS, 2].tolist()
        estimates = [at_root_depth(e, mm) for e, mm in zip(estimates, depths_mm, strict=True)]
    info = PredictionsInfo(
        model_version=predictor.version,
        data_version=data_version,
        split=str(rows.column("split")[0]),
        precision=predictor.precision,
        depth_source=DEPTH_SOURCES[root_depth],
        box_source="ground-truth",
        flip_test=predictor.card.flip_test,
        code_version=code_version,
    )
    return Predictions.from_estimates(list(rows.sample_id), estimates, info)


def at_root_depth(estimate: BodyEstimate, root_depth_mm: float) -> BodyEstimate:
    """The same joints in the image and the same relative depths, the pelvis so far away."""
    camera = estimate.camera
    rays_J2 = (estimate.joints2d_px.astype(np.float64) - (camera.cx, camera.cy)) / (
        camera.fx,
        camera.fy,
    )
    depth_J1 = np.maximum(root_depth_mm + estimate.joints3d_mm[:, [2]].astype(np.float64), 1.0)
    joints_J3 = np.concatenate([rays_J2 * depth_J1, depth_J1], -1)
    root_3 = joints_J3[Joint.PELVIS]
    return replace(
        estimate,
        joints3d_mm=(joints_J3 - root_3).astype(np.float32),
        root_mm=root_3.astype(np.float32),
    )


def _require_roots(rows: Annotations) -> None:
    unknown = np.flatnonzero(~(rows.valid3d[:, Joint.PELVIS] & rows.camera_valid))
    if unknown.size:
        raise DataError(
            f"{counted(unknown.size, 'sample knows', 'samples know')} no distance of the pelvis, "
            "or no camera",
            where=truncate_list(rows.sample_id[unknown]),
            expected="a pelvis in 3D and a camera in each row, where the true distance is given",
            remedy="let the lengths of the bones tell the distance (--root-depth bones)",
        )


def _box(rows: Annotations, row: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = rows.box_xyxy[row].tolist()
    return left, top, right, bottom


def _camera(rows: Annotations, row: int) -> Camera | None:
    if not rows.camera_valid[row]:
        return None
    fx, fy, cx, cy = rows.camera[row].tolist()
    return Camera(fx=fx, fy=fy, cx=cx, cy=cy)
