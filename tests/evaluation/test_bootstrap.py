from __future__ import annotations

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.evaluation import Interval, Resampler, paired_ratio


def bootstrap_mean(values, sequences, **options) -> Interval:
    return Resampler(np.asarray(sequences), **options).mean(np.asarray(values))


def clustered(rng, sequences: int, frames: int, between: float, within: float):
    """Values whose sequences differ more than their frames."""
    values = (
        50 + rng.normal(0, between, (sequences, 1)) + rng.normal(0, within, (sequences, frames))
    )
    return values.reshape(-1), np.repeat([f"c{i}" for i in range(sequences)], frames)


def test_the_mean_is_the_mean_over_samples():
    found = bootstrap_mean([1.0, 2.0, 6.0], ["a", "a", "b"])
    assert found.mean == pytest.approx(3.0)
    assert (found.samples, found.sequences) == (3, 2)


def test_samples_without_the_metric_are_left_out():
    found = bootstrap_mean([1.0, np.nan, 3.0], ["a", "a", "b"])
    assert found.mean == pytest.approx(2.0)
    assert found.samples == 2


def test_two_sequences_with_one_value_each_give_their_range():
    found = bootstrap_mean([10.0, 20.0], ["a", "b"])
    assert (found.low, found.high) == (10.0, 20.0)


def test_one_sequence_has_a_mean_but_no_interval():
    found = bootstrap_mean([1.0, 2.0], ["a", "a"])
    assert found.mean == 1.5
    assert np.isnan(found.low)
    assert found.to_json()["low"] is None


def test_nothing_known_has_no_mean():
    assert np.isnan(bootstrap_mean([np.nan], ["a"]).mean)


def test_the_same_seed_gives_the_same_interval():
    values, sequences = clustered(np.random.default_rng(0), 20, 5, 10, 3)
    assert bootstrap_mean(values, sequences, seed=3) == bootstrap_mean(values, sequences, seed=3)
    assert bootstrap_mean(values, sequences, seed=3) != bootstrap_mean(values, sequences, seed=4)


def test_the_order_of_samples_does_not_matter():
    rng = np.random.default_rng(0)
    values, sequences = clustered(rng, 20, 5, 10, 3)
    order = rng.permutation(len(values))
    one, other = (
        bootstrap_mean(values, sequences),
        bootstrap_mean(values[order], sequences[order]),
    )
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_resampling_sequences_agrees_with_a_plain_loop():
    rng = np.random.default_rng(1)
    values, sequences = clustered(rng, 12, 10, 10, 3)
    # Long sequences, which weigh more, are also the harder ones.
    kept = np.arange(len(values)) % 10 < np.where(values > 50, 10, 2)
    values, sequences = values[kept], sequences[kept]
    names = np.unique(sequences)
    plain = []
    for _ in range(4000):
        drawn = rng.choice(names, len(names))
        plain.append(np.mean(np.concatenate([values[sequences == name] for name in drawn])))
    found = bootstrap_mean(values, sequences, resamples=20_000)
    assert (found.low, found.high) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.4)


def test_intervals_over_sequences_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    hits = frames_hit = 0
    for trial in range(150):
        values, sequences = clustered(rng, 40, 10, 10, 3)
        by_sequence = bootstrap_mean(values, sequences, resamples=500, seed=trial)
        by_frame = bootstrap_mean(values, np.arange(len(values)), resamples=500, seed=trial)
        hits += by_sequence.low <= 50 <= by_sequence.high
        frames_hit += by_frame.low <= 50 <= by_frame.high
    assert 0.88 <= hits / 150 <= 0.99
    # Frames as the unit would be sure of far too much.
    assert frames_hit / 150 < 0.65


def test_a_ratio_of_means_is_taken_on_the_same_draws():
    rng = np.random.default_rng(0)
    champion, sequences = clustered(rng, 30, 8, 20, 5)
    found = paired_ratio(1.05 * champion, champion, sequences)
    # Whatever is drawn, the challenger is 5 % worse.
    assert (found.ratio, found.low, found.high) == pytest.approx((0.05, 0.05, 0.05))


def test_the_same_model_twice_is_a_ratio_of_nothing():
    values, sequences = clustered(np.random.default_rng(0), 10, 3, 20, 5)
    found = paired_ratio(values, values, sequences)
    assert (found.ratio, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.samples == 30
    assert found.sequences == 10


def test_paired_intervals_cover_the_true_ratio():
    rng = np.random.default_rng(4)
    hits = 0
    for trial in range(200):
        champion, sequences = clustered(rng, 40, 10, 10, 3)
        gain = np.repeat(rng.normal(0.02, 0.03, 40), 10)
        found = paired_ratio(champion * (1 + gain), champion, sequences, resamples=500, seed=trial)
        hits += found.low <= 0.02 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize(
    ("challenger", "champion", "sequences", "says"),
    [
        ([1.0, 2.0], [1.0, 2.0], ["a", "a"], "1 sequence:"),
        ([1.0, np.nan], [1.0, 2.0], ["a", "b"], "1 sample has a finite value from one model"),
        ([1.0, np.inf], [1.0, 2.0], ["a", "b"], "from one model only"),
        ([1.0, 2.0], [0.0, 0.0], ["a", "b"], "mean is 0.0"),
        ([1.0, 2.0], [1.0], ["a", "b"], "one of each a sample"),
        ([np.nan, np.nan], [np.nan, np.nan], ["a", "b"], "0 sequences:"),
    ],
)
def test_what_can_not_be_compared_is_refused(challenger, champion, sequences, says):
    with pytest.raises(DataError, match=says):
        paired_ratio(challenger, champion, sequences)
