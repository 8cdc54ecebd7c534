"""Compute the figures of a block of samples under a protocol.

Shapes: B samples of a block, J joints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hemlets.core.arrays import Array, Float
from hemlets.core.skeleton import N_PARTS, Joint, depth_relations
from hemlets.evaluation.metrics import joints as metrics
from hemlets.evaluation.metrics.alignment import checked
from hemlets.evaluation.metrics.definitions import PIXELS, ROTATIONS, SEGMENTS, SURFACE
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.metrics.units import check_millimetres
from hemlets.evaluation.predictions import Predictions, PredictionsInfo
from hemlets.evaluation.protocols.protocol import Measure

if TYPE_CHECKING:
    from hemlets.body import BodyModel

PCK_THRESHOLDS = {"pckh50_pct": 0.5, "pck20_torso_pct": 0.2}
"""Share of the reference length: head segment (PCKh@0.5), torso (PCK@0.2)."""

_ALIGNED = {"pa_mpjpe_mm": "similarity", "rigid_mpjpe_mm": "rigid"}
_FITTED = {**_ALIGNED, "mesh_pa_mpjpe_mm": "similarity"}


def metric_name(
    measure: Measure,
    samples: str,
    info: PredictionsInfo,
    *,
    n_vertices: int | None = None,
    n_rotations: int | None = None,
) -> MetricName:
    """Build a measure's full name.

    Args:
        measure: The measure.
        samples: Name of the split or protocol that chose the samples.
        info: Provenance of the predictions.
        n_vertices: Vertices of the body, for a surface.
        n_rotations: Rotations in a mean of rotations; depends on the samples.
    """
    align = _FITTED.get(measure.key, "none")
    root = "centroid" if measure.key in _FITTED else "pelvis"
    over = measure.joints
    if measure.key in PIXELS | SEGMENTS | ROTATIONS | {"root_mm"}:
        root = "none"
    if measure.key in SEGMENTS:
        over = "pixels"
    if measure.key == "root_mm":
        over = "pelvis"
    if measure.key == "relations_right_pct":
        over, root = f"{N_PARTS}p", "none"
    if measure.key == "per_vertex_mm":
        over = f"{n_vertices}v"
    if measure.key in ROTATIONS:
        over = f"{n_rotations}r"
    return MetricName(
        key=measure.key,
        split=samples,
        over=over,
        root=root,
        align=align,
        box=info.box_source,
        depth=info.depth_source,
        flip="yes" if info.flip_test else "no",
    )


def measurable(measure: Measure, info: PredictionsInfo, body: BodyModel | None) -> str | None:
    """Return why these predictions don't allow a measure; None if they do."""
    absent = set(info.absent)
    if measure.key in SURFACE | SEGMENTS:
        if {"theta", "betas"} & absent:
            return "the predictions have no θ and β"
        if measure.key in SEGMENTS and "root_mm" in absent:
            return "the predictions have no position of the pelvis"
        return "no body model was given" if body is None else None
    if measure.key in ROTATIONS:
        return "the predictions have no θ" if "theta" in absent else None
    if measure.key == "root_mm":
        return "the predictions have no position of the pelvis" if "root_mm" in absent else None
    if measure.key in PIXELS:
        return "the predictions have no 2D joints" if "joints2d_px" in absent else None
    return "the predictions have no 3D joints" if "joints3d_mm" in absent else None


def joint_errors_mm(
    predicted: Predictions, true: Mapping[str, Array], *, file: Path | None = None
) -> Float:
    """Compute errors of all 18 joints with the pelvis at the origin, (B, 18) millimetres.

    Raises:
        DataError: Lengths are not millimetres, or a joint is not finite; samples are named.
    """
    pose, joints, known = checked(predicted.joints3d_mm, true["joints3d_mm"], true["valid3d"])
    valid = known & known[:, Joint.PELVIS, None]
    true_pose = np.where(valid[..., None], joints - joints[:, Joint.PELVIS, None], 0.0)
    check_millimetres(pose, true_pose, valid, predicted.sample_id, file=file)
    return metrics.root_aligned_errors_mm(pose, joints, known)


def measure_block(
    measures: tuple[Measure, ...],
    predicted: Predictions,
    true: Mapping[str, Array],
    joint_errors_BJ: Float,
) -> dict[str, Float]:
    """Compute figures of joints, (B,) by key; rotations, surfaces and masks are computed elsewhere.

    Args:
        measures: Measures of joints in 3D or 2D.
        predicted: B samples.
        true: Annotation columns of the same samples.
        joint_errors_BJ: All 18 joint errors, pelvis at the origin, millimetres.
    """
    found: dict[str, Float] = {}
    fits: dict[str, dict[str, Float]] = {}
    for measure in measures:
        joints = list(JOINT_SETS[measure.joints])
        errors = joint_errors_BJ.T[joints].T
        if measure.key == "mpjpe_mm":
            found[measure.key] = metrics.mean_over_joints(errors)
        elif measure.key == "depth_mm":
            depths = _depth_errors_mm(predicted, true)[:, joints]
            found[measure.key] = metrics.mean_over_joints(depths)
        elif measure.key == "relations_right_pct":
            found[measure.key] = _relations_right_pct(predicted, true)
        elif measure.key == "pck3d_150mm_pct":
            found[measure.key] = metrics.pck_pct(errors)
        elif measure.key == "auc3d_150mm_pct":
            found[measure.key] = metrics.auc_pct(errors)
        elif measure.key in _ALIGNED:
            if measure.joints not in fits:
                # One fit gives both.
                pair = metrics.aligned_mpjpe_mm(
                    *(
                        _of_joints(pose, joints)
                        for pose in (predicted.joints3d_mm, true["joints3d_mm"], true["valid3d"])
                    )
                )
                fits[measure.joints] = dict(zip(_ALIGNED, pair, strict=True))
            found[measure.key] = fits[measure.joints][measure.key]
        elif measure.key == "root_mm":
            pelvis, known = (true[n][:, Joint.PELVIS] for n in ("joints3d_mm", "valid3d"))
            gap = np.linalg.norm(predicted.root_mm - pelvis.astype(np.float64), axis=-1)
            found[measure.key] = np.where(known, gap, np.nan)
        elif measure.key == "joints2d_px":
            ours = predicted.joints2d_px[:, joints].astype(np.float64)
            error = np.linalg.norm(ours - true["joints2d_px"][:, joints], axis=-1)
            known = true["valid2d"][:, joints]
            found[measure.key] = metrics.mean_over_joints(np.where(known, error, np.nan))
        elif measure.key in PIXELS:
            found[measure.key] = pck2d_pct(
                predicted.joints2d_px[:, joints],
                true["joints2d_px"][:, joints],
                true["valid2d"][:, joints],
                reference_px=_reference_px(measure.key, true),
                share=PCK_THRESHOLDS[measure.key],
            )
        elif measure.key not in SURFACE | SEGMENTS | ROTATIONS:
            raise NotImplementedError(f"{measure.key} has a definition, but nothing measures it")
    return found


def _depth_errors_mm(predicted: Predictions, true: Mapping[str, Array]) -> Float:
    """Compute errors of depth relative to the pelvis, (B, 18); NaN without a truth."""
    pose, joints, known = checked(predicted.joints3d_mm, true["joints3d_mm"], true["valid3d"])
    ours, truth = (p[..., 2] - p[:, Joint.PELVIS, None, 2] for p in (pose, joints))
    known = known & known[:, Joint.PELVIS, None]
    return np.asarray(np.where(known, np.abs(ours - truth), np.nan))


def _relations_right_pct(predicted: Predictions, true: Mapping[str, Array]) -> Float:
    """Compute the share of parts with correct depth relation, equation (1), (B,)."""
    relation, known = depth_relations(true["joints3d_mm"].astype(np.float64), true["valid3d"])
    right = depth_relations(predicted.joints3d_mm.astype(np.float64))[0] == relation
    return np.asarray(100.0 * metrics.mean_over_joints(np.where(known, right, np.nan)))


def _of_joints(values_BJ: Array, joints: list[int]) -> Array:
    """Select joints; samples stay contiguous in memory, as from ``checked``."""
    return np.asarray(values_BJ.T[..., joints, :].T)


def pck2d_pct(
    predicted_BJ2: Array, true_BJ2: Array, valid_BJ: Array, *, reference_px: Array, share: float
) -> Float:
    """Compute the share of 2D joints within a share of a reference length, (B,) per cent.

    A joint exactly at the threshold counts (MPII's ``evalMPII``). NaN without a reference length.

    Args:
        predicted_BJ2: Pixels.
        true_BJ2: Pixels.
        valid_BJ: Annotated joints.
        reference_px: (B,) head segment or torso; 0 or NaN where unknown.
        share: Share of the reference length.
    """
    error = np.linalg.norm(np.asarray(predicted_BJ2, np.float64) - true_BJ2, axis=-1)
    reference = np.asarray(reference_px, np.float64)[:, None]
    counts = np.asarray(valid_BJ, bool) & (reference > 0)
    hit = np.where(counts, error <= share * np.nan_to_num(reference), np.nan)
    return np.asarray(100.0 * metrics.mean_over_joints(hit))


def _reference_px(key: str, true: Mapping[str, Array]) -> Float:
    if key == "pckh50_pct":
        return np.asarray(true["head_px"], np.float64)
    ends = [Joint.LEFT_SHOULDER, Joint.RIGHT_HIP]
    pair = true["joints2d_px"][:, ends].astype(np.float64)
    length = np.linalg.norm(pair[:, 0] - pair[:, 1], axis=-1)
    return np.asarray(np.where(true["valid2d"][:, ends].all(1), length, 0.0))
