"""Sources are looked at before a retraining: what is new arrives, what is damaged is left out."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import psutil
import pytest

from flows.profile import load_profile
from flows.sources import Source
from flows.steps import sync as step
from flows.steps.merge_datasets import chosen_rows, profile_parts
from flows.storage import data_versions
from hemlets.core.errors import ConfigError, DataError, HemletsError
from hemlets.core.workspace import Workspace
from hemlets.data.table import Annotations


@pytest.fixture
def place(tmp_path: Path, label) -> Path:
    label(tmp_path / "uploads", range(1, 9), name="train_a")
    return tmp_path / "uploads"


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return Workspace(home=tmp_path / "home")


def source(place: Path | str, **more: object) -> Source:
    return Source(name="street", place=str(place), **more)


def rows(home: Workspace) -> Annotations:
    return Annotations.read(home.home / "ingested" / "street" / "annotations.parquet")


def test_new_labels_become_a_committed_data_version(label, home, place) -> None:
    (first,) = step.sync(home, [source(place)])
    assert (first.rows, first.arrived, first.left_out) == (8, 8, 0)
    label(place, range(11, 14), name="train_b")
    (second,) = step.sync(home, [source(place)])
    assert (second.rows, second.arrived) == (11, 3)
    assert str(second) == "street: 3 new or changed of 11 rows"
    assert data_versions.versions(home, "street") == [first.version, second.version]
    assert len(rows(home)) == 11


def test_an_empty_machine_with_the_same_remote_knows_what_has_arrived(
    label, home, place, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HEMLETS_DATA_REMOTE", str(tmp_path / "remote"))
    step.sync(home, [source(place)])
    label(place, range(11, 14), name="train_b")
    (last,) = step.sync(home, [source(place)])
    other = Workspace(home=tmp_path / "other")
    (same,) = step.sync(other, [source(place)])
    assert (same.version, same.rows, same.arrived) == (last.version, 11, 0)
    known = step.arrivals_of(home, "street")
    assert sorted(known.values()) == [1] * 8 + [2] * 3
    assert step.arrivals_of(other, "street") == known
    label(place, range(21, 23), name="train_c")
    assert step.sync(other, [source(place)])[0].arrived == 2
    assert sorted(step.arrivals_of(other, "street").values())[-3:] == [2, 4, 4]


def test_nothing_is_read_where_nothing_changed(home, place, monkeypatch) -> None:
    (first,) = step.sync(home, [source(place)])
    monkeypatch.setattr(step, "_ingest", None)
    (again,) = step.sync(home, [source(place)])
    assert again.arrived == 0
    assert again.version == first.version


def test_a_label_that_was_changed_counts_as_new(home, place) -> None:
    step.sync(home, [source(place)])
    path = place / "annotations" / "train_a.json"
    content = json.loads(path.read_text())
    content["annotations"][2]["keypoints"][15] += 4
    path.write_text(json.dumps(content))
    (changed,) = step.sync(home, [source(place)])
    assert (changed.rows, changed.arrived) == (8, 1)


def test_files_whose_dates_lie_in_the_future_arrive_once(home, place) -> None:
    for file in place.rglob("*.j*"):
        os.utime(file, (2**32, 2**32))
    assert [step.sync(home, [source(place)])[0].arrived for _ in range(2)] == [8, 0]
    for file in place.rglob("*.j*"):
        os.utime(file)
    (read_again,) = step.sync(home, [source(place)])
    assert (read_again.rows, read_again.arrived) == (8, 0)


def test_damaged_items_are_left_out_counted_and_named(label, home, tmp_path) -> None:
    place = tmp_path / "many"
    label(place, range(1, 41))
    for number in (7, 20):
        (place / "images" / f"{number:06d}.jpg").write_bytes(b"no image")
    (synced,) = step.sync(home, [source(place)])
    assert (synced.rows, synced.left_out) == (38, 2)
    assert "000007.jpg" in str(synced)


def test_more_damage_than_is_allowed_stops_and_changes_nothing(label, home, place) -> None:
    (first,) = step.sync(home, [source(place)])
    label(place, range(11, 21), name="train_b", images=2)
    with pytest.raises(DataError, match="8 of 18 rows of the source street are damaged"):
        step.sync(home, [source(place)])
    assert len(rows(home)) == 8
    assert data_versions.versions(home, "street") == [first.version]


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_source_that_is_not_there_is_named(home, place, how) -> None:
    shutil.rmtree(place)
    if how == "empty":
        place.mkdir()
    with pytest.raises(DataError, match="the source street is") as caught:
        step.sync(home, [source(place)])
    assert "nothing was trained" in str(caught.value)


def test_a_source_that_vanishes_half_way_leaves_the_version_before(
    label, home, place, monkeypatch
) -> None:
    step.sync(home, [source(place)])
    label(place, range(11, 14), name="train_b")
    ingest = step._ingest

    def vanishes(*arguments):
        for image in list((place / "images").glob("*.jpg"))[4:]:
            image.unlink()
        return ingest(*arguments)

    monkeypatch.setattr(step, "_ingest", vanishes)
    with pytest.raises(DataError, match="changed while it was read"):
        step.sync(home, [source(place)])
    assert len(rows(home)) == 8
    assert not list((home.home / "ingested").glob(".street.*"))


@pytest.mark.services
def test_a_bucket_is_read_and_its_damaged_objects_are_named(label, home, uploads) -> None:
    label(uploads.folder, range(1, 121))
    for number in (7, 20, 90):
        (uploads.folder / "images" / f"{number:06d}.jpg").write_bytes(b"no image")
    (synced,) = step.sync(home, [source("s3://uploads/street")])
    assert (synced.rows, synced.left_out, synced.files) == (117, 3, 121)
    assert all(f"{number:06d}.jpg" in str(synced) for number in (7, 20, 90))
    (again,) = step.sync(home, [source("s3://uploads/street")])
    assert again.arrived == 0


@pytest.mark.services
@pytest.mark.slow
# Otherwise the server reads the whole folder anew for each object.
@pytest.mark.parametrize("uploads", [("--dir-cache-time", "1h")], indirect=True)
def test_ten_thousand_objects_take_little_memory_and_the_damaged_ones_are_named(
    label, home, uploads
) -> None:
    label(uploads.folder, range(1, 10_000))
    for number in (7, 5000, 9998):
        (uploads.folder / "images" / f"{number:06d}.jpg").write_bytes(b"no image")
    before = psutil.Process().memory_info().rss
    largest, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            largest.append(psutil.Process().memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        (synced,) = step.sync(home, [source("s3://uploads/street")])
    finally:
        done.set()
        watcher.join()
    assert (synced.files, synced.rows, synced.left_out) == (10_000, 9_996, 3)
    assert all(f"{number:06d}.jpg" in str(synced) for number in (7, 5000, 9998))
    assert (max(largest) - before) / 2**20 < 400


@pytest.mark.services
def test_a_bucket_that_vanishes_half_way_leaves_the_version_before(
    label, home, uploads, monkeypatch
) -> None:
    label(uploads.folder, range(1, 9))
    (first,) = step.sync(home, [source("s3://uploads/street")])
    label(uploads.folder, range(11, 31), name="train_b")
    ingest = step._ingest

    def vanishes(*arguments):
        uploads.server.kill()
        uploads.server.wait()
        return ingest(*arguments)

    monkeypatch.setattr(step, "_ingest", vanishes)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(HemletsError, match="can't be reached"):
        step.sync(home, [source("s3://uploads/street")])
    assert len(rows(home)) == first.rows == 8
    assert data_versions.versions(home, "street") == [first.version]


def test_a_dataset_that_was_ingested_by_hand_is_not_replaced(home, place) -> None:
    (home.home / "ingested" / "street").mkdir(parents=True)
    with pytest.raises(ConfigError, match="ingested by hand"):
        step.sync(home, [source(place)])


def test_a_cap_takes_a_share_of_new_and_old_rows(place) -> None:
    arrivals = {f"old{n}": 1 for n in range(100)} | {f"new{n}": 2 for n in range(40)}
    for most, new in ((50, 25), (120, 40), (20, 10)):
        found = chosen_rows(arrivals, source(place, most=most), arrivals)
        assert len(found) == most
        assert sum(name.startswith("new") for name in found) == new
    few = {f"old{n}": 1 for n in range(3)} | {f"new{n}": 2 for n in range(40)}
    assert len(chosen_rows(few, source(place, most=20), few)) == 20


def test_a_profile_trains_on_the_rows_that_its_cap_leaves(home, place, tiny) -> None:
    sources = [{"name": "street", "place": str(place), "most": 5}]
    profile = load_profile(str(tiny), (f"sources={_toml(sources)}",))
    step.sync(home, profile.sources)
    (part,) = profile_parts(home, profile)
    assert part.only is not None
    assert len(part.only) == 5


def test_a_name_that_is_given_twice_is_refused(place, tiny) -> None:
    sources = _toml([{"name": "street", "place": str(place)}])
    with pytest.raises(ConfigError, match="have a name twice"):
        load_profile(str(tiny), (f"sources={sources}", "datasets=['street']"))


def _toml(items: list[dict[str, object]]) -> str:
    tables = (", ".join(f"{k}={json.dumps(v)}" for k, v in item.items()) for item in items)
    return "[" + ", ".join(f"{{{table}}}" for table in tables) + "]"
