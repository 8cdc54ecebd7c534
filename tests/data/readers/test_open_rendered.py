"""A data version as a dataset of its own, with really rendered people."""

from pathlib import Path

import numpy as np
import pytest

from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.open_rendered import DATASET, read
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.synthetic import OpenDataConfig, build_open_data
from hemlets.data.table import Annotations
from hemlets.data.versions.images import ImageSource


@pytest.fixture(scope="module")
def version(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("open") / "version"
    samples = {"train": 3, "validation": 1, "gate": 1, "test": 1}
    build_open_data(OpenDataConfig.model_validate({"samples": samples, "image_px": 128}), folder)
    return folder


def test_every_row_comes_through_unchanged(version):
    table = Annotations.read(version / "annotations.parquet")
    chunks = list(DATASET.read(version))
    names = [str(name) for chunk in chunks for name in chunk.columns["sample_id"]]
    assert names == [str(name) for name in table.sample_id]
    for field in ("joints3d_mm", "joints2d_px", "theta", "relations", "box_xyxy", "camera"):
        found = np.concatenate([chunk.columns[field] for chunk in chunks])
        np.testing.assert_array_equal(found, table.column(field))


def test_images_are_found_in_their_shards(version):
    (rows,) = DATASET.read(version, ReadOptions(splits=frozenset({"test"})))
    image, _ = ImageSource(version).load(rows.images[0])
    assert image.shape == (128, 128, 3)


def test_a_missing_shard_loses_its_own_rows_only(version, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(version, folder)
    (folder / "shards" / "test-00000.arrow").unlink()
    quarantine = Quarantine()
    rows = list(read(folder, ReadOptions(), quarantine))
    assert sum(map(len, rows)) == 5
    assert "test-00000.arrow does not exist" in str(quarantine.items[0])
