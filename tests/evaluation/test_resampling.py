from __future__ import annotations

import numpy as np
import pytest

from hemlets.evaluation.intervals import Resampler


def test_the_interval_is_that_of_the_plain_bootstrap_over_sequences():
    rng = np.random.default_rng(0)
    sequence = np.repeat(np.arange(40), 25)
    values = rng.normal(0, 1, 40)[sequence] + 50
    found = Resampler(sequence, resamples=4000).mean(values)
    assert found.mean == pytest.approx(values.mean())
    by_sequence = values[::25]
    half = 1.96 * by_sequence.std() / np.sqrt(40)
    assert found.high - found.mean == pytest.approx(half, rel=0.15)
    assert found.sequences == 40


def test_frames_of_a_sequence_count_as_one_draw_not_as_many():
    values = np.random.default_rng(0).normal(50, 1, 40)
    once = Resampler(np.arange(40)).mean(values)
    often = Resampler(np.repeat(np.arange(40), 100)).mean(np.repeat(values, 100))
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.01)


def test_thousands_of_sequences_are_drawn_in_blocks_with_the_same_spread():
    values = np.random.default_rng(0).normal(50, 1, 20_000)
    found = Resampler(np.arange(20_000)).mean(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(20_000), rel=0.15)
    assert found.sequences == 20_000


def test_the_mean_of_groups_counts_each_group_once():
    values = np.array([10.0, 10, 10, 40])
    groups = [np.array([True, True, True, False]), np.array([False, False, False, True])]
    assert Resampler(np.arange(4)).mean_of_groups(values, groups).mean == pytest.approx(25)


def test_a_group_without_a_value_leaves_the_mean_of_groups_undefined():
    groups = [np.array([True, False]), np.array([False, False])]
    assert np.isnan(Resampler(np.arange(2)).mean_of_groups(np.ones(2), groups).mean)


def test_one_sequence_has_no_interval():
    found = Resampler(np.zeros(5, int)).mean(np.arange(5.0))
    assert found.mean == 2
    assert np.isnan(found.low)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(1).random(30)
    one, same, other = (Resampler(np.arange(30), seed=s).mean(values) for s in (3, 3, 4))
    assert one == same
    assert one != other


def test_every_page_draws_the_same_interval_of_the_same_numbers():
    rng = np.random.default_rng(2)
    names = np.array([f"clip@{number}" for number in rng.integers(0, 25, 300)])
    values = rng.normal(100, 20, 300)
    values[rng.random(300) < 0.1] = np.nan
    order = rng.permutation(300)
    numbered = np.unique(names, return_inverse=True)[1]
    by_name = Resampler(names, resamples=500).mean(values)
    assert by_name == Resampler(numbered, resamples=500).mean(values)
    shuffled = Resampler(names[order], resamples=500).mean(values[order])
    assert (by_name.low, by_name.high) == pytest.approx((shuffled.low, shuffled.high), abs=1e-9)


def test_a_parts_interval_is_its_own_whatever_other_samples_are_there():
    rng = np.random.default_rng(3)
    sequence, values = np.repeat(np.arange(30), 4), rng.normal(100, 20, 120)
    part = sequence % 3 == 0
    among = Resampler(sequence).mean(values, part)
    assert among == Resampler(sequence[part]).mean(values[part])
    assert among.sequences == 10


def test_the_order_of_the_samples_does_not_move_an_interval():
    rng = np.random.default_rng(4)
    sequence, values = np.repeat(np.arange(30), 4), rng.normal(100, 20, 120)
    order = rng.permutation(120)
    one = Resampler(sequence).mean(values)
    other = Resampler(sequence[order]).mean(values[order])
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9)
