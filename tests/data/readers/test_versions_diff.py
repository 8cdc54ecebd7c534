"""What changed between two data versions, named to the row."""

from __future__ import annotations

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import FIELDS, Annotations
from hemlets.data.versions.diff import diff_tables, diff_versions


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Annotations:
    folder = tmp_path_factory.mktemp("open") / "data"
    sizes = SplitSizes(train=300, validation=10, gate=10, test=10)
    build_open_data(OpenDataConfig(samples=sizes, image_px=64, background_share=0.0), folder)
    return Annotations.read(folder / "annotations.parquet")


def changed(table: Annotations, **columns) -> Annotations:
    return Annotations.from_columns({f.name: table.column(f.name) for f in FIELDS} | columns)


def test_a_version_does_not_differ_from_itself(table) -> None:
    diff = diff_tables(table, table)
    assert diff.is_empty
    assert diff.shifts == ()


def test_exactly_the_100_relabelled_rows_are_named(table) -> None:
    rows = np.random.default_rng(0).permutation(len(table))[:100]
    relations = table.relations.copy()
    relations[rows, 4] = np.where(relations[rows, 4] == 1, -1, 1)
    diff = diff_tables(table, changed(table, relations=relations))
    assert list(diff.changed) == ["relations"]
    assert diff.changed_samples == tuple(sorted(table.sample_id[rows]))
    assert len(diff.changed_samples) == 100
    assert any(shift.what == "left_upper_arm: Forward" for shift in diff.shifts)


def test_rows_that_come_and_go_are_named(table) -> None:
    diff = diff_tables(table.take(np.arange(5, 330)), table.take(np.arange(0, 320)))
    assert diff.added == tuple(sorted(table.sample_id[:5]))
    assert diff.removed == tuple(sorted(table.sample_id[320:]))
    assert not diff.changed
    assert (diff.shifts[0].before, diff.shifts[0].after) == (325, 320)


def test_another_order_or_shard_changes_no_sample(table) -> None:
    other = changed(table.take(np.arange(len(table))[::-1]), shard=["x.arrow"] * len(table))
    diff = diff_tables(table, other)
    assert diff.is_empty
    assert diff.restored == len(table)


def test_each_changed_field_names_its_rows(table) -> None:
    joints, action = table.joints2d_px.copy(), list(table.action)
    joints[3, 5] += 0.5
    action[7] = "walking"
    diff = diff_tables(table, changed(table, joints2d_px=joints, action=action))
    assert diff.changed == {
        "action": (table.sample_id[7],),
        "joints2d_px": (table.sample_id[3],),
    }
    assert diff.to_json()["changed_samples"] == sorted([table.sample_id[3], table.sample_id[7]])


def test_a_folder_without_a_table_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match="annotation table does not exist"):
        diff_versions(tmp_path, tmp_path)


def test_scenes_without_a_person_are_counted_but_thin_out_no_share_of_labels(table) -> None:
    names = [field.name for field in FIELDS]
    columns = {name: table.column(name).copy() for name in names}
    columns["split"][:60] = "train-background"
    for name in ("valid2d", "valid3d", "visible", "relations_valid", "camera_valid", "smpl_valid"):
        columns[name][:60] = False
    mixed = Annotations.from_columns(columns)
    found = {shift.what for shift in diff_tables(table.take(np.arange(60, 330)), mixed).shifts}
    assert "rows with split = train-background" in found
    assert not {what for what in found if "known" in what or "visible" in what}
