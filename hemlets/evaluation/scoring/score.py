"""Predictions against annotations: every metric of every sample, and its summary."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError
from hemlets.core.skeleton import N_JOINTS
from hemlets.core.wording import counted, some
from hemlets.data.table import Annotations
from hemlets.evaluation.intervals import RESAMPLES
from hemlets.evaluation.metrics import joints as metrics
from hemlets.evaluation.metrics.measures import (
    joint_errors_mm,
    measurable,
    measure_block,
    metric_name,
)
from hemlets.evaluation.metrics.rotations import pose_errors_deg, turning_joints
from hemlets.evaluation.metrics.surface import BLOCK, mesh_errors_mm
from hemlets.evaluation.predictions import Predictions
from hemlets.evaluation.protocols.protocol import Measure
from hemlets.evaluation.scoring.samples import SampleScores
from hemlets.evaluation.scoring.scores import Scores, summarise

if TYPE_CHECKING:
    from hemlets.body import BodyModel

__all__ = ["BLOCK", "SEQUENCE_FRAMES", "score", "score_samples", "sequences"]

SEQUENCE_FRAMES = 15
"""Frames of a sequence: a quarter to a whole second at the open clips' 16 to 60 a second."""

MEASURES: Final = (
    Measure(key="mpjpe_mm"),
    Measure(key="pa_mpjpe_mm"),
    Measure(key="rigid_mpjpe_mm"),
    Measure(key="pck3d_150mm_pct", joints="17j-no-pelvis"),
    Measure(key="auc3d_150mm_pct", joints="17j-no-pelvis"),
    Measure(key="root_mm"),
    Measure(key="joints2d_px"),
)
"""What every split is measured by, by the code that measures the protocols."""

ROTATION_MEASURES: Final = (Measure(key="theta_deg"), Measure(key="theta_rest_deg"))
BODY_MEASURES: Final = (Measure(key="per_vertex_mm"), Measure(key="mesh_joints_mm"))

_TRUTH: Final = ("joints3d_mm", "valid3d", "joints2d_px", "valid2d")


def score(
    predictions: Predictions,
    annotations: Annotations,
    *,
    body: BodyModel | None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score predictions of exactly these annotated samples.

    Args:
        predictions: in any order.
        annotations: the truth; scores come in its order.
        body: for the errors of the surface; without it those are left out.
        resamples: draws of sequences for each interval.
        seed: of the draws.
        progress: called with the bodies posed so far and their number.

    Raises:
        DataError: Samples are missing, too many or twice; another split than the predictions say;
            lengths that are not millimetres; predictions that are not finite.
    """
    samples = score_samples(predictions, annotations, body=body, progress=progress)
    return summarise(samples, resamples=resamples, seed=seed)


def score_samples(
    predictions: Predictions,
    annotations: Annotations,
    *,
    body: BodyModel | None,
    progress: Callable[[int, int], None] | None = None,
    block: int = BLOCK,
) -> SampleScores:
    """The table behind :func:`score`, without its summary; same errors.

    Args:
        predictions: in any order.
        annotations: the truth; scores come in its order.
        body: for the errors of the surface; without it those are left out.
        progress: called with the bodies posed so far and their number.
        block: bodies posed at a time.
    """
    predicted = _in_order(predictions, annotations)
    info, absent = predictions.info, set(predictions.info.absent)
    rows = len(annotations)
    unknown = np.full(rows, np.nan)
    joint_errors, rotations = np.full((rows, N_JOINTS), np.nan), np.full((rows, 24), np.nan)
    true = {name: annotations.column(name) for name in _TRUTH}
    if "joints3d_mm" not in absent:
        joint_errors = joint_errors_mm(predicted, true)
    measures = tuple(m for m in MEASURES if measurable(m, info, body) is None)
    by_key = measure_block(measures, predicted, true, joint_errors)
    found = {metric_name(m, info.split, info): by_key[m.key] for m in measures}
    known = np.flatnonzero(annotations.smpl_valid)
    if "theta" not in absent:
        truth = annotations.theta[known]
        moving = turning_joints(truth)
        pair = pose_errors_deg(predicted.theta[known], truth, moving)
        for measure, values in zip(ROTATION_MEASURES, pair, strict=True):
            name = metric_name(measure, info.split, info, n_rotations=int(moving.sum()))
            found[name] = unknown.copy()
            found[name][known] = values
        rotations[known] = np.degrees(metrics.rotation_errors_rad(predicted.theta[known], truth))
    bodies = tuple(m for m in BODY_MEASURES if measurable(m, info, body) is None)
    if body is not None and bodies:
        errors = mesh_errors_mm(
            body,
            (predicted.theta[known], predicted.betas[known]),
            (annotations.theta[known], annotations.betas[known]),
            block=block,
            progress=progress,
        )
        for measure, values in zip(bodies, errors, strict=True):
            name = metric_name(measure, info.split, info, n_vertices=body.n_vertices)
            found[name] = unknown.copy()
            found[name][known] = values
    return SampleScores(
        info=info,
        names=tuple(found),
        sample_id=annotations.sample_id,
        sequence=sequences(annotations),
        family=annotations.family,
        truncated_joints=annotations.truncated.sum(1).astype(np.int64),
        visible_joints=annotations.visible.sum(1).astype(np.int64),
        values=np.stack(list(found.values()), 1) if found else unknown[:, :0],
        joint_errors_mm=joint_errors,
        rotation_errors_deg=rotations,
    )


def sequences(annotations: Annotations) -> npt.NDArray[np.object_]:
    """The unit that is resampled: some frames in a row of a clip.

    Whole clips would be more careful, but a split of motion families holds two or three; body,
    camera and scene differ by sample anyway. A mixture counts with the clip that its frame is of.
    """
    block = annotations.frame // SEQUENCE_FRAMES
    names = [
        f"{clip.partition('+')[0]}@{number}"
        for clip, number in zip(annotations.clip, block, strict=True)
    ]
    return np.array(names, object)


def _in_order(predictions: Predictions, annotations: Annotations) -> Predictions:
    if not len(annotations):
        raise DataError("there are no samples to score", where=f"split {predictions.info.split}")
    names, count = np.unique(annotations.sample_id.astype(str), return_counts=True)
    if (count > 1).any():
        raise DataError(
            "samples are annotated more than once",
            where=some(names[count > 1]),
            expected="one row a sample",
        )
    row_of = {str(name): row for row, name in enumerate(predictions.sample_id)}
    missing = [str(name) for name in annotations.sample_id if str(name) not in row_of]
    extra = sorted(set(row_of) - set(names.tolist()))
    if missing or extra:
        what = []
        if missing:
            have = counted(len(missing), "sample has", "samples have")
            what.append(f"{have} no prediction ({some(missing)})")
        if extra:
            are = counted(len(extra), "prediction is", "predictions are")
            what.append(f"{are} of no such sample ({some(extra)})")
        raise DataError(
            "; ".join(what),
            where=f"predictions of {predictions.info.model_version}",
            expected="exactly one prediction for each annotated sample",
            remedy="predict this split of this data version again",
        )
    splits = sorted(set(annotations.column("split")) - {predictions.info.split})
    if splits:
        raise DataError(
            f"the annotations hold rows of split {', '.join(splits)}",
            where=f"predictions of {predictions.info.model_version}",
            expected=f"rows of split {predictions.info.split} only",
        )
    return predictions.take(np.array([row_of[str(name)] for name in annotations.sample_id]))
