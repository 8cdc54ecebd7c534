"""Video: predict, track and smooth the people of consecutive frames.

All people are in one camera frame. Frames are not stored beyond their batch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hemlets.core.errors import InputError
from hemlets.inference.openpose import people_of, read_openpose
from hemlets.inference.people import Detection, Image, PeoplePredictor, flagged
from hemlets.inference.smoothing import SmoothingConfig, smooth_estimates
from hemlets.inference.timing import Timing
from hemlets.inference.tracks import Tracker, appearance
from hemlets.inference.types import BodyEstimate, Camera, PredictionRequest

Finder = Callable[[int, Image], Sequence[Detection]]
"""Function from frame number and pixels to the people in the frame."""


class Seen(NamedTuple):
    """Person in a frame.

    Attributes:
        number: Number of the track, unique in the video.
        estimate: The prediction.
    """

    number: int
    estimate: BodyEstimate


def openpose_finder(
    files: Mapping[int, Path],
    left_out: list[str] | None = None,
    contents: Mapping[Path, Any] | None = None,
) -> Finder:
    """Finder that reads OpenPose files; a frame without a file has no people.

    Args:
        files: File of each frame, as `hemlets.inference.openpose_folder.pair_frames` gives them.
        left_out: Gets the reasons of people and files that can't be used.
        contents: Contents that were read already, by file.
    """
    reasons = [] if left_out is None else left_out
    known = contents or {}

    def find(number: int, frame: Image) -> Sequence[Detection]:
        if number not in files:
            return ()
        file, size = files[number], (frame.shape[1], frame.shape[0])
        try:
            if file in known:
                found = people_of(known[file], file, size=size)
            else:
                found = read_openpose(file, size=size)
        except InputError as error:
            reasons.append(f"{file.name}: {error.what}")
            return ()
        reasons.extend(f"{file.name}: {reason}" for reason in found.left_out)
        return found.people

    return find


class Follower:
    """Predicts and tracks the people of consecutive frames.

    Args:
        predictor: The model.
        finder: Function that detects people.
        camera: Camera of all frames.
        tracker: Tracker; by default one with default settings.
    """

    def __init__(
        self,
        predictor: PeoplePredictor,
        finder: Finder,
        *,
        camera: Camera | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        self._predictor, self._finder, self._camera = predictor, finder, camera
        self._tracker = Tracker() if tracker is None else tracker
        self._frame = 0

    def follow(self, frames: Sequence[Image]) -> list[list[Seen]]:
        """Predict the people of the next frames as one batch."""
        found: list[list[Detection]] = []
        for image in frames:
            found.append(list(self._finder(self._frame, image)))
            self._frame += 1
        requests = [
            PredictionRequest(image_HW3=image, box_xyxy=one.box_xyxy, camera=self._camera)
            for image, people in zip(frames, found, strict=True)
            for one in people
        ]
        estimates = iter(self._predictor.predict(requests) if requests else [])
        first = self._frame - len(frames)
        return [
            self._numbered(
                first + i, frames[i], people, list(itertools.islice(estimates, len(people)))
            )
            for i, people in enumerate(found)
        ]

    def _numbered(
        self,
        frame: int,
        image_HW3: Image,
        people: Sequence[Detection],
        estimates: Sequence[BodyEstimate],
    ) -> list[Seen]:
        looks = [appearance(image_HW3, estimate.joints2d_px) for estimate in estimates]
        numbers = self._tracker.assign(frame, people, looks)
        return [
            Seen(number, flagged(estimate, detection))
            for number, estimate, detection in zip(numbers, estimates, people, strict=True)
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """Track of one person in a video.

    Attributes:
        number: Number, unique in the video.
        frames: Frames that show the person, in order, with possible gaps.
        estimates: Prediction for each frame.
    """

    number: int
    frames: tuple[int, ...]
    estimates: tuple[BodyEstimate, ...]

    def runs(self) -> list[slice]:
        """Sections of the track without gaps, as slices of its frames."""
        cuts = (np.flatnonzero(np.diff(self.frames) > 1) + 1).tolist()
        edges = [0, *cuts, len(self.frames)]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]


def tracks_of(frames: Sequence[Sequence[Seen]], timing: Timing) -> list[Track]:
    """Build unsmoothed tracks at a constant frame rate, by number.

    Args:
        frames: People in each decoded frame.
        timing: Resampling to a constant rate.
    """
    seen: dict[int, list[tuple[int, BodyEstimate]]] = {}
    for moment, source in enumerate(timing.source_frames):
        for number, estimate in frames[source]:
            seen.setdefault(number, []).append((moment, estimate))
    return [
        Track(
            number=number,
            frames=tuple(frame for frame, _ in entries),
            estimates=tuple(estimate for _, estimate in entries),
        )
        for number, entries in sorted(seen.items())
    ]


def smooth_track(track: Track, fps: float, config: SmoothingConfig | None = None) -> Track:
    """Smooth each section of a track without gaps."""
    estimates: list[BodyEstimate] = []
    for run in track.runs():
        estimates += smooth_estimates(track.estimates[run], fps, config)
    return dataclasses.replace(track, estimates=tuple(estimates))


class SmoothWindow:
    """Smooths people in a live view with a fixed delay.

    A frame is returned when the ``ahead`` frames after it, for the backward filter, have arrived.

    Args:
        fps: Frames per second.
        ahead: Delay in frames. With 0 the filter runs forwards only, with a small lag.
    """

    _BEHIND = 12

    def __init__(self, fps: float, *, ahead: int) -> None:
        self._fps, self._ahead = fps, ahead
        self._config = SmoothingConfig(
            live=ahead == 0, **({"cutoff_per_m_s": 6.0} if ahead == 0 else {})
        )
        self._frames: list[list[Seen]] = []
        self._shown = 0

    def add(self, people: Sequence[Seen]) -> list[list[Seen]]:
        """Add the next frame's people; returns the people of frames that are ready, in order."""
        self._frames.append(list(people))
        # In one call, so that the filter runs once over their neighbours.
        enough = 2 * self._ahead if self._ahead else 1
        return self._smooth(self._ahead) if len(self._frames) - self._shown >= enough else []

    def end(self) -> list[list[Seen]]:
        """Return the people of the remaining frames."""
        return self._smooth(0)

    def _smooth(self, ahead: int) -> list[list[Seen]]:
        ready = range(self._shown, len(self._frames) - ahead)
        calm: list[list[Seen]] = [[] for _ in ready]
        timing = Timing(
            fps=self._fps, source_frames=tuple(range(len(self._frames))), resampled=False
        )
        for track in tracks_of(self._frames, timing):
            smoothed = smooth_track(track, self._fps, self._config)
            for frame, estimate in zip(smoothed.frames, smoothed.estimates, strict=True):
                if frame in ready:
                    calm[frame - ready.start].append(Seen(track.number, estimate))
        surplus = max(0, ready.stop - self._BEHIND)
        self._frames, self._shown = self._frames[surplus:], ready.stop - surplus
        return calm
