"""Frames of a file, camera or stream, decoded once with time stamps.

OpenCV's FFmpeg (LGPL) decodes files and streams over HTTP and RTSP, with timeouts;
`hemlets.data.interlaced` decodes interlaced files. A thread reads a camera or stream and stores
only the newest frame, so that latency does not grow if prediction is slower than the camera.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from hemlets.core.errors import InputError
from hemlets.core.redaction import redact_url
from hemlets.data.video_file import VIDEO_FORM, open_video_file, states_duration
from hemlets.inference.people import Image
from hemlets.inference.timing import DEFAULT_FPS

TIMEOUT_S: Final = 10.0
"""Longest wait for opening a stream and for each frame, seconds."""

ENDS_EARLY: Final = "ends-early"
"""Flag of a file that gives fewer frames than it states: it may be cut."""

NON_SQUARE_PIXELS: Final = "non-square-pixels"
"""Flag of a file whose pictures are stretched when shown; they are predicted as stored."""

_LARGEST_CAMERA: Final = 2**31 - 1
"""OpenCV's largest number of a camera."""

_MISSING_S: Final = 0.5
_MISSING_SHARE: Final = 0.05
_SQUARE: Final = (0.98, 1.02)

_SCHEMES: Final = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://", "udp://", "srt://")


class Frame(NamedTuple):
    """Frame of a video.

    Attributes:
        image_HW3: RGB.
        time_s: Presentation time, seconds since the start of the file or since opening a live
            source.
    """

    image_HW3: Image
    time_s: float


class StoppedError(InputError):
    """A camera or stream has stopped."""


@dataclass(frozen=True, kw_only=True)
class VideoSource:
    """Source of frames.

    Attributes:
        address: File, camera number or stream address.
        name: Name for results and messages, without passwords.
        size: Width and height, pixels.
        stated_fps: Frame rate from the container or camera; `DEFAULT_FPS` if unknown.
        live: Whether it is a camera or stream; frames between two reads are skipped.
        stated_s: Duration that the file states; 0 if none.
        pixel_aspect: Width over height of a pixel when shown.
        timeout_s: Longest wait for a frame of a live source.
    """

    address: str
    name: str
    size: tuple[int, int]
    stated_fps: float
    live: bool
    timeout_s: float
    stated_s: float
    pixel_aspect: float
    _reader: Any
    _first: Image

    @classmethod
    def open(cls, address: str | Path, *, timeout_s: float = TIMEOUT_S) -> VideoSource:
        """Open a file, a camera by number, or a stream by address, and decode one frame.

        Raises:
            InputError: It is absent, or no frame could be decoded in time.
        """
        text = str(address)
        stream = text.lower().startswith(_SCHEMES)
        live = stream or text.isdecimal()
        if not live and Path(text).is_dir():
            raise InputError(
                "this is a folder, not a video",
                where=text,
                expected=VIDEO_FORM,
                remedy=f"name a video in it; for photos: hemlets predict {text}/*.jpg",
            )
        if not live and text.lower().startswith("file:"):
            raise InputError(
                "this is an address, not a file",
                where=text,
                expected=VIDEO_FORM,
                remedy=f"give its path, {re.sub('^file:/+', '/', text, flags=re.IGNORECASE)}",
            )
        if not live and not Path(text).is_file():
            raise InputError(
                "there is no such video file",
                where=text,
                expected=f"{VIDEO_FORM}, a camera's number, or an address that begins with "
                "rtsp:// or http://",
                remedy="check the path; relative ones start at the folder that you are in",
            )
        reader = _reader(text, stream=stream, timeout_s=timeout_s)
        fine, frame = reader.read()
        shown = redact_url(text) if stream else text
        if not fine or frame is None:
            reader.release()
            raise InputError(
                "the stream gives no picture" if stream else "the camera gives no picture"
                if live else "the file is no video that can be read",
                where=shown,
                expected=f"a picture within {timeout_s:g} s" if live else VIDEO_FORM,
                remedy="check that a player shows it, and that no other program has it open"
                if live else None,
            )  # fmt: skip
        fps = float(reader.get(cv2.CAP_PROP_FPS))
        return cls(
            address=shown,
            name=("stream" if stream else f"camera{text}") if live else Path(text).name,
            size=(int(frame.shape[1]), int(frame.shape[0])),
            stated_fps=fps if 1.0 <= fps <= 1000.0 else DEFAULT_FPS,
            live=live,
            timeout_s=timeout_s,
            stated_s=0.0 if live else _stated_s(reader, Path(text)),
            pixel_aspect=_pixel_aspect(reader),
            _reader=reader,
            _first=_rgb(frame),
        )

    def flags_at(self, end_s: float | None) -> Iterator[str]:
        """Doubts about the file: `ENDS_EARLY` and `NON_SQUARE_PIXELS`.

        Args:
            end_s: Time of the last frame, if the file was read to its end.
        """
        missing_s = 0.0 if end_s is None else self.stated_s - end_s
        if missing_s > max(_MISSING_S, _MISSING_SHARE * self.stated_s):
            yield ENDS_EARLY
        if not _SQUARE[0] <= self.pixel_aspect <= _SQUARE[1]:
            yield NON_SQUARE_PIXELS

    def frames(self) -> Iterator[Frame]:
        """Iterate over the frames once, then close the source.

        Raises:
            StoppedError: A live source has stopped.
        """
        return self._newest() if self.live else self._every()

    def _every(self) -> Iterator[Frame]:
        try:
            # After the first frame, the reader's position is that of the last frame read.
            yield Frame(self._first, self._reader.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
            while True:
                fine, frame = self._reader.read()
                if not fine:
                    return
                yield Frame(_rgb(frame), self._reader.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
        finally:
            self._reader.release()

    def _newest(self) -> Iterator[Frame]:
        newest = _Newest(self._reader)
        count = 0
        try:
            yield Frame(self._first, 0.0)
            while True:
                frame = newest.take(self.timeout_s)
                count += 1
                if frame is None:
                    raise StoppedError(
                        f"the camera or stream stopped after {count} frames: it ended, or gave no "
                        f"picture for {self.timeout_s:g} s",
                        where=self.address,
                        remedy="results up to there are written; start again when it is back",
                    )
                yield frame
        finally:
            newest.close()


def count_frames(file: Path) -> int:
    """Count the frames of a file by decoding it: containers may be wrong.

    Raises:
        InputError: It is absent, or not a readable video.
    """
    source = VideoSource.open(file)
    if source.live:
        raise InputError("frames of a camera or stream can't be counted", where=source.address)
    return sum(1 for _ in source.frames())


class _Newest:
    """Reads frames continuously and stores the newest."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._start = time.monotonic()
        self._frame: Frame | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        # A hanging driver must not keep the program from ending.
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while not self._closed:
                fine, frame = self._reader.read()
                with self._changed:
                    self._ended = not fine
                    if fine:
                        self._frame = Frame(_rgb(frame), time.monotonic() - self._start)
                    self._changed.notify_all()
                if not fine:
                    return
        finally:
            self._reader.release()

    def take(self, timeout_s: float) -> Frame | None:
        """Return the newest frame not yet taken; None on time-out."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._ended, timeout_s)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> None:
        self._closed = True


def _reader(text: str, *, stream: bool, timeout_s: float) -> Any:
    if text.isdecimal():
        return cv2.VideoCapture(min(int(text), _LARGEST_CAMERA))
    if not stream:
        return open_video_file(Path(text), text)
    wait_ms = round(1e3 * timeout_s)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, wait_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, wait_ms]
    return cv2.VideoCapture(text, cv2.CAP_FFMPEG, limits)


def _stated_s(reader: Any, path: Path) -> float:
    """Duration by the file's index; 0 where it has none, as MPEG streams."""
    count, fps = reader.get(cv2.CAP_PROP_FRAME_COUNT), reader.get(cv2.CAP_PROP_FPS)
    sound = states_duration(path) and 0 < count < 1e9 and fps > 0
    return float(count / fps) if sound else 0.0


def _pixel_aspect(reader: Any) -> float:
    width, height = reader.get(cv2.CAP_PROP_SAR_NUM), reader.get(cv2.CAP_PROP_SAR_DEN)
    return float(width / height) if width > 0 and height > 0 else 1.0


def _rgb(frame_HW3: Any) -> Image:
    return np.asarray(cv2.cvtColor(frame_HW3, cv2.COLOR_BGR2RGB), np.uint8)
