"""Frame times of a video, and conversion of a variable frame rate to a constant one.

Phones and screen recorders write frames at a variable rate. Motion files and smoothing need a
constant rate, so such a video is resampled with the frame on screen at each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

DEFAULT_FPS: Final = 25.0
"""Frame rate if neither the container nor the time stamps give one."""

_PLAUSIBLE_FPS: Final = (1.0, 1000.0)
_MOST_OFF: Final = 2.0
"""Largest deviation from a constant rate, in frame intervals; the jitter of a camera's clock is
below one."""

_PAUSED: Final = 2.0
"""Rate of most frames over the stated one from which the video has a pause."""

_NEAR_MEAN: Final = 0.2
"""Largest relative deviation of a stated rate that is the mean."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Constant frame rate, with the source frame shown at each output time.

    Attributes:
        fps: Frames per second.
        source_frames: Frame number in the file for each output frame.
        resampled: Whether the file has a variable rate.
    """

    fps: float
    source_frames: tuple[int, ...]
    resampled: bool

    @classmethod
    def of(cls, times_s: Sequence[float], stated_fps: float) -> Timing:
        """Compute the timing of a file.

        Args:
            times_s: Presentation time of each frame, seconds.
            stated_fps: Frame rate from the container; used if the times give none.
        """
        n = len(times_s)
        low, high = _PLAUSIBLE_FPS
        stated = stated_fps if low <= stated_fps <= high else None
        times = np.asarray(times_s, float)
        every_frame = tuple(range(n))
        # Some containers have no time stamps; their reader repeats the same one.
        if n < 3 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            return cls(fps=stated or DEFAULT_FPS, source_frames=every_frame, resampled=False)
        interval = (times[-1] - times[0]) / (n - 1)
        off = np.abs(times - times[0] - interval * np.arange(n)) / interval
        gaps = np.diff(times)
        if off.max() <= _MOST_OFF and gaps.max() <= (1 + _MOST_OFF) * np.median(gaps):
            measured = float(np.clip(1 / interval, low, high))
            agrees = stated is not None and abs(measured - stated) < 0.02 * stated
            return cls(
                fps=stated if agrees and stated else measured,
                source_frames=every_frame,
                resampled=False,
            )
        usual, typical = stated or DEFAULT_FPS, float(1 / np.median(gaps))
        # Some containers state the mean rate, which a pause lowers.
        has_pause = typical > _PAUSED * usual and abs(usual * interval - 1) < _NEAR_MEAN
        fps = min(typical if has_pause else usual, 60.0)
        moments = times[0] + np.arange(round((times[-1] - times[0]) * fps) + 1) / fps
        # Rounding may put a time just before the frame's time stamp.
        shown = np.searchsorted(times, moments + 1e-6, side="right") - 1
        return cls(fps=fps, source_frames=tuple(shown.tolist()), resampled=True)
