"""Files are decoded once; cameras and streams give the newest picture, or stop with a message."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from hemlets.core.errors import InputError
from hemlets.inference import video_source
from hemlets.inference.video_source import (
    ENDS_EARLY,
    NON_SQUARE_PIXELS,
    StoppedError,
    VideoSource,
)


def _jpegs(count: int) -> list[bytes]:
    pictures = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(count)]
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]


@contextmanager
def _stream(pictures: list[bytes], *, release: threading.Event, head: bool = True) -> Iterator[str]:
    """An MJPEG stream on loopback that sends its pictures at once and then hangs."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            if head:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\n"
                    b"Content-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n"
                )
            for jpeg in pictures:
                size = str(len(jpeg)).encode()
                connection.sendall(
                    b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: " + size + b"\r\n\r\n"
                    + jpeg + b"\r\n"
                )  # fmt: skip
            release.wait(60)

    threading.Thread(target=answer, daemon=True).start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.getsockname()[1]}/camera"
    finally:
        release.set()
        server.close()


def test_a_camera_that_stops_ends_with_what_to_do_and_without_its_password() -> None:
    with _stream(_jpegs(12), release=threading.Event()) as address:
        source = VideoSource.open(address, timeout_s=5.0)
        assert source.live
        assert source.name == "stream"
        frames = source.frames()
        assert next(frames).time_s == 0.0
        with pytest.raises(StoppedError, match="stopped after") as stopped:
            list(frames)
    assert "secret" not in str(stopped.value)
    assert "results up to there are written" in str(stopped.value)


def test_a_stream_that_says_nothing_is_given_up_in_time() -> None:
    with (
        _stream([], release=threading.Event(), head=False) as address,
        pytest.raises(InputError, match="gives no picture") as error,
    ):
        VideoSource.open(address, timeout_s=0.5)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("number", ["97", "9" * 20])
def test_a_camera_that_is_not_there_is_named(number: str) -> None:
    with pytest.raises(InputError, match="the camera gives no picture"):
        VideoSource.open(number)


class _Camera:
    """A camera with a picture whenever it is asked; counts up in brightness."""

    def __init__(self, pictures: int) -> None:
        self.left = pictures
        self.given = 0
        self.more = threading.Semaphore(1)

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.more.acquire()
        if self.given == self.left:
            return False, None
        self.given += 1
        return True, np.full((4, 4, 3), self.given, np.uint8)

    def get(self, what: int) -> float:
        return 30.0

    def release(self) -> None:
        self.more.release()


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.005)


def test_of_a_camera_the_newest_picture_is_given_and_the_others_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = _Camera(9)
    monkeypatch.setattr(video_source, "_reader", lambda *args, **kwargs: camera)
    frames = VideoSource.open("0", timeout_s=30.0).frames()
    assert next(frames).image_HW3[0, 0, 0] == 1
    camera.more.release(8)
    _until(lambda: camera.given == 9)
    # The reader asks for the tenth now, so that it has put the ninth down.
    camera.more.release()
    last = next(frames)
    assert last.image_HW3[0, 0, 0] >= 8
    with pytest.raises(StoppedError):
        list(frames)


@pytest.mark.parametrize("name", ["rtsp:/typo", "none.mp4"])
def test_what_is_neither_file_nor_address_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no such video file"):
        VideoSource.open(name)


def test_a_folder_and_a_files_address_are_told_from_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is a folder"):
        VideoSource.open(tmp_path)
    with pytest.raises(InputError, match=r"give its path, /none/a\.mp4"):
        VideoSource.open("file:///none/a.mp4")


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_an_interlaced_file_gives_its_pictures_and_times(cut: bool, interlaced_file: Path) -> None:
    file = interlaced_file
    if cut:
        file.write_bytes(file.read_bytes()[: int(0.7 * file.stat().st_size)])
    source = VideoSource.open(file)
    frames = list(source.frames())
    assert source.stated_fps == 25
    assert len(frames) == 10 if not cut else 4 <= len(frames) < 10
    assert [frame.time_s for frame in frames] == pytest.approx(
        0.04 * np.arange(len(frames)), abs=2e-3
    )
    levels = [frame.image_HW3.mean() for frame in frames]
    assert levels == pytest.approx(20.0 * np.arange(len(frames)), abs=4.0)


def test_an_interlaced_file_is_flagged_as_others_are(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV of the extra video is not installed")
    file = tmp_path / "fields.mkv"
    with av.open(str(file), "w") as container:
        options = {"flags": "+ildct+ilme", "g": "1"}
        stream = container.add_stream("mpeg2video", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for level in range(50):
            picture = np.full((48, 64, 3), 4 * level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    source = VideoSource.open(file)
    assert source.stated_s == pytest.approx(2.0)
    assert source.pixel_aspect == pytest.approx(4 / 3)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    source = VideoSource.open(file)
    *_, end = source.frames()
    assert set(source.flags_at(end.time_s)) == {ENDS_EARLY, NON_SQUARE_PIXELS}


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV of the extra video is not installed")
    file = tmp_path / "song.mp4"
    with av.open(str(file), "w") as container:
        sound = container.add_stream("aac", rate=44_100)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
        container.mux([*cover.encode(picture), *cover.encode()])
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        samples.sample_rate = 44_100
        container.mux([*sound.encode(samples), *sound.encode()])
    with pytest.raises(InputError, match="a cover picture, no video"):
        VideoSource.open(file)
