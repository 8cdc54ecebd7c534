"""Predict a data version's split into a predictions file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from hemlets.body import BodyModel
from hemlets.core.errors import DataError
from hemlets.core.process_setup import return_unused_memory
from hemlets.core.skeleton import Joint
from hemlets.core.wording import counted, truncate_list
from hemlets.data.table import Annotations, ShardReader, stored_images
from hemlets.evaluation.predictions import Predictions, PredictionsInfo
from hemlets.evaluation.protocols.oracle_inputs import PUT_IN
from hemlets.inference.predictor import Predictor
from hemlets.inference.types import BodyEstimate, Camera, PredictionRequest
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.codecs.decode import metric_joints, undistorted_px

RootDepth = Literal["bones", "truth"]
"""Source of the pelvis' distance: lengths of predicted parts, or the annotation."""

DEPTH_SOURCES: Final[dict[RootDepth, str]] = {
    "bones": "bone-length-prior",
    "truth": "ground-truth-root",
}
"""Name of the source in a full metric name."""

PutIn = Literal["pose", "shape"]
"""Part of the true body that replaces the prediction."""

REFINED: Final = "+smplify"
"""Suffix of a model version whose bodies were refined."""

_BLOCK: Final = 32


def predict_rows(
    predictor: Predictor,
    rows: Annotations,
    shards: Path,
    progress: Callable[[int], None] | None = None,
) -> list[BodyEstimate]:
    """Predict annotated rows; only a few images are decoded at a time.

    Args:
        predictor: The model.
        rows: Rows with boxes and, where known, cameras; both are used.
        shards: Folder of the data version's images.
        progress: Called with the number of newly predicted rows.

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
        return_unused_memory()
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
    put_in: PutIn | None = None,
    refine: bool = False,
    body: BodyModel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predict the people of one split, each in the annotated box and with the annotated camera.

    Oracle inputs (``root_depth``, ``put_in``) are part of every figure's name; no promotion uses
    them.

    Args:
        predictor: The model.
        rows: At least one row, all of one split.
        shards: Folder of the data version's images.
        data_version: Name of the data version.
        code_version: Version of this code.
        root_depth: ``truth`` places every predicted skeleton at the pelvis' annotated distance, as
            some published figures do: only the error of the pose remains.
        put_in: Replaces the predicted pose θ or shape β by the true one (the paper's Table 8).
        refine: Fit the body to the predicted joints (SMPLify: the paper's “Ours*”); the model's
            version gets the suffix ``+smplify``.
        body: Body model of θ and β for the fit; the open body by default.
        progress: Called with the number of predicted rows and of all rows.

    Raises:
        DataError: An image is not where the row says, or a row lacks an oracle's truth.
        InputError: An image can't be decoded; names the sample.
    """
    if root_depth == "truth":
        _require_roots(rows)
    if put_in is not None:
        _require_bodies(rows, put_in)
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, len(rows))

    estimates = predict_rows(predictor, rows, shards, count)
    estimates = without_distortion(estimates, rows, predictor.card.bones)
    if root_depth == "truth":
        depths_mm = rows.joints3d_mm[:, Joint.PELVIS, 2].tolist()
        estimates = [at_root_depth(e, mm) for e, mm in zip(estimates, depths_mm, strict=True)]
    version = predictor.version
    if refine:
        from hemlets.inference.refine import Refiner

        version += REFINED
        refined = Refiner(body or BodyModel.load()).refine(estimates)
        estimates = [replace(estimate, model_version=version) for estimate in refined]
    if put_in is not None:
        estimates = _with_truth(estimates, rows, put_in)
    info = PredictionsInfo(
        model_version=version,
        data_version=data_version,
        split=str(rows.column("split")[0]),
        precision=predictor.precision,
        depth_source=DEPTH_SOURCES[root_depth] + (PUT_IN[put_in] if put_in else ""),
        box_source="ground-truth",
        flip_test=predictor.card.flip_test,
        code_version=code_version,
    )
    return Predictions.from_estimates(list(rows.sample_id), estimates, info)


def _with_truth(
    estimates: Sequence[BodyEstimate], rows: Annotations, put_in: PutIn
) -> list[BodyEstimate]:
    """Replace the predicted θ or β by the rows' true ones."""
    field, truth = ("theta", rows.theta) if put_in == "pose" else ("betas", rows.betas)
    return [
        replace(estimate, **{field: value.astype(np.float32)})
        for estimate, value in zip(estimates, truth, strict=True)
    ]


def without_distortion(
    estimates: Sequence[BodyEstimate], rows: Annotations, bones: BoneLengths
) -> list[BodyEstimate]:
    """Move joints in space onto the rays of the distorted lens.

    A predicted pixel is one of the stored image. Where the dataset states the lens' distortion,
    the ray through that pixel is found by undoing it; joints in the image stay as they are.

    Args:
        estimates: Estimates of the rows, in their order.
        rows: Rows with cameras and distortion coefficients.
        bones: Lengths of the predicted parts, which determine the distance.
    """
    distortion = rows.column("distortion")
    result = list(estimates)
    for row in np.flatnonzero(distortion.any(1) & rows.camera_valid):
        estimate, own = estimates[int(row)], slice(row, row + 1)
        camera = rows.camera[own].astype(np.float64)
        straight = undistorted_px(estimate.joints2d_px[None], camera, distortion[own])
        depth_mm = estimate.joints3d_mm[None, :, 2].astype(np.float64)
        joints, root = metric_joints(straight, depth_mm, camera, bones)
        result[int(row)] = replace(
            estimate, joints3d_mm=joints[0].astype(np.float32), root_mm=root[0].astype(np.float32)
        )
    return result


def at_root_depth(estimate: BodyEstimate, root_depth_mm: float) -> BodyEstimate:
    """Place the pelvis at a depth; 2D joints and relative depths stay."""
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


def _require_bodies(rows: Annotations, put_in: PutIn) -> None:
    unknown = np.flatnonzero(~rows.smpl_valid)
    if unknown.size:
        raise DataError(
            f"{counted(unknown.size, 'sample has', 'samples have')} no true body",
            where=truncate_list(rows.sample_id[unknown]),
            expected=f"θ and β in each row, where the true {put_in} is put in",
            remedy="choose a dataset with bodies, such as 3DPW",
        )


def _box(rows: Annotations, row: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = rows.box_xyxy[row].tolist()
    return left, top, right, bottom


def _camera(rows: Annotations, row: int) -> Camera | None:
    if not rows.camera_valid[row]:
        return None
    fx, fy, cx, cy = rows.camera[row].tolist()
    return Camera(fx=fx, fy=fy, cx=cx, cy=cy)
