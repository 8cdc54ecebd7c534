"""A predictions file under a protocol: figures of every sample, from files alone.

Predictions are read some rows at a time; what is kept of a sample is its figures, not its pose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hemlets.core.errors import DataError
from hemlets.core.skeleton import N_JOINTS, PART_CHILD, PART_PARENT
from hemlets.core.wording import counted, some
from hemlets.evaluation.metrics.alignment import lengths
from hemlets.evaluation.metrics.calibration import Calibration
from hemlets.evaluation.metrics.measures import (
    joint_errors_mm,
    measurable,
    measure_block,
    metric_name,
)
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.metrics.rotations import pose_errors_deg, turning_joints
from hemlets.evaluation.metrics.segmentation import count_pixels, figures_pct
from hemlets.evaluation.metrics.surface import mesh_errors_mm
from hemlets.evaluation.predictions import Predictions, PredictionsInfo
from hemlets.evaluation.protocols.protocol import ROTATIONS, SEGMENTS, SURFACE, Protocol
from hemlets.evaluation.protocols.validation import check_fits
from hemlets.evaluation.scoring.truth import Truth

if TYPE_CHECKING:
    from hemlets.body import BodyModel

__all__ = ["TILT_BINS", "ProtocolScores", "score_file"]

TILT_BINS: Final = ("0-30°", "30-60°", "60-90°")
"""How far a part points at the camera or away from it; beyond 30° it is Forward or Backward."""

_NOTHING_TURNS: Final = "no joint below the root turns in these samples"

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProtocolScores:
    """Every figure of every sample under a protocol; NaN where a sample does not have it.

    Attributes:
        protocol: that was followed.
        info: where the predictions come from.
        truth: the samples, in whose order everything stands.
        names: of the figures, M of them.
        values: (N, M).
        left_out: why a measure of the protocol is not among them, by key.
        joint_errors_mm: (N, 18) root at the pelvis, not aligned; NaN throughout without 3D.
        tilt_errors_mm: (N, 3) mean error of the children of parts by tilt, ``TILT_BINS``.
        pixel_counts: (N, 8, 7) pixels by true and predicted label, of masks only.
        calibration: confidence against how often it was right; None without confidences.
    """

    protocol: Protocol
    info: PredictionsInfo
    truth: Truth
    names: tuple[MetricName, ...]
    values: Float
    left_out: dict[str, str]
    joint_errors_mm: Float32
    tilt_errors_mm: Float32
    pixel_counts: npt.NDArray[np.int64] | None
    calibration: Calibration | None

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the figures."""
        return tuple(name.key for name in self.names)

    def of(self, key: str) -> Float:
        """One figure by sample, (N,)."""
        return np.asarray(self.values[:, self.keys.index(key)])


def score_file(
    path: Path,
    truth: Truth,
    protocol: Protocol,
    *,
    body: BodyModel | None = None,
    among_others: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ProtocolScores:
    """Score a predictions file of exactly a protocol's samples.

    Args:
        path: of the predictions.
        truth: the protocol's samples.
        protocol: what to measure.
        body: for surfaces and masks.
        among_others: leave out predictions of annotated samples that the protocol isn't about,
            such as another subject's, instead of refusing them; those of a subject that it
            trains on are refused all the same.
        progress: called with the samples scored so far and their number.

    Raises:
        DataError: Samples are missing, unknown, of a wrong subject or twice; a group is missing;
            lengths are not millimetres; a number is not finite; the file is damaged; or nothing of
            the protocol can be measured. Rows are named.
    """
    check_fits(protocol, truth)
    info = Predictions.info_of(path)
    if info.split != protocol.split:
        raise DataError(
            f"these are predictions of the {info.split} split",
            where=path,
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
            where=path,
        )
    column: dict[str, int] = {m.key: place for place, m in enumerate(measures)}
    rows = len(truth)
    values = np.full((rows, len(measures)), np.nan)
    joint_errors = np.full((rows, N_JOINTS), np.nan, np.float32)
    tilt_errors = np.full((rows, len(TILT_BINS)), np.nan, np.float32)
    segments = bool(SEGMENTS & column.keys())
    pixels = np.zeros((rows, 8, 7), np.int64) if segments else None
    calibration = (
        Calibration.empty() if not {"confidence", "joints3d_mm"} & set(info.absent) else None
    )
    seen, done = np.zeros(rows, bool), 0
    others = truth.untrained if among_others else None
    for batch in Predictions.batches(path):
        predicted = batch if others is None else _without(batch, others)
        place = _places(predicted, truth, seen, path, expected=done)
        true = {name: values_[place] for name, values_ in truth.columns.items()}
        errors = np.full((len(place), N_JOINTS), np.nan)
        if "joints3d_mm" not in info.absent:
            errors = joint_errors_mm(predicted, true, file=path)
            tilt_errors[place] = _by_tilt(errors, true)
            joint_errors[place] = errors
        for key, found in measure_block(measures, predicted, true, errors).items():
            values[place, column[key]] = found
        known = np.flatnonzero(true.get("smpl_valid", ()))
        if turning is not None and column.keys() >= ROTATIONS:
            pair = pose_errors_deg(predicted.theta[known], true["theta"][known], turning)
            for key, found in zip(("theta_deg", "theta_rest_deg"), pair, strict=True):
                values[place[known], column[key]] = found
        if body is not None and SURFACE & column.keys():
            found_pair = mesh_errors_mm(
                body,
                (predicted.theta[known], predicted.betas[known]),
                (true["theta"][known], true["betas"][known]),
            )
            for key, found in zip(("per_vertex_mm", "mesh_joints_mm"), found_pair, strict=True):
                if key in column:
                    values[place[known], column[key]] = found
        if body is not None and pixels is not None:
            pixels[place] = count_pixels(body, predicted, true)
        if calibration is not None:
            calibration = calibration.add(predicted.confidence, errors)
        done += len(place)
        if progress is not None:
            progress(done, rows)
    _refuse_missing(truth, seen, info, path)
    if pixels is not None:
        for key, found in figures_pct(pixels).items():
            if key in column:
                values[:, column[key]] = found
    n_vertices = None if body is None else body.n_vertices
    n_rotations = None if turning is None else int(turning.sum())
    return ProtocolScores(
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


def _by_tilt(errors_BJ: Float, true: dict[str, Array]) -> Float:
    """Mean error of the children of the parts in each bin of tilt, (B, 3)."""
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


def _places(
    predicted: Predictions,
    truth: Truth,
    seen: npt.NDArray[np.bool_],
    path: Path,
    *,
    expected: int,
) -> npt.NDArray[np.int64]:
    """Where each predicted sample stands in the truth; marks them as seen.

    Args:
        predicted: some samples.
        truth: all samples.
        seen: (N,) changed in place.
        path: for messages.
        expected: row of the first one, if both files have one order, as they mostly do: looking
            all of them up anew for each batch would take longer than scoring them.
    """
    ids = pa.array(predicted.sample_id.tolist(), pa.string())
    if truth.ids.slice(expected, len(ids)).equals(ids):
        found = pa.array(np.arange(expected, expected + len(ids)))
    else:
        found = pc.index_in(ids, value_set=truth.ids)
    if found.null_count:
        unknown = ids.filter(pc.is_null(found))
        raise DataError(_why_unknown(unknown, truth), where=path,
                        expected="predictions of exactly the protocol's samples",
                        remedy="remove these rows, or name the annotations and the protocol that "
                        "were predicted")  # fmt: skip
    place = np.asarray(found.to_numpy(zero_copy_only=False), np.int64)
    again = np.flatnonzero(seen[place])
    if again.size:
        raise DataError(
            counted(again.size, "sample is", "samples are") + " predicted more than once",
            where=f"{path}: {some(predicted.sample_id[again])}",
            expected="one row a sample",
            remedy="remove the rows that are there twice",
        )
    seen[place] = True
    return place


def _without(predicted: Predictions, others: pa.Array) -> Predictions:
    out = pc.is_in(pa.array(predicted.sample_id.tolist(), pa.string()), value_set=others)
    rows = np.flatnonzero(~np.asarray(out.to_numpy(zero_copy_only=False), bool))
    return predicted if len(rows) == len(predicted) else predicted.take(rows)


def _why_unknown(unknown: pa.Array, truth: Truth) -> str:
    parts, left = [], unknown
    for reason, ids in truth.other.items():
        inside = pc.is_in(left, value_set=ids)
        named = left.filter(inside)
        if len(named):
            parts.append(
                f"{counted(len(named), 'prediction')} can't count "
                f"({some(named.to_pylist())}): {reason}"
            )
            left = left.filter(pc.invert(inside))
    if len(left):
        parts.append(
            f"{counted(len(left), 'prediction is', 'predictions are')} of no annotated sample "
            f"({some(left.to_pylist())})"
        )
    return "; ".join(parts)


def _refuse_missing(
    truth: Truth, seen: npt.NDArray[np.bool_], info: PredictionsInfo, path: Path
) -> None:
    missing = np.flatnonzero(~seen)
    if not missing.size:
        return
    groups = []
    for field in ("subject", "action"):
        facet = truth.facets[field]
        whole = [
            facet.words[code]
            for code in np.unique(facet.codes[missing])
            if facet.words[code] and not seen[facet.codes == code].any()
        ]
        groups += [f"no sample of {field} {some(whole)} is predicted"] if whole else []
    names = truth.ids.take(missing[:10]).to_pylist()
    more = f" and {missing.size - 10} more" if missing.size > 10 else ""
    raise DataError(
        f"{counted(missing.size, 'sample has', 'samples have')} no prediction "
        f"({', '.join(names)}{more})" + "".join(f"; {group}" for group in groups),
        where=f"{path}: predictions of {info.model_version}",
        expected="exactly one prediction for each annotated sample",
        remedy="predict the whole split of this data version",
    )
