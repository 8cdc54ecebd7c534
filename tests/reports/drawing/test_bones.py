import numpy as np

from hemlets.core.skeleton import Joint
from hemlets.reports.drawing import draw_bones, side_view
from hemlets.reports.drawing.bones import BONES, LEFT, RIGHT


def has_near(image: np.ndarray, at: tuple[float, float], colour: tuple[int, int, int]) -> bool:
    x, y = (int(v) for v in at)
    window = image[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].astype(int)
    return bool((np.abs(window - colour).max(-1) < 40).any())


def test_every_joint_is_on_a_line() -> None:
    assert {joint for bone in BONES for joint in bone} == set(Joint)


def test_left_and_right_have_their_own_colours() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    joints = np.full((18, 2), 128.0)
    joints[Joint.RIGHT_WRIST], joints[Joint.LEFT_WRIST] = (40, 60), (220, 60)
    draw_bones(image, joints)
    assert has_near(image, (40, 60), RIGHT)
    assert has_near(image, (220, 60), LEFT)


def test_joints_far_outside_the_image_are_no_trouble() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    draw_bones(image, np.full((18, 2), 1e9))


def test_the_side_view_has_depth_to_the_right_and_down_below() -> None:
    pose = np.zeros((18, 3))
    pose[Joint.LEFT_WRIST] = [0, 500, 800]
    picture = side_view(pose, None, size=220, span_mm=2200)
    assert has_near(picture, (110 + 80, 110 + 50), LEFT)
