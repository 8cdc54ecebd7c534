"""A detector that looks at every few frames, and people who go on in between."""

from __future__ import annotations

import numpy as np
import pytest

from hemlets.inference.following import FollowingFinder
from hemlets.inference.people import Detection, Image

FRAME = np.zeros((200, 400, 3), np.uint8)


class Walkers:
    """Somebody who walks to the right, 4 px a frame, and somebody who stands."""

    def __init__(self, *, start: float = 10.0, every: int = 3) -> None:
        self.looks = 0
        self.start, self.every = start, every

    def detect(self, image_HW3: Image) -> list[Detection]:
        left = self.start + 4.0 * self.every * self.looks
        self.looks += 1
        joints = np.full((18, 2), np.nan, np.float32)
        joints[:5] = (left + 20, 60)
        return [
            Detection(box_xyxy=(left, 20, left + 40, 140), joints2d_px=joints),
            Detection(box_xyxy=(300, 20, 340, 140)),
        ]


def test_between_looks_people_go_on_as_they_moved() -> None:
    detector = Walkers()
    finder = FollowingFinder(detector, every=3)
    frames = [finder(number, FRAME) for number in range(9)]
    assert detector.looks == 3
    assert all(len(found) == 2 for found in frames)
    # From the second look on the motion is known.
    lefts = [found[0].box_xyxy[0] for found in frames[3:] if found[0].box_xyxy]
    assert lefts == pytest.approx([22, 26, 30, 34, 38, 42])
    assert [found[1].box_xyxy for found in frames] == [(300, 20, 340, 140)] * 9
    joints = frames[5][0].joints2d_px
    assert joints is not None
    np.testing.assert_allclose(joints[0], (50, 60))
    assert np.isnan(joints[9]).all()


def test_somebody_new_stands_still_until_the_next_look() -> None:
    finder = FollowingFinder(Walkers(), every=3)
    first, second = finder(0, FRAME), finder(1, FRAME)
    assert [f.box_xyxy for f in first] == [f.box_xyxy for f in second]


def test_whoever_leaves_the_picture_between_looks_is_gone() -> None:
    finder = FollowingFinder(Walkers(start=376.0, every=5), every=5)
    counts = [len(finder(number, FRAME)) for number in range(8)]
    # At 4 px a frame the box from 396 on leaves the 400 px after the look at frame 5.
    assert counts == [2, 2, 2, 2, 2, 2, 1, 1]


def test_every_frame_can_be_looked_at() -> None:
    detector = Walkers(every=1)
    finder = FollowingFinder(detector, every=1)
    for number in range(4):
        finder(number, FRAME)
    assert detector.looks == 4
