"""The arms of the mixed-training study differ in their photographs and in nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemlets.core.errors import ConfigError
from hemlets.data.table import FIELDS, Annotations, ShardReader, ShardWriter

from .mixed_arms import PHOTOGRAPHS, arm_rows, unite, write_arm


def table(rows: int, split: str, **more: Any) -> Annotations:
    blank: dict[str, Any] = {
        f.name: np.zeros((rows, *f.shape)) if f.shape else [""] * rows for f in FIELDS
    }
    numbers = {
        f.name: np.zeros(rows, f.dtype.to_pandas_dtype())
        for f in FIELDS
        if not f.shape and f.name != "mask" and str(f.dtype) not in ("string", "binary")
    }
    names = [f"{more.get('source', 'open')}-{split}-{i}" for i in range(rows)]
    columns: Mapping[str, Any] = {
        **blank, **numbers, "mask": [b"bytes"] * rows, "sample_id": names, "split": [split] * rows,
    }  # fmt: skip
    words = {key: [value] * rows for key, value in more.items()}
    return Annotations.from_columns({**columns, **words})


@pytest.fixture
def both() -> Annotations:
    """40 rendered people and 5 photographs to train on, and 10 people to look at meanwhile."""
    people = {"source": "open-rendered"}
    return Annotations.concatenate(
        [
            table(40, "train", **people),
            table(10, "validation", **people),
            table(5, "train", source=PHOTOGRAPHS),
        ]
    )


def arm(both: Annotations, photographs: int, seed: int = 0) -> Annotations:
    return arm_rows(both, images=24, photographs=photographs, seed=seed, validation=4)


def people(rows: Annotations) -> list[str]:
    train = rows.split("train")
    return [n for n, s in zip(train.sample_id, train.source, strict=True) if s != PHOTOGRAPHS]


def test_both_arms_are_trained_on_as_many_images(both: Annotations) -> None:
    assert len(arm(both, 0).split("train")) == len(arm(both, 8).split("train")) == 24


def test_the_people_of_the_mixed_arm_are_the_first_of_the_other_arms(both: Annotations) -> None:
    assert people(arm(both, 8)) == people(arm(both, 0))[:16]


def test_photographs_come_round_in_whole_passes(both: Annotations) -> None:
    shown = arm(both, 10).split("train").sample_id[14:]
    assert len(set(shown[:5])) == len(set(shown[5:])) == 5


def test_another_seed_draws_other_people_and_the_same_one_the_same(both: Annotations) -> None:
    assert people(arm(both, 8, seed=1)) != people(arm(both, 8))
    assert people(arm(both, 8)) == people(arm(both, 8))


def test_the_rows_that_are_looked_at_meanwhile_are_the_same_in_both_arms(both: Annotations) -> None:
    held = [list(arm(both, count).split("validation").sample_id) for count in (0, 8)]
    assert held[0] == held[1] == [f"open-rendered-validation-{i}" for i in (0, 3, 6, 9)]


def test_too_few_people_are_refused_by_the_option_to_lower(both: Annotations) -> None:
    with pytest.raises(ConfigError, match=r"40 rendered people[\s\S]*--images"):
        arm_rows(both, images=41, photographs=8, seed=0, validation=4)


def test_an_arms_images_are_found_wherever_they_were_stored(tmp_path: Path) -> None:
    for name, source in (("rendered", "open-rendered"), ("photographs", PHOTOGRAPHS)):
        rows = table(3, "train", source=source, shard="train-00000.arrow")
        columns = {f.name: rows.column(f.name) for f in FIELDS} | {"shard_row": np.arange(3)}
        rows = Annotations.from_columns(columns)
        (tmp_path / name / "shards").mkdir(parents=True)
        rows.write(tmp_path / name / "annotations.parquet")
        images = [sample.encode() for sample in rows.sample_id]
        ShardWriter.write(
            tmp_path / name / "shards/train-00000.arrow", list(rows.sample_id), images
        )
    whole = unite(tmp_path / "rendered", tmp_path / "photographs", tmp_path)
    rows = arm_rows(whole, images=3, photographs=2, seed=0, validation=0)
    folder = write_arm(rows, tmp_path / "shards", tmp_path / "arm")
    reader, stored = (
        ShardReader(folder / "shards"),
        Annotations.read(folder / "annotations.parquet"),
    )
    for shard, row, sample in zip(stored.shard, stored.shard_row, stored.sample_id, strict=True):
        assert reader.jpeg(shard, int(row), sample) == sample.encode()
