"""Looks: the face tells front from back, and clothes end where they should."""

from __future__ import annotations

import numpy as np
import pytest

from hemlets.body.model import BodyModel
from hemlets.data.synthetic.appearance import Landmarks, Look, draw_look
from hemlets.data.synthetic.light import MAX_LIGHT, draw_lights


@pytest.fixture(scope="module")
def marks(body: BodyModel) -> Landmarks:
    joints = (body.J_regressor_JV @ body.v_template_V3).numpy()
    return Landmarks.of_template(body.v_template_V3.numpy(), joints)


@pytest.fixture(scope="module")
def looks(marks: Landmarks) -> list[Look]:
    return [draw_look(np.random.default_rng(i), marks) for i in range(100)]


def head(body: BodyModel, marks: Landmarks, *, front: bool) -> np.ndarray:
    points = body.v_template_V3.numpy()
    points = points[(points[:, 1] > marks.chin_y) & (np.abs(points[:, 0]) < 0.09)]
    return points[(points[:, 2] > marks.ear_z) == front]


def test_a_face_has_more_contrast_than_the_back_of_a_head(
    body: BodyModel, marks: Landmarks, looks: list[Look]
) -> None:
    front, back = (head(body, marks, front=side) for side in (True, False))
    bare = [look for look in looks if not look.hat]
    wins = [look.paint(front).std(0).mean() > look.paint(back).std(0).mean() for look in bare]
    assert np.mean(wins) > 0.65


def test_eyes_and_hair_differ_from_the_skin(
    body: BodyModel, marks: Landmarks, looks: list[Look]
) -> None:
    unit = marks.face_unit
    eye = np.array([[0.205 * unit, marks.nose_y + 0.215 * unit, marks.nose_z - 0.02]], np.float32)
    crown = np.array([[0.0, marks.top_y, marks.ear_z - 0.03]], np.float32)
    for look in looks:
        assert np.abs(look.paint(eye)[0] - look.skin).max() > 0.02
        if not (look.bald or look.hat):
            assert np.array_equal(look.paint(crown)[0], look.hair)


def test_hands_are_bare_below_the_sleeve_but_for_gloves(
    marks: Landmarks, looks: list[Look]
) -> None:
    hand = np.array([[marks.hand_x, marks.neck_y - 0.1, 0.0]], np.float32)
    for look in looks:
        assert np.array_equal(look.paint(hand)[0], look.badge_colour if look.gloves else look.skin)


def test_colours_stay_within_range_and_clothes_vary(body: BodyModel, looks: list[Look]) -> None:
    points = body.v_template_V3.numpy()
    painted = np.stack([look.paint(points) for look in looks])
    assert painted.min() >= 0.0
    assert painted.max() <= 1.001
    assert {look.top.kind for look in looks} >= {"plain", "stripes", "check", "blotches", "fade"}
    assert (painted.std(0).mean(-1) > 0.1).mean() > 0.9


def test_light_never_leaves_the_body_dark_nor_exceeds_its_range() -> None:
    normals = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    for seed in range(100):
        light = draw_lights(np.random.default_rng(seed)).on(normals)
        assert light.min() >= 0.0
        assert light.max() <= MAX_LIGHT
        assert light.mean() > 0.2
