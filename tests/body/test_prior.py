"""The pose prior knows likely poses from unlikely ones, and has seen no held-out motion."""

import numpy as np
import pytest

from hemlets.assets import clips
from hemlets.assets.clips import load_clips
from hemlets.body.limits import LOWER_J3_RAD, UPPER_J3_RAD
from hemlets.body.mirror import MIRROR_SMPL_JOINTS
from hemlets.body.prior import learned_prior
from hemlets.core.skeleton import SMPL_JOINTS


def poses(split):
    theta = np.concatenate([clip.theta_F72 for clip in load_clips(split)])
    return theta.reshape(-1, 24, 3)[:, 1:].astype(np.float64)


def test_motion_it_never_saw_is_likelier_than_random_joint_angles():
    seen = learned_prior().energy(poses("validation"))
    rng = np.random.default_rng(0)
    lower, upper = LOWER_J3_RAD[1:].clip(-2, 2), UPPER_J3_RAD[1:].clip(-2, 2)
    random = learned_prior().energy(rng.uniform(lower, upper, (200, 23, 3)))
    assert np.median(seen) < 0.2 * np.median(random)


def test_a_pose_and_its_mirror_image_are_equally_likely():
    theta = poses("gate")[:20]
    whole = np.concatenate([np.zeros((20, 1, 3)), theta], 1)
    mirrored = whole[:, list(MIRROR_SMPL_JOINTS)] * np.array([1, -1, -1])
    prior = learned_prior()
    np.testing.assert_allclose(prior.energy(theta), prior.energy(mirrored[:, 1:]), rtol=1e-6)


def test_a_knee_bent_forwards_costs_more_than_one_bent_backwards():
    prior = learned_prior()
    knee = SMPL_JOINTS.index("left_knee") - 1
    natural, broken = prior.mean_J3.copy(), prior.mean_J3.copy()
    natural[knee, 0], broken[knee, 0] = 1.2, -1.2
    assert 3 * prior.energy(natural[None])[0] < prior.energy(broken[None])[0]


def test_only_training_clips_go_in(monkeypatch: pytest.MonkeyPatch):
    before = learned_prior().mean_J3
    training = tuple(clip for clip in load_clips() if clip.split == "train")
    monkeypatch.setattr(clips, "_all_clips", lambda: training)
    learned_prior.cache_clear()
    np.testing.assert_array_equal(learned_prior().mean_J3, before)
