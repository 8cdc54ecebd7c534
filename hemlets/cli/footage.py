"""From a video to its tracks' files, in one pass.

Results are written in parts, so that a stream without end needs no more memory than one part.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hemlets.body import BodyModel
from hemlets.core.files import write_json
from hemlets.inference.detector import MultiPoseDetector
from hemlets.inference.following import FollowingFinder
from hemlets.inference.model import Model
from hemlets.inference.motion_file import Motion, write_motion
from hemlets.inference.outputs import free_stem, remove_earlier
from hemlets.inference.people import Image
from hemlets.inference.refine import Refiner
from hemlets.inference.timing import Timing
from hemlets.inference.types import Camera
from hemlets.inference.video import (
    Finder,
    Follower,
    Seen,
    SmoothWindow,
    Track,
    smooth_track,
    tracks_of,
)
from hemlets.inference.video_source import Frame, StoppedError, VideoSource
from hemlets.inference.video_writer import playable_suffix, video_sink
from hemlets.reports.drawing import place_body
from hemlets.reports.drawing.people import draw_people

_BATCH: Final = 4
"""Frames of a file whose people go through the network together."""

_AHEAD: Final = 6
"""Frames that the picture of a file waits for, for smoothing without lag."""

_PART_S: Final = 600.0
_PART_PEOPLE: Final = 50_000
"""Time and predictions from which a part of the results is written."""


@dataclass(frozen=True, kw_only=True)
class VideoPart:
    """The tracks of a video, or of a part of a long one.

    Attributes:
        name: The video's.
        size: Width and height, pixels.
        timing: When its frames are shown.
        start_s: When the part begins.
        tracks: People, by number.
        body: What θ and β belong to.
        stem: What the files' names begin with.
        flags: Doubts about the file, see `VideoSource.flags_at`.
    """

    name: str
    size: tuple[int, int]
    timing: Timing
    start_s: float
    tracks: Sequence[Track]
    body: BodyModel
    stem: str
    flags: tuple[str, ...] = ()

    @property
    def n_frames(self) -> int:
        """Frames at the constant rate."""
        return len(self.timing.source_frames)

    def write(self, folder: Path) -> list[Path]:
        """Write ``STEM.json``, and for each stretch of each track ``.npz`` and ``.bvh``.

        A track with gaps has a motion file for each stretch, numbered by its first frame.

        Raises:
            WorkspaceError: The folder can't be written to.
        """
        written = [folder / f"{self.stem}.json"]
        write_json(written[0], self.to_json())
        for track in self.tracks:
            for run in track.runs():
                motion = Motion.of(track.estimates[run], self.body, self.timing.fps)
                for suffix in (".npz", ".bvh"):
                    first = track.frames[run.start]
                    written.append(
                        folder / f"{self.stem}.person{track.number}.frame{first}{suffix}"
                    )
                    write_motion(written[-1], motion)
        return written

    def to_json(self) -> dict[str, object]:
        """Plain values: each track's frames and predictions."""
        return {
            "video": {
                "name": self.name,
                "fps": self.timing.fps,
                "resampled": self.timing.resampled,
                "flags": list(self.flags),
                "width": self.size[0],
                "height": self.size[1],
                "start_s": self.start_s,
                "frames": self.n_frames,
            },
            "tracks": [
                {
                    "person": track.number,
                    "frames": list(track.frames),
                    "estimates": [estimate.to_json() for estimate in track.estimates],
                }
                for track in self.tracks
            ],
        }


@dataclass(kw_only=True)
class FollowResult:
    """What following a video gave.

    Attributes:
        parts: Those that were not written.
        written: Files.
        n_frames: At the constant rate.
        resampled: Whether the video's own rate is variable.
        seen: Frames of each track.
        nobody: Those of them that probably show nobody.
        encoder: Of the annotated video; None without one.
        took_s: For each frame, from its decoding to its picture or, without, its prediction.
        stopped: Why a live source ended; None at a file's end.
        flags: Those of the last part.
    """

    parts: list[VideoPart] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    n_frames: int = 0
    resampled: bool = False
    seen: Counter[int] = field(default_factory=Counter)
    nobody: Counter[int] = field(default_factory=Counter)
    encoder: str | None = None
    took_s: list[float] = field(default_factory=list)
    stopped: StoppedError | None = None
    flags: tuple[str, ...] = ()


class VideoPredictor(Model):
    """Predicts videos."""

    def following(self, *, every: int) -> Finder:
        """Everybody whom the detector finds in every few frames, and where they go in between.

        Its looks are quick ones, which don't find people who are small in the frame.
        """
        detector = MultiPoseDetector.load(device=self.predictor.device, thorough=False)
        return FollowingFinder(detector, every=every)

    def follow(
        self,
        source: VideoSource,
        finder: Finder,
        camera: Camera | None = None,
        *,
        folder: Path | None,
        smooth: bool = True,
        refine: bool = False,
        picture: bool = True,
        show: Callable[[Image], None] | None = None,
        seconds: float | None = None,
    ) -> FollowResult:
        """Predict, number, draw and write everybody, frame by frame.

        Args:
            source: The video.
            finder: Who is where.
            camera: Of all frames; a default field of view when omitted.
            folder: Where parts and the annotated video go, each part as it is whole; None writes
                nothing and keeps the parts.
            smooth: Whether to take the jitter out of the motion.
            refine: Whether to fit each body to its joints.
            picture: Whether to write the annotated video.
            show: Called with each annotated picture.
            seconds: Time after which to stop.

        Raises:
            WorkspaceError: The folder can't be written to.
        """
        result = FollowResult()
        stem = Path(source.name).stem if folder is None else free_stem(folder, source.name)
        if folder is not None:
            remove_earlier(folder, stem)
        follower = Follower(self.predictor, finder, camera=camera)
        parts = _Parts(self, source, stem, folder, result, smooth=smooth, refine=refine)
        with contextlib.ExitStack() as stack:
            sinks = [] if show is None else [lambda image, time_s: show(image)]
            if picture and folder is not None:
                path = folder / f"{stem}.overlay{playable_suffix()}"
                sink = stack.enter_context(video_sink(path, source.stated_fps, source.size))
                result.encoder = sink.encoder
                sinks.append(sink.add)
            ahead = 0 if source.live or not smooth else _AHEAD
            window = SmoothWindow(source.stated_fps, ahead=ahead) if smooth else None
            drawer = _Drawer(self.body, window, sinks, result) if sinks else None
            try:
                frames = _until(source.frames(), seconds)
                for batch in _batches(frames, 1 if source.live else _BATCH):
                    begun = [when for _, when in batch]
                    people = follower.follow([frame.image_HW3 for frame, _ in batch])
                    for (frame, when), seen in zip(batch, people, strict=True):
                        parts.add(frame.time_s, seen)
                        if drawer is not None:
                            drawer.add(frame, seen, when)
                    if drawer is None:
                        result.took_s += [time.monotonic() - when for when in begun]
            except StoppedError as stopped:
                result.stopped = stopped
            except KeyboardInterrupt:
                # Nothing else ends a camera; a file is cut short by it, and isn't written.
                if not source.live:
                    raise
            if drawer is not None:
                drawer.end()
        parts.end(whole=seconds is None and result.stopped is None)
        if picture and folder is not None:
            result.written.append(path)
        return result


def _until(frames: Iterator[Frame], seconds: float | None) -> Iterator[Frame]:
    """The frames up to a time, after which their source is closed."""
    with contextlib.closing(frames):  # type: ignore[type-var]
        for frame in frames:
            if seconds is not None and frame.time_s >= seconds:
                return
            yield frame


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[tuple[Frame, float]]]:
    """Frames with the moments at which they were there, several together.

    What came before an error is given before the error.
    """
    batch: list[tuple[Frame, float]] = []
    try:
        for frame in frames:
            batch.append((frame, time.monotonic()))
            if len(batch) == size:
                yield batch
                batch = []
    except StoppedError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


class _Parts:
    """Collects people and writes a part whenever it is long enough."""

    def __init__(
        self,
        model: Model,
        source: VideoSource,
        stem: str,
        folder: Path | None,
        result: FollowResult,
        *,
        smooth: bool,
        refine: bool,
    ) -> None:
        self._model, self._source, self._stem, self._folder = model, source, stem, folder
        self._result, self._smooth = result, smooth
        self._refiner = Refiner(model.body) if refine else None
        self._number = 0
        self._people: list[list[Seen]] = []
        self._times_s: list[float] = []
        self._count = 0
        self._whole = False

    def add(self, time_s: float, seen: list[Seen]) -> None:
        full = self._times_s and (
            time_s - self._times_s[0] >= _PART_S or self._count >= _PART_PEOPLE
        )
        if full:
            self._write()
        self._people.append(seen)
        self._times_s.append(time_s)
        self._count += len(seen)

    def end(self, *, whole: bool) -> None:
        """Write the rest; ``whole`` if the source was read to its end."""
        self._whole = whole
        if self._times_s:
            self._write()

    def _write(self) -> None:
        timing = Timing.of(self._times_s, self._source.stated_fps)
        tracks = tracks_of(self._people, timing)
        if self._refiner is not None:
            refine = self._refiner.refine
            tracks = [
                dataclasses.replace(track, estimates=tuple(refine(track.estimates)))
                for track in tracks
            ]
        if self._smooth:
            tracks = [smooth_track(track, timing.fps) for track in tracks]
        part = VideoPart(
            name=self._source.name,
            size=self._source.size,
            timing=timing,
            start_s=self._times_s[0],
            tracks=tracks,
            body=self._model.body,
            stem=self._stem + (f".part{self._number}" if self._number else ""),
            flags=tuple(self._source.flags_at(self._times_s[-1] if self._whole else None)),
        )
        result = self._result
        result.n_frames += part.n_frames
        result.resampled |= timing.resampled
        result.flags = part.flags
        for track in tracks:
            result.seen[track.number] += len(track.frames)
            result.nobody[track.number] += sum(e.person is False for e in track.estimates)
        if self._folder is None:
            result.parts.append(part)
        else:
            result.written += part.write(self._folder)
        self._number += 1
        self._people, self._times_s, self._count = [], [], 0


class _Drawer:
    """Draws frames once their people are smooth, and gives them to whoever wants them."""

    def __init__(
        self,
        body: BodyModel,
        window: SmoothWindow | None,
        sinks: Sequence[Callable[[Image, float], None]],
        result: FollowResult,
    ) -> None:
        self._body, self._window, self._sinks, self._result = body, window, sinks, result
        self._waiting: deque[tuple[Frame, float]] = deque()

    def add(self, frame: Frame, people: list[Seen], when: float) -> None:
        self._waiting.append((frame, when))
        self._draw([people] if self._window is None else self._window.add(people))

    def end(self) -> None:
        if self._window is not None:
            self._draw(self._window.end())

    def _draw(self, ready: Sequence[Sequence[Seen]]) -> None:
        for people in ready:
            frame, when = self._waiting.popleft()
            drawn = draw_people(
                frame.image_HW3,
                [(e, place_body(self._body, e.theta, e.betas, e.root_mm)) for _, e in people],
                numbers=[number for number, _ in people],
            )
            for sink in self._sinks:
                sink(drawn, frame.time_s)
            self._result.took_s.append(time.monotonic() - when)
