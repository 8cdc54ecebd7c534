"""From a video's file to its tracks' files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemlets.body import BodyModel
from hemlets.core.files import write_json
from hemlets.inference.detector import MultiPoseDetector
from hemlets.inference.following import FollowingFinder
from hemlets.inference.model import Model
from hemlets.inference.motion_file import Motion, write_motion
from hemlets.inference.refine import Refiner
from hemlets.inference.types import BodyEstimate, Camera
from hemlets.inference.video import (
    Finder,
    Track,
    Video,
    predict_video,
    smooth_track,
)
from hemlets.inference.video_writer import playable_suffix, write_video
from hemlets.reports.drawing import place_body
from hemlets.reports.drawing.people import draw_people

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """A video's tracks.

    Attributes:
        video: The file.
        n_frames: How many it has.
        tracks: People, by number.
        body: What θ and β belong to.
    """

    video: Video
    n_frames: int
    tracks: Sequence[Track]
    body: BodyModel

    def write(self, folder: Path, *, picture: bool) -> list[Path]:
        """Write ``NAME.json``, and for each stretch of each track ``.npz`` and ``.bvh``.

        A track with gaps has a motion file for each stretch, numbered by its first frame.

        Raises:
            WorkspaceError: The folder can't be written to.
        """
        name = self.video.path.stem
        written = [folder / f"{name}.json"]
        write_json(written[0], self.to_json())
        for track in self.tracks:
            for run in track.runs():
                motion = Motion.of(track.estimates[run], self.body, self.video.fps)
                for suffix in (".npz", ".bvh"):
                    first = track.frames[run.start]
                    written.append(folder / f"{name}.person{track.number}.frame{first}{suffix}")
                    write_motion(written[-1], motion)
        if picture:
            written.append(folder / f"{name}.overlay{playable_suffix()}")
            write_video(written[-1], self._pictures(), self.video.fps, self.video.size)
        return written

    def to_json(self) -> dict[str, object]:
        """Plain values: each track's frames and predictions."""
        return {
            "video": {
                "name": self.video.path.name,
                "fps": self.video.fps,
                "resampled": self.video.timing.resampled,
                "width": self.video.size[0],
                "height": self.video.size[1],
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

    def _pictures(self) -> Iterator[Image]:
        shown: dict[int, list[tuple[int, BodyEstimate]]] = {}
        for track in self.tracks:
            for frame, estimate in zip(track.frames, track.estimates, strict=True):
                shown.setdefault(frame, []).append((track.number, estimate))
        for frame, image in enumerate(self.video.frames()):
            people = shown.get(frame, [])
            yield draw_people(
                image,
                [(e, place_body(self.body, e.theta, e.betas, e.root_mm)) for _, e in people],
                numbers=[number for number, _ in people],
            )


class VideoPredictor(Model):
    """Predicts videos."""

    def following(self, *, every: int) -> Finder:
        """Everybody whom the detector finds in every few frames, and where they go in between.

        Its looks are quick ones, which don't find people who are small in the frame.
        """
        detector = MultiPoseDetector.load(device=self.predictor.device, thorough=False)
        return FollowingFinder(detector, every=every)

    def follow(
        self, video: Video, finder: Finder, camera: Camera | None, *, smooth: bool, refine: bool
    ) -> VideoResult:
        """Predict, follow and, where wanted, refine and smooth everybody."""
        count = 0

        def counted(done: int) -> None:
            nonlocal count
            count = done

        tracks = predict_video(self.predictor, video.frames(), finder, camera=camera, each=counted)
        if refine:
            refiner = Refiner(self.body)
            tracks = [
                dataclasses.replace(t, estimates=tuple(refiner.refine(t.estimates))) for t in tracks
            ]
        if smooth:
            tracks = [smooth_track(track, video.fps) for track in tracks]
        return VideoResult(video=video, n_frames=count, tracks=tracks, body=self.body)
