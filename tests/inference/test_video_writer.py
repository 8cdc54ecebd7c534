"""Videos that browsers play."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hemlets.core.errors import InputError
from hemlets.inference import video_writer
from hemlets.inference.video_source import VideoSource
from hemlets.inference.video_writer import playable_suffix

from ..benchmarks.video_files import write_video


def _frames(size: tuple[int, int]) -> list[np.ndarray]:
    """A bright square that goes to the right, 10 px a frame."""
    frames = []
    for number in range(6):
        frame = np.full((size[1], size[0], 3), 40, np.uint8)
        frame[20:50, 10 * number : 10 * number + 30] = (220, 60, 60)
        frames.append(frame)
    return frames


def _codec(path: Path) -> str:
    reader = cv2.VideoCapture(str(path))
    code = int(reader.get(cv2.CAP_PROP_FOURCC))
    reader.release()
    return code.to_bytes(4, "little").decode()


def _assert_shows(path: Path, frames: list[np.ndarray]) -> None:
    read = [frame.image_HW3 for frame in VideoSource.open(path).frames()]
    assert len(read) == len(frames)
    for one, other in zip(read, frames, strict=True):
        height, width = other.shape[:2]
        assert np.abs(one[:height, :width].astype(int) - other).mean() < 8


def test_webm_is_written_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_writer, "find_spec", lambda name: None)
    assert playable_suffix() == ".webm"
    write_video(tmp_path / "x.webm", _frames((96, 64)), 12.5, (96, 64))
    assert _codec(tmp_path / "x.webm") == "VP80"
    _assert_shows(tmp_path / "x.webm", _frames((96, 64)))
    assert VideoSource.open(tmp_path / "x.webm").stated_fps == pytest.approx(12.5, rel=0.01)


@pytest.mark.parametrize("size", [(96, 64), (97, 65)])
def test_with_pyav_mp4_is_what_browsers_play(tmp_path: Path, size: tuple[int, int]) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'hemlets[video]'")
    assert playable_suffix() == ".mp4"
    write_video(tmp_path / "x.mp4", _frames(size), 12.5, size)
    assert _codec(tmp_path / "x.mp4") in ("avc1", "h264", "vp09")
    _assert_shows(tmp_path / "x.mp4", _frames(size))
    assert VideoSource.open(tmp_path / "x.mp4").stated_fps == pytest.approx(12.5, rel=0.01)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="webm"):
        write_video(tmp_path / "x.gif", [], 10.0, (8, 8))


def test_frames_that_fail_leave_no_file(tmp_path: Path) -> None:
    def broken():
        yield np.zeros((64, 96, 3), np.uint8)
        raise RuntimeError("no more frames")

    with pytest.raises(RuntimeError):
        write_video(tmp_path / "x.webm", broken(), 10.0, (96, 64))
    assert list(tmp_path.iterdir()) == []
