"""Open video files for ingest and prediction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hemlets.core.environment import quiet_decoders
from hemlets.core.errors import InputError
from hemlets.data.table.images import MAX_PIXELS

if TYPE_CHECKING:
    import cv2

    from hemlets.data.interlaced import InterlacedReader


def open_video_file(path: Path, name: str) -> cv2.VideoCapture | InterlacedReader:
    """Open a file for sequential reading of its frames.

    Args:
        path: The file.
        name: Name for messages.

    Raises:
        InputError: It is not a video, or its frames are too large.
    """
    # Our errors report damage; OpenCV and FFmpeg must not print their own messages as well.
    quiet_decoders()
    import cv2

    from hemlets.data.interlaced import InterlacedReader, is_interlaced

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # Other backends read a '%' in a file name as a series of images.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputError(
            "the file is no video that can be read",
            where=name,
            expected="a whole MP4, AVI, MOV, MKV or WebM",
        )
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if width * height > MAX_PIXELS:
        capture.release()
        raise InputError(
            f"the video has {width:.0f}×{height:.0f} pixels",
            where=name,
            expected=f"at most {MAX_PIXELS:,} pixels",
        )
    if is_interlaced(str(path)):
        capture.release()
        return InterlacedReader(str(path))
    return capture
