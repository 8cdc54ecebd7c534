"""Refined predictions fit their joints better, and no worse the truth."""

import dataclasses

import numpy as np
import pytest
import torch

from hemlets.body import BodyModel
from hemlets.drawing import place_body
from hemlets.inference import BodyEstimate, Camera
from hemlets.inference.refine import Refiner
from hemlets.skeleton import Joint
from hemlets.synthetic import MotionLibrary, OpenDataConfig
from hemlets.synthetic.poses import draw_pose

CAMERA = Camera(fx=600, fy=600, cx=160, cy=160)


@pytest.fixture(scope="module")
def body():
    return BodyModel.load()


@pytest.fixture(scope="module")
def pairs(body):
    """Truth, and predictions as a network makes them: joints off a little, θ and β a lot."""
    rng = np.random.default_rng(0)
    library, config = MotionLibrary.bundled(), OpenDataConfig()
    result = []
    for _ in range(16):
        theta = draw_pose(rng, library, "validation", config).theta_J3.astype(np.float32)
        theta[0] = [np.pi, 0, 0]
        betas = rng.standard_normal(10).astype(np.float32)
        truth = estimate(body, theta, betas)
        depth_noise = rng.normal(0, [8, 8, 35], (18, 3)).astype(np.float32)
        joints = truth.joints3d_mm + truth.root_mm + depth_noise
        predicted = dataclasses.replace(
            truth,
            joints3d_mm=joints - joints[0],
            root_mm=joints[0],
            joints2d_px=projected(joints),
            theta=theta + rng.normal(0, 0.25, (24, 3)).astype(np.float32),
            betas=np.zeros(10, np.float32),
        )
        result.append((truth, predicted))
    return result


def projected(joints):
    return (joints[:, :2] / joints[:, 2:] * 600 + 160).astype(np.float32)


def estimate(body, theta, betas):
    placed = place_body(body, theta, betas, np.array([100, 0, 4000]))
    joints = placed.joints_J3_mm
    return BodyEstimate(
        joints3d_mm=joints - joints[0], root_mm=joints[0], joints2d_px=projected(joints),
        confidence=np.ones(18, np.float32), theta=theta, betas=betas,
        box_xyxy=(0, 0, 320, 320), camera=CAMERA,
    )  # fmt: skip


def bodys_joints(body, estimates):
    return np.stack([place_body(body, e.theta, e.betas, e.root_mm).joints_J3_mm for e in estimates])


def distance(one, other):
    return np.linalg.norm(one - other, axis=-1).mean()


def test_the_refined_body_is_nearer_to_the_truth_and_to_the_image(body, pairs):
    truth = bodys_joints(body, [t for t, _ in pairs])
    before = bodys_joints(body, [p for _, p in pairs])
    refined = Refiner(body).refine([p for _, p in pairs])
    after = bodys_joints(body, refined)
    relative = [j - j[:, :1] for j in (truth, before, after)]
    assert distance(relative[2], relative[0]) < 0.5 * distance(relative[1], relative[0])
    pixels = [np.stack([projected(j) for j in joints]) for joints in (truth, before, after)]
    assert distance(pixels[2], pixels[0]) < 0.67 * distance(pixels[1], pixels[0])


def test_the_joints_of_a_refined_prediction_are_those_of_its_body(body, pairs):
    refined = Refiner(body).refine([p for _, p in pairs[:4]])
    joints = np.stack([e.joints3d_mm + e.root_mm for e in refined])
    np.testing.assert_allclose(joints, bodys_joints(body, refined), atol=0.5)
    for one in refined:
        np.testing.assert_allclose(
            one.joints2d_px, projected(one.joints3d_mm + one.root_mm), atol=0.01
        )


def test_joints_that_a_detector_found_overrule_the_networks(body, pairs):
    truth, predicted = pairs[0]
    off = dataclasses.replace(
        predicted,
        joints2d_px=predicted.joints2d_px + 25,
        root_mm=predicted.root_mm + np.array([160, 160, 0]),
    )
    given = truth.joints2d_px.copy()
    given[Joint.HEAD_TOP] = np.nan
    (refined,) = Refiner(body).refine([off], joints2d_px=[given])
    assert distance(refined.joints2d_px, truth.joints2d_px) < 5


def test_nobody_is_refined_to_nobody(body):
    assert Refiner(body).refine([]) == []


def test_a_network_without_heatmaps_can_be_refined(body, pairs):
    _, predicted = pairs[1]
    unsure = dataclasses.replace(predicted, confidence=np.full(18, np.nan, np.float32))
    (refined,) = Refiner(body).refine([unsure])
    assert torch.isfinite(torch.from_numpy(refined.theta)).all()
