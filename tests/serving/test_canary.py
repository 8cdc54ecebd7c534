import dataclasses
import json

import numpy as np
import pytest

from hemlets.inference.types import BodyEstimate, Camera
from serving.canary import CanarySample, check_endpoint
from serving.client import PredictionFailedError


def estimate(seed: int) -> BodyEstimate:
    rng = np.random.default_rng(seed)

    def random(*shape: int, scale: float = 1.0) -> np.ndarray:
        return rng.normal(0, scale, shape).astype(np.float32)

    return BodyEstimate(
        joints3d_mm=random(18, 3, scale=300),
        root_mm=random(3, scale=1000),
        joints2d_px=random(18, 2),
        confidence=random(18),
        theta=random(24, 3, scale=0.5),
        betas=random(10),
        box_xyxy=(0, 0, 1, 1),
        camera=Camera(fx=1, fy=1, cx=0, cy=0),
        model_version="v1",
    )


BOX = (0.0, 0.0, 10.0, 20.0)
SAMPLES = {
    name: CanarySample(image=name.encode(), box=BOX) for name in ("first", "second", "third")
}
EXPECTED = {name: estimate(seed) for seed, name in enumerate(SAMPLES)}


class Endpoint:
    """Answers the expected estimates, one of them changed."""

    def __init__(self, **changes: object):
        self.changes = changes

    def predict(self, image, box=None, camera=None):
        name = image.decode()
        if name != "second":
            return EXPECTED[name]
        if "error" in self.changes:
            raise self.changes["error"]
        return dataclasses.replace(EXPECTED[name], **self.changes)


def shifted(field: str, index: tuple[int, ...], by: float) -> dict[str, np.ndarray]:
    values = getattr(EXPECTED["second"], field).copy()
    values[index] += by
    return {field: values}


def test_equal_answers_pass():
    result = check_endpoint(Endpoint(), SAMPLES, EXPECTED)
    assert result.passed
    assert result.compared == 3
    assert result.failures == ()
    assert result.largest["joints3d_mm"] == 0
    assert "all 3 answers agree" in result.summary


@pytest.mark.parametrize(
    ("field", "reported", "index", "by", "passes"),
    [
        ("joints3d_mm", "joints3d_mm", (4, 2), 0.4, True),
        ("joints3d_mm", "joints3d_mm", (4, 2), 0.6, False),
        ("theta", "theta_rad", (5, 1), 0.5, False),
        ("betas", "betas", (9,), 0.5, False),
        ("root_mm", "root_mm", (2,), 50.0, False),
        ("joints3d_mm", "joints3d_mm", (0, 0), np.nan, False),
        ("betas", "betas", (0,), np.inf, False),
    ],
)
def test_a_difference_above_its_tolerance_fails_and_names_sample_and_field(
    field: str, reported: str, index: tuple[int, ...], by: float, passes: bool
):
    result = check_endpoint(Endpoint(**shifted(field, index, by)), SAMPLES, EXPECTED)
    assert result.passed is passes
    assert result.worst is not None
    assert (result.worst.sample, result.worst.field) == ("second", reported)
    assert passes or "sample second, field " + reported in result.summary


def test_a_rotation_by_pi_equals_the_one_about_the_opposite_axis():
    name = "second"
    wanted = dataclasses.replace(EXPECTED[name], theta=np.tile([0, 0, np.pi], (24, 1)))
    flipped = dataclasses.replace(wanted, theta=-wanted.theta)

    class Flipped:
        def predict(self, image, box=None, camera=None):
            return flipped

    assert check_endpoint(Flipped(), {name: SAMPLES[name]}, {name: wanted}).passed


def test_an_error_a_wrong_shape_and_another_model_fail():
    error = PredictionFailedError("status 500: broken")
    for changes, field in (
        ({"error": error}, "answer"),
        ({"betas": np.zeros(9, np.float32)}, "betas"),
        ({"model_version": "v2"}, "model_version"),
    ):
        result = check_endpoint(Endpoint(**changes), SAMPLES, EXPECTED)
        assert not result.passed
        assert result.failures[0].field == field
        json.dumps(result.to_json(), allow_nan=False)


def test_a_sample_without_a_saved_prediction_and_no_samples_at_all_fail():
    assert not check_endpoint(Endpoint(), SAMPLES, {}).passed
    empty = check_endpoint(Endpoint(), {}, {})
    assert not empty.passed
    assert "no samples" in empty.summary
