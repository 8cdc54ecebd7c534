"""FBI labels: votes, times, and the table that takes them."""

from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import N_JOINTS, N_PARTS, PARTS
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.fbi import (
    DATASET,
    FbiLabel,
    apply_decisions,
    decide,
    read,
    read_labels,
    write_labels,
)
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.table import Annotations, ShardWriter, encode_jpeg

NAMES = [part.name for part in PARTS]
FOREARM = NAMES.index("left_forearm")


def label(letter: str, annotator: str = "anna", time: str = "2024-05-02T09:30:00Z", **more: str):
    given = {"sample_id": "a", "part": "left_forearm"} | more
    return FbiLabel(label=letter, annotator=annotator, time=time, **given)


@pytest.fixture
def table() -> Annotations:
    return _table(["a", "b", "c"])


def _table(names: list[str]) -> Annotations:
    count = len(names)
    zeros = np.zeros
    return Annotations.from_columns(
        {
            "sample_id": names, "source": ["mpii"] * count, "split": ["train"] * count,
            "subject": names, "clip": names, "family": [""] * count, "frame": [0] * count,
            "shard": ["train-00000.arrow"] * count, "shard_row": list(range(count)),
            "image_hash": [""] * count, "image_width": [64] * count, "image_height": [64] * count,
            "box_xyxy": np.tile([4.0, 4, 60, 60], (count, 1)),
            "joints2d_px": np.full((count, N_JOINTS, 2), 32.0),
            "joints3d_mm": zeros((count, N_JOINTS, 3)),
            "valid2d": np.ones((count, N_JOINTS), bool), "valid3d": zeros((count, N_JOINTS), bool),
            "visible": np.ones((count, N_JOINTS), bool),
            "truncated": zeros((count, N_JOINTS), bool), "camera": zeros((count, 4)),
            "camera_valid": [False] * count, "relations": zeros((count, N_PARTS), np.int8),
            "relations_valid": zeros((count, N_PARTS), bool), "theta": zeros((count, 24, 3)),
            "betas": zeros((count, 10)), "transl_mm": zeros((count, 3)),
            "smpl_valid": [False] * count, "transl_valid": [False] * count, "mask": [b""] * count,
        }
    )  # fmt: skip


@pytest.fixture
def labelled_version(tmp_path: Path, table: Annotations) -> Path:
    table.write(tmp_path / "annotations.parquet")
    jpeg = encode_jpeg(np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "shards").mkdir()
    ShardWriter.write(tmp_path / "shards" / "train-00000.arrow", ["a", "b", "c"], [jpeg] * 3)
    write_labels(tmp_path / "labels" / "one.csv", [label("F"), label("U", sample_id="b")])
    return tmp_path


@pytest.mark.parametrize("name", ["labels.csv", "labels.json"])
def test_labels_are_read_as_they_were_written(tmp_path, name):
    labels = [label("F"), label("B", "ben", sample_id='über, "b"')]
    write_labels(tmp_path / name, labels)
    assert read_labels(tmp_path / name) == labels


@pytest.mark.parametrize(
    ("letter", "value", "valid"), [("F", 1, True), ("B", -1, True), ("U", 0, False)]
)
def test_a_label_becomes_a_relation_and_unknown_stays_unknown(letter, value, valid):
    relations = decide([label(letter)]).relations
    assert relations.values_NK[0, FOREARM] == value
    assert relations.valid_NK[0, FOREARM] == valid
    assert relations.valid_NK[0].sum() == valid


@pytest.mark.parametrize(
    ("votes", "value", "valid"),
    [
        ("FFB", 1, True), ("FB", 0, False), ("FFBB", 0, False), ("UUF", 0, False),
        ("FU", 0, False), ("BBBUF", -1, True),
    ],
)  # fmt: skip
def test_most_votes_decide_and_a_tie_is_unknown(votes, value, valid):
    labels = [label(letter, f"annotator {number}") for number, letter in enumerate(votes)]
    relations = decide(labels).relations
    assert (relations.values_NK[0, FOREARM], relations.valid_NK[0, FOREARM]) == (value, valid)


def test_an_annotators_latest_label_counts_whatever_the_zone_and_order():
    later = label("B", time="2024-05-02T10:00:00+00:00")
    earlier = label("F", time="2024-05-02T11:30:00+02:00")
    for labels in ([later, earlier], [earlier, later]):
        assert decide(labels).relations.values_NK[0, FOREARM] == -1


def test_the_table_takes_decisions_for_its_samples_only(table):
    changed, rows = apply_decisions(table, decide([label("F", sample_id="b")]))
    assert rows.tolist() == [False, True, False]
    assert changed.relations[:, FOREARM].tolist() == [0, 1, 0]
    assert changed.relations_source.tolist() == ["", "fbi", ""]
    np.testing.assert_array_equal(changed.joints2d_px, table.joints2d_px)


def test_relations_from_3d_are_kept_unless_told_otherwise(table):
    columns = {name: table.column(name) for name in table.table.column_names}
    valid = np.ones((3, N_PARTS), bool)
    exact = Annotations.from_columns(
        columns | {"relations_source": ["3d"] * 3, "relations_valid": valid}
    )
    kept, rows = apply_decisions(exact, decide([label("F")]))
    assert not rows.any()
    assert kept.relations[0, FOREARM] == 0
    replaced, rows = apply_decisions(exact, decide([label("F")]), replace_3d=True)
    assert rows.tolist() == [True, False, False]
    assert replaced.relations_valid[0].sum() == 1


def test_a_sample_that_the_table_lacks_is_named(table):
    with pytest.raises(DataError, match="the sample zoe is not in the annotation table"):
        apply_decisions(table, decide([label("F", sample_id="zoe")]))


def test_as_a_dataset_it_gives_the_samples_with_a_label_that_counts(labelled_version):
    (rows,) = DATASET.read(labelled_version)
    assert list(rows.columns["sample_id"]) == ["a"]
    assert rows.columns["relations"][0, FOREARM] == 1
    assert str(rows.images[0]) == "shards/train-00000.arrow#0"


def test_a_damaged_file_of_labels_leaves_the_others(labelled_version):
    (labelled_version / "labels" / "two.json").write_text('{"format": "hemlets-fbi", "vers')
    quarantine = Quarantine()
    (rows,) = read(labelled_version, ReadOptions(), quarantine)
    assert len(rows) == 1
    assert [item.file for item in quarantine.items] == ["labels/two.json"]
