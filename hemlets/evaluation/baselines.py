"""Two baselines: the mean pose, and linear regression from the true 2D joints.

Both give :class:`~hemlets.evaluation.predictions.Predictions`, scored like a model's. The mean pose
uses no image; the lifter uses the true 2D joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hemlets.core.arrays import Array, Bool, Float
from hemlets.core.errors import DataError
from hemlets.core.skeleton import N_JOINTS, Joint
from hemlets.data.table import Annotations
from hemlets.evaluation.metrics.joints import mpjpe_mm
from hemlets.evaluation.predictions import COLUMNS, Predictions, PredictionsInfo, Quantity

RIDGES: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Candidate ridge strengths, relative to the features' unit variance."""


def _relative(annotations: Annotations) -> tuple[Float, Bool]:
    """Return joints relative to the pelvis, (N, 18, 3) millimetres, and their validity."""
    joints = annotations.joints3d_mm.astype(np.float64)
    valid = annotations.valid3d & annotations.valid3d[:, Joint.PELVIS, None]
    return np.where(valid[..., None], joints - joints[:, Joint.PELVIS, None], 0.0), valid


def _predictions(
    annotations: Annotations,
    info: PredictionsInfo,
    given: dict[Quantity, Array],
    *,
    name: str,
    depth_source: str,
) -> Predictions:
    rows = len(annotations)
    columns = {key: np.zeros((rows, *shape), np.float32) for key, shape in COLUMNS.items()}
    columns["box_xyxy"] = annotations.box_xyxy.astype(np.float32)
    for key, values in given.items():
        columns[key][:] = values
    quantities: tuple[Quantity, ...] = (
        "joints3d_mm", "root_mm", "joints2d_px", "confidence", "theta", "betas",
    )  # fmt: skip
    changed = info.model_dump() | {
        "model_version": name,
        "precision": "float64",
        "depth_source": depth_source,
        "box_source": "ground-truth",
        "flip_test": False,
        "absent": tuple(key for key in quantities if key not in given),
    }
    return Predictions(
        info=PredictionsInfo.model_validate(changed),
        sample_id=annotations.sample_id,
        flags=((),) * rows,
        **columns,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanPose:
    """The same person for every image.

    Attributes:
        joints3d_mm: (18, 3) mean joints of the training split, relative to the pelvis.
        theta: (24, 3) mean rotation of each joint as axis-angle, the root's included; None if the
            training split has no θ.
        betas: (10,) mean β, or None.
    """

    joints3d_mm: Float
    theta: Float | None
    betas: Float | None

    @classmethod
    def fit(cls, train: Annotations) -> MeanPose:
        """Average the training split; rotations by the chordal mean (Hartley et al. 2013).

        Raises:
            DataError: A joint has no valid row.
        """
        from scipy.spatial.transform import Rotation

        joints, valid = _relative(train)
        count = valid.sum(0)
        if not count.all():
            unknown = ", ".join(Joint(int(j)).name.lower() for j in np.flatnonzero(count == 0))
            raise DataError("no training row has these joints in 3D", where=unknown)
        rows = np.flatnonzero(train.smpl_valid)
        theta = betas = None
        if rows.size:
            turned = train.theta[rows].astype(np.float64)
            theta = np.stack(
                [Rotation.from_rotvec(turned[:, j]).mean().as_rotvec() for j in range(24)]
            )
            betas = train.betas[rows].astype(np.float64).mean(0)
        return cls(joints3d_mm=joints.sum(0) / count[:, None], theta=theta, betas=betas)

    def predict(self, annotations: Annotations, info: PredictionsInfo) -> Predictions:
        """Predict the mean person for each sample.

        Args:
            annotations: The samples; only names and boxes are read.
            info: Provenance of the model's predictions: data version, split and code version are
                copied.
        """
        given: dict[Quantity, Array] = {"joints3d_mm": self.joints3d_mm}
        if self.theta is not None and self.betas is not None:
            given |= {"theta": self.theta, "betas": self.betas}
        return _predictions(
            annotations, info, given, name="mean-pose", depth_source="training-mean"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLifter:
    """Ridge regression from the true 2D joints to the 3D pose.

    Attributes:
        mean: (40,) mean of each feature over the training split.
        scale: (40,) its standard deviation (1 for a constant feature).
        weights: (40, 54) on standardised features.
        bias: (54,) millimetres.
        ridge: The best strength on the validation split.
        validation_mm: MPJPE on the validation split by ridge strength.
    """

    mean: Float
    scale: Float
    weights: Float
    bias: Float
    ridge: float
    validation_mm: dict[float, float]

    @classmethod
    def fit(
        cls, train: Annotations, validation: Annotations, *, ridges: Sequence[float] = RIDGES
    ) -> LinearLifter:
        """Fit in closed form on the training split; choose the ridge on the validation split.

        Each joint is fitted over its valid rows. The bias is not penalised.

        Raises:
            DataError: A joint has fewer than two training rows, or the validation split has no
                sample with a pelvis.
        """
        features = _features(train)
        joints, valid = _relative(train)
        mean, deviation = features.mean(0), features.std(0)
        scale = np.where(deviation > 1e-9, deviation, 1.0)
        inputs = (features - mean) / scale
        target, known = _relative(validation)
        if not known.any():
            raise DataError("no validation row has 3D joints", where="the lifter's validation")
        best: LinearLifter | None = None
        errors: dict[float, float] = {}
        systems = [_system(inputs, joints[:, j], valid[:, j], j) for j in range(N_JOINTS)]
        for ridge in ridges:
            solved = [_solve(system, ridge) for system in systems]
            lifter = cls(
                mean=mean,
                scale=scale,
                weights=np.concatenate([weights for weights, _ in solved], axis=1),
                bias=np.concatenate([bias for _, bias in solved]),
                ridge=ridge,
                validation_mm=errors,
            )
            errors[ridge] = float(np.nanmean(mpjpe_mm(lifter.lift(validation), target, known)))
            if best is None or errors[ridge] < errors[best.ridge]:
                best = lifter
        if best is None:
            raise DataError("no ridge strength to try", where="ridges", expected="at least one")
        return best

    def lift(self, annotations: Annotations) -> Float:
        """Predict joints relative to the pelvis, (N, 18, 3) millimetres."""
        inputs = (_features(annotations) - self.mean) / self.scale
        joints = (inputs @ self.weights + self.bias).reshape(-1, N_JOINTS, 3)
        return np.asarray(joints - joints[:, Joint.PELVIS, None])

    def predict(self, annotations: Annotations, info: PredictionsInfo) -> Predictions:
        """Lift the true 2D joints of each sample; there is no mesh and no camera.

        Args:
            annotations: The samples.
            info: Provenance of the model's predictions: data version, split and code version are
                copied.
        """
        return _predictions(
            annotations,
            info,
            {"joints3d_mm": self.lift(annotations)},
            name="linear-lifter-from-true-2d",
            depth_source="linear-lifter",
        )


def _features(annotations: Annotations) -> Float:
    """Return 2D joints in units of the box, and the box's shape and place, (N, 40).

    The box is the square around the annotated box, as in a crop. A joint without a 2D annotation is
    placed at the box's centre.
    """
    box = annotations.box_xyxy.astype(np.float64)
    size = box[:, 2:] - box[:, :2]
    side = np.maximum(size.max(1, keepdims=True), 1e-6)
    centre = (box[:, 2:] + box[:, :2]) / 2
    joints = (annotations.joints2d_px.astype(np.float64) - centre[:, None]) / side[:, None]
    joints = np.where(annotations.valid2d[..., None], joints, 0.0)
    image = np.stack([annotations.image_width, annotations.image_height], 1).astype(np.float64)
    longer = np.maximum(image.max(1, keepdims=True), 1.0)
    return np.concatenate(
        [joints.reshape(len(box), -1), side / longer, size.min(1, keepdims=True) / side,
         (centre - image / 2) / longer],
        axis=1,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _System:
    gram: Float
    moment: Float
    mean_x: Float
    mean_y: Float


def _system(inputs_NF: Float, target_N3: Float, valid_N: Bool, joint: int) -> _System:
    if valid_N.sum() < 2:
        raise DataError(
            "fewer than two training rows have this joint in 3D", where=Joint(joint).name.lower()
        )
    x, y = inputs_NF[valid_N], target_N3[valid_N]
    mean_x, mean_y = x.mean(0), y.mean(0)
    x = x - mean_x
    return _System(x.T @ x / len(x), x.T @ (y - mean_y) / len(x), mean_x, mean_y)


def _solve(system: _System, ridge: float) -> tuple[Float, Float]:
    damped = system.gram + ridge * np.eye(len(system.gram))
    weights = np.linalg.solve(damped, system.moment)
    return np.asarray(weights, np.float64), system.mean_y - system.mean_x @ weights
