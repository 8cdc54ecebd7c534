"""The scores of tracks, against a case worked by hand."""

from __future__ import annotations

import pytest

from .mot import score

A, B = (0.0, 0.0, 10.0, 20.0), (50.0, 0.0, 60.0, 20.0)
FAR = (200.0, 0.0, 210.0, 20.0)


def test_switches_misses_and_false_boxes_count_as_in_a_case_by_hand() -> None:
    truth = [{1: A, 2: B}] * 4
    found = [
        {7: A, 8: B},
        {7: A, 8: B, 9: FAR},  # one box too many
        {8: A, 7: B},  # both numbers change
        {8: A},  # the second person is missed
    ]
    result = score(truth, found)
    assert (result.people, result.found) == (8, 8)
    assert (result.missed, result.others, result.switches) == (1, 1, 2)
    assert result.mota_pct == pytest.approx(100 * (1 - 4 / 8))
    # Person 1 is 7 twice and 8 twice, person 2 is 8 twice and 7 once: 2 + 2 under the best naming.
    assert result.identity_hits == 4
    assert result.idf1_pct == pytest.approx(100 * 2 * 4 / 16)


def test_a_person_keeps_the_number_while_the_boxes_overlap() -> None:
    near = (1.0, 0.0, 11.0, 20.0)
    result = score([{1: A}, {1: A}], [{5: A}, {5: near, 6: A}])
    assert (result.switches, result.others, result.missed) == (0, 1, 0)


def test_nobody_anywhere_is_no_mistake() -> None:
    result = score([{}, {}], [{}, {}])
    assert (result.missed, result.others, result.switches) == (0, 0, 0)
