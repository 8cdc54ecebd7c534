"""Annotated videos that browsers play.

H.264 in MP4 where PyAV is installed (the extra ``video``), else VP8 in WebM by OpenCV, which needs
nothing more. PyAV is under the BSD licence; its wheels bring FFmpeg (LGPL) with x264 (GPL), so that
it is no dependency of the core, and whoever passes it on in an image passes these on, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from hemlets.core.errors import InputError
from hemlets.core.files import atomic_path
from hemlets.inference.people import Image

_FOURCC: Final = {".webm": "VP80", ".mp4": "mp4v"}

# PyAV can be built against an FFmpeg without x264.
_ENCODERS: Final[dict[str, dict[str, str]]] = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libopenh264": {"b": "4M"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "33", "b": "0"},
}


def playable_suffix() -> str:
    """Ending of the files that browsers play and that can be written here."""
    return ".mp4" if find_spec("av") is not None else ".webm"


def write_video(path: Path, frames: Iterable[Image], fps: float, size: tuple[int, int]) -> None:
    """Write a video of RGB frames of one size.

    Args:
        path: ``.mp4`` (H.264 with PyAV, else MPEG-4 part 2, which browsers don't play) or
            ``.webm`` (VP8).
        frames: RGB, in order.
        fps: Frames a second.
        size: Width and height, pixels. H.264 of an odd one repeats the last column or row.

    Raises:
        InputError: Another ending, or a file that this machine's encoders can't write.
        WorkspaceError: The folder can't be written to.
    """
    if path.suffix not in _FOURCC:
        raise InputError("the video can't be written", where=path, expected="NAME.mp4, NAME.webm")
    with atomic_path(path) as scratch:
        # The writers look at the ending.
        partial = scratch.with_name(scratch.name + path.suffix)
        try:
            if path.suffix == ".mp4" and find_spec("av") is not None:
                _write_with_av(partial, frames, fps, size)
            else:
                _write_with_opencv(partial, frames, fps, size)
            partial.replace(scratch)
        finally:
            partial.unlink(missing_ok=True)


def _write_with_opencv(
    path: Path, frames: Iterable[Image], fps: float, size: tuple[int, int]
) -> None:
    fourcc: Any = cv2.VideoWriter.fourcc(*_FOURCC[path.suffix])
    writer = cv2.VideoWriter(str(path), fourcc, fps, size)
    try:
        if not writer.isOpened():
            raise InputError("the video can't be written by OpenCV", where=path)
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
    finally:
        writer.release()


def _write_with_av(path: Path, frames: Iterable[Image], fps: float, size: tuple[int, int]) -> None:
    import av

    encoder = next((name for name in _ENCODERS if name in av.codecs_available), None)
    if encoder is None:
        raise InputError(
            "PyAV's FFmpeg has no encoder for videos that browsers play",
            where=path,
            expected=" or ".join(_ENCODERS),
        )
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = container.add_stream(encoder, rate=rate, options=_ENCODERS[encoder])
        stream.width, stream.height = (side + side % 2 for side in size)
        stream.pix_fmt = "yuv420p"
        border = ((0, size[1] % 2), (0, size[0] % 2), (0, 0))
        for frame in frames:
            even = np.pad(frame, border, mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
