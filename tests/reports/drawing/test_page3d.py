"""The 3D page holds the prediction and needs nothing from anywhere."""

import base64
import dataclasses
import json
import re

import numpy as np
import pytest

from hemlets.reports.drawing import place_body
from hemlets.reports.drawing.page3d import prediction_page
from hemlets.reports.drawing.people import draw_people


@pytest.fixture
def shown(people, truth_of, body):
    estimates = [truth_of(person) for person in people[:2]]
    return [(e, place_body(body, e.theta, e.betas, e.root_mm)) for e in estimates]


def content_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1].replace("<\\/", "</"))


def test_the_page_holds_every_persons_mesh_and_joints(shown):
    content = content_of(prediction_page(shown, title="two people"))
    for entry, (estimate, placed) in zip(content["people"], shown, strict=True):
        steps = np.frombuffer(base64.b64decode(entry["vertices"]), "<i2").reshape(-1, 3)
        vertices = steps * entry["step_mm"] + entry["offset_mm"]
        np.testing.assert_allclose(vertices, placed.vertices_V3_mm, atol=0.1)
        faces = np.frombuffer(base64.b64decode(entry["faces"]), "<u4").reshape(-1, 3)
        np.testing.assert_array_equal(faces, placed.faces_F3)
        joints = estimate.joints3d_mm + estimate.root_mm
        np.testing.assert_allclose(entry["joints_mm"], joints, atol=0.1)


def test_the_page_marks_joints_that_are_unsure_or_outside_of_the_photo(shown):
    estimate, placed = shown[0]
    joints, confidence = np.full((18, 2), 50.0), np.full(18, 0.9)
    joints[3], confidence[7] = (50.0, 300.0), 0.1
    doubted = dataclasses.replace(estimate, joints2d_px=joints, confidence=confidence)
    photo = np.zeros((256, 256, 3), np.uint8)
    content = content_of(prediction_page([(doubted, placed)], title="cut", image_HW3=photo))
    assert np.flatnonzero(content["people"][0]["unseen"]).tolist() == [3, 7]


def test_the_page_asks_nothing_of_any_network(shown, people):
    page = prediction_page(shown, title="photo", image_HW3=people[0].image)
    assert "default-src 'none'" in page
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"//.*", "", page.split("<script>")[0]))
    assert not re.search(r"\b(src|href)=\"(?!data:)", page)
    assert "{{" not in page.split('id="data">')[0]


def test_a_hostile_title_stays_text(shown):
    page = prediction_page(shown, title="</script><script>alert(1)</script>")
    assert "<script>alert" not in page


def test_a_page_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        prediction_page([], title="empty")


def test_the_nearer_person_is_drawn_in_front(shown):
    estimate, placed = shown[0]
    image = np.zeros((256, 256, 3), np.uint8)
    behind = np.array([0, 0, 50], np.float32)
    farther = (
        dataclasses.replace(estimate, root_mm=estimate.root_mm + behind),
        dataclasses.replace(placed, vertices_V3_mm=placed.vertices_V3_mm + behind),
    )
    near_last = draw_people(image, [farther, shown[0]], numbers=[1, 0], skeleton=False)
    near_first = draw_people(image, [shown[0], farther], numbers=[0, 1], skeleton=False)
    np.testing.assert_array_equal(near_last, near_first)
    alone = draw_people(image, [shown[0]], numbers=[0], skeleton=False)
    covered = (alone > 120).all(-1)
    difference = near_first[covered].astype(int) - alone[covered]
    assert np.abs(difference).mean() < 30
