"""Videos in; tracks, an annotated video and motion files out.

Frames are read twice, once to predict and once to draw, so that a long video needs no more memory
than a batch of it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.core.errors import InputError
from hemlets.inference.openpose import read_openpose
from hemlets.inference.people import (
    Detection,
    PeoplePredictor,
    flagged,
)
from hemlets.inference.smoothing import SmoothingConfig, smooth_estimates
from hemlets.inference.timing import Timing
from hemlets.inference.tracks import Tracker
from hemlets.inference.types import BodyEstimate, Camera, PredictionRequest

Image = npt.NDArray[np.uint8]
Finder = Callable[[int, Image], Sequence[Detection]]
"""From a frame's number and pixels to the people in it."""


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video file that can be read.

    Attributes:
        path: The file.
        size: Width and height, pixels.
        timing: Its frame rate, and which of its frames is shown when.
    """

    path: Path
    size: tuple[int, int]
    timing: Timing

    @classmethod
    def open(cls, path: Path) -> Video:
        """Look at a file, to its end: containers don't always say the truth about it.

        Raises:
            InputError: It is absent, or no video that can be read.
        """
        if not path.is_file():
            raise InputError(
                "there is no such video file",
                where=path,
                expected="an MP4, AVI, MOV, MKV or WebM file",
                remedy="check the path; relative ones start at the folder that you are in",
            )
        reader = cv2.VideoCapture(str(path))
        try:
            stated_fps = float(reader.get(cv2.CAP_PROP_FPS))
            fine, frame = reader.read()
            times_s = [reader.get(cv2.CAP_PROP_POS_MSEC) / 1e3] if fine else []
            while fine and reader.grab():
                times_s.append(reader.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
        finally:
            reader.release()
        if not fine or frame is None:
            raise InputError(
                "the file is no video that can be read",
                where=path,
                expected="MP4, AVI, MOV, MKV or WebM",
            )
        return cls(path=path, size=frame.shape[1::-1], timing=Timing.of(times_s, stated_fps))

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.timing.fps

    @property
    def n_source_frames(self) -> int:
        """Frames of the file, which are others than `frames` gives where it is resampled."""
        return self.timing.source_frames[-1] + 1

    def frames(self) -> Iterator[Image]:
        """Its frames at a constant rate, RGB."""
        reader = cv2.VideoCapture(str(self.path))
        try:
            read = -1
            image: Image | None = None
            for wanted in self.timing.source_frames:
                while read < wanted:
                    fine, frame = reader.read() if read == wanted - 1 else (reader.grab(), None)
                    if not fine:
                        return
                    read += 1
                    if frame is not None:
                        image = np.ascontiguousarray(frame[..., ::-1])
                assert image is not None
                yield image
        finally:
            reader.release()


def openpose_finder(files: Mapping[int, Path]) -> Finder:
    """What OpenPose wrote about each frame; a frame without a file has nobody.

    Args:
        files: File of each frame, as `hemlets.inference.openpose_folder.pair_frames` gives them.
    """

    def find(number: int, frame: Image) -> Sequence[Detection]:
        if number not in files:
            return ()
        return read_openpose(files[number], size=(frame.shape[1], frame.shape[0])).people

    return find


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One person through a video.

    Attributes:
        number: Unique in the video.
        frames: The frames that show the person, in order; there may be gaps.
        estimates: A prediction for each.
    """

    number: int
    frames: tuple[int, ...]
    estimates: tuple[BodyEstimate, ...]

    def runs(self) -> list[slice]:
        """Stretches of the track without a gap, as slices of its frames."""
        cuts = (np.flatnonzero(np.diff(self.frames) > 1) + 1).tolist()
        edges = [0, *cuts, len(self.frames)]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]


def predict_video(
    predictor: PeoplePredictor,
    frames: Iterable[Image],
    finder: Finder,
    *,
    camera: Camera | None = None,
    batch_size: int = 32,
    max_gap: int = 10,
    each: Callable[[int], None] | None = None,
) -> list[Track]:
    """Predict everybody in every frame and join them to tracks.

    Args:
        predictor: The model.
        frames: RGB, in order.
        finder: Who is where.
        camera: The same for all frames.
        batch_size: People, of one frame or several, that go through the network together.
        max_gap: Frames that somebody may be missing and still be the same.
        each: Called with the number of frames done.

    Returns:
        The tracks by number, unsmoothed.
    """
    tracker = Tracker(max_gap=max_gap)
    seen: dict[int, list[tuple[int, BodyEstimate]]] = {}
    waiting: list[tuple[int, int, Detection, PredictionRequest]] = []

    def flush() -> None:
        found = predictor.predict([request for *_, request in waiting], batch_size=batch_size)
        for (number, frame, detection, _), estimate in zip(waiting, found, strict=True):
            seen.setdefault(number, []).append((frame, flagged(estimate, detection)))
        waiting.clear()

    for frame, image in enumerate(frames):
        detections = list(finder(frame, image))
        for number, found in zip(tracker.assign(frame, detections), detections, strict=True):
            request = PredictionRequest(image_HW3=image, box_xyxy=found.box_xyxy, camera=camera)
            waiting.append((number, frame, found, request))
        if len(waiting) >= batch_size:
            flush()
        if each is not None:
            each(frame + 1)
    if waiting:
        flush()
    return [
        Track(
            number=number,
            frames=tuple(frame for frame, _ in entries),
            estimates=tuple(estimate for _, estimate in entries),
        )
        for number, entries in sorted(seen.items())
    ]


def smooth_track(track: Track, fps: float, config: SmoothingConfig | None = None) -> Track:
    """The track without jitter; each stretch without a gap by itself."""
    estimates: list[BodyEstimate] = []
    for run in track.runs():
        estimates += smooth_estimates(track.estimates[run], fps, config)
    return dataclasses.replace(track, estimates=tuple(estimates))
