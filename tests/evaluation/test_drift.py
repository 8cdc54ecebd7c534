"""A shift of a distribution counts if it is both large and sure."""

from __future__ import annotations

import numpy as np
import pytest

from hemlets.evaluation.drift import find_shifts, population_stability_index


def normal(rows: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, rows)


def shift(reference: np.ndarray, window: np.ndarray):
    (found,) = find_shifts({"x": reference}, {"x": window}, ["x"])
    return found


def test_the_index_is_that_of_its_definition() -> None:
    reference = np.arange(100.0)
    window = np.concatenate([np.full(50, 5.0), np.arange(50.0, 100.0)])
    shares = np.array([0.5, 1e-3, 1e-3, 1e-3, 1e-3, 0.1, 0.1, 0.1, 0.1, 0.1])
    expected = np.sum((shares - 0.1) * np.log(shares / 0.1))
    assert population_stability_index(reference, window) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mean", "rows", "alarm"),
    [(0.0, 2000, False), (0.1, 5000, False), (1.0, 2000, True), (1.0, 4, False)],
)
def test_only_a_shift_that_is_large_and_sure_gives_an_alarm(mean, rows, alarm) -> None:
    assert shift(normal(2000), normal(rows, mean, seed=1)).alarm is alarm


def test_the_largest_shift_is_first_and_what_is_not_finite_is_left_out() -> None:
    reference = {"a": normal(500), "b": normal(500), "c": np.full(500, np.nan)}
    window = {"a": normal(500, 0.2, 1), "b": normal(500, 2.0, 1), "c": normal(500)}
    found = find_shifts(reference, window, ["a", "b", "c", "d"])
    assert [one.feature for one in found] == ["b", "a"]
    assert found[0].quantiles[1][2] == pytest.approx(2.0, abs=0.2)


def test_a_feature_with_one_value_has_no_shift() -> None:
    assert shift(np.ones(100), np.ones(50)).psi == pytest.approx(0.0)
