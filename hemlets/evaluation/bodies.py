"""Evaluate predicted bodies: the paper's Table 8, refinement, and baselines.

All rows of a study have the same samples and the same body model as the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch

from hemlets.body import BodyModel
from hemlets.body.study import body_error, mean_shape_on_skeletons, study_rows
from hemlets.core.arrays import Bool, Float, Floating, Int64, Objects
from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.core.wording import counted
from hemlets.data.table import Annotations
from hemlets.evaluation.baselines import MeanPose
from hemlets.evaluation.intervals import (
    RESAMPLES,
    Interval,
    PairedRatio,
    Resampler,
    paired_ratio,
)
from hemlets.evaluation.metrics.joints import mean_over_joints, mpjpe_mm
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.metrics.rotations import pose_errors_deg, turning_joints
from hemlets.evaluation.predictions import PredictionsInfo
from hemlets.evaluation.protocols import split_protocol
from hemlets.evaluation.scoring.truth import Truth
from hemlets.inference.refine import Refiner
from hemlets.inference.types import BodyEstimate

Shape = tuple[torch.Tensor, torch.Tensor]
"""θ (N, 24, 3) as axis-angles and β (N, K)."""


class BodyRow(StrEnum):
    """A row of the study: the source of its bodies."""

    SKELETON = "predicted skeleton"
    PREDICTED = "predicted"
    REFINED = "refined"
    TRUE_SHAPE = "true shape"
    TRUE_POSE = "true pose"
    MEAN_SHAPE = "mean shape with the predicted pose"
    LAID = "mean shape on the predicted skeleton"
    RESTING = "rest pose turned as the truth with mean shape"
    MEAN_PERSON = "mean pose and shape"
    REST = "rest pose"


@dataclass(frozen=True, kw_only=True, eq=False)
class BodyStudy:
    """Errors of bodies by row, metric and sample.

    Attributes:
        figures: (N,) values by row and metric; NaN where a sample has none.
        sequence_N: Motion sequence of each sample.
    """

    figures: dict[tuple[BodyRow, MetricName], Float]
    sequence_N: Objects

    def __len__(self) -> int:
        return len(self.sequence_N)

    def of(self, row: BodyRow, key: str) -> Float:
        """Return a row's values of a metric.

        Raises:
            DataError: The row has no such metric.
        """
        for (found, name), values in self.figures.items():
            if found == row and name.key == key:
                return values
        raise DataError(f"the study has no {key} of the row {row!r}", expected="a measured row")

    def intervals(
        self, *, resamples: int = RESAMPLES
    ) -> dict[tuple[BodyRow, MetricName], Interval]:
        """Compute means with bootstrap intervals over sequences."""
        resampler = Resampler(self.sequence_N.astype(str), resamples=resamples)
        return {which: resampler.mean(values) for which, values in self.figures.items()}

    def change(
        self, row: BodyRow, other: BodyRow, key: str, *, resamples: int = RESAMPLES
    ) -> PairedRatio:
        """Compute the relative change of a row's mean from another row's, on the same samples.

        Raises:
            DataError: Fewer than two sequences, or a row has no such metric.
        """
        return paired_ratio(
            self.of(row, key), self.of(other, key), self.sequence_N, resamples=resamples
        )


def pick_bodies(rows: Annotations, most: int) -> Int64:
    """Pick at most ``most`` rows, evenly spaced over those with known body, joints and camera."""
    whole = rows.smpl_valid & rows.camera_valid & rows.valid3d.all(1) & rows.valid2d.any(1)
    known = np.flatnonzero(whole)
    count = min(len(known), most)
    return known[np.linspace(0, len(known) - 1, count).astype(np.int64)]


def study_bodies(
    body: BodyModel,
    estimates: Sequence[BodyEstimate],
    rows: Annotations,
    mean: MeanPose,
    info: PredictionsInfo,
) -> BodyStudy:
    """Evaluate predicted bodies: as predicted, refined, with parts of the truth, and baselines.

    Surface and joint errors align the pelvises only.

    Args:
        body: Body model of all θ and β.
        estimates: Predictions of the rows, in their order.
        rows: The truth, e.g. from :func:`pick_bodies`.
        mean: Mean person of the training split; without θ, its row is left out.
        info: Provenance of the predictions: part of every figure's name.

    Raises:
        DataError: There are no rows, or not one prediction per row.
    """
    if not len(rows) or len(estimates) != len(rows):
        raise DataError(
            f"there are {counted(len(estimates), 'prediction')} of {counted(len(rows), 'sample')}",
            where=f"split {info.split}",
            expected="one of each sample, and at least one",
        )
    truth = torch.from_numpy(rows.theta.copy()), torch.from_numpy(rows.betas.copy())
    skeletons = np.stack([estimate.joints3d_mm for estimate in estimates])
    refined = Refiner(body).refine(estimates)
    shapes = {
        BodyRow.REFINED: _shapes(refined),
        BodyRow.LAID: mean_shape_on_skeletons(body, torch.from_numpy(skeletons)),
    }
    if mean.theta is not None and mean.betas is not None:
        theta, betas = (
            torch.tensor(np.asarray(values, np.float32)).expand_as(like)
            for values, like in zip((mean.theta, mean.betas), truth, strict=True)
        )
        shapes[BodyRow.MEAN_PERSON] = theta, betas
    figures = {
        (BodyRow.SKELETON, _name(info, "mpjpe_mm", "18j", "pelvis")): mpjpe_mm(
            skeletons, rows.joints3d_mm
        )
    }
    figures |= _distances(body, shapes, _shapes(estimates), truth, info)
    shapes = {BodyRow.PREDICTED: _shapes(estimates)} | shapes
    figures |= _rotations({row: shape[0] for row, shape in shapes.items()}, truth[0], info)
    figures |= _pixels(
        body, {BodyRow.PREDICTED: estimates, BodyRow.REFINED: refined}, estimates, rows, info
    )
    sequence = Truth.of(rows, split_protocol(info.split)).sequence
    return BodyStudy(figures=figures, sequence_N=sequence.values)


Figures = dict[tuple[BodyRow, MetricName], Float]


def _distances(
    body: BodyModel,
    shapes: dict[BodyRow, Shape],
    predicted: Shape,
    truth: Shape,
    info: PredictionsInfo,
) -> Figures:
    """Compute surface and joint errors of every body."""
    table8 = study_rows(body, predicted, truth)
    errors = {
        BodyRow.PREDICTED: table8["predicted"],
        BodyRow.TRUE_SHAPE: table8["true shape"],
        BodyRow.TRUE_POSE: table8["true pose"],
        BodyRow.MEAN_SHAPE: table8["mean shape"],
        BodyRow.RESTING: table8["mean pose and shape"],
    }
    errors |= {row: body_error(body, shape, truth) for row, shape in shapes.items()}
    surface = _name(info, "per_vertex_mm", f"{body.n_vertices}v", "pelvis")
    joints = _name(info, "mesh_joints_mm", "18j", "pelvis")
    figures: Figures = {}
    for row, error in errors.items():
        figures[row, surface] = error.surface_B_mm.double().numpy()
        figures[row, joints] = error.joints_B_mm.double().numpy()
    return figures


def _rotations(
    thetas: dict[BodyRow, torch.Tensor], truth_NJ3: torch.Tensor, info: PredictionsInfo
) -> Figures:
    """Compute mean angles over the moving joints: the prediction's and the rest pose's."""
    thetas = {
        row: thetas[row]
        for row in (BodyRow.PREDICTED, BodyRow.REFINED, BodyRow.LAID, BodyRow.MEAN_PERSON)
        if row in thetas
    } | {BodyRow.REST: torch.zeros_like(truth_NJ3)}
    true = truth_NJ3.numpy()
    moving = turning_joints(true)
    name = _name(info, "theta_deg", f"{moving.sum()}r", "none")
    return {
        (row, name): pose_errors_deg(theta.numpy(), true, moving)[0]
        for row, theta in thetas.items()
    }


def _pixels(
    body: BodyModel,
    bodies: dict[BodyRow, Sequence[BodyEstimate]],
    estimates: Sequence[BodyEstimate],
    rows: Annotations,
    info: PredictionsInfo,
) -> Figures:
    """Compare the bodies' 2D joints with the truth and with the network's own 2D joints."""
    network = np.stack([estimate.joints2d_px for estimate in estimates])
    everywhere = np.ones(network.shape[:2], bool)
    own = _name(info, "joints2d_px", "18j", "none")
    from_truth = _name(info, "reprojection_from_truth_px", "18j", "none")
    from_network = _name(info, "reprojection_from_network_px", "18j", "none")
    figures: Figures = {
        (BodyRow.SKELETON, own): _distances_px(network, rows.joints2d_px, rows.valid2d)
    }
    for row, found in bodies.items():
        pixels = _reprojected_px(body, found)
        figures[row, from_truth] = _distances_px(pixels, rows.joints2d_px, rows.valid2d)
        figures[row, from_network] = _distances_px(pixels, network, everywhere)
    return figures


def _name(info: PredictionsInfo, key: str, over: str, root: str) -> MetricName:
    return MetricName(
        key=key,
        split=info.split,
        over=over,
        root=root,
        align="none",
        box=info.box_source,
        depth=info.depth_source,
        flip="yes" if info.flip_test else "no",
    )


def _shapes(estimates: Sequence[BodyEstimate]) -> Shape:
    theta, betas = (np.stack([getattr(e, key) for e in estimates]) for key in ("theta", "betas"))
    return torch.from_numpy(theta), torch.from_numpy(betas)


def _reprojected_px(body: BodyModel, estimates: Sequence[BodyEstimate]) -> Float:
    """Project the posed bodies' joints (N, 18, 2) at their estimated places."""
    with torch.inference_mode():
        joints = body(*_shapes(estimates)).joints18_B183_mm.double().numpy()
    joints += np.stack([e.root_mm for e in estimates])[:, None] - joints[:, [Joint.PELVIS]]
    cameras = np.array([(e.camera.fx, e.camera.fy, e.camera.cx, e.camera.cy) for e in estimates])
    focal, centre = cameras[:, None, :2], cameras[:, None, 2:]
    pixels: Float = joints[..., :2] / np.maximum(joints[..., 2:], 1.0) * focal + centre
    return pixels


def _distances_px(
    found_NJ2: Floating,
    wanted_NJ2: Floating,
    known_NJ: Bool,
) -> Float:
    """Compute the mean distance of each sample's known joints."""
    distances = np.linalg.norm(np.asarray(found_NJ2, np.float64) - wanted_NJ2, axis=-1)
    return mean_over_joints(np.where(known_NJ, distances, np.nan))
