"""Write annotated videos that browsers play.

H.264 in MP4 if PyAV is installed (extra ``video``), otherwise VP8 in WebM by OpenCV. PyAV has the
BSD licence, but its wheels contain FFmpeg (LGPL) with x264 (GPL); it is therefore not a dependency
of the core, and an image with it redistributes them. OpenH264 (BSD) is preferred if the FFmpeg has
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np

from hemlets.core.errors import InputError
from hemlets.core.files import atomic_path
from hemlets.inference.people import Image

_FOURCC: Final = {".webm": "VP80", ".mp4": "mp4v"}

_ENCODERS: Final[dict[str, dict[str, str]]] = {
    "libopenh264": {"b": "4M"},
    "libx264": {"preset": "superfast", "crf": "23"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "33", "b": "0"},
}
_TICKS: Final = 90_000
"""Time base, ticks per second."""


class VideoSink(Protocol):
    """Protocol of a video writer.

    Attributes:
        encoder: FFmpeg's name of the encoder.
    """

    encoder: str

    def add(self, image_HW3: Image, time_s: float) -> None:
        """Add an RGB frame with its presentation time."""

    def close(self) -> None:
        """Write the remaining data."""


def playable_suffix() -> str:
    """Suffix of a browser-playable format that can be written here."""
    return ".mp4" if find_spec("av") is not None else ".webm"


@contextmanager
def video_sink(path: Path, fps: float, size: tuple[int, int]) -> Iterator[VideoSink]:
    """Write a video frame by frame; the file appears, complete, at the end of the block.

    Args:
        path: ``.mp4`` (H.264 with PyAV, otherwise MPEG-4 part 2, which browsers don't play) or
            ``.webm`` (VP8). Only H.264 stores each frame's time; otherwise frames are repeated or
            skipped.
        fps: Frames per second.
        size: Width and height, pixels. H.264 repeats the last column or row of an odd size.

    Raises:
        InputError: Another suffix, or no encoder of this machine can write the file.
        WorkspaceError: The folder can't be written to.
    """
    if path.suffix not in _FOURCC:
        raise InputError("the video can't be written", where=path, expected="NAME.mp4, NAME.webm")
    with atomic_path(path) as scratch:
        # The writers choose the format by the suffix.
        partial = scratch.with_name(scratch.name + path.suffix)
        kind = _AvSink if path.suffix == ".mp4" and find_spec("av") is not None else _OpenCvSink
        try:
            sink = kind(partial, fps, size)
            try:
                yield sink
            finally:
                sink.close()
            partial.replace(scratch)
        finally:
            partial.unlink(missing_ok=True)


class _OpenCvSink:
    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self.encoder = _FOURCC[path.suffix]
        fourcc: Any = cv2.VideoWriter.fourcc(*self.encoder)
        self._writer = cv2.VideoWriter(str(path), fourcc, fps, size)
        self._fps, self._written = fps, 0
        if not self._writer.isOpened():
            raise InputError("the video can't be written by OpenCV", where=path)

    def add(self, image_HW3: Image, time_s: float) -> None:
        frame = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2BGR)
        while self._written <= round(time_s * self._fps):
            self._writer.write(frame)
            self._written += 1

    def close(self) -> None:
        self._writer.release()


class _AvSink:
    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        import av

        encoder = next((name for name in _ENCODERS if name in av.codecs_available), None)
        if encoder is None:
            raise InputError(
                "PyAV's FFmpeg has no encoder for videos that browsers play",
                where=path,
                expected=" or ".join(_ENCODERS),
            )
        self.encoder = encoder
        self._av = av
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        rate = Fraction(fps).limit_denominator(1001)
        self._stream: Any = self._container.add_stream(
            encoder, rate=rate, options=_ENCODERS[encoder]
        )
        self._stream.width, self._stream.height = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._border = ((0, size[1] % 2), (0, size[0] % 2), (0, 0))
        self._last = -1

    def add(self, image_HW3: Image, time_s: float) -> None:
        even = np.pad(image_HW3, self._border, mode="edge") if any(map(any, self._border)) else (
            np.ascontiguousarray(image_HW3)
        )  # fmt: skip
        frame = self._av.VideoFrame.from_ndarray(even, format="rgb24")
        self._last = frame.pts = max(self._last + 1, round(time_s * _TICKS))
        frame.time_base = Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._last >= 0:
            self._container.mux(self._stream.encode())
        self._container.close()
