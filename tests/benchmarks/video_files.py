"""Video files for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hemlets.inference.people import Image
from hemlets.inference.video_writer import video_sink


def write_video(path: Path, frames: Iterable[Image], fps: float, size: tuple[int, int]) -> None:
    """Write a video of RGB frames of one size at a constant rate; see :func:`video_sink`."""
    with video_sink(path, fps, size) as sink:
        for number, frame in enumerate(frames):
            sink.add(frame, number / fps)
