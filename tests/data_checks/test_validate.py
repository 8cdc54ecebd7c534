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

from data_checks.result import Finding, ValidationResult
from data_checks.rules import SUITES
from data_checks.rules.body import RENDERED_SOURCES
from data_checks.validate import validate
from hemlets.core.files import sha256_file
from hemlets.core.skeleton import Joint
from hemlets.data.table import ShardReader, ShardWriter, encode_jpeg

Columns = dict[str, Any]
Fresh = Callable[[], Columns]
Change = Callable[[Columns], Columns]
Check = Callable[..., ValidationResult]
Writer = Callable[[Columns], Path]
ROW = 5


def blocking(result: ValidationResult) -> dict[str, Finding]:
    return {finding.expectation: finding for finding in result.blocking}


def assert_blocked(
    result: ValidationResult, expectation: str, field: str, row: int = ROW, observed: str = ""
) -> None:
    found = blocking(result)
    assert not result.passed
    assert expectation in found, result.message()
    finding = found[expectation]
    assert finding.field == field
    named = {r.number: r for r in finding.rows}
    assert row in named
    assert observed in named[row].observed
    message = result.message()
    for part in (expectation, field, result.data_docs.as_uri()):
        assert part in message


class TestCleanPeople:
    @pytest.fixture(scope="class")
    def result(self, rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> ValidationResult:
        return validate(rendered, tmp_path_factory.mktemp("clean") / "out", previous=rendered)

    def test_pass_without_a_warning(self, result: ValidationResult):
        assert result.passed
        assert result.warnings == ()
        assert result.rows == 60
        row_rules = sum(len(rules) for name, rules in SUITES.items() if name != "2D only")
        assert result.expectations > row_rules

    def test_the_stored_result_is_the_one_that_was_given(self, result: ValidationResult):
        assert ValidationResult.read(result.report.parent) == result

    def test_the_table_is_known_by_its_hash(self, result: ValidationResult, rendered: Path):
        assert result.table_sha256 == sha256_file(rendered / "annotations.parquet")

    def test_the_version_that_labels_were_compared_with_is_named(self, result: ValidationResult):
        assert result.compared_with == "version"
        assert "compared with version." in result.report.read_text()

    def test_without_body_model_and_masks_they_pass_too(
        self, check: Check, fresh: Fresh, as_captured: Change
    ):
        columns = as_captured(fresh())
        columns["mask"][:] = b""

        result = check(columns)

        assert result.passed
        assert result.warnings == ()
        assert result.compared_with == "nothing: no earlier version was given"

    def test_rendered_people_are_known_by_their_source(self, columns: Columns):
        from hemlets.data.synthetic.people import SOURCE

        assert SOURCE in RENDERED_SOURCES
        assert set(columns["source"]) <= set(RENDERED_SOURCES)


class TestRows:
    """Faults that concern several rows, in one table."""

    @pytest.fixture(scope="class")
    def hidden(self, fresh: Fresh) -> int:
        """A row with a joint outside the image."""
        truncated = np.flatnonzero(fresh()["truncated"].any(1))
        return int(truncated[truncated > 12][0])

    @pytest.fixture(scope="class")
    def result(self, check: Check, fresh: Fresh, hidden: int) -> ValidationResult:
        columns = fresh()
        columns["joints3d_mm"][3, Joint.NOSE, 2] = np.nan
        columns["truncated"][hidden, columns["truncated"][hidden].argmax()] = False
        columns["image_hash"][11] = columns["image_hash"][10]
        columns["box_xyxy"][10], columns["box_xyxy"][11] = (0, 0, 60, 160), (90, 0, 150, 160)
        columns = {n: np.concatenate([v, v[[ROW, 7]]]) for n, v in columns.items()}
        columns["sample_id"][61] = "another-name"
        columns["box_xyxy"][61] += 0.25
        return check(columns)

    def test_a_nan_is_named_with_its_row_in_the_message(self, result: ValidationResult):
        assert_blocked(result, "joints3d_mm_finite", "joints3d_mm", 3, "nose is nan")
        assert "(row 3)" in result.message()

    def test_a_duplicated_row_is_named_with_its_twin(self, result: ValidationResult):
        assert_blocked(result, "sample_id_unique", "sample_id", observed="row 60")
        assert_blocked(result, "person_annotated_once", "image_hash", observed="row 60")

    def test_a_person_annotated_twice_under_two_names_is_named(self, result: ValidationResult):
        assert_blocked(result, "person_annotated_once", "image_hash", 7, "row 61")
        assert 7 not in {row.number for row in blocking(result)["sample_id_unique"].rows}

    def test_two_people_in_one_image_are_not_duplicates(self, result: ValidationResult):
        named = {row.number for row in blocking(result)["person_annotated_once"].rows}
        assert named == {ROW, 60, 7, 61}

    def test_a_joint_outside_the_image_must_be_marked(self, result: ValidationResult, hidden: int):
        assert_blocked(result, "joints2d_inside_image", "joints2d_px", hidden)


def test_a_split_that_is_empty_is_named(check: Check, columns: Columns):
    kept = columns["split"] != "gate"
    result = check({name: value[kept] for name, value in columns.items()})

    assert "gate" in blocking(result)["enough_rows"].observed


def test_an_empty_table_is_refused(check: Check, columns: Columns):
    result = check({name: value[:0] for name, value in columns.items()})

    assert not result.passed
    assert blocking(result)["enough_rows"].count == 4


def test_other_units_of_length_are_recognised(check: Check, columns: Columns, as_captured: Change):
    columns = as_captured(columns)
    columns["joints3d_mm"] *= np.where(np.arange(60) % 2, 0.1, 0.001)[:, None, None]

    finding = blocking(check(columns))["skeleton_size"]

    assert finding.field == "joints3d_mm"
    assert finding.count == 60
    told = {row.number % 2: row.observed for row in finding.rows}
    assert "look like metres" in told[0]
    assert finding.rows[0].number % 2 == 0


def test_what_is_odd_but_does_no_harm_is_a_warning(
    check: Check, columns: Columns, as_captured: Change
):
    columns = as_captured(columns)
    columns["smpl_valid"][:] = True
    columns["valid3d"][ROW, Joint.NOSE] = False

    result = check(columns)

    assert result.passed
    warned = {finding.expectation: finding for finding in result.warnings}
    assert set(warned) == {"unannotated_is_zero", "every_joint_moves"}
    assert [row.number for row in warned["unannotated_is_zero"].rows] == [ROW]
    assert warned["every_joint_moves"].count == 24


class TestShards:
    DAMAGE = ("missing", "noise", "truncated", "empty")

    @pytest.fixture(scope="class")
    def result(self, version: Writer, fresh: Fresh) -> ValidationResult:
        """One row for each damage, in a shard of its own."""
        columns = fresh()
        whole_name = columns["shard"][ROW]
        for row, damage in enumerate(self.DAMAGE):
            columns["shard"][row] = f"{damage}.arrow"
        folder = version(columns)
        whole = (folder / "shards" / whole_name).read_bytes()
        wrong = {"noise": os.urandom(4096), "truncated": whole[: len(whole) // 2], "empty": b""}
        for damage, data in wrong.items():
            (folder / "shards" / f"{damage}.arrow").write_bytes(data)
        return validate(folder, folder.with_name("out"))

    @pytest.mark.parametrize(("row", "damage"), enumerate(DAMAGE), ids=DAMAGE)
    def test_an_unreadable_one_is_named(self, result: ValidationResult, row: int, damage: str):
        assert_blocked(result, "shard_readable", "shard", row, f"{damage}.arrow")

    def test_the_readable_ones_are_not_blamed(self, result: ValidationResult):
        assert blocking(result)["shard_readable"].count == len(self.DAMAGE)


class TestImages:
    CHANGED, UNREADABLE, RESIZED = 3, 5, 8

    @pytest.fixture(scope="class")
    def result(self, version: Writer, fresh: Fresh) -> ValidationResult:
        """Three rows of a shard whose images are others than the annotations say."""
        columns = fresh()
        new = {
            self.CHANGED: encode_jpeg(np.zeros((160, 160, 3), np.uint8)),
            self.UNREADABLE: b"no image",
            self.RESIZED: encode_jpeg(np.zeros((80, 120, 3), np.uint8)),
        }
        for row in (self.UNREADABLE, self.RESIZED):
            columns["image_hash"][row] = hashlib.sha256(new[row]).hexdigest()
        folder = version(columns)
        name = columns["shard"][self.CHANGED]
        rows = np.flatnonzero(columns["shard"] == name)
        reader = ShardReader(folder / "shards")
        jpegs = [
            new.get(int(row)) or reader.jpeg(name, int(columns["shard_row"][row])) for row in rows
        ]
        (folder / "shards" / name).unlink()
        ids = [str(columns["sample_id"][row]) for row in rows]
        ShardWriter.write(folder / "shards" / name, ids, jpegs)
        return validate(folder, folder.with_name("out"))

    def test_changed_bytes_are_named(self, result: ValidationResult):
        assert_blocked(result, "image_hash_matches", "image_hash", self.CHANGED)

    def test_bytes_that_are_no_image_are_named(self, result: ValidationResult):
        assert_blocked(result, "image_decodes", "image_hash", self.UNREADABLE)

    def test_another_size_is_named(self, result: ValidationResult):
        field = "image_width, image_height"
        assert_blocked(result, "image_size_matches", field, self.RESIZED, "120×80")

    def test_each_is_blamed_for_its_own_fault_only(self, result: ValidationResult):
        named = {name: [r.number for r in f.rows] for name, f in blocking(result).items()}
        assert named == {
            "image_hash_matches": [self.CHANGED],
            "image_decodes": [self.UNREADABLE],
            "image_size_matches": [self.RESIZED],
        }


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


def test_other_labels_than_before_are_a_warning(
    check: Check, columns: Columns, rendered: Path, as_captured: Change
):
    result = check(as_captured(columns), previous=rendered)

    assert result.passed
    (finding,) = result.warnings
    assert finding.expectation == "labels_like_before"
    assert finding.rows[0].sample_id == "share of each source"


class TestAllRowsAtFaultAndThePreviousVersionGone:
    @pytest.fixture(scope="class")
    def result(self, check: Check, fresh: Fresh, tmp_path_factory: pytest.TempPathFactory):
        columns = fresh()
        columns["betas"][:, 0] = 8
        return check(columns, previous=tmp_path_factory.getbasetemp() / "gone")

    def test_the_rows_beyond_the_cap_are_counted(self, result: ValidationResult):
        finding = blocking(result)["betas_plausible"]
        assert finding.count == 60
        assert len(finding.rows) == 20

    def test_that_nothing_could_be_compared_is_a_warning(self, result: ValidationResult):
        assert "can't be compared" in result.warnings[0].observed
