"""Refined predictions fit their joints better, and no worse the truth."""

import dataclasses

import numpy as np
import pytest
import torch

from hemlets.body import BodyModel
from hemlets.core.skeleton import Joint
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig
from hemlets.data.synthetic.poses import draw_pose
from hemlets.inference import BodyEstimate, Camera
from hemlets.inference.refine import Refiner
from hemlets.reports.drawing import place_body

CAMERA = Camera(fx=600, fy=600, cx=160, cy=160)


@pytest.fixture(scope="module")
def body():
    return BodyModel.load()


@pytest.fixture(scope="module")
def pairs(body):
    """Truth, and predictions as a network makes them of people whom it does not know.

    Image joints off a little, joints in space a lot and above all in depth, θ and β in between.
    """
    rng = np.random.default_rng(0)
    library, config = MotionLibrary.bundled(), OpenDataConfig()
    result = []
    for _ in range(32):
        theta = draw_pose(rng, library, "validation", config).theta_J3.astype(np.float32)
        theta[0] = [np.pi, 0, 0]
        betas = rng.standard_normal(10).astype(np.float32)
        truth = estimate(body, theta, betas)
        place = truth.joints3d_mm + truth.root_mm
        off = rng.normal(0, [60, 60, 130], (18, 3)).astype(np.float32)
        joints = truth.joints3d_mm + off
        turn = rng.normal(0, 0.2, (24, 3))
        turn[0] = rng.normal(0, 0.05, 3)
        predicted = dataclasses.replace(
            truth,
            joints3d_mm=joints - joints[0],
            joints2d_px=projected(place) + rng.normal(0, 4, (18, 2)).astype(np.float32),
            theta=theta + turn.astype(np.float32),
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
    after = bodys_joints(body, Refiner(body).refine([p for _, p in pairs]))
    relative = [j - j[:, :1] for j in (truth, before, after)]
    assert distance(relative[2], relative[0]) < 0.9 * distance(relative[1], relative[0])
    pixels = [np.stack([projected(j) for j in joints]) for joints in (truth, before, after)]
    assert distance(pixels[2], pixels[0]) < 0.67 * distance(pixels[1], pixels[0])


def test_joints_in_space_that_are_wrong_do_not_spoil_a_body_that_is_right(body, pairs):
    right = [dataclasses.replace(p, theta=t.theta, betas=t.betas) for t, p in pairs]
    truth = bodys_joints(body, [t for t, _ in pairs])
    after = bodys_joints(body, Refiner(body).refine(right))
    astray = np.stack([p.joints3d_mm - t.joints3d_mm for t, p in pairs])
    assert np.linalg.norm(astray, axis=-1).mean() > 150
    assert distance(after - after[:, :1], truth - truth[:, :1]) < 40


def test_a_person_twice_as_large_in_the_image_is_refined_to_the_same_body(body, pairs):
    small = [p for _, p in pairs[:4]]
    large = [
        dataclasses.replace(
            p,
            joints2d_px=2 * p.joints2d_px,
            box_xyxy=tuple(2 * side for side in p.box_xyxy),
            camera=Camera(fx=1200, fy=1200, cx=320, cy=320),
        )
        for p in small
    ]
    refined = [Refiner(body).refine(people) for people in (small, large)]
    for one, other in zip(*refined, strict=True):
        np.testing.assert_allclose(other.theta, one.theta, atol=1e-3)
        np.testing.assert_allclose(other.joints2d_px, 2 * one.joints2d_px, atol=0.1)


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
