from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hemlets.core.errors import DataError
from hemlets.evaluation import Predictions
from hemlets.evaluation.predictions import COLUMNS
from hemlets.inference.types import Flag


@pytest.fixture
def path(tmp_path, predictions):
    file = tmp_path / "predictions.parquet"
    predictions.write(file)
    return file


def rewrite(path, change):
    """Write the stored table again after ``change(columns)``."""
    table = pq.read_table(path)
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    change(columns)
    fields = [pa.field(name, values.type) for name, values in columns.items()]
    schema = pa.schema(fields, metadata=table.schema.metadata)
    pq.write_table(pa.table(list(columns.values()), schema=schema), path)


def test_what_was_written_is_what_is_read(path, predictions):
    again = Predictions.read(path)
    assert again.info == predictions.info
    assert again.sample_id.tolist() == predictions.sample_id.tolist()
    assert again.flags == predictions.flags
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(again, name), getattr(predictions, name))


def test_the_same_predictions_give_the_same_bytes(path, predictions, tmp_path):
    predictions.write(tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_flags_travel_with_their_sample(annotations, make_estimates, info, tmp_path):
    estimates = make_estimates(annotations)
    estimates[3] = dataclasses.replace(estimates[3], flags=(Flag.WHOLE_IMAGE_BOX,))
    made = Predictions.from_estimates(list(annotations.sample_id), estimates, info)
    made.write(tmp_path / "p.parquet")
    read = Predictions.read(tmp_path / "p.parquet")
    assert read.flags[3] == ("whole-image-box",)
    assert read.flags[2] == ()


def test_estimates_of_another_model_are_refused(annotations, make_estimates, info):
    estimates = make_estimates(annotations)
    estimates[0] = dataclasses.replace(estimates[0], model_version="model-2")
    with pytest.raises(DataError, match=r"from model model-2[\s\S]*all from model-1"):
        Predictions.from_estimates(list(annotations.sample_id), estimates, info)


def test_as_many_estimates_as_samples_are_wanted(annotations, make_estimates, info):
    with pytest.raises(DataError, match="23 estimates for 24 samples"):
        Predictions.from_estimates(
            list(annotations.sample_id), make_estimates(annotations)[1:], info
        )


def test_an_unfinished_write_leaves_the_old_file(path, predictions, monkeypatch):
    before = path.read_bytes()

    def full_disk(table, where, **_):
        where.write_bytes(b"PAR1 half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(Exception, match="No space left"):
        predictions.write(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"does not exist[\s\S]*nowhere.parquet"):
        Predictions.read(tmp_path / "nowhere.parquet")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match="can't be read"):
        Predictions.read(path)


def test_a_flipped_bit_anywhere_in_the_data_is_noticed(path, predictions):
    clean = path.read_bytes()
    footer = int.from_bytes(clean[-8:-4], "little") + 8
    rng = np.random.default_rng(0)
    for place in rng.integers(4, len(clean) - footer, 40):
        data = bytearray(clean)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        try:
            read = Predictions.read(path)
        except DataError:
            continue
        # A page's own header has no checksum; what it says beside sizes is not used.
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(read, name), getattr(predictions, name))


def test_a_nan_is_refused_with_column_and_sample(path, predictions):
    def spoil(columns):
        values = predictions.theta.copy()
        values[5, 2, 1] = np.nan
        kind = columns["theta"].type
        columns["theta"] = pa.FixedSizeListArray.from_arrays(
            pa.array(values.reshape(-1)), type=kind
        )

    rewrite(path, spoil)
    with pytest.raises(DataError, match=r"theta is not finite in 1 row[\s\S]*t0-00005 \(rows 5\)"):
        Predictions.read(path)


def test_a_duplicate_is_refused_with_its_name(path, predictions):
    def spoil(columns):
        ids = predictions.sample_id.tolist()
        ids[7] = ids[6]
        columns["sample_id"] = pa.array(ids)

    rewrite(path, spoil)
    with pytest.raises(DataError, match=r"more than once[\s\S]*t0-00006"):
        Predictions.read(path)


def test_an_empty_cell_is_refused_with_its_row(path, predictions):
    def spoil(columns):
        ids = predictions.sample_id.tolist()
        ids[9] = None
        columns["sample_id"] = pa.array(ids)

    rewrite(path, spoil)
    with pytest.raises(DataError, match=r"sample_id is empty in 1 row[\s\S]*rows 9"):
        Predictions.read(path)


def test_a_missing_column_is_named(path):
    rewrite(path, lambda columns: columns.pop("betas"))
    with pytest.raises(DataError, match=r"column is missing[\s\S]*betas"):
        Predictions.read(path)


def test_a_column_of_another_type_is_named(path, predictions):
    def spoil(columns):
        columns["root_mm"] = pa.array(["far"] * len(predictions))

    rewrite(path, spoil)
    with pytest.raises(DataError, match=r"type string[\s\S]*root_mm"):
        Predictions.read(path)


def test_a_file_that_does_not_say_where_it_is_from_is_refused(path):
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(DataError, match="does not say where its predictions come from"):
        Predictions.read(path)


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, '{"split": "test", "split": "train"}'])
def test_metadata_that_cant_be_used_names_its_file_once(path, text):
    about = {b"hemlets.predictions": text.encode()}
    pq.write_table(pq.read_table(path).replace_schema_metadata(about), path)
    with pytest.raises(DataError, match="metadata can't be used") as caught:
        Predictions.read(path)
    assert str(caught.value).count(str(path)) == 1


def test_a_column_twice_is_refused_by_name(path):
    table = pq.read_table(path)
    pq.write_table(table.append_column("root_mm", table.column("root_mm")), path)
    with pytest.raises(DataError, match=r"twice[\s\S]*root_mm"):
        list(Predictions.batches(path))


def test_a_file_without_rows_has_no_other_unit(path):
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    Predictions.read(path).require_units(path)


def test_unknown_metadata_is_refused_by_name(path):
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"hemlets.predictions"]) | {"model_verison": "x"}
    spoilt = {b"hemlets.predictions": json.dumps(about).encode()}
    pq.write_table(table.replace_schema_metadata(spoilt), path)
    with pytest.raises(DataError, match="model_verison"):
        Predictions.read(path)


@pytest.mark.parametrize("wide", [True, False])
def test_lists_and_text_as_other_libraries_write_them_are_read(path, predictions, wide):
    def loosen(columns):
        for name in COLUMNS:
            of, number = (pa.large_list, pa.float64()) if wide else (pa.list_, pa.float32())
            columns[name] = columns[name].cast(of(number))
        columns["sample_id"] = columns["sample_id"].cast(pa.large_string())
        columns["flags"] = pa.array([[]] * len(predictions), pa.list_(pa.null()))

    rewrite(path, loosen)
    read = Predictions.read(path)
    assert read.sample_id.tolist() == predictions.sample_id.tolist()
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(read, name), getattr(predictions, name))


def test_a_list_of_another_length_is_refused_with_the_length(path, predictions):
    def shorten(columns):
        columns["root_mm"] = pa.array([[0.0, 1.0]] * len(predictions), pa.list_(pa.float64()))

    rewrite(path, shorten)
    with pytest.raises(DataError, match=r"root_mm[\s\S]*\[3\], or lists of as many numbers"):
        Predictions.read(path)


OTHER_UNITS = {
    "joints3d_mm": (0.001, "metres"),
    "root_mm": (0.001, "metres"),
    "joints2d_px": (0.001, "fractions of the image"),
    "box_xyxy": (0.001, "fractions of the image"),
    "confidence": (100.0, "percentages"),
    "theta": (180 / np.pi, "degrees"),
}


@pytest.mark.parametrize("name", OTHER_UNITS)
def test_another_unit_is_refused_by_what_it_looks_like_unless_it_is_absent(
    path, predictions, tmp_path, name
):
    factor, unit = OTHER_UNITS[name]
    values = {name: (factor * getattr(predictions, name)).astype(np.float32)}
    dataclasses.replace(predictions, **values).write(path)
    with pytest.raises(DataError, match=f"{name} looks like {unit}"):
        Predictions.read(path).require_units(path)
    if name == "box_xyxy":
        return
    info = predictions.info.model_copy(update={"absent": (name,)})
    dataclasses.replace(predictions, info=info, **values).require_units(path)
