"""Predictions against annotations: every metric of every sample, and its summary."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hemlets.annotations import Annotations
from hemlets.errors import DataError
from hemlets.evaluation import metrics
from hemlets.evaluation.bootstrap import RESAMPLES
from hemlets.evaluation.names import MetricName
from hemlets.evaluation.predictions import Predictions
from hemlets.evaluation.samples import SampleScores
from hemlets.evaluation.scores import Scores, summarise
from hemlets.evaluation.surface import BLOCK, mesh_errors_mm
from hemlets.evaluation.units import check_millimetres
from hemlets.evaluation.wording import some
from hemlets.skeleton import N_JOINTS, Joint

if TYPE_CHECKING:
    from hemlets.body import BodyModel

__all__ = ["BLOCK", "STRETCH_FRAMES", "score", "score_samples"]

STRETCH_FRAMES = 15
"""Frames of a stretch: a quarter to a whole second at the open clips' 16 to 60 a second."""

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


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
        resamples: draws of stretches for each interval.
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
    found: dict[MetricName, Float] = {}
    unknown = np.full(len(annotations), np.nan)
    joint_errors = np.full((len(annotations), N_JOINTS), np.nan)
    rotations = np.full((len(annotations), 24), np.nan)

    def add(key: str, values: Float, *, over: str, root: str, align: str = "none") -> None:
        name = MetricName(
            key=key,
            split=info.split,
            over=over,
            root=root,
            align=align,
            box=info.box_source,
            depth=info.depth_source,
            flip="yes" if info.flip_test else "no",
        )
        found[name] = values

    true = annotations.joints3d_mm.astype(np.float64)
    valid = annotations.valid3d
    if "joints3d_mm" not in absent:
        pose = predicted.joints3d_mm.astype(np.float64)
        rooted = valid & valid[:, Joint.PELVIS, None]
        true_pose = np.where(rooted[..., None], true - true[:, Joint.PELVIS, None], 0.0)
        check_millimetres(pose, true_pose, rooted, annotations.sample_id)
        joint_errors = metrics.root_aligned_errors_mm(pose, true, valid)
        no_root = np.delete(joint_errors, Joint.PELVIS, axis=1)
        add("mpjpe_mm", metrics.mean_over_joints(joint_errors), over="18j", root="pelvis")
        add("pa_mpjpe_mm", metrics.pa_mpjpe_mm(pose, true, valid),
            over="18j", root="centroid", align="similarity")  # fmt: skip
        add("rigid_mpjpe_mm", metrics.rigid_mpjpe_mm(pose, true, valid),
            over="18j", root="centroid", align="rigid")  # fmt: skip
        add("pck3d_150mm_pct", metrics.pck_pct(no_root), over="17j-no-pelvis", root="pelvis")
        add("auc3d_150mm_pct", metrics.auc_pct(no_root), over="17j-no-pelvis", root="pelvis")
    if "root_mm" not in absent:
        gap = np.linalg.norm(predicted.root_mm - true[:, Joint.PELVIS], axis=-1)
        add("root_mm", np.where(valid[:, Joint.PELVIS], gap, np.nan), over="pelvis", root="none")
    if "joints2d_px" not in absent:
        offset = np.linalg.norm(predicted.joints2d_px - annotations.joints2d_px, axis=-1)
        offset = np.where(annotations.valid2d, offset.astype(np.float64), np.nan)
        add("joints2d_px", metrics.mean_over_joints(offset), over="18j", root="none")
    known = np.flatnonzero(annotations.smpl_valid)
    if "theta" not in absent:
        over, mean = "24r", unknown.copy()
        if known.size:
            truth = annotations.theta[known]
            moving = metrics.moving_joints(truth) if known.size > 1 else np.ones(24, bool)
            rotations[known] = np.degrees(
                metrics.rotation_errors_rad(predicted.theta[known], truth)
            )
            over, mean = f"{moving.sum()}r", metrics.mean_over_joints(rotations[:, moving])
        add("theta_deg", mean, over=over, root="none")
    if body is not None and not {"theta", "betas"} & absent:
        surface, joints = unknown.copy(), unknown.copy()
        surface[known], joints[known] = mesh_errors_mm(
            body,
            (predicted.theta[known], predicted.betas[known]),
            (annotations.theta[known], annotations.betas[known]),
            block=block,
            progress=progress,
        )
        over = f"{body.n_vertices}v"
        add("per_vertex_mm", surface, over=over, root="pelvis")
        add("mesh_joints_mm", joints, over="18j", root="pelvis")
    return SampleScores(
        info=info,
        names=tuple(found),
        sample_id=annotations.sample_id,
        stretch=_stretches(annotations),
        family=annotations.family,
        truncated_joints=annotations.truncated.sum(1).astype(np.int64),
        visible_joints=annotations.visible.sum(1).astype(np.int64),
        values=np.stack(list(found.values()), 1) if found else unknown[:, :0],
        joint_errors_mm=joint_errors,
        rotation_errors_deg=rotations,
    )


def _stretches(annotations: Annotations) -> npt.NDArray[np.object_]:
    """The unit that is resampled: some frames in a row of a clip.

    Whole clips would be more careful, but a split of motion families holds two or three; body,
    camera and scene differ by sample anyway. A mixture counts with the clip that its frame is of.
    """
    block = annotations.frame // STRETCH_FRAMES
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
        what = [f"{len(missing)} samples have no prediction ({some(missing)})"] if missing else []
        what += [f"{len(extra)} predictions are of no such sample ({some(extra)})"] if extra else []
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
