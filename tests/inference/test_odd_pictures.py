"""Pictures of no living person: each has a defined answer from the bundled weights."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import hemlets
from hemlets.assets import asset_path
from hemlets.body import BodyModel
from hemlets.body.placement import PlacedBody, place_body
from hemlets.core.skeleton import SMPL_JOINTS, Joint
from hemlets.inference.images import Image
from hemlets.inference.types import Camera
from hemlets.reports.drawing.mesh import overlay, render_mesh

CAMERA = Camera(fx=600.0, fy=600.0, cx=180.0, cy=230.0)
_ARMS = {"left_shoulder": -1.1, "right_shoulder": 1.1, "left_hip": 0.1, "right_hip": -0.1}


@pytest.fixture(scope="module")
def model() -> hemlets.Model:
    """Without second looks: one look says what is asked here."""
    return hemlets.load(asset_path("starter/model.json").parent, second_look=False)


@pytest.fixture(scope="module")
def standing() -> PlacedBody:
    theta = np.zeros((24, 3))
    theta[0, 0] = np.pi
    for name, angle in _ARMS.items():
        theta[SMPL_JOINTS.index(name), 2] = angle
    body = BodyModel.load(resolution="full")
    return place_body(body, theta, np.zeros(10), np.array([0.0, 0.0, 3500.0]))


@pytest.fixture(scope="module")
def statue(standing: PlacedBody) -> Image:
    mesh = render_mesh(
        standing.vertices_V3_mm, standing.faces_F3, CAMERA, (360, 480), colour=(190, 188, 180)
    )
    return overlay(np.full((480, 360, 3), 200, np.uint8), mesh, alpha=1.0)


@pytest.mark.parametrize("drawn", [False, True], ids=["statue", "line drawing"])
def test_statues_and_drawings_are_taken_for_people(
    model: hemlets.Model, statue: Image, standing: PlacedBody, drawn: bool
) -> None:
    """Where a likeness of a person stands, its pose is predicted; nobody judges what it is of."""
    image = statue
    if drawn:
        edges = cv2.dilate(cv2.Canny(statue, 20, 60), np.ones((2, 2), np.uint8))
        image = np.repeat(255 - edges[..., None], 3, 2)
    (found,) = model(image)
    assert found.estimate.person is True
    joints = standing.joints_J3_mm
    true_px = joints[:, :2] / joints[:, 2:] * 600 + [180, 230]
    limbs = [j for j in Joint if j.name.endswith(("KNEE", "ANKLE", "SHOULDER", "ELBOW"))]
    apart_px = np.linalg.norm(found.joints2d_px - true_px, axis=1)[limbs]
    assert np.median(apart_px) < 15


def test_a_box_around_nobody_is_answered_and_said_to_be_empty(
    model: hemlets.Model, statue: Image
) -> None:
    (found,) = model(statue, boxes=[(0, 0, 70, 200)])
    assert found.estimate.person is False
    assert np.isfinite(found.vertices_mm).all()
    assert np.isfinite(found.joints3d_mm).all()


def test_a_picture_of_nobody_has_nobody(model: hemlets.Model) -> None:
    slope = np.linspace(120, 230, 300)[:, None, None]
    assert len(model(np.broadcast_to(slope, (300, 400, 3)).astype(np.uint8).copy())) == 0
