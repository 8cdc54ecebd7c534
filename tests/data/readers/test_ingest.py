"""From a dataset's folder to a data version: exact pixels, no row lost, the same bytes always."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from hemlets.core.errors import DataError, WorkspaceError
from hemlets.core.files import read_json, sha256_file
from hemlets.data.readers.contract import Dataset, LayoutEntry, Supervision
from hemlets.data.table import Annotations, ShardReader, decode_image, encode_jpeg
from hemlets.data.transforms.crop import CONTEXT
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig, SplitCut
from hemlets.data.versions.ingest_window import TRAINING_CONTEXT

READER = '''
"""A reader of people.json: a list of people with their images."""
import json

import numpy as np

from hemlets.data.readers.contract import ImageRef, SourceRows


def read(root, options, quarantine=None):
    people = json.loads((root / "people.json").read_text())
    people = [person for person in people if person["split"] in options.splits]
    for start in range(0, len(people), 7):
        chunk = people[start:start + 7]
        names = ("split", "clip", "frame", "image_width", "image_height")
        joints = np.array([person["joints"] for person in chunk], np.float32)
        yield SourceRows(
            columns={name: [person[name] for person in chunk] for name in names}
            | {
                "sample_id": [person["id"] for person in chunk],
                "box_xyxy": np.array([person["box"] for person in chunk], np.float32),
                "joints2d_px": joints,
                "valid2d": np.ones((len(chunk), 18), bool),
                "visible": np.ones((len(chunk), 18), bool),
                "camera": np.array([person["camera"] for person in chunk], np.float32),
                "camera_valid": np.ones(len(chunk), bool),
            },
            images=tuple(ImageRef(p["image"], p["video_frame"]) for p in chunk),
            masks=tuple(
                ImageRef(p["mask"], p["video_frame"]) if p["mask"] else None for p in chunk
            ),
        )
'''

PEOPLE = Dataset(
    name="people",
    title="People",
    paper="none",
    licence="none",
    document="none",
    supervision=(Supervision.JOINTS_2D,),
    layout=(LayoutEntry(pattern="people.json", what="the people"),),
    joints="all",
    conventions="the table's own",
    reader="people_reader:read",
)

SMALL = IngestConfig(shard_size=8, crop_px=64)
NO_CUT = IngestConfig(shard_size=8, cut=SplitCut(validation=0.0, gate=0.0))


@pytest.fixture(autouse=True)
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "people_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "people_reader", raising=False)
    return folder


@dataclass
class Source:
    """A dataset's folder that is filled by a test."""

    root: Path
    people: list[dict[str, Any]] = field(default_factory=list)

    def image(self, name: str, image: npt.NDArray[np.uint8], quality: int = 95) -> str:
        self.root.mkdir(parents=True, exist_ok=True)
        data = encode_jpeg(image, quality=quality)
        if name.endswith(".png"):
            data = bytes(cv2.imencode(".png", image[..., ::-1])[1])
        (self.root / name).write_bytes(data)
        return name

    def person(
        self,
        image: str,
        box: tuple[float, ...] = (20, 20, 60, 90),
        joints: npt.NDArray[np.floating[Any]] | None = None,
        **changes: Any,
    ) -> None:
        number = len(self.people)
        points = np.tile([40.5, 50.5], (18, 1)) if joints is None else joints
        self.people.append(
            {
                "id": f"p{number:04d}", "split": "train", "clip": f"clip-{number // 3}",
                "frame": number, "image": image, "video_frame": None, "mask": "", "box": box,
                "joints": points.tolist(), "camera": [500, 510, 64, 48], "image_width": 0,
                "image_height": 0,
            }
            | changes
        )  # fmt: skip

    def write(self) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "people.json").write_text(json.dumps(self.people))
        return self.root


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "source")


def noise(seed: int, height: int = 110, width: int = 130) -> npt.NDArray[np.uint8]:
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0), np.uint8)


def many(source: Source, count: int = 40) -> Path:
    for number in range(count):
        source.person(source.image(f"{number:03d}.jpg", noise(number)))
    return source.write()


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def stored(folder: Path, row: int) -> npt.NDArray[np.uint8]:
    table = Annotations.read(folder / "annotations.parquet")
    data = ShardReader(folder / "shards").jpeg(
        table.shard[row], int(table.shard_row[row]), table.sample_id[row]
    )
    return decode_image(data)


def refusals(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]


def dots(size: tuple[int, int], points: npt.NDArray[np.floating[Any]], sigma: float):
    """Bright Gaussian dots on black whose middles lie exactly at points, pixel centres at +0.5."""
    width, height = size
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    image = np.zeros((height, width))
    for px, py in points:
        blob = np.exp(-((x - px) ** 2) / (2 * sigma**2))
        image += np.outer(np.exp(-((y - py) ** 2) / (2 * sigma**2)), blob)
    return np.repeat((255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None], 3, 2)


def middle(image: npt.NDArray[np.uint8], near: npt.NDArray[np.floating[Any]], reach: int):
    x0, y0 = (int(v) - reach for v in near)
    x1, y1 = x0 + 2 * reach + 1, y0 + 2 * reach + 1
    patch = image[max(y0, 0) : y1, max(x0, 0) : x1].mean(-1)
    patch = np.where(patch > 25, patch, 0.0)
    ys, xs = np.mgrid[max(y0, 0) : y1, max(x0, 0) : x1][:, : patch.shape[0], : patch.shape[1]]
    return np.array([(xs + 0.5) * patch / patch.sum(), (ys + 0.5) * patch / patch.sum()]).sum(
        (1, 2)
    )


@pytest.mark.parametrize(
    ("side", "name"),
    [(60, "stored as it is"), (300, "a little smaller"), (470, "smaller"), (1400, "much smaller")],
)
def test_bright_dots_are_found_at_the_stored_joints(source, tmp_path, side, name) -> None:
    rng = np.random.default_rng(side)
    left, top = 37.3, 21.8
    grid = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 3), np.linspace(0.05, 0.95, 6)), -1)
    joints = np.array([left, top]) + side * (
        grid.reshape(-1, 2) + rng.uniform(-0.01, 0.01, (18, 2))
    )
    sigma = max(1.2, 0.012 * side)
    image = dots((int(1.4 * side) + 80, int(1.4 * side) + 60), joints, sigma)
    box = (left, top, left + side, top + side)
    source.person(source.image("dots.png", image), box, joints)
    result = ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT)
    table = Annotations.read(result.folder / "annotations.parquet")
    shown = stored(result.folder, 0)
    assert shown.shape[:2] == (table.image_height[0], table.image_width[0])
    scale = table.stored_from_source[0, 2]
    assert scale == pytest.approx(min(1.0, 256 / (1.2 * side)))
    reach = int(max(3, 3 * sigma * scale))
    errors = [
        np.abs(middle(shown, point, reach) - point).max() for point in table.joints2d_px[0]
    ]  # fmt: skip
    assert max(errors) < 0.1


def test_camera_and_box_move_with_the_pixels(source, tmp_path) -> None:
    image = noise(1, 900, 1200)
    point_mm = np.array([120.0, -80.0, 3000.0])
    camera = (1100.0, 1120.0, 610.0, 440.0)
    seen = point_mm[:2] / point_mm[2] * camera[:2] + camera[2:]
    box = (500.0, 200.0, 800.0, 700.0)
    source.person(
        source.image("photo.png", image), box, np.tile(seen, (18, 1)), camera=list(camera)
    )
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT).folder
    table = Annotations.read(folder / "annotations.parquet")
    fx, fy, cx, cy = table.camera[0]
    projected = point_mm[:2] / point_mm[2] * (fx, fy) + (cx, cy)
    assert projected == pytest.approx(table.joints2d_px[0, 0], abs=1e-2)
    x, y, scale = table.stored_from_source[0]
    assert table.box_xyxy[0] == pytest.approx((np.array(box) - [x, y, x, y]) * scale, abs=1e-2)


def test_the_margin_holds_what_augmentation_shows(source, tmp_path) -> None:
    assert TRAINING_CONTEXT == CONTEXT
    from hemlets.data.transforms import square_crop

    source.person(source.image("large.png", noise(2, 2000, 2000)), (900, 800, 1100, 1200))
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT).folder
    table = Annotations.read(folder / "annotations.parquet")
    crop = square_crop(table.box_xyxy[0], 256)
    assert crop.side_px == pytest.approx(256)
    turn = np.cos(np.pi / 6) + np.sin(np.pi / 6)
    needed = crop.side_px / 0.75 * turn / 2 + 0.05 * crop.side_px
    x, y = crop.centre_px
    space = min(x, y, table.image_width[0] - x, table.image_height[0] - y)
    assert space >= needed - 1.0


def test_a_small_source_is_stored_byte_for_byte(source, tmp_path) -> None:
    source.person(source.image("small.jpg", noise(3), quality=80), (20, 10, 100, 100))
    root = source.write()
    folder = ingest(PEOPLE, root, tmp_path / "data", NO_CUT).folder
    data = ShardReader(folder / "shards").jpeg("train-00000.arrow", 0, "p0000")
    assert data == (root / "small.jpg").read_bytes()


def test_several_people_of_one_image_each_get_their_crop(source, tmp_path) -> None:
    image = noise(4, 800, 2400)
    name = source.image("group.png", image)
    for left in (100, 1000, 1900):
        source.person(name, (left, 200, left + 200, 600), np.tile([left + 100.5, 400.5], (18, 1)))
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT).folder
    table = Annotations.read(folder / "annotations.parquet")
    assert len(set(table.image_hash)) == 3
    assert [round(float(x)) for x in table.stored_from_source[:, 0]] == [0, 630, 1530]


def test_masks_are_cut_as_their_images(source, tmp_path) -> None:
    mask = np.zeros((900, 900, 3), np.uint8)
    mask[300:700, 400:600] = 255
    source.person(
        source.image("photo.png", noise(5, 900, 900)), (400, 300, 600, 700),
        mask=source.image("mask.png", mask),
    )  # fmt: skip
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT).folder
    table = Annotations.read(folder / "annotations.parquet")
    cut = cv2.imdecode(np.frombuffer(table.mask[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    assert cut.shape == (table.image_height[0], table.image_width[0])
    ys, xs = np.nonzero(cut)
    assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == pytest.approx(
        table.box_xyxy[0], abs=1.0
    )


def test_masks_of_a_video_lie_by_number_in_a_matlab_file(source, tmp_path) -> None:
    from scipy.io import savemat

    source.write()
    video(source.root / "clip.avi", 4)
    parts = np.zeros((3, 96, 128), np.uint8)
    parts[2, 20:70, 30:60] = 7
    savemat(source.root / "segm.mat", {f"segm_{n + 1}": part for n, part in enumerate(parts)})
    for frame in (2, 3):
        source.person("clip.avi", (30, 20, 60, 70), video_frame=frame, mask="segm.mat")
    source.people[1]["mask"] = "absent.mat"
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT).folder
    table = Annotations.read(folder / "annotations.parquet")
    assert len(table) == 1
    cut = cv2.imdecode(np.frombuffer(table.mask[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    ys, xs = np.nonzero(cut)
    assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == table.box_xyxy[0].tolist()
    assert ["absent.mat" in item["file"] for item in refusals(folder)] == [True]


def test_a_joint_outside_the_stored_image_is_truncated_and_not_visible(source, tmp_path) -> None:
    joints = np.tile([40.5, 50.5], (18, 1))
    joints[3] = (-5.0, 50.0)
    source.person(source.image("a.jpg", noise(1)), joints=joints)
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT).folder
    table = Annotations.read(folder / "annotations.parquet")
    assert table.truncated[0].nonzero()[0].tolist() == [3]
    assert not table.visible[0, 3]
    assert table.valid2d[0, 3]


def test_workers_do_not_change_the_bytes(source, tmp_path, own_children) -> None:
    root = many(source)
    ingest(PEOPLE, root, tmp_path / "one", SMALL)
    ingest(PEOPLE, root, tmp_path / "two", SMALL, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not own_children()
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"annotations.parquet", "quarantine.jsonl", "shards", "version.json"}


def test_clips_go_whole_to_validation_and_gate(source, tmp_path) -> None:
    cut = SplitCut(validation=0.3, gate=0.3)
    folder = ingest(PEOPLE, many(source), tmp_path / "data", IngestConfig(cut=cut)).folder
    table = Annotations.read(folder / "annotations.parquet")
    splits = {str(clip): set() for clip in table.clip}
    for clip, split in zip(table.clip, table.column("split"), strict=True):
        splits[str(clip)].add(str(split))
    assert all(len(found) == 1 for found in splits.values())
    assert set(table.column("split")) == {"train", "validation", "gate"}
    assert all(
        name.startswith(split)
        for name, split in zip(table.shard, table.column("split"), strict=True)
    )


def test_a_validation_split_of_the_dataset_s_own_is_kept(source, tmp_path) -> None:
    for number in range(30):
        split = "validation" if number < 3 else "train"
        source.person(source.image(f"{number}.jpg", noise(number)), split=split)
    config = IngestConfig(cut=SplitCut(validation=0.4, gate=0.3))
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", config).folder
    table = Annotations.read(folder / "annotations.parquet")
    assert sorted(table.split("validation").sample_id) == ["p0000", "p0001", "p0002"]
    assert len(table.split("gate"))


def test_each_bad_row_is_named_and_no_other_is_lost(source, tmp_path) -> None:
    root = many(source, 6)
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(encode_jpeg(noise(9)))
    (root / "link.jpg").symlink_to(outside)
    (root / "short.jpg").write_bytes((root / "000.jpg").read_bytes()[:900])
    (root / "text.jpg").write_text("no image")
    (root / "playlist.mp4").write_text("#EXTM3U\n/etc/passwd\n")
    bomb = b"P6 30000 30000 255\n"
    (root / "bomb.png").write_bytes(bomb)
    source.person("absent.jpg")
    source.person("../secret.jpg")
    source.person("/etc/hostname")
    source.person("link.jpg")
    source.person("short.jpg")
    source.person("text.jpg")
    source.person("bomb.png")
    source.person("playlist.mp4", video_frame=3)
    source.person("000.jpg", (500, 20, 560, 90))
    source.person("000.jpg", (60, 20, 20, 90))
    source.person("000.jpg", joints=np.full((18, 2), np.nan))
    source.person("000.jpg", image_width=640, image_height=480)
    source.person("000.jpg", id="p0001")
    source.person("000.jpg", split="training")
    source.person("001.jpg", mask="absent.png")
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT).folder
    table = Annotations.read(folder / "annotations.parquet")
    assert sorted(table.sample_id) == [f"p{number:04d}" for number in range(6)]
    found = refusals(folder)
    assert len(found) == 14  # An unknown split is not among those that were asked for.
    text = (folder / "quarantine.jsonl").read_text()
    for reason in (
        "does not exist (sample p0006)", "leads out of the dataset's folder (sample p0007)",
        "(sample p0008)", "a link leads out", "the JPEG is cut or damaged", "not an image",
        "bomb.png", "not a video", "lies beside the image", "has no area", "not finite", "640×480",
        "no name of its own (sample p0001)", "absent.png",
    ):  # fmt: skip
        assert reason in text, reason
    assert all(item["file"] and item["remedy"] and item["field"] for item in found), found


def test_a_dataset_without_a_usable_row_is_an_error(source, tmp_path) -> None:
    source.person("absent.jpg")
    with pytest.raises(DataError, match="no row of the dataset is left: 1 × the image does not"):
        ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT)
    assert [item["file"] for item in refusals(tmp_path / "data")] == ["absent.jpg"]
    assert not (tmp_path / "data" / "version.json").exists()
    # Once mended, the same folder takes it.
    source.image("absent.jpg", noise(1))
    assert ingest(PEOPLE, source.root, tmp_path / "data", NO_CUT).samples == {"train": 1}


def video(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (128, 96))
    for number in range(frames):
        writer.write(np.full((96, 128, 3), 5 + 8 * number, np.uint8))
    writer.release()


def test_videos_give_the_frames_asked_for(source, tmp_path) -> None:
    source.write()
    video(source.root / "walk.avi", 25)
    for number in (0, 5, 10, 10, 3, 24, 25, 60):
        source.person("walk.avi", video_frame=number, box=(10, 10, 60, 80))
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", NO_CUT).folder
    table = Annotations.read(folder / "annotations.parquet")
    assert list(table.source_image) == [f"walk.avi#{n}" for n in (0, 5, 10, 10, 3, 24)]
    shades = [float(stored(folder, row).mean()) for row in range(len(table))]
    assert shades == pytest.approx([5 + 8 * n for n in (0, 5, 10, 10, 3, 24)], abs=2.5)
    assert ["ends after 25 frames" in item["what"] for item in refusals(folder)] == [True, True]


def test_annotations_alone_can_be_kept(source, tmp_path) -> None:
    for _ in range(20):
        source.person("not-downloaded-yet.jpg")
    config = IngestConfig(images="none", shard_size=8)
    folder = ingest(PEOPLE, source.write(), tmp_path / "data", config).folder
    table = Annotations.read(folder / "annotations.parquet")
    assert len(table) == 20
    assert not any(table.shard)
    assert table.joints2d_px[0, 0] == pytest.approx([40.5, 50.5])


def test_a_finished_folder_is_left_as_it_is_and_a_lost_shard_made_anew(source, tmp_path) -> None:
    root, folder = many(source), tmp_path / "data"
    ingest(PEOPLE, root, folder, SMALL)
    before = contents(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    ingest(PEOPLE, root, folder, SMALL)
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    lost = folder / "shards" / "train-00001.arrow"
    lost.unlink()
    ingest(PEOPLE, root, folder, SMALL)
    assert contents(folder) == before
    assert times.keys() == {path for path in folder.rglob("*") if path.is_file()}
    kept = folder / "shards" / "train-00000.arrow"
    assert kept.stat().st_mtime_ns == times[kept]


def test_other_settings_or_files_are_not_mixed_into_a_folder(source, tmp_path) -> None:
    root, folder = many(source, 9), tmp_path / "data"
    ingest(PEOPLE, root, folder, SMALL)
    with pytest.raises(DataError, match="config differ"):
        ingest(PEOPLE, root, folder, NO_CUT)
    source.person("000.jpg")
    source.write()
    with pytest.raises(DataError, match="files differ"):
        ingest(PEOPLE, root, folder, SMALL)


def test_a_disk_that_is_too_small_is_named_first(source, tmp_path, monkeypatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WorkspaceError, match="GB are needed"):
        ingest(PEOPLE, many(source, 3), tmp_path / "data", SMALL)


RUN = """
import sys; from pathlib import Path
from hemlets.data.readers.contract import Dataset, LayoutEntry
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig
dataset = Dataset(name="people", title="People", paper="none", licence="none", document="none",
    supervision=(), layout=(LayoutEntry(pattern="people.json", what="the people"),), joints="all",
    conventions="the table's own", reader="people_reader:read")
ingest(dataset, Path(sys.argv[1]), Path(sys.argv[2]), IngestConfig(shard_size=8, crop_px=64),
    workers=2)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("after", ["recipe.json", "plan.json", "train-00002.arrow.parquet"])
def test_kill_9_at_any_moment_then_again_gives_the_same_bytes(
    source, tmp_path, reader, after
) -> None:
    root, folder = many(source, 160), tmp_path / "data"
    environment = os.environ | {"PYTHONPATH": str(reader)}
    command = [sys.executable, "-c", RUN, str(root), str(folder)]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        end = time.monotonic() + 300
        while not (folder / ".unfinished" / after).exists():
            assert process.poll() is None, "it was faster than the test"
            assert time.monotonic() < end
            time.sleep(0.001)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGKILL)
        process.wait()
        while any(is_alive(int(child)) for child in children):
            assert time.monotonic() < end, "a worker outlived its parent"
            time.sleep(0.01)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / "version.json").exists()
    ingest(PEOPLE, root, folder, SMALL)
    ingest(PEOPLE, root, tmp_path / "undisturbed", SMALL)
    assert contents(folder) == contents(tmp_path / "undisturbed")
    assert read_json(folder / "version.json")["samples"]["train"] > 100


def test_a_data_version_can_be_ingested_again_without_any_loss(tmp_path) -> None:
    from hemlets.data.readers.open_rendered import DATASET
    from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data

    sizes = SplitSizes(train=12, validation=4, gate=4, test=4)
    build_open_data(OpenDataConfig(samples=sizes, image_px=96), tmp_path / "open")
    folder = ingest(DATASET, tmp_path / "open", tmp_path / "data").folder
    before, after = (
        Annotations.read(path / "annotations.parquet") for path in (tmp_path / "open", folder)
    )
    assert len(after) == len(before)
    after = after.take(np.array([after.row_of[name] for name in before.sample_id]))
    assert list(after.image_hash) == list(before.image_hash)
    assert list(after.column("split")) == list(before.column("split"))
    whole = after.image_width == 96
    assert whole.sum() >= 20
    assert np.array_equal(after.joints2d_px[whole], before.joints2d_px[whole])
    assert np.array_equal(after.joints3d_mm, before.joints3d_mm)
    assert np.array_equal(after.relations, before.relations)
    for old, new in zip(before.mask[whole], after.mask[whole], strict=True):
        old, new = (cv2.imdecode(np.frombuffer(png, np.uint8), 0) > 127 for png in (old, new))
        assert np.array_equal(old, new)
