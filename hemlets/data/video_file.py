"""Open video files for ingest and prediction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from hemlets.core.environment import quiet_decoders
from hemlets.core.errors import InputError
from hemlets.data.images import MAX_PIXELS, READABLE, image_kind

if TYPE_CHECKING:
    import cv2

    from hemlets.data.interlaced import InterlacedReader

VIDEO_FORM: Final = "a whole MP4, MOV, AVI, MKV, WebM, MPEG, MPEG-TS, WMV or FLV file"

_STARTS: Final = (
    b"\x1aE\xdf\xa3",  # MKV, WebM
    b"\x00\x00\x01",  # MPEG, H.264
    b"\x00\x00\x00\x01",
    b"0&\xb2u\x8ef\xcf\x11",  # WMV
    b"FLV\x01",
    b"OggS",
)
_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_TS_PACKETS: Final = ((0, 188), (4, 192))
"""Offset of the first sync byte 0x47, and packet length, of MPEG-TS without and with time codes."""
_PLAYLISTS: Final = (b"#extm3u", b"ffconcat", b"[playlist]", b"<?xml", b"<mpd", b"<smil", b"file ")


def open_video_file(path: Path, name: str) -> cv2.VideoCapture | InterlacedReader:
    """Open a file for sequential reading of its frames.

    Args:
        path: The file.
        name: Name for messages.

    Raises:
        InputError: It is not a video, is a playlist, or its frames are too large.
    """
    _require_container(path, name)
    # Our errors report damage; OpenCV and FFmpeg must not print their own messages as well.
    quiet_decoders()
    import cv2

    from hemlets.data.interlaced import InterlacedReader, is_cover, is_interlaced

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # Other backends read a '%' in a file name as a series of images.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputError(
            "the file is no video that can be read",
            where=name,
            expected=VIDEO_FORM,
        )
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if width * height > MAX_PIXELS:
        capture.release()
        raise InputError(
            f"the video has {width:.0f}×{height:.0f} pixels",
            where=name,
            expected=f"at most {MAX_PIXELS:,} pixels",
        )
    if is_cover(str(path)):
        capture.release()
        raise InputError(
            "the file holds sound and a cover picture, no video", where=name, expected=VIDEO_FORM
        )
    if is_interlaced(str(path)):
        capture.release()
        return InterlacedReader(str(path))
    return capture


def states_duration(path: Path) -> bool:
    """Whether a file's container has an index with its duration: MP4, MOV, AVI, MKV, WebM."""
    with path.open("rb") as stream:
        head = stream.read(16)
    return head[4:8] in _BOXES or head[:4] in (b"RIFF", b"\x1aE\xdf\xa3")


def _require_container(path: Path, name: str) -> None:
    """Refuse by its first bytes what is no video file.

    A playlist or a concatenation script would make the decoder open other files and hosts.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise InputError(
            f"the video can't be read: {error.strerror or error}", where=name, expected=VIDEO_FORM
        ) from error
    kind = image_kind(head)
    if kind is None and _is_container(head):
        return
    what, remedy = "the file is no video that can be read", None
    if kind in READABLE:
        what, remedy = "this is a photo, not a video", f"for a photo: hemlets predict {name}"
    elif kind is not None:
        what = f"this is {kind}, not a video that can be read"
        if kind in ("a GIF", "an AVIF image"):
            remedy = f"convert it: ffmpeg -i {name} {Path(name).stem}.mp4"
    elif head.lstrip(b"\xef\xbb\xbf\r\n ").lower().startswith(_PLAYLISTS):
        what, remedy = "this is a playlist, not a video", "give the video files that it names"
    raise InputError(what, where=name, expected=VIDEO_FORM, remedy=remedy)


def _is_container(head: bytes) -> bool:
    return (
        head.startswith(_STARTS)
        or head[4:8] in _BOXES
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or any(
            head[first : first + 1] == head[first + length : first + length + 1] == b"G"
            for first, length in _TS_PACKETS
        )
    )
