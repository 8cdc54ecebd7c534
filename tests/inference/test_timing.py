"""Time stamps of frames, and the constant rate that they become."""

import numpy as np
import pytest

from hemlets.inference.timing import DEFAULT_FPS, Timing


@pytest.mark.parametrize("fps", [12.5, 24.0, 25.0, 29.97, 60.0])
def test_a_constant_rate_stays_as_it_is(fps: float) -> None:
    timing = Timing.of((np.arange(50) / fps).tolist(), fps)
    assert timing == Timing(fps=fps, source_frames=tuple(range(50)), resampled=False)


def test_the_jitter_of_a_clock_is_no_variable_rate() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(100) / 30 + rng.uniform(-0.4, 0.4, 100) / 30
    assert not Timing.of(np.sort(times).tolist(), 30.0).resampled


def test_time_stamps_decide_where_the_container_states_another_rate() -> None:
    timing = Timing.of((np.arange(40) / 10).tolist(), 30.0)
    assert timing.fps == pytest.approx(10.0)
    assert not timing.resampled


def test_a_variable_rate_is_resampled_and_the_duration_stays() -> None:
    times = [0.0, 0.1, 0.2, 0.3, 0.4, 1.4, 1.41, 1.42, 1.43, 1.44, 1.45, 1.46]
    timing = Timing.of(times, 30.0)
    assert timing.resampled
    assert timing.fps == 30.0
    assert (len(timing.source_frames) - 1) / timing.fps == pytest.approx(1.46, abs=1 / 30)
    for k, frame in enumerate(timing.source_frames):
        # By hand: the last frame whose time stamp is not later.
        assert frame == max(i for i, t in enumerate(times) if t <= k / 30 + 1e-6)


def test_a_pause_shows_the_frame_before_it() -> None:
    timing = Timing.of([0.0, 0.04, 0.08, 2.08, 2.12, 2.16], 25.0)
    assert timing.source_frames.count(2) == 50


def test_a_pause_does_not_thin_the_frames_around_it_where_the_mean_rate_is_stated() -> None:
    times = [k / 30 for k in range(30)] + [20 + k / 30 for k in range(30)]
    timing = Timing.of(times, 59 / times[-1])
    assert timing.fps == pytest.approx(30.0)
    assert set(timing.source_frames) == set(range(60))


@pytest.mark.parametrize(
    "times", [[0.0] * 10, [0.0, 0.1, 0.05, 0.2], [0.0, float("nan"), 0.2], [0.0], [0.0, 5.0]]
)
def test_without_time_stamps_every_frame_counts_once(times: list[float]) -> None:
    assert Timing.of(times, 24.0).source_frames == tuple(range(len(times)))
    assert Timing.of(times, 0.0).fps == DEFAULT_FPS
    assert Timing.of(times, float("nan")).fps == DEFAULT_FPS
