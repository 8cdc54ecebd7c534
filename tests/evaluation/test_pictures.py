from __future__ import annotations

import numpy as np
import pytest

from hemlets.annotations import decode_image
from hemlets.errors import DataError
from hemlets.evaluation.drawing import BONES, LEFT, RIGHT, draw_bones, side_view
from hemlets.evaluation.pictures import contact_sheet, joint_error_chart, pick_samples
from hemlets.skeleton import JOINTS, Joint


def has_near(image: np.ndarray, at: tuple[float, float], colour: tuple[int, int, int]) -> bool:
    x, y = (int(v) for v in at)
    window = image[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].astype(int)
    return bool((np.abs(window - colour).max(-1) < 40).any())


def test_every_joint_is_on_a_line():
    assert {joint for bone in BONES for joint in bone} == set(Joint)


def test_left_and_right_have_their_own_colours(annotations):
    image = np.zeros((256, 256, 3), np.uint8)
    joints = np.full((18, 2), 128.0)
    joints[Joint.RIGHT_WRIST], joints[Joint.LEFT_WRIST] = (40, 60), (220, 60)
    draw_bones(image, joints)
    assert has_near(image, (40, 60), RIGHT)
    assert has_near(image, (220, 60), LEFT)


def test_joints_far_outside_the_image_are_no_trouble():
    image = np.zeros((64, 64, 3), np.uint8)
    draw_bones(image, np.full((18, 2), 1e9))


def test_the_side_view_has_depth_to_the_right_and_down_below():
    pose = np.zeros((18, 3))
    pose[Joint.LEFT_WRIST] = [0, 500, 800]
    picture = side_view(pose, None, size=220, span_mm=2200)
    assert has_near(picture, (110 + 80, 110 + 50), LEFT)


def test_the_chart_is_a_png_and_takes_unknown_joints():
    values = dict(zip(JOINTS, np.linspace(0, 170, 18), strict=True)) | {"nose": float("nan")}
    chart = joint_error_chart(values)
    assert chart.startswith(b"\x89PNG")
    assert decode_image(chart).shape == (560, 440, 3)
    assert joint_error_chart({}).startswith(b"\x89PNG")


def test_the_chart_refuses_what_is_no_joint():
    with pytest.raises(DataError, match="tail"):
        joint_error_chart({"tail": 3.0})


def test_samples_are_picked_from_best_to_worst():
    errors = [5.0, 1.0, np.nan, 3.0, 4.0, 2.0]
    assert pick_samples(errors, 3).tolist() == [1, 3, 0]
    assert pick_samples(errors, 99).tolist() == [1, 5, 3, 4, 0]
    assert pick_samples([np.nan], 3).tolist() == []


def test_a_sheet_has_a_tile_a_sample_and_a_legend(predictions, annotations):
    names = annotations.sample_id[:5].tolist()
    images = {name: np.full((200, 256, 3), 90, np.uint8) for name in names}
    sheet = contact_sheet(images, predictions, annotations, columns=2, size=128)
    assert sheet.shape == (3 * 128 + 24, 2 * 256, 3)
    assert sheet.dtype == np.uint8


def test_a_sample_that_is_not_there_is_named(predictions, annotations):
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(DataError, match="nobody"):
        contact_sheet({"nobody": image}, predictions, annotations)
    with pytest.raises(DataError, match="no image"):
        contact_sheet({"a": image}, predictions, annotations, sample_ids=["b"])
    with pytest.raises(DataError, match="no samples"):
        contact_sheet({}, predictions, annotations)
