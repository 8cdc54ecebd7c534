"""Scenes without a person: like those of people, with nobody in them and nothing annotated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemlets.body.model import BodyModel
from hemlets.core.files import read_json
from hemlets.data.synthetic import (
    MotionLibrary,
    OpenDataConfig,
    SplitSizes,
    Studio,
    build_open_data,
)
from hemlets.data.synthetic.dataset import plan_shards
from hemlets.data.table import BACKGROUND_SPLITS, FIELDS, Annotations, ShardReader, decode_image

SIZES = SplitSizes(train=70, validation=20, gate=20, test=20)
CONFIG = OpenDataConfig(samples=SIZES, image_px=64, shard_size=50, background_share=0.1)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open") / "data"
    build_open_data(CONFIG, folder)
    return folder


@pytest.fixture(scope="module")
def table(built: Path) -> Annotations:
    return Annotations.read(built / "annotations.parquet")


def test_each_split_but_the_gate_has_its_share_of_empty_scenes(built: Path) -> None:
    assert read_json(built / "version.json")["samples"] == {
        "train": 70, "validation": 20, "gate": 20, "test": 20,
        "train-background": 7, "validation-background": 2, "test-background": 2,
    }  # fmt: skip


def test_people_come_first_and_are_not_changed_by_the_scenes(
    built: Path, table: Annotations, tmp_path: Path
) -> None:
    alone = CONFIG.model_copy(update={"background_share": 0.0})
    build_open_data(alone, tmp_path / "data")
    people = Annotations.read(tmp_path / "data" / "annotations.parquet")
    assert people.table.equals(table.table.slice(0, len(people)))
    assert people.shows_person.all()
    assert list(table.shows_person) == [True] * 130 + [False] * 11
    for plan in plan_shards(alone):
        shards = [folder / "shards" / plan.name for folder in (built, tmp_path / "data")]
        assert shards[0].read_bytes() == shards[1].read_bytes()


def test_nothing_is_annotated_but_a_box_inside_the_image(table: Annotations) -> None:
    empty = table.take(~table.shows_person)
    box = empty.box_xyxy
    assert ((box >= 0) & (box <= 64)).all()
    assert (box[:, 2:] - box[:, :2]).min() > 5
    told = {
        "sample_id", "source", "split", "shard", "shard_row", "stored_from_source", "image_hash",
        "image_width", "image_height", "box_xyxy", "box_source",
    }  # fmt: skip
    for field in FIELDS:
        if field.name not in told:
            assert not any(np.ravel(empty.column(field.name))), field.name
    assert set(empty.column("split")) == set(BACKGROUND_SPLITS)


def test_boxes_and_pictures_follow_the_law_of_those_of_people() -> None:
    library, body = MotionLibrary.bundled(), BodyModel.load(resolution="lite")
    studio = Studio(OpenDataConfig(image_px=64), library, body)
    people = [studio.person("validation", i) for i in range(128)]
    scenes = [studio.scene("validation-background", i) for i in range(128)]

    def of(images: list[object]) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.array([image.row["box_xyxy"] for image in images])  # type: ignore[attr-defined]
        sizes = np.array([len(image.jpeg) for image in images])  # type: ignore[attr-defined]
        return boxes[:, 3] - boxes[:, 1], sizes

    (height, size), (other_height, other_size) = of(people), of(scenes)  # type: ignore[arg-type]
    spread = np.sqrt((height.var() + other_height.var()) / 128)
    assert abs(height.mean() - other_height.mean()) < 4 * spread
    assert 0.5 < other_size.mean() / size.mean() < 1.1
    # Another random key than the people of the split: no scene is a person's without the person.
    assert not {p.row["box_xyxy"].tobytes() for p in people} & {
        s.row["box_xyxy"].tobytes() for s in scenes
    }


def test_a_scene_is_the_same_each_time_and_different_from_every_other(
    built: Path, table: Annotations
) -> None:
    empty, reader = table.take(~table.shows_person), ShardReader(built / "shards")
    studio = Studio(CONFIG, MotionLibrary.bundled(), BodyModel.load(resolution="lite"))
    for row in (10, 3):
        split, sample = str(empty.column("split")[row]), str(empty.sample_id[row])
        jpeg = reader.jpeg(empty.shard[row], int(empty.shard_row[row]), sample)
        assert studio.scene(split, int(sample[-6:])).jpeg == jpeg
        assert decode_image(jpeg).shape == (64, 64, 3)
    assert len(set(empty.image_hash)) == len(empty)


def test_a_lost_shard_of_scenes_is_rendered_anew_with_the_same_bytes(built: Path) -> None:
    shard = built / "shards" / "train-background-00000.arrow"
    before = shard.read_bytes()
    shard.unlink()
    build_open_data(CONFIG, built)
    assert shard.read_bytes() == before
