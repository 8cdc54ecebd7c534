"""Who is who: by motion, and by appearance where motion can't tell."""

from __future__ import annotations

import numpy as np

from hemlets.core.skeleton import Joint
from hemlets.inference.people import Detection, Image
from hemlets.inference.tracks import Tracker, alike, appearance
from hemlets.inference.types import Box

RED, BLUE = (200, 40, 40), (40, 40, 200)


def _look(colour: tuple[int, int, int]) -> np.ndarray:
    return np.tile(np.float32(colour), (7, 1))


def _at(x: float) -> Detection:
    return Detection(box_xyxy=(x, 20.0, x + 40, 140.0))


def test_people_who_pass_each_other_keep_their_numbers_by_their_motion() -> None:
    tracker = Tracker()
    for frame in range(21):
        numbers = tracker.assign(frame, [_at(10.0 * frame), _at(200 - 10.0 * frame)])
        assert numbers == [0, 1], frame


def test_whoever_is_found_elsewhere_in_the_next_frame_is_known_by_the_colours() -> None:
    tracker = Tracker()
    looks = [_look(RED), _look(BLUE)]
    assert tracker.assign(0, [_at(0), _at(500)], looks) == [0, 1]
    # Motion alone would call both new.
    assert tracker.assign(1, [_at(250), _at(900)], looks[::-1]) == [1, 0]


def test_the_colours_of_people_who_hide_each_other_are_not_believed() -> None:
    tracker = Tracker()
    looks = [_look(RED), _look(BLUE)]
    assert tracker.assign(0, [_at(0), _at(42)], looks) == [0, 1]
    assert tracker.assign(1, [_at(19), _at(23)], looks[::-1]) == [0, 1]


def test_whoever_leaves_and_comes_back_is_recognised_by_the_colours() -> None:
    tracker = Tracker(max_gap=10, memory=100)
    assert tracker.assign(0, [_at(0), _at(300)], [_look(RED), _look(BLUE)]) == [0, 1]
    for frame in range(1, 60):
        tracker.assign(frame, [_at(0)], [_look(RED)])
    assert tracker.assign(60, [_at(0), _at(500)], [_look(RED), _look(BLUE)]) == [0, 1]


def test_whoever_comes_in_other_colours_or_far_later_is_new() -> None:
    tracker = Tracker(max_gap=10, memory=100)
    assert tracker.assign(0, [_at(0)], [_look(RED)]) == [0]
    assert tracker.assign(50, [_at(0)], [_look(BLUE)]) == [1]
    assert tracker.assign(200, [_at(0)], [_look(RED)]) == [2]


def test_a_crowd_without_end_needs_no_more_memory() -> None:
    tracker = Tracker(max_gap=1, memory=10**6, most=50)
    for frame in range(0, 300, 3):
        tracker.assign(frame, [_at(1000.0 * i) for i in range(3)])
    assert len(tracker._tracks) == 50


def test_the_appearance_is_that_of_body_and_limbs() -> None:
    image: Image = np.full((200, 200, 3), 255, np.uint8)
    image[60:140, 80:120] = RED
    joints = np.full((18, 2), (100.0, 100.0))
    joints[Joint.THORAX], joints[Joint.PELVIS] = (100, 70), (100, 130)
    look = appearance(image, joints)
    assert look is not None
    np.testing.assert_allclose(look[:3], np.tile(RED, (3, 1)))
    same, other = alike(look, _look(RED)), alike(look, _look(BLUE))
    assert same is not None
    assert other is not None
    assert same > 0.9 > 0.3 > other


def test_of_somebody_outside_of_the_image_nothing_is_known() -> None:
    box: Box = (0.0, 0.0, 1.0, 1.0)
    assert appearance(np.zeros((50, 50, 3), np.uint8), np.full((18, 2), -400.0)) is None
    assert alike(None, _look(RED)) is None
    assert Tracker().assign(0, [Detection(box_xyxy=box)], [None]) == [0]
