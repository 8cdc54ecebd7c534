"""When a video's frames are shown, and how a variable frame rate becomes a constant one.

Phones and screen recorders write frames when they have them. Motion files and smoothing need a
constant rate, so such a video is resampled: at each moment the frame that is on screen then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

DEFAULT_FPS: Final = 25.0
"""Where neither the container nor the time stamps say a rate."""

_PLAUSIBLE_FPS: Final = (1.0, 1000.0)
_MOST_OFF: Final = 2.0
"""Intervals by which a frame, or the gap before it, may be off a constant rate; the jitter of a
camera's clock is below one."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A constant rate, and the frame of the file that is shown at each of its moments.

    Attributes:
        fps: Frames a second.
        source_frames: Number of the file's frame for each frame at that rate.
        resampled: Whether the file's own rate is variable.
    """

    fps: float
    source_frames: tuple[int, ...]
    resampled: bool

    @classmethod
    def of(cls, times_s: Sequence[float], stated_fps: float) -> Timing:
        """Find the timing of a file.

        Args:
            times_s: When each frame is shown, seconds.
            stated_fps: What the container says; anything where it says nothing.
        """
        n = len(times_s)
        low, high = _PLAUSIBLE_FPS
        stated = stated_fps if low <= stated_fps <= high else None
        times = np.asarray(times_s, float)
        every_frame = tuple(range(n))
        # Some containers carry no time stamps; their reader then gives the same one again.
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
        fps = min(stated or DEFAULT_FPS, 60.0)
        moments = times[0] + np.arange(round((times[-1] - times[0]) * fps) + 1) / fps
        # A moment just before a time stamp by rounding is that frame's.
        shown = np.searchsorted(times, moments + 1e-6, side="right") - 1
        return cls(fps=fps, source_frames=tuple(shown.tolist()), resampled=True)
