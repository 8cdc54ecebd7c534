"""Deinterlaced frames of interlaced video files.

OpenCV can't convert them: it gives black pictures without an error. PyAV decodes them instead,
where it is installed (extra ``video``), and FFmpeg's bwdif filter joins the fields.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import cv2

from hemlets.core.arrays import Image

_LOOKED_AT = 3
"""Number of frames decoded to detect interlacing."""


class InterlacedReader:
    """Progressive frames of an interlaced file, with `cv2.VideoCapture`'s methods.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        import av

        self._container = av.open(path)
        self._stream = self._container.streams.video[0]
        self._frames = self._deinterlaced()
        self._frame: Any = None
        self._time_s = 0.0

    def grab(self) -> bool:
        """Decode the next frame; False after the last."""
        self._frame = next(self._frames, None)
        if self._frame is None:
            return False
        self._time_s = float(self._frame.time or 0.0)
        return True

    def retrieve(self) -> tuple[bool, Image | None]:
        """The decoded frame (H, W, BGR); False and None after the last."""
        if self._frame is None:
            return False, None
        return True, self._frame.to_ndarray(format="bgr24")

    def read(self) -> tuple[bool, Image | None]:
        """Decode and return the next frame."""
        self.grab()
        return self.retrieve()

    def get(self, what: int) -> float:
        """Rate and number of frames, shape of a pixel, or time of the last frame (ms); else 0."""
        import av

        shape = self._stream.sample_aspect_ratio or 1
        match what:
            case cv2.CAP_PROP_FPS:
                return float(self._stream.average_rate or 0.0)
            case cv2.CAP_PROP_FRAME_COUNT:
                stated_s = (self._container.duration or 0) / av.time_base
                return float(self._stream.frames or stated_s * (self._stream.average_rate or 0))
            case cv2.CAP_PROP_SAR_NUM:
                return float(shape.numerator)
            case cv2.CAP_PROP_SAR_DEN:
                return float(shape.denominator)
            case cv2.CAP_PROP_POS_MSEC:
                return 1e3 * self._time_s
        return 0.0

    def release(self) -> None:
        """Close the file."""
        self._container.close()

    def _deinterlaced(self) -> Iterator[Any]:
        import av

        graph = av.filter.Graph()
        fields = graph.add_buffer(template=self._stream)
        joined, sink = graph.add("bwdif", "mode=send_frame"), graph.add("buffersink")
        fields.link_to(joined)
        joined.link_to(sink)
        graph.configure()
        for frame in itertools.chain(self._decoded(), [None]):
            graph.push(frame)
            while True:
                try:
                    yield graph.pull()
                except (BlockingIOError, EOFError):
                    break

    def _decoded(self) -> Iterator[Any]:
        import av

        try:
            yield from self._container.decode(self._stream)
        except av.FFmpegError:
            # The file is truncated; the frames before are valid.
            return


def is_cover(path: str) -> bool:
    """Whether a file's only pictures are those of a song's cover; False without PyAV."""

    def only_attached(container: Any) -> bool:
        from av.stream import Disposition

        streams = container.streams.video
        return bool(streams) and all(s.disposition & Disposition.attached_pic for s in streams)

    return _examined(path, only_attached)


def is_interlaced(path: str) -> bool:
    """Whether one of the first frames is interlaced; False without PyAV."""

    def any_interlaced(container: Any) -> bool:
        frames = container.decode(container.streams.video[0])
        return any(f.interlaced_frame for f in itertools.islice(frames, _LOOKED_AT))

    return _examined(path, any_interlaced)


def _examined(path: str, question: Callable[[Any], bool]) -> bool:
    """Answer to a question about an open file; False without PyAV, and if it can't be read."""
    try:
        import av
    except ImportError:
        return False
    try:
        with av.open(path) as container:
            return question(container)
    except (av.FFmpegError, IndexError):
        return False
