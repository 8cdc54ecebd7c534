"""Which of several detections of one person stays."""

from __future__ import annotations

import numpy as np

from hemlets.inference.suppression import FoundPerson, suppress

SURE = 0.2


def _person(
    box: tuple[float, float, float, float], score: float = 0.6, shift: float = 0.0
) -> FoundPerson:
    """Somebody whose keypoints lie on the diagonal of a box, shifted to the right."""
    low, high = np.array(box[:2], float), np.array(box[2:], float)
    points = low + np.linspace(0.05, 0.95, 17)[:, None] * (high - low) + (shift, 0.0)
    keypoints = np.concatenate([points, np.full((17, 1), 0.8)], 1)
    return FoundPerson(keypoints_K3=keypoints, box_xyxy=np.array(box, float), score=score)


def test_of_the_same_person_the_surest_stays() -> None:
    surest = _person((0, 0, 100, 200), 0.7)
    again = [_person((1, 2, 101, 202), 0.5), _person((0, 0, 98, 199), 0.6)]
    assert suppress([again[0], surest, again[1]], keypoint_score=SURE) == [surest]


def test_people_who_hold_each_other_both_stay() -> None:
    one, other = _person((0, 0, 100, 200)), _person((30, 0, 130, 200), 0.5, shift=25)
    assert suppress([one, other], keypoint_score=SURE) == [one, other]


def test_keypoints_that_agree_are_one_person_whatever_the_boxes_say() -> None:
    whole = _person((0, 0, 100, 200), 0.7)
    short = FoundPerson(
        keypoints_K3=whole.keypoints_K3, box_xyxy=np.array((0.0, 0, 100, 90)), score=0.5
    )
    assert suppress([whole, short], keypoint_score=SURE) == [whole]


def test_unsure_keypoints_decide_nothing() -> None:
    whole = _person((0, 0, 100, 200), 0.7)
    unsure = whole.keypoints_K3.copy()
    unsure[:, 2] = 0.1
    other = FoundPerson(keypoints_K3=unsure, box_xyxy=np.array((60.0, 0, 160, 200)), score=0.5)
    assert suppress([whole, other], keypoint_score=SURE) == [whole, other]


def test_a_faint_second_box_inside_somebody_is_no_second_person() -> None:
    whole = _person((0, 0, 100, 200), 0.7)
    inside = _person((20, 20, 90, 190), 0.2, shift=60)
    child = _person((60, 120, 95, 195), 0.6, shift=40)
    assert suppress([whole, inside, child], keypoint_score=SURE) == [whole, child]


def test_equal_scores_keep_the_order_given() -> None:
    one, other = _person((0, 0, 50, 100)), _person((100, 0, 150, 100))
    assert suppress([other, one], keypoint_score=SURE) == [other, one]
