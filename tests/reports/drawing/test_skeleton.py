import numpy as np
import pytest

from hemlets.core.skeleton import Joint
from hemlets.data.synthetic import RenderedPerson
from hemlets.reports.drawing import draw_skeleton
from hemlets.reports.drawing.bones import LEFT, RIGHT
from hemlets.reports.drawing.skeleton import UNSEEN, seen_in

GREY = 128


def canvas() -> np.ndarray:
    return np.full((200, 200, 3), GREY, np.uint8)


def spread() -> np.ndarray:
    """Joints on a grid, each far from the others."""
    column, row = np.arange(18) % 5, np.arange(18) // 5
    return np.stack([20.0 + 38.0 * column, 25.0 + 45.0 * row], 1)


def test_the_persons_right_is_orange_and_their_left_is_blue() -> None:
    image, joints = canvas(), spread()

    draw_skeleton(image, joints)

    for joint, colour in ((Joint.RIGHT_KNEE, RIGHT), (Joint.LEFT_WRIST, LEFT)):
        x, y = joints[joint].astype(int)
        assert tuple(image[y, x]) == colour


def test_sides_stay_with_the_rendered_person(people: list[RenderedPerson]) -> None:
    row = people[3].row
    image = people[3].image.copy()

    draw_skeleton(image, row["joints2d_px"])

    for joint, colour in ((Joint.RIGHT_WRIST, RIGHT), (Joint.LEFT_WRIST, LEFT)):
        x, y = row["joints2d_px"][joint].astype(int)
        assert tuple(image[y, x]) == colour


def test_a_joints_dot_is_centred_on_it() -> None:
    joints = np.full((18, 2), np.nan)
    joints[Joint.NOSE] = 100.3, 57.8
    image = canvas()

    draw_skeleton(image, joints, thickness=3)

    changed = np.abs(image.astype(float) - GREY).sum(-1)
    rows, columns = np.indices(changed.shape) + 0.5
    found = (columns * changed).sum() / changed.sum(), (rows * changed).sum() / changed.sum()
    assert found == pytest.approx((100.3, 57.8), abs=0.2)


def test_a_surer_joint_is_clearer() -> None:
    joints = spread()
    sure, unsure = canvas(), canvas()
    confidence = np.ones(18)
    confidence[Joint.LEFT_WRIST] = 0.1

    draw_skeleton(sure, joints, confidence=np.ones(18))
    draw_skeleton(unsure, joints, confidence=confidence)

    x, y = joints[Joint.LEFT_WRIST].astype(int)
    difference = [np.abs(image[y, x].astype(float) - GREY).sum() for image in (sure, unsure)]
    assert 0 < difference[1] < 0.5 * difference[0]


def test_a_bone_to_a_guessed_joint_is_thinner() -> None:
    joints = np.full((18, 2), np.nan)
    joints[Joint.LEFT_ELBOW], joints[Joint.LEFT_WRIST] = (50, 100), (150, 100)
    widths = []
    for sure in (UNSEEN + 0.01, UNSEEN - 0.01):
        image, confidence = canvas(), np.ones(18)
        confidence[Joint.LEFT_WRIST] = sure
        draw_skeleton(image, joints, confidence=confidence, thickness=12)
        widths.append(int((image[:, 100] != GREY).any(-1).sum()))
    assert widths[1] < 0.75 * widths[0]


def test_a_joint_outside_of_the_image_is_not_seen_and_one_of_unknown_place_may_be() -> None:
    joints = np.full((18, 2), 50.0)
    joints[0], joints[1], joints[2] = (-1, 50), (50, 81), (np.nan, np.nan)
    assert seen_in((100, 80), joints, np.full(18, 0.7)).tolist() == [0, 0, *[0.7] * 16]


def test_full_confidence_draws_what_no_confidence_draws() -> None:
    plain, sure = canvas(), canvas()

    draw_skeleton(plain, spread())
    draw_skeleton(sure, spread(), confidence=np.ones(18))

    assert np.abs(plain.astype(int) - sure).max() <= 1


def test_an_unknown_confidence_counts_as_sure() -> None:
    plain, unknown = canvas(), canvas()

    draw_skeleton(plain, spread())
    draw_skeleton(unknown, spread(), confidence=np.full(18, np.nan))

    assert np.abs(plain.astype(int) - unknown).max() <= 1


@pytest.mark.parametrize("confidence", [None, np.ones(18)])
def test_joints_that_are_unknown_or_far_outside_are_no_trouble(
    confidence: np.ndarray | None,
) -> None:
    image, nothing = canvas(), canvas()
    joints = spread()
    joints[Joint.NECK] = np.nan
    joints[Joint.LEFT_ANKLE] = 1e7, -1e7

    draw_skeleton(image, joints, confidence=confidence)
    draw_skeleton(nothing, np.full((18, 2), np.nan), confidence=confidence)

    assert (image != GREY).any()
    assert (nothing == GREY).all()
