"""Errors of θ: over the joints that move, the short way round, with the rest pose beside."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hemlets.core.skeleton import SMPL_JOINTS
from hemlets.evaluation.metrics.rotations import pose_errors_deg, turning_joints


def test_theta_is_judged_over_joints_that_move_only() -> None:
    truth = np.zeros((5, 24, 3))
    knee = SMPL_JOINTS.index("left_knee")
    truth[:, knee, 0] = (0.6, 0.7, 0.8, 0.9, 1.0)
    predicted = truth.copy()
    predicted[:, knee, 0] += 0.2
    moving = turning_joints(truth)
    assert [SMPL_JOINTS[joint] for joint in np.flatnonzero(moving)] == ["left_knee"]
    ours, rest = (np.radians(e).mean() for e in pose_errors_deg(predicted, truth, moving))
    assert ours == pytest.approx(0.2, abs=1e-5)
    assert rest == pytest.approx(0.8, abs=1e-5)


def test_turns_beyond_half_a_circle_are_measured_the_short_way() -> None:
    truth, predicted = np.zeros((1, 24, 3)), np.zeros((1, 24, 3))
    truth[0, 1, 2] = math.pi - 0.1
    predicted[0, 1, 2] = -(math.pi - 0.1)
    moving = np.arange(24) == 1
    ours, _ = pose_errors_deg(predicted, truth, moving)
    assert np.radians(ours[0]) == pytest.approx(0.2, abs=1e-4)


def test_the_root_never_counts() -> None:
    truth = np.random.default_rng(0).normal(0, 0.5, (6, 24, 3))
    assert not turning_joints(truth)[0]
    assert turning_joints(truth)[1:].all()
