"""Each fault stops the flow at validation, with the row and the field named."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_checks.expectations import RENDERED_SOURCES, ROW_CHECKS
from data_checks.result import ValidationResult
from data_checks.validate import validate
from hemlets.annotations import Annotations, ShardReader, ShardWriter, encode_jpeg
from hemlets.skeleton import Joint, depth_relations

Columns = dict[str, Any]
Writer = Callable[..., Path]
ROW = 5


@pytest.fixture
def check(version: Writer, tmp_path: Path) -> Callable[[Columns], ValidationResult]:
    return lambda columns: validate(version(columns), tmp_path / "out")


def assert_blocked(
    result: ValidationResult, expectation: str, field: str, row: int = ROW, observed: str = ""
) -> None:
    found = {finding.expectation: finding for finding in result.blocking}
    assert not result.passed
    assert expectation in found, result.message()
    finding = found[expectation]
    assert finding.field == field
    named = {r.number: r for r in finding.rows}
    assert row in named
    assert observed in named[row].observed
    message = result.message()
    for part in (expectation, field, f"(row {row})", result.data_docs.as_uri()):
        assert part in message


def swap(columns: Columns, row: int, *names: str) -> None:
    """Exchange left and right of some joints in 2D and 3D, and recompute the relations."""
    order = np.arange(18)
    for name in names:
        left, right = Joint[f"LEFT_{name}"], Joint[f"RIGHT_{name}"]
        order[[left, right]] = right, left
    for field in ("joints2d_px", "joints3d_mm", "valid2d", "valid3d", "visible", "truncated"):
        columns[field][row] = columns[field][row][order]
    columns["relations"][row] = depth_relations(columns["joints3d_mm"][row])[0]


def test_a_clean_version_passes_without_a_warning(rendered: Path, tmp_path: Path):
    result = validate(rendered, tmp_path / "out")

    assert result.passed
    assert result.warnings == ()
    assert result.rows == 60
    assert result.expectations > len(ROW_CHECKS)
    assert ValidationResult.read(tmp_path / "out") == result


def test_clean_people_without_a_body_model_pass_without_a_warning(check, captured: Columns):
    result = check(captured)

    assert result.passed
    assert result.warnings == ()


def test_rendered_people_are_known_by_their_source(columns: Columns):
    from hemlets.synthetic.people import SOURCE

    assert SOURCE in RENDERED_SOURCES
    assert set(columns["source"]) <= set(RENDERED_SOURCES)


def test_a_swapped_pair_contradicts_the_rendered_body(check, columns: Columns):
    swap(columns, ROW, "KNEE")

    assert_blocked(check(columns), "body_matches_joints", "joints3d_mm", observed="knee")


def test_a_swapped_pair_is_seen_from_the_bones_alone(check, captured: Columns):
    swap(captured, ROW, "KNEE")

    assert_blocked(check(captured), "left_right_pair", "joints3d_mm", observed="left_knee")


def test_a_nan_is_named(check, columns: Columns):
    columns["joints3d_mm"][ROW, Joint.NOSE, 2] = np.nan

    assert_blocked(check(columns), "joints3d_mm_finite", "joints3d_mm", observed="nose is nan")


def test_a_box_outside_the_image_is_named(check, columns: Columns):
    columns["box_xyxy"][ROW] += np.float32([40, 0, 90, 0])

    assert_blocked(check(columns), "box_inside_image", "box_xyxy", observed="160×160")


def duplicate(columns: Columns, row: int) -> Columns:
    return {name: np.concatenate([v, v[row : row + 1]]) for name, v in columns.items()}


def test_a_duplicated_row_is_named_with_its_twin(check, columns: Columns):
    result = check(duplicate(columns, ROW))

    assert_blocked(result, "sample_id_unique", "sample_id", observed="row 60")
    assert_blocked(result, "person_annotated_once", "image_hash", observed="row 60")


def test_a_person_annotated_twice_under_two_names_is_named(check, columns: Columns):
    columns = duplicate(columns, ROW)
    columns["sample_id"][-1] = "another-name"
    columns["box_xyxy"][-1] += 0.25

    assert_blocked(check(columns), "person_annotated_once", "image_hash", observed="row 60")


def test_two_people_in_one_image_are_not_duplicates(check, columns: Columns):
    columns["image_hash"][6] = columns["image_hash"][5]
    columns["box_xyxy"][5], columns["box_xyxy"][6] = (0, 0, 60, 160), (90, 0, 150, 160)

    found = {finding.expectation for finding in check(columns).blocking}

    assert "person_annotated_once" not in found


def test_an_image_in_two_splits_is_named(check, columns: Columns):
    test_row = int(np.flatnonzero(columns["split"] == "test")[0])
    columns["image_hash"][test_row] = columns["image_hash"][ROW]

    assert_blocked(check(columns), "image_in_one_split", "image_hash", observed="test")


def test_a_split_that_is_empty_is_named(check, columns: Columns):
    kept = columns["split"] != "gate"
    result = check({name: value[kept] for name, value in columns.items()})

    finding = next(f for f in result.blocking if f.expectation == "enough_rows")
    assert "gate" in finding.observed


def test_an_empty_table_is_refused(check, columns: Columns):
    result = check({name: value[:0] for name, value in columns.items()})

    assert not result.passed
    assert [f.count for f in result.blocking if f.expectation == "enough_rows"] == [4]


@pytest.mark.parametrize(("factor", "unit"), [(0.001, "metres"), (0.1, "centimetres")])
def test_another_unit_of_length_is_recognised(check, captured: Columns, factor, unit):
    captured["joints3d_mm"] *= np.float32(factor)

    result = check(captured)

    finding = next(f for f in result.blocking if f.expectation == "skeleton_size")
    assert finding.field == "joints3d_mm"
    assert finding.count == 60
    assert f"look like {unit}" in finding.observed


def test_metres_in_one_row_of_rendered_people_are_recognised(check, columns: Columns):
    columns["joints3d_mm"][ROW] /= 1000

    assert_blocked(check(columns), "skeleton_size", "joints3d_mm", observed="metres")


def test_a_joint_outside_the_image_must_be_marked(check, columns: Columns):
    row, joint = np.argwhere(columns["truncated"])[0]
    columns["truncated"][row, joint] = False

    assert_blocked(check(columns), "joints2d_inside_image", "joints2d_px", row=int(row))


def test_values_behind_a_validity_of_false_are_a_warning(check, columns: Columns):
    columns["valid3d"][ROW, Joint.NOSE] = False

    result = check(columns)

    assert result.passed
    assert [f.expectation for f in result.warnings] == ["unannotated_is_zero"]
    assert result.warnings[0].rows[0].number == ROW


def test_a_joint_of_theta_that_never_moves_is_a_warning(check, captured: Columns, columns):
    captured["smpl_valid"][:] = True

    result = check(captured)

    assert result.passed
    assert [f.expectation for f in result.warnings] == ["every_joint_moves"]
    assert result.warnings[0].count == 24


class TestFiles:
    def replace_shard(self, folder: Path, name: str, data: bytes) -> None:
        (folder / "shards" / name).unlink()
        (folder / "shards" / name).write_bytes(data)

    @pytest.mark.parametrize("damage", ["missing", "noise", "truncated", "empty"])
    def test_an_unreadable_shard_is_named(
        self, version: Writer, columns: Columns, tmp_path: Path, damage: str
    ):
        folder = version(columns)
        name = columns["shard"][ROW]
        whole = (folder / "shards" / name).read_bytes()
        if damage == "missing":
            (folder / "shards" / name).unlink()
        else:
            wrong = {"noise": os.urandom(4096), "truncated": whole[: len(whole) // 2], "empty": b""}
            self.replace_shard(folder, name, wrong[damage])

        result = validate(folder, tmp_path / "out")

        assert_blocked(result, "shard_readable", "shard", observed=name, row=0)
        finding = next(f for f in result.blocking if f.expectation == "shard_readable")
        assert finding.count == int((columns["shard"] == name).sum())

    def rewrite(self, folder: Path, columns: Columns, jpeg: bytes) -> None:
        """Put other bytes at ROW of its shard, under the same sample id."""
        name = columns["shard"][ROW]
        rows = np.flatnonzero(columns["shard"] == name)
        reader = ShardReader(folder / "shards")
        jpegs = [reader.jpeg(name, int(columns["shard_row"][row])) for row in rows]
        jpegs[int(columns["shard_row"][ROW])] = jpeg
        (folder / "shards" / name).unlink()
        ids = [str(columns["sample_id"][row]) for row in rows]
        ShardWriter.write(folder / "shards" / name, ids, jpegs)

    def test_changed_image_bytes_are_named(self, version: Writer, columns: Columns, tmp_path: Path):
        folder = version(columns)
        self.rewrite(folder, columns, encode_jpeg(np.zeros((160, 160, 3), np.uint8)))

        result = validate(folder, tmp_path / "out")

        assert_blocked(result, "image_hash_matches", "image_hash")

    def test_an_image_that_is_no_image_is_named(
        self, version: Writer, columns: Columns, tmp_path: Path
    ):
        columns["image_hash"][ROW] = hashlib.sha256(b"no image").hexdigest()
        folder = version(columns)
        self.rewrite(folder, columns, b"no image")

        result = validate(folder, tmp_path / "out")

        assert [f.expectation for f in result.blocking] == ["image_decodes"]
        assert_blocked(result, "image_decodes", "image_hash")

    def test_an_image_of_another_size_is_named(
        self, version: Writer, columns: Columns, tmp_path: Path
    ):
        jpeg = encode_jpeg(np.zeros((80, 120, 3), np.uint8))
        columns["image_hash"][ROW] = hashlib.sha256(jpeg).hexdigest()
        folder = version(columns)
        self.rewrite(folder, columns, jpeg)

        result = validate(folder, tmp_path / "out")

        assert_blocked(result, "image_size_matches", "image_width, image_height", observed="120×80")

    def test_a_missing_mask_is_no_fault(self, check, columns: Columns):
        columns["mask"][:] = b""

        assert check(columns).passed


class TestTableFile:
    def test_a_missing_table_is_told(self, tmp_path: Path):
        result = validate(tmp_path / "nothing", tmp_path / "out")

        assert not result.passed
        assert "does not exist" in result.message()

    def test_a_damaged_table_is_told(self, version: Writer, columns: Columns, tmp_path: Path):
        path = version(columns) / "annotations.parquet"
        path.write_bytes(path.read_bytes()[:-200])

        result = validate(path.parent, tmp_path / "out")

        assert [f.expectation for f in result.blocking] == ["schema_matches"]

    def test_damaged_pages_are_told(self, version: Writer, columns: Columns, tmp_path: Path):
        path = version(columns) / "annotations.parquet"
        data = bytearray(path.read_bytes())
        data[200:8000] = os.urandom(7800)
        path.write_bytes(bytes(data))

        result = validate(path.parent, tmp_path / "out")

        assert not result.passed

    def test_a_missing_and_a_mistyped_column_are_named(
        self, version: Writer, columns: Columns, tmp_path: Path
    ):
        path = version(columns) / "annotations.parquet"
        table = pq.read_table(path).drop_columns(["camera"])
        frame = table.column("frame").cast(pa.int64())
        table = table.set_column(table.column_names.index("frame"), "frame", frame)
        pq.write_table(table, path)

        result = validate(path.parent, tmp_path / "out")

        (finding,) = result.blocking
        assert finding.expectation == "schema_matches"
        assert {row.sample_id for row in finding.rows} == {"camera", "frame"}
        assert set(finding.field.split(", ")) == {"camera", "frame"}

    def test_a_null_cell_is_named(self, version: Writer, columns: Columns, tmp_path: Path):
        path = version(columns) / "annotations.parquet"
        table = pq.read_table(path)
        clips = table.column("clip").to_pylist()
        clips[ROW] = None
        table = table.set_column(
            table.column_names.index("clip"), "clip", pa.array(clips, pa.string())
        )
        pq.write_table(table, path)

        result = validate(path.parent, tmp_path / "out")

        (finding,) = result.blocking
        assert (finding.expectation, finding.field) == ("no_nulls", "clip")
        assert f"row {ROW}" in finding.observed


class TestDrift:
    def test_the_same_kind_of_labels_is_no_drift(self, rendered: Path, tmp_path: Path):
        result = validate(rendered, tmp_path / "out", previous=rendered)

        assert result.passed
        assert result.warnings == ()

    def test_other_labels_than_before_are_a_warning(
        self, rendered: Path, version: Writer, captured: Columns, tmp_path: Path
    ):
        folder = version(captured)

        result = validate(folder, tmp_path / "out", previous=rendered)

        assert result.passed
        (finding,) = result.warnings
        assert finding.expectation == "labels_like_before"
        assert finding.rows[0].sample_id == "share of each source"

    def test_a_previous_version_that_is_gone_is_a_warning(self, rendered: Path, tmp_path: Path):
        result = validate(rendered, tmp_path / "out", previous=tmp_path / "gone")

        assert result.passed
        assert "can't be compared" in result.warnings[0].observed


def test_the_rows_beyond_the_cap_are_counted(check, columns: Columns):
    columns["betas"][:, 0] = 8

    finding = next(f for f in check(columns).blocking if f.expectation == "betas_plausible")

    assert finding.count == 60
    assert len(finding.rows) == 20


def test_the_table_that_was_validated_is_known_by_its_hash(rendered: Path, tmp_path: Path):
    from hemlets.files import sha256_file

    result = validate(rendered, tmp_path / "out")

    assert result.table_sha256 == sha256_file(rendered / "annotations.parquet")
    assert len(Annotations.read(rendered / "annotations.parquet")) == result.rows
