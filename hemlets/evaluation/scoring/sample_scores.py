"""Score predictions under a protocol, sample by sample.

Predictions are read in batches; figures of samples are stored, not poses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hemlets.core.arrays import Array, Bool, Float, Float32, Int64, Objects
from hemlets.core.errors import DataError
from hemlets.core.skeleton import N_JOINTS, PART_CHILD, PART_PARENT
from hemlets.evaluation.metrics.alignment import lengths
from hemlets.evaluation.metrics.calibration import Calibration
from hemlets.evaluation.metrics.definitions import ROTATIONS, SEGMENTS, SURFACE
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS
from hemlets.evaluation.metrics.measures import (
    joint_errors_mm,
    measurable,
    measure_block,
    metric_name,
)
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.metrics.rotations import pose_errors_deg, turning_joints
from hemlets.evaluation.metrics.segmentation import count_pixels, figures_pct
from hemlets.evaluation.metrics.surface import MeshErrors, mesh_errors_mm
from hemlets.evaluation.predictions import Predictions, PredictionsInfo
from hemlets.evaluation.protocols.oracle_inputs import PUT_IN
from hemlets.evaluation.protocols.protocol import Measure, Protocol
from hemlets.evaluation.protocols.validation import validate_protocol
from hemlets.evaluation.scoring.matching import Matching
from hemlets.evaluation.scoring.truth import Truth

if TYPE_CHECKING:
    from hemlets.body import BodyModel

TILT_BINS: Final = ("0-30°", "30-60°", "60-90°")
"""Angle between a part and the image plane; above 30° it is Forward or Backward."""

_NOTHING_TURNS: Final = "no joint below the root turns in these samples"


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleScores:
    """All figures of all samples under a protocol; NaN where a sample has none.

    Attributes:
        protocol: The protocol.
        info: Provenance of the predictions.
        truth: The samples; all arrays are in their order.
        names: Names of the M figures.
        values: (N, M).
        left_out: Reason why a measure of the protocol is absent, by key.
        joint_errors_mm: (N, 18) pelvis at the origin, not aligned; NaN without 3D joints.
        tilt_errors_mm: (N, 3) mean error of the parts' children by tilt, ``TILT_BINS``.
        pixel_counts: (N, 8, 7) pixels by true and predicted label, if masks are scored.
        calibration: Confidence against the share of correct joints; None without confidences.
    """

    protocol: Protocol
    info: PredictionsInfo
    truth: Truth
    names: tuple[MetricName, ...]
    values: Float
    left_out: dict[str, str]
    joint_errors_mm: Float32
    tilt_errors_mm: Float32
    pixel_counts: Int64 | None
    calibration: Calibration | None

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the figures."""
        return tuple(name.key for name in self.names)

    def name(self, key: str) -> MetricName:
        """Return the full name of a figure.

        Raises:
            DataError: The predictions were not scored by it.
        """
        return self.names[self._column(key)]

    def of(self, key: str) -> Float:
        """Return one figure by sample, (N,).

        Raises:
            DataError: The predictions were not scored by it.
        """
        return np.asarray(self.values[:, self._column(key)])

    def _column(self, key: str) -> int:
        if key not in self.keys:
            raise DataError(
                f"there is no metric {key!r} for {self.info.model_version}",
                expected="one of " + ", ".join(self.keys),
            )
        return self.keys.index(key)

    def under(self, protocol: Protocol, truth: Truth) -> SampleScores | None:
        """Return the same scores under another protocol.

        Returns:
            None if the samples or a measure differ: they have to be scored again.
        """
        ours = {m.key: m for m in self.protocol.measures}
        if not self.truth.ids.equals(truth.ids) or any(
            ours.get(measure.key) != measure for measure in protocol.measures
        ):
            return None
        columns = [self.keys.index(m.key) for m in protocol.measures if m.key in self.keys]
        wanted = {measure.key for measure in protocol.measures}
        return replace(
            self,
            protocol=protocol,
            truth=truth,
            names=tuple(replace(self.names[c], split=protocol.samples) for c in columns),
            values=self.values[:, columns],
            left_out={key: why for key, why in self.left_out.items() if key in wanted},
        )


def score(
    predictions: Path | Predictions,
    truth: Truth,
    protocol: Protocol,
    *,
    body: BodyModel | None = None,
    true_bodies: Mapping[str, BodyModel] | None = None,
    among_others: bool = False,
    known_units: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SampleScores:
    """Score predictions of exactly a protocol's samples.

    Args:
        predictions: A file, or predictions in memory.
        truth: The protocol's samples.
        protocol: The protocol.
        body: Body model for surfaces and masks.
        true_bodies: Bodies of the same mesh by gender (``female``, ``male``) for the truth's β;
            ``body`` for other genders.
        among_others: Ignore predictions of annotated samples outside the protocol instead of
            refusing them; those of a training subject are refused all the same.
        known_units: Do not check a file's units: this package's predictor wrote it.
        progress: Called with the number of scored samples and of all samples.

    Raises:
        DataError: Samples are missing, unknown, of a wrong subject or repeated; a group is missing;
            lengths are not millimetres; a number is not finite; the file is damaged; or nothing of
            the protocol can be measured. Rows are named.
    """
    validate_protocol(protocol, truth)
    file = predictions if isinstance(predictions, Path) else None
    where = file or "predictions"
    info = _info_of(predictions)
    if info.split != protocol.split:
        raise DataError(
            f"these are predictions of the {info.split} split",
            where=where,
            expected=f"the {protocol.split} split, as protocol {protocol.name} has it",
            remedy=f"predict the {protocol.split} split",
        )
    why_not: dict[str, str | None] = {m.key: measurable(m, info, body) for m in protocol.measures}
    turning = None
    if protocol.needs(ROTATIONS):
        turning = turning_joints(truth.columns["theta"][truth.columns["smpl_valid"]])
        if not turning.any():
            why_not |= {key: _NOTHING_TURNS for key in ROTATIONS if why_not[key] is None}
    measures = tuple(m for m in protocol.measures if why_not[m.key] is None)
    left_out = {key: why for key, why in why_not.items() if why is not None}
    if not measures:
        raise DataError(
            f"nothing of protocol {protocol.name} can be measured: "
            + "; ".join(f"{key}: {why}" for key, why in left_out.items()),
            where=where,
        )
    rows, keys = len(truth), [str(m.key) for m in measures]
    values = np.full((rows, len(measures)), np.nan)
    joint_errors = np.full((rows, N_JOINTS), np.nan, np.float32)
    tilt_errors = np.full((rows, len(TILT_BINS)), np.nan, np.float32)
    pixels = np.zeros((rows, 8, 7), np.int64) if SEGMENTS & set(keys) else None
    has_joints = "joints3d_mm" not in info.absent
    calibration = Calibration.empty() if has_joints and "confidence" not in info.absent else None
    matching = Matching(truth, where=where, info=info, among_others=among_others)
    for batch in _batches(predictions):
        if file is not None and not known_units:
            batch.require_units(file)
        predicted, place = matching.match(batch)
        true = {name: column[place] for name, column in truth.columns.items()}
        errors = np.full((len(place), N_JOINTS), np.nan)
        if has_joints:
            errors = joint_errors_mm(predicted, true, file=file)
            tilt_errors[place] = _by_tilt(errors, true)
            joint_errors[place] = errors
        found = measure_block(measures, predicted, true, errors)
        genders = truth.genders[place]
        found |= _of_bodies(measures, predicted, true, body, true_bodies or {}, genders, turning)
        for key, figures in found.items():
            values[place, keys.index(key)] = figures
        if body is not None and pixels is not None:
            pixels[place] = count_pixels(body, predicted, true)
        if calibration is not None:
            calibration = calibration.add(predicted.confidence, errors)
        if progress is not None:
            progress(matching.matched, rows)
    matching.require_all()
    if pixels is not None:
        for key, figures in figures_pct(pixels).items():
            if key in keys:
                values[:, keys.index(key)] = figures
    n_vertices = None if body is None else body.n_vertices
    n_rotations = None if turning is None else int(turning.sum())
    return SampleScores(
        protocol=protocol,
        info=info,
        truth=truth,
        names=tuple(
            metric_name(m, protocol.samples, info, n_vertices=n_vertices, n_rotations=n_rotations)
            for m in measures
        ),
        values=values,
        left_out=left_out,
        joint_errors_mm=joint_errors,
        tilt_errors_mm=tilt_errors,
        pixel_counts=pixels,
        calibration=calibration,
    )


def _info_of(predictions: Path | Predictions) -> PredictionsInfo:
    if isinstance(predictions, Predictions):
        return predictions.info
    return Predictions.info_of(predictions)


def _batches(predictions: Path | Predictions) -> Iterator[Predictions]:
    if isinstance(predictions, Predictions):
        return iter([predictions])
    return Predictions.batches(predictions)


def _of_bodies(
    measures: tuple[Measure, ...],
    predicted: Predictions,
    true: Mapping[str, Array],
    body: BodyModel | None,
    true_bodies: Mapping[str, BodyModel],
    genders: Objects,
    turning: Bool | None,
) -> dict[str, Float]:
    """Compute errors of rotations and surfaces, (B,) by key; NaN without a true body."""
    wanted = {str(measure.key) for measure in measures}
    if not wanted & (ROTATIONS | SURFACE):
        return {}
    known = np.flatnonzero(true["smpl_valid"])
    found: dict[str, Float] = {}
    if turning is not None and wanted >= ROTATIONS:
        pair = pose_errors_deg(predicted.theta[known], true["theta"][known], turning)
        found |= zip(("theta_deg", "theta_rest_deg"), pair, strict=True)
    if body is not None and wanted & SURFACE:
        true_shape = predicted.info.depth_source.endswith(PUT_IN["shape"])
        joints = next((m.joints for m in measures if m.key == "mesh_pa_mpjpe_mm"), "18j")
        errors = np.empty((len(MeshErrors._fields), len(known)))
        for word in np.unique(genders[known].astype(str)):
            rows = np.flatnonzero(genders[known] == word)
            part = known[rows]
            true_body = true_bodies.get(word)
            errors[:, rows] = mesh_errors_mm(
                # β that was put in belongs to the truth's body.
                true_body if true_body is not None and true_shape else body,
                (predicted.theta[part], predicted.betas[part]),
                (true["theta"][part], true["betas"][part]),
                true_body=true_body,
                joints=JOINT_SETS[joints],
            )
        found |= zip(("per_vertex_mm", "mesh_joints_mm", "mesh_pa_mpjpe_mm"), errors, strict=True)
    whole = {key: np.full(len(predicted), np.nan) for key in found if key in wanted}
    for key, values in whole.items():
        values[known] = found[key]
    return whole


def _by_tilt(errors_BJ: Float, true: Mapping[str, Array]) -> Float:
    """Compute the mean error of the parts' children in each bin of tilt, (B, 3)."""
    total, count = (np.zeros((len(TILT_BINS), len(errors_BJ))) for _ in range(2))
    joints, valid = true["joints3d_mm"], true["valid3d"]
    for parent, child in zip(PART_PARENT, PART_CHILD, strict=True):
        part = joints[:, child] - joints[:, parent]
        length, depth = lengths(part), np.abs(part[:, 2])
        error = errors_BJ[:, child]
        known = valid[:, parent] & valid[:, child] & ~np.isnan(error)
        # 30° and 60°: sines 1/2 (equation (1)'s ε) and √3/2.
        bins = (depth > 0.5 * length).astype(int) + (depth > np.sqrt(0.75) * length)
        for number in range(len(TILT_BINS)):
            here = known & (bins == number)
            total[number] += np.where(here, error, 0.0)
            count[number] += here
    means = np.full_like(total, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means.T
