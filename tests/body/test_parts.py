"""Masks and parts lie where the body is seen, and are scored as by hand."""

import math

import numpy as np
import pytest
import torch

from hemlets.body.parts import (
    PARTS_6,
    PARTS_24,
    Painter,
    score_segmentation,
    to_six_parts,
)
from hemlets.core.skeleton import Joint

SIZE = (320, 240)
VIEW = {"focal_px": (300.0, 280.0), "centre_px": (150.0, 130.0), "size": SIZE}


@pytest.fixture(params=["lite_body", "full_body"])
def body(request):
    return request.getfixturevalue(request.param)


def standing(body):
    """A T-pose 3 m before the camera, facing it: skin (V, 3) and joints (18, 3)."""
    theta = torch.zeros(1, 24, 3)
    theta[0, 0, 0] = math.pi
    posed = body(theta, torch.zeros(1, 10))
    away = torch.tensor([0.0, 0.0, 3000.0])
    return (posed.vertices_BV3_mm[0] + away).numpy(), (posed.joints18_B183_mm[0] + away).numpy()


def pixel(point):
    x = point[0] / point[2] * VIEW["focal_px"][0] + VIEW["centre_px"][0]
    y = point[1] / point[2] * VIEW["focal_px"][1] + VIEW["centre_px"][1]
    return math.floor(y), math.floor(x)


def test_each_part_is_seen_at_its_joints(body):
    skin, joints = standing(body)
    parts = Painter(body).paint(skin, **VIEW).parts6
    for joint, name in (
        (Joint.NOSE, "head"),
        (Joint.THORAX, "torso"),
        (Joint.LEFT_ELBOW, "left_arm"),
        (Joint.RIGHT_ELBOW, "right_arm"),
        (Joint.LEFT_KNEE, "left_leg"),
        (Joint.RIGHT_KNEE, "right_leg"),
    ):
        assert parts[pixel(joints[joint])] == PARTS_6.index(name) + 1, name


def test_a_pixel_is_foreground_where_its_centre_lies_in_a_triangle(lite_body):
    """A slow twin: every pixel centre against every projected triangle."""
    skin, _ = standing(lite_body)
    mask = Painter(lite_body).paint(skin, **VIEW).foreground
    scale, centre = np.array(VIEW["focal_px"]), np.array(VIEW["centre_px"])
    flat = skin[:, :2] / skin[:, 2:] * scale + centre
    a, b, c = flat[lite_body.faces_F3.numpy()].transpose(1, 0, 2)
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(20, 220, 600), rng.integers(60, 240, 600)
    points = np.stack([columns, rows], -1)[:, None] + 0.5

    def side(p, q):
        return (q[:, 0] - p[:, 0]) * (points[..., 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (
            points[..., 0] - p[:, 0]
        )

    ab, bc, ca = side(a, b), side(b, c), side(c, a)
    inside = (((ab >= 0) & (bc >= 0) & (ca >= 0)) | ((ab <= 0) & (bc <= 0) & (ca <= 0))).any(1)
    assert inside.sum() > 50
    assert (mask[rows, columns] != inside).mean() < 0.01


def test_labels_are_whole_and_all_24_parts_are_there(full_body):
    skin, _ = standing(full_body)
    near = {"focal_px": (900.0, 900.0), "centre_px": (480.0, 450.0), "size": (960, 960)}
    masks = Painter(full_body).paint(skin, **near)
    assert set(np.unique(masks.parts24_HW)) <= set(range(25))
    assert len(np.unique(masks.parts24_HW)) >= 23
    assert (np.isfinite(masks.depth_HW_mm) == masks.foreground).all()


def test_a_body_out_of_sight_leaves_no_mask(lite_body):
    skin, _ = standing(lite_body)
    for way in ([9000.0, 0, 0], [0, 0, -9000.0]):
        assert not Painter(lite_body).paint(skin + way, **VIEW).foreground.any()


def test_every_one_of_24_parts_is_one_of_six():
    six = to_six_parts(np.arange(25, dtype=np.uint8))
    assert six[0] == 0
    assert set(six[1:]) == set(range(1, 7))
    assert six[1 + PARTS_24.index("left_foot")] == 1 + PARTS_6.index("left_leg")


def test_scores_are_those_counted_by_hand():
    truth = np.array([[0, 1, 1, 2]], np.uint8)
    ours = np.array([[0, 1, 2, 2]], np.uint8)
    score = score_segmentation([ours], [truth], n_labels=3)
    assert score.accuracy == pytest.approx(3 / 4)
    # Label 1: 1 right, 1 missed. Label 2: 1 right, 1 wrong. Label 3: nobody has it.
    assert score.f1_by_label[:2] == pytest.approx((2 / 3, 2 / 3))
    assert math.isnan(score.f1_by_label[2])
    assert score.f1 == pytest.approx(2 / 3)


def test_masks_of_different_sizes_are_not_compared():
    with pytest.raises(ValueError, match="its truth"):
        score_segmentation([np.zeros((2, 2), np.uint8)], [np.zeros((2, 3), np.uint8)], n_labels=1)
