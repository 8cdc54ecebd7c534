"""Image shards: the asked-for bytes, or an error that names the shard."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from hemlets.core.errors import DataError
from hemlets.data.table import ShardReader, ShardWriter

IDS = [f"sample-{i}" for i in range(20)]
IMAGES = [bytes([i]) * (i * 50) for i in range(20)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shard folder, with a readable shard outside it."""
    for place in (tmp_path / "shards" / "a.arrow", tmp_path / "x.arrow"):
        ShardWriter.write(place, IDS, IMAGES)
    return tmp_path / "shards"


def test_images_come_back_in_any_order(folder: Path) -> None:
    reader = ShardReader(folder)
    for row in (3, 0, 19, 3):
        assert reader.jpeg("a.arrow", row) == IMAGES[row]
        assert reader.jpeg("a.arrow", row, IDS[row]) == IMAGES[row]


def test_the_same_images_give_the_same_bytes(folder: Path) -> None:
    assert (folder / "a.arrow").read_bytes() == (folder.parent / "x.arrow").read_bytes()


def test_a_reader_can_be_sent_to_another_process(folder: Path) -> None:
    reader = ShardReader(folder)
    reader.jpeg("a.arrow", 1)
    assert pickle.loads(pickle.dumps(reader)).jpeg("a.arrow", 2) == IMAGES[2]


def test_the_image_of_another_sample_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"row 3 holds sample sample-3[\s\S]*expected: sample-4"):
        ShardReader(folder).jpeg("a.arrow", 3, "sample-4")


@pytest.mark.parametrize("row", [-1, 20])
def test_a_row_outside_the_shard_is_refused(folder: Path, row: int) -> None:
    with pytest.raises(DataError, match=rf"row {row} is not in the shard[\s\S]*20 rows"):
        ShardReader(folder).jpeg("a.arrow", row)


def test_an_absent_shard_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist[\s\S]*b\.arrow"):
        ShardReader(folder).jpeg("b.arrow", 0)


@pytest.mark.parametrize(
    "name", ["../x.arrow", "{}/x.arrow", "sub/../../x.arrow", "sub/a.arrow", "..", "", "a\0.arrow"]
)
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(DataError):
        ShardReader(folder).jpeg(name.format(folder.parent), 0)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_shard_is_named_with_a_remedy(folder: Path, share: float) -> None:
    path = folder / "a.arrow"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"can't be read[\s\S]*a\.arrow[\s\S]*remedy"):
        ShardReader(folder).jpeg("a.arrow", 5)


def test_damaged_offsets_are_not_followed(folder: Path) -> None:
    # Each offset is 32 bits; where they point is found by the one before the last image.
    path = folder / "a.arrow"
    data = bytearray(path.read_bytes())
    ends = sum(len(image) for image in IMAGES[:10]).to_bytes(4, "little")
    at = data.index(ends)
    data[at : at + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.arrow"):
        ShardReader(folder).jpeg("a.arrow", 9)


def test_a_file_with_other_columns_is_refused(folder: Path) -> None:
    batch = pa.record_batch([pa.array([1, 2])], ["jpeg"])
    with pa.OSFile(str(folder / "b.arrow"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as w:
        w.write_batch(batch)
    with pytest.raises(DataError, match=r"columns \['jpeg'\]"):
        ShardReader(folder).jpeg("b.arrow", 0)


class RunsACommand:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_planted_as_a_shard_is_refused_and_does_not_run(
    folder: Path, protocol: int
) -> None:
    marker = folder.parent / "ran"
    (folder / "a.arrow").write_bytes(pickle.dumps(RunsACommand(marker), protocol))
    with pytest.raises(DataError, match=r"can't be read[\s\S]*a\.arrow"):
        ShardReader(folder).jpeg("a.arrow", 0)
    assert not marker.exists()
    pickle.loads((folder / "a.arrow").read_bytes())
    assert marker.exists(), "the pickle is a live one"
