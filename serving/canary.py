"""Canary: compare the endpoint's answers with the predictions saved before packaging."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from hemlets.core.arrays import Float, Float32
from hemlets.core.errors import HemletsError
from hemlets.inference.types import BodyEstimate, Camera
from serving.client import EndpointUnavailableError

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class CanarySample:
    """Held-out person, as posted.

    Attributes:
        image: Stored bytes of the image.
        box: Box in pixels: left, top, right, bottom.
        camera: Intrinsics.
    """

    image: bytes
    box: Box
    camera: Camera | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of one field of one sample's answer from the saved prediction.

    Attributes:
        sample: Name of the sample.
        field: Name of the field in the answer's JSON.
        value: Largest difference over the field; NaN if it can't be computed.
        tolerance: Largest permitted difference, in the same unit.
        unit: ``mm``, ``rad`` or empty.
        reason: Reason of a failure; None on success.
    """

    sample: str
    field: str
    value: float
    tolerance: float
    unit: str
    reason: str | None = None

    @property
    def severity(self) -> float:
        """Difference in units of the tolerance; infinite without a number."""
        if not math.isfinite(self.value):
            return math.inf
        if self.tolerance > 0:
            return self.value / self.tolerance
        return math.inf if self.value > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class CanaryResult:
    """Result of a canary.

    Attributes:
        passed: Whether every sample was answered and every field agreed.
        compared: Number of answered samples.
        samples: Number of samples.
        worst: Largest difference in units of its tolerance; None without samples.
        failures: Failed comparisons, worst first.
        largest: Largest difference of each field.
    """

    passed: bool
    compared: int
    samples: int
    worst: Difference | None
    failures: tuple[Difference, ...]
    largest: dict[str, float]

    @property
    def summary(self) -> str:
        """Summary in one sentence, for messages and tags."""
        if not self.samples:
            return "the canary failed: there were no samples to compare"
        worst = self.worst
        if worst is None:
            return "the canary failed: nothing was compared"
        what = (
            f"sample {worst.sample}, field {worst.field}: "
            f"{worst.reason or f'{worst.value:.3g} {worst.unit}'.strip()}"
        )
        if self.passed:
            return f"all {self.samples} answers agree; nearest to its tolerance is {what}"
        failed = len({item.sample for item in self.failures})
        return f"the canary failed on {failed} of {self.samples} samples; worst is {what}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a missing number becomes None."""

        def plain(item: Difference) -> dict[str, Any]:
            return {**asdict(item), "value": item.value if math.isfinite(item.value) else None}

        return {
            "passed": self.passed,
            "compared": self.compared,
            "samples": self.samples,
            "summary": self.summary,
            "worst": None if self.worst is None else plain(self.worst),
            "failures": [plain(item) for item in self.failures],
            "largest": {k: v if math.isfinite(v) else None for k, v in self.largest.items()},
        }


class _Client(Protocol):
    def predict(self, image: bytes, box: Box, camera: Camera | None = None) -> BodyEstimate: ...


def check_endpoint(
    client: _Client,
    samples: Mapping[str, CanarySample],
    expected: Mapping[str, BodyEstimate],
    *,
    joints_tolerance_mm: float = 0.5,
    theta_tolerance_rad: float = 2e-3,
    betas_tolerance: float = 2e-3,
    root_tolerance_mm: float = 5.0,
) -> CanaryResult:
    """Post every sample, one at a time, and compare the answers with saved predictions.

    Errors, missing or non-finite numbers, answers of another model version, and an empty set of
    samples fail.

    Args:
        client: A client of the endpoint under test.
        samples: Samples to post, by name.
        expected: Saved predictions by name.
        joints_tolerance_mm: Largest distance of a pelvis-relative joint.
        theta_tolerance_rad: Largest angle between two rotations of θ.
        betas_tolerance: Largest difference of a coefficient of β.
        root_tolerance_mm: Largest distance of the pelvis, which is less accurate than the joints
            in float32 because of its depth of metres.
    """
    checks: tuple[tuple[str, str, float, _Measure], ...] = (
        ("joints3d_mm", "mm", joints_tolerance_mm, _distance),
        ("theta_rad", "rad", theta_tolerance_rad, _angle),
        ("betas", "", betas_tolerance, _largest),
        ("root_mm", "mm", root_tolerance_mm, _distance),
    )
    found: list[Difference] = []
    compared = 0
    for name, sample in samples.items():
        wanted = expected.get(name)
        if wanted is None:
            found.append(_failure(name, "answer", "there is no saved prediction to compare with"))
            continue
        try:
            answer = client.predict(sample.image, sample.box, sample.camera)
        except EndpointUnavailableError:
            # Not a result about the model: the caller must retry.
            raise
        except HemletsError as error:
            found.append(_failure(name, "answer", error.what))
            continue
        compared += 1
        if answer.model_version != wanted.model_version:
            reason = f"{answer.model_version!r} answered instead of {wanted.model_version!r}"
            found.append(_failure(name, "model_version", reason))
        for field, unit, tolerance, measure in checks:
            attribute = "theta" if field == "theta_rad" else field
            pair = getattr(wanted, attribute), getattr(answer, attribute)
            found.append(_compare(name, field, unit, tolerance, measure, *pair))
    found.sort(key=lambda item: item.severity, reverse=True)
    failures = tuple(item for item in found if item.reason is not None)
    return CanaryResult(
        passed=bool(samples) and not failures and compared == len(samples),
        compared=compared,
        samples=len(samples),
        worst=found[0] if found else None,
        failures=failures,
        largest={
            field: max((d.value for d in found if d.field == field), key=_nan_first, default=0.0)
            for field, *_ in checks
        },
    )


_Measure = Callable[[Float, Float], float]


def _compare(
    sample: str,
    field: str,
    unit: str,
    tolerance: float,
    measure: _Measure,
    wanted: Float32,
    answer: Float32,
) -> Difference:
    if answer.shape != wanted.shape:
        reason = f"has shape {answer.shape}, expected {wanted.shape}"
        return _failure(sample, field, reason)
    if not (np.isfinite(answer).all() and np.isfinite(wanted).all()):
        side = "the answer" if not np.isfinite(answer).all() else "the saved prediction"
        return _failure(sample, field, f"{side} has numbers that are not finite")
    value = measure(wanted.astype(np.float64), answer.astype(np.float64))
    excess: str | None = None
    if not value <= tolerance:
        excess = f"differs by {value:.3g} {unit}".rstrip() + f", at most {tolerance:g} is allowed"
    return Difference(
        sample=sample, field=field, value=value, tolerance=tolerance, unit=unit, reason=excess
    )


def _failure(sample: str, field: str, reason: str) -> Difference:
    return Difference(
        sample=sample, field=field, value=math.nan, tolerance=0.0, unit="", reason=reason
    )


def _nan_first(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _distance(first: Float, second: Float) -> float:
    return float(np.linalg.norm(first - second, axis=-1).max())


def _largest(first: Float, second: Float) -> float:
    return float(np.abs(first - second).max())


def _angle(first: Float, second: Float) -> float:
    # Different axis-angles can be the same rotation (π about opposite axes), so rotations are
    # compared.
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(first).inv() * Rotation.from_rotvec(second)
    return float(turn.magnitude().max())
