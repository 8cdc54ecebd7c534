"""``hemlets video`` from its command line."""

import itertools
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from hemlets.cli import footage as video_files
from hemlets.cli.video import video
from hemlets.core.errors import ConfigError, InputError
from hemlets.inference.live_page import LivePage
from hemlets.inference.people import Detection
from hemlets.inference.video_source import StoppedError, VideoSource
from hemlets.inference.video_writer import playable_suffix

from ..benchmarks.video_files import write_video


@pytest.fixture
def footage(tmp_path, people):
    frames = [person.image for person in people[:4]]
    height, width = frames[0].shape[:2]
    write_video(tmp_path / "walk.mp4", frames, 10.0, (width, height))
    return tmp_path / "walk.mp4"


@pytest.fixture(scope="module")
def people():
    from hemlets.body import BodyModel
    from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, Studio

    studio = Studio(OpenDataConfig(image_px=128), MotionLibrary.bundled(), BodyModel.load())
    return [studio.person("test", index) for index in range(4)]


def run(*arguments):
    app = typer.Typer()
    app.command()(video)
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_video_becomes_tracks_motion_files_and_an_annotated_video(footage, model_folder):
    result = run(footage, "--model", model_folder, "--refine", "--box", "0,0,128,128")
    assert result.exit_code == 0, result.output
    assert "4 frames, 1 track" in result.output
    content = json.loads(Path("predictions/walk.json").read_text())
    (track,) = content["tracks"]
    assert track["frames"] == [0, 1, 2, 3]
    assert len({tuple(e["betas"]) for e in track["estimates"]}) == 1, "one person, one shape"
    drawn = VideoSource.open(f"predictions/walk.overlay{playable_suffix()}")
    assert (drawn.stated_fps, drawn.size) == (10.0, (128, 128))
    assert len(list(drawn.frames())) == 4
    assert "overlay" in result.output
    assert "(libx264)" in result.output or "(VP80)" in result.output or "openh264" in result.output
    assert "Frames: 4\n" in Path("predictions/walk.person0.frame0.bvh").read_text()
    assert np.load("predictions/walk.person0.frame0.npz")["poses"].shape == (4, 72)


def test_a_box_and_openposes_files_exclude_each_other(footage, tmp_path):
    result = run(footage, "--box", "0,0,50,50", "--openpose", tmp_path)
    assert isinstance(result.exception, ConfigError)


def test_a_wait_without_end_is_refused_by_its_option():
    result = run("rtsp://127.0.0.1:9/x", "--timeout", "inf")
    assert result.exit_code == 2
    assert "'--timeout'" in result.output


def test_a_video_that_is_not_there_is_named(tmp_path):
    result = run(tmp_path / "none.mp4")
    assert isinstance(result.exception, InputError)
    assert "none.mp4" in str(result.exception)


def test_a_photo_is_sent_to_the_command_for_photos(tmp_path):
    cv2.imwrite(str(tmp_path / "one.JPG"), np.zeros((20, 30, 3), np.uint8))
    error = run(tmp_path / "one.JPG").exception
    assert isinstance(error, InputError)
    assert "this is a photo, not a video" in str(error)
    assert f"hemlets predict {tmp_path / 'one.JPG'}" in str(error)


def test_without_a_box_everybody_is_found_and_followed(two_people, tmp_path, model_folder):
    picture = cv2.cvtColor(cv2.imread(str(two_people)), cv2.COLOR_BGR2RGB)
    height, width = picture.shape[:2]
    frames = [np.roll(picture, 2 * i, 1) for i in range(5)]
    write_video(tmp_path / "two.mp4", frames, 10.0, (width, height))
    result = run(tmp_path / "two.mp4", "--model", model_folder, "--no-picture", "--every", "2")
    assert result.exit_code == 0, result.output
    tracks = json.loads(Path("predictions/two.json").read_text())["tracks"]
    assert [track["frames"] for track in tracks] == [[0, 1, 2, 3, 4]] * 2
    first = tracks[0]["estimates"]
    assert first[4]["box_xyxy_px"][0] > first[0]["box_xyxy_px"][0]
    assert "whole-image-box" not in first[0]["flags"]


def test_a_long_video_is_written_in_parts_and_keeps_nothing_of_them(
    footage, model_folder, monkeypatch, tmp_path
):
    monkeypatch.setattr(video_files, "_PART_S", 0.2)
    predictor = video_files.VideoPredictor.load(model_folder, fast=True)
    result = predictor.follow(
        VideoSource.open(footage),
        lambda number, frame: [Detection(box_xyxy=(0, 0, 128, 128))],
        folder=tmp_path,
        picture=False,
    )
    assert result.parts == []
    assert (result.n_frames, result.seen) == (4, {0: 4})
    first, second = (
        json.loads((tmp_path / name).read_text()) for name in ("walk.json", "walk.part1.json")
    )
    assert [part["video"]["start_s"] for part in (first, second)] == pytest.approx([0.0, 0.2])
    assert [part["tracks"][0]["person"] for part in (first, second)] == [0, 0]


def test_a_stop_in_the_middle_leaves_what_was_seen(footage, model_folder, monkeypatch, tmp_path):
    def frames(source):
        yield from itertools.islice(VideoSource._every(source), 3)
        raise StoppedError("the camera stopped")

    monkeypatch.setattr(VideoSource, "frames", frames)
    result = run(footage, "--model", model_folder, "--box", "0,0,128,128", "--out", tmp_path)
    assert isinstance(result.exception, StoppedError)
    content = json.loads((tmp_path / "walk.json").read_text())
    assert content["tracks"][0]["frames"] == [0, 1, 2]
    drawn = VideoSource.open(tmp_path / f"walk.overlay{playable_suffix()}")
    assert len(list(drawn._every())) == 3


def test_the_live_page_gets_every_picture_of_a_file(footage, model_folder, monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(LivePage, "show", lambda page, image: shown.append(image.shape))
    result = run(
        footage, "--model", model_folder, "--box", "0,0,128,128", "--out", tmp_path,
        "--no-picture", "--live", "--seconds", "0.25",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "live: http://127.0.0.1:" in result.output
    assert shown == [(128, 128, 3)] * 3


CUT = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(99)


@pytest.mark.parametrize("content", [b"", CUT], ids=["empty", "cut"])
def test_a_cut_video_is_one_message_without_the_decoders_own(tmp_path, content):
    file = tmp_path / "cut.mp4"
    file.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "hemlets.cli", "video", str(file), "--out", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: the file is no video that can be read")
    assert "@ 0x" not in done.stderr


def test_a_video_that_ends_before_what_it_states_is_flagged(footage, model_folder, tmp_path):
    frames = [np.full((128, 128, 3), 9 * i, np.uint8) for i in range(24)]
    write_video(tmp_path / "whole.mp4", frames, 10.0, (128, 128))
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(0.75 * len(data))])
    common = "--model", model_folder, "--box", "0,0,128,128", "--no-picture", "--out", tmp_path
    for name, flags in (("whole", []), ("cut", ["ends-early"])):
        result = run(tmp_path / f"{name}.mp4", *common)
        assert result.exit_code == 0, result.output
        assert json.loads((tmp_path / f"{name}.json").read_text())["video"]["flags"] == flags
        assert ("it may be cut" in result.output) == bool(flags)
    result = run(tmp_path / "whole.mp4", *common, "--seconds", "0.5")
    assert json.loads((tmp_path / "whole.json").read_text())["video"]["flags"] == []


def test_pixels_that_are_not_square_are_flagged(tmp_path):
    av = pytest.importorskip("av", reason="PyAV of the extra video is not installed")
    with av.open(str(tmp_path / "wide.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for _ in range(5):
            picture = np.zeros((96, 128, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    source = VideoSource.open(tmp_path / "wide.mkv")
    assert list(source.flags_at(None)) == ["non-square-pixels"]
    assert source.pixel_aspect == pytest.approx(4 / 3)


@pytest.mark.parametrize("name", ["walk.gif", "walk.mp4"])
def test_an_animated_gif_is_refused_with_how_to_convert_it(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"GIF89a")
    error = run(file).exception
    assert isinstance(error, InputError)
    assert f"ffmpeg -i {file} walk.mp4" in (error.remedy or "")
