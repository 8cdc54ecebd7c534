"""What a model's bodies are worth: the paper's Table 8, refinement, and what has to be beaten.

All rows of a study are of the same samples, and pose the same body as the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import torch

from hemlets.body import BodyModel
from hemlets.body.study import body_error, mean_shape_on_skeletons, study_rows
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

Float = npt.NDArray[np.float64]
Shape = tuple[torch.Tensor, torch.Tensor]
"""θ (N, 24, 3) as axis-angles and β (N, K)."""


class BodyRow(StrEnum):
    """A row of the study: whose bodies are measured."""

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
        sequence_N: The sequence of motion that each sample is of.
    """

    figures: dict[tuple[BodyRow, MetricName], Float]
    sequence_N: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.sequence_N)

    def of(self, row: BodyRow, key: str) -> Float:
        """A row's values of a metric's key.

        Raises:
            DataError: The row was not measured so.
        """
        for (found, name), values in self.figures.items():
            if found == row and name.key == key:
                return values
        raise DataError(f"the study has no {key} of the row {row!r}", expected="a measured row")

    def intervals(
        self, *, resamples: int = RESAMPLES
    ) -> dict[tuple[BodyRow, MetricName], Interval]:
        """Means with intervals from resampled sequences."""
        resampler = Resampler(self.sequence_N.astype(str), resamples=resamples)
        return {which: resampler.mean(values) for which, values in self.figures.items()}

    def change(
        self, row: BodyRow, other: BodyRow, key: str, *, resamples: int = RESAMPLES
    ) -> PairedRatio:
        """How much larger a row's mean is than another's, on the same samples.

        Raises:
            DataError: Fewer than two sequences, or a row was not measured so.
        """
        return paired_ratio(
            self.of(row, key), self.of(other, key), self.sequence_N, resamples=resamples
        )


def pick_bodies(rows: Annotations, most: int) -> npt.NDArray[np.int64]:
    """Indices of at most so many rows, evenly over those whose body, joints and camera are known.

    Args:
        rows: Of a split, in its order.
        most: How many to pick; 0 picks none.
    """
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
    """Measure predicted bodies as they are, refined, with the truth put in, and what they beat.

    Surface and joint errors lay the pelvises on each other, and neither turn nor scale.

    Args:
        body: That all θ and β belong to.
        estimates: Predictions of the rows, in their order.
        rows: The truth, such as :func:`pick_bodies` picks it.
        mean: The mean person of the training split; its row is left out where it has no θ.
        info: How the predictions were made: part of every figure's name.

    Raises:
        DataError: There are no rows, or not one prediction a row.
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
    """Surface and joints of every body against the truth."""
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
    """Mean angle over the joints that move, beside that of a body which doesn't."""
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
    """The bodies' joints in the image against the truth, and against the network's own joints."""
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
    """The posed bodies' joints (N, 18, 2) in the images, each body where its estimate puts it."""
    with torch.inference_mode():
        joints = body(*_shapes(estimates)).joints18_B183_mm.double().numpy()
    joints += np.stack([e.root_mm for e in estimates])[:, None] - joints[:, [Joint.PELVIS]]
    cameras = np.array([(e.camera.fx, e.camera.fy, e.camera.cx, e.camera.cy) for e in estimates])
    focal, centre = cameras[:, None, :2], cameras[:, None, 2:]
    pixels: Float = joints[..., :2] / np.maximum(joints[..., 2:], 1.0) * focal + centre
    return pixels


def _distances_px(
    found_NJ2: npt.NDArray[np.floating],
    wanted_NJ2: npt.NDArray[np.floating],
    known_NJ: npt.NDArray[np.bool_],
) -> Float:
    """Mean distance of each sample's known joints."""
    distances = np.linalg.norm(found_NJ2 - wanted_NJ2, axis=-1)
    return mean_over_joints(np.where(known_NJ, distances, np.nan))
