"""One picture that can't be used, or a value in another unit: left out, named, the rest stored."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from hemlets.core.errors import InputError
from hemlets.data.readers.catalogue import find
from hemlets.data.readers.maps2d import COCO
from hemlets.data.table import Annotations, ShardReader, decode_image
from hemlets.data.versions.images import Video
from hemlets.data.versions.ingest import IngestResult, ingest
from hemlets.inference.video_source import VideoSource

WIDTH, HEIGHT = 100, 80
Content = dict[str, Any]


def picture() -> Image.Image:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([2 * x, 3 * y, 255 - x - y], -1).clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def ingested(tmp_path: Path) -> Callable[..., tuple[IngestResult, list[dict[str, Any]]]]:
    """Ingest two people, of whom the first has this picture and these values."""

    def call(
        data: bytes | None = None,
        name: str = "1.jpg",
        change: Callable[[Content], None] = lambda content: None,
    ) -> tuple[IngestResult, list[dict[str, Any]]]:
        root = tmp_path / "set"
        keypoints = [value for k in range(17) for value in (15 + 4 * k, 12 + 3 * k, 2)]
        content: Content = {
            "images": [
                {"id": n, "file_name": file, "width": WIDTH, "height": HEIGHT}
                for n, file in ((1, name), (2, "2.jpg"))
            ],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 1, "bbox": [10, 8, 75, 60],
                 "keypoints": list(keypoints)}
                for n in (1, 2)
            ],
            "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.names)}],
        }  # fmt: skip
        change(content)
        root.mkdir()
        whole = encoded(picture(), "JPEG", quality=95)
        (root / "2.jpg").write_bytes(whole)
        (root / name).write_bytes(whole if data is None else data)
        (root / "person_keypoints_train.json").write_text(json.dumps(content))
        result = ingest(find("coco"), root, tmp_path / "out")
        lines = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
        return result, [json.loads(line) for line in lines]

    return call


def heic() -> bytes:
    return b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1" + bytes(64)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "image"),
        (encoded(picture(), "JPEG")[:400], "image|JPEG"),
        (encoded(picture(), "PNG")[:150], "image"),
        (heic(), "HEIC|HEIF"),
        (b"GIF89a" + bytes(60), "GIF"),
        (encoded(picture().resize((50, 40)), "JPEG"), "50×40 pixels"),
        (encoded(picture().rotate(90, expand=True), "JPEG"), "80×100 pixels"),
    ],
    ids=["empty", "cut JPEG", "cut PNG", "HEIC", "GIF", "smaller", "turned"],
)
def test_a_picture_that_can_t_be_used_is_named_and_the_other_person_stored(
    ingested, capfd, data, reason
):
    result, items = ingested(data)
    assert sum(result.samples.values()) == 1
    (item,) = items
    assert item["file"] == "1.jpg"
    assert re.search(reason, item["what"])
    assert item["remedy"]
    printed = capfd.readouterr()
    assert not printed.out
    assert not printed.err


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("1.png", encoded(picture(), "PNG")),
        ("1.png", encoded(picture().convert("RGBA"), "PNG")),
        ("1.png", encoded(Image.fromarray(np.full((HEIGHT, WIDTH), 40_000, np.uint16)), "PNG")),
        ("1.jpg", encoded(picture().convert("CMYK"), "JPEG")),
        ("1.jpg", encoded(picture().convert("L"), "JPEG")),
        ("1.jpg", encoded(picture(), "JPEG", progressive=True)),
        ("1.webp", encoded(picture(), "WEBP")),
        ("1.bmp", encoded(picture(), "BMP")),
    ],
    ids=["png", "alpha", "16 bits", "cmyk", "grey", "progressive", "webp", "bmp"],
)
def test_unusual_pictures_are_decoded_right(ingested, name, data):
    result, items = ingested(data, name)
    assert not items
    table = Annotations.read(result.folder / "annotations.parquet")
    row = list(table.source_image).index(name)
    stored = ShardReader(result.folder / "shards").jpeg(
        table.shard[row], int(table.shard_row[row]), table.sample_id[row]
    )
    pixels = decode_image(stored).astype(int)
    left, top, scale = table.stored_from_source[row]
    assert (left, top, scale) == (0, 0, 1)
    assert np.abs(pixels - decode_image(data)).mean() < 6


def person(**values: Any) -> Callable[[Content], None]:
    return lambda content: content["annotations"][0].update(values)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (person(keypoints=[v for k in range(17) for v in (0.02 * k, 0.03 * k, 2)]), "normalised"),
        (person(keypoints=[v for k in range(17) for v in (0.5, 0.5, 1)]), "normalised"),
        (person(bbox=[14, 11, 95, 70]), "looks like left, top, right, bottom"),
        (person(bbox=[0.1, 0.1, -0.7, 0.7]), "no area"),
        (person(bbox=[1000, 800, 7500, 6000]), "outside the image"),
        (person(keypoints=[v for k in range(17) for v in (1500 + k, 1200 + k, 2)]), "outside"),
    ],
    ids=["normalised", "middle", "corners", "negative", "another box", "other joints"],
)  # fmt: skip
def test_values_in_another_unit_are_refused_by_what_they_look_like(ingested, change, reason):
    result, items = ingested(change=change)
    assert sum(result.samples.values()) == 1
    (item,) = items
    assert reason in item["what"]
    assert item["row"] == 0
    assert item["remedy"]


def test_a_box_that_ends_past_the_edge_by_rounding_stays_a_box(ingested):
    result, items = ingested(change=person(bbox=[10, 8, 92, 73]))
    assert not items
    assert sum(result.samples.values()) == 2


def video(path: Path, frames: int = 20) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (128, 96))
    for number in range(frames):
        writer.write(np.full((96, 128, 3), 5 + 8 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_video_that_was_cut_is_refused_by_name(tmp_path, share):
    whole = video(tmp_path / "walk.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="video") as raised:
        Video(tmp_path / "cut.mp4", "cut.mp4").frame(19)
    assert str(raised.value.where).startswith("cut.mp4")


@pytest.mark.parametrize("format_name", ["mpegts", "avi", "matroska", "mov", "flv", "mpeg", "asf"])
def test_both_doors_read_the_same_containers(tmp_path: Path, format_name: str) -> None:
    av = pytest.importorskip("av", reason="PyAV of the extra video is not installed")
    file = tmp_path / "walk.bin"
    codec = "flv1" if format_name == "flv" else "mpeg2video"
    with av.open(str(file), "w", format=format_name) as container:
        stream = container.add_stream(codec, rate=25, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for level in (40, 160, 80, 120, 60, 200):
            pixels = np.full((96, 128, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    assert Video(file, file.name).frame(1).mean() == pytest.approx(160, abs=6)
    assert len(list(VideoSource.open(file).frames())) == 6


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"#EXTM3U\n/etc/passwd\n", "playlist"),
        (b"\xef\xbb\xbf#EXTM3U\nhttp://127.0.0.1:9/a.ts\n", "playlist"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "playlist"),
        (b"file 'other.mp4'\n", "playlist"),
        (b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>", "playlist"),
        (b"[playlist]\nFile1=/etc/passwd\n", "playlist"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "a HEIC image"),
        (b"\0\0\0\x1cftypavis\0\0\0\0avifmsf1", "an AVIF image"),
        (b"GIF89a\1\0\1\0", "a GIF"),
        (b"RIFF\x40\0\0\0WEBPVP8X", "a photo"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"", "no video"),
        (b"G" + bytes(400), "no video"),
    ],
)
def test_both_doors_refuse_by_its_first_bytes_what_is_no_video(
    tmp_path: Path, start: bytes, what: str
) -> None:
    file = tmp_path / "walk.mp4"
    file.write_bytes(start + bytes(64) * bool(start))
    for door in (lambda: Video(file, file.name), lambda: VideoSource.open(file)):
        with pytest.raises(InputError, match=what) as raised:
            door()
        assert "walk.mp4" in str(raised.value.where)


OPEN = """
import sys; from pathlib import Path
from hemlets.core.errors import InputError
from hemlets.data.versions.images import Video
try:
    Video(Path(sys.argv[1]), "cut.mp4")
except InputError:
    print("refused")
"""


def test_the_decoders_own_words_do_not_reach_the_terminal(tmp_path):
    whole = video(tmp_path / "walk.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    command = [sys.executable, "-c", OPEN, tmp_path / "cut.mp4"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("refused\n", "")


def test_frames_of_an_interlaced_video_are_those_of_their_numbers(interlaced_file: Path) -> None:
    file = interlaced_file
    video = Video(file, file.name)
    for number in (2, 7, 4):
        assert video.frame(number).mean() == pytest.approx(20 * number, abs=4)
    with pytest.raises(InputError, match="ends after 10 frames"):
        video.frame(10)
    video.close()
