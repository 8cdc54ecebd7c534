"""From answers to a data version that the suite and a training take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hemlets.annotation.answers import Event
from hemlets.annotation.export import ANSWERS, export_version, write_answers
from hemlets.annotation.labelled import read_labelled
from hemlets.annotation.questions import FBI
from hemlets.annotation.store import AnswerStore, FoundPerson
from hemlets.annotation.tasks import PhotoTasks, VersionTasks, photo_source
from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import Joint
from hemlets.data.readers.fbi import read_labels
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.table import Annotations, ShardReader, encode_jpeg

from .conftest import MakeVersion

PARTS = [question.name for question in FBI]


class Log:
    """Answers of people who label a source."""

    def __init__(self, tasks: VersionTasks | PhotoTasks, store: AnswerStore) -> None:
        self.tasks, self.store, self.count = tasks, store, 0

    def say(
        self, annotator: str, task: str, kind: str, question: str = "", value: str = ""
    ) -> None:
        self.count += 1
        self.store.add(
            Event(key=f"key-{self.count:05}", task=task, annotator=annotator, kind=kind,
                  question=question, value=value, elapsed_ms=900), PARTS,
        )  # fmt: skip

    def read(self):
        return read_labelled(self.store, self.tasks.asked(self.store.tasks(), "fbi"))


@pytest.fixture
def version(make_version: MakeVersion) -> Path:
    return make_version()


@pytest.fixture
def log(version: Path, tmp_path: Path) -> Log:
    tasks = VersionTasks(version)
    return Log(tasks, AnswerStore(tmp_path / "log.sqlite", source=tasks.source))


def relation(table: Annotations, sample: str, part: str) -> int | None:
    row, number = table.row_of[sample], PARTS.index(part)
    return int(table.relations[row, number]) if table.relations_valid[row, number] else None


def test_labels_become_relations_of_a_new_version(log: Log, version: Path, tmp_path: Path) -> None:
    before = (version / "annotations.parquet").read_bytes()
    log.say("anna", "sample/1", "answer", "head", "F")
    log.say("anna", "sample/1", "answer", "torso", "B")
    log.say("anna", "sample/1", "done")
    log.say("anna", "sample/2", "answer", "head", "U")
    done = export_version(log.tasks, version, log.read(), tmp_path / "out")
    assert done.labels == 2
    table = Annotations.read(tmp_path / "out" / "annotations.parquet")
    assert list(table.sample_id) == ["sample/1"], "a person without a label teaches nothing"
    assert relation(table, "sample/1", "head") == 1
    assert relation(table, "sample/1", "torso") == -1
    assert relation(table, "sample/1", "left_shin") is None, "Unknown by default"
    assert set(table.relations_source) == {"fbi"}
    ShardReader(tmp_path / "out" / "shards").jpeg(
        table.shard[0], int(table.shard_row[0]), "sample/1"
    )
    assert (version / "annotations.parquet").read_bytes() == before


def test_frames_that_measure_the_annotators_are_left_out(
    make_version: MakeVersion, version: Path, tmp_path: Path
) -> None:
    gold = make_version(3, with_3d=3, prefix="sample", side=100)
    tasks = VersionTasks(version, gold=gold)
    log = Log(tasks, AnswerStore(tmp_path / "log.sqlite", source=tasks.source))
    for position in range(len(tasks)):
        log.say("anna", tasks.task(position).name, "answer", "head", "F")
    assert len(log.read()) == 7
    done = export_version(tasks, version, log.read(), tmp_path / "out")
    assert done.labels == 6


@pytest.mark.parametrize("method", ["majority", "dawid-skene"])
def test_a_majority_counts_and_a_tie_is_unknown(
    log: Log, version: Path, tmp_path: Path, method: str
) -> None:
    for annotator, head, torso in (("anna", "F", "F"), ("ben", "F", "B"), ("carl", "F", "U")):
        log.say(annotator, "sample/1", "answer", "head", head)
        log.say(annotator, "sample/1", "answer", "torso", torso)
    done = export_version(log.tasks, version, log.read(), tmp_path / "out", method=method)
    table = Annotations.read(tmp_path / "out" / "annotations.parquet")
    assert relation(table, "sample/1", "head") == 1
    assert relation(table, "sample/1", "torso") is None
    assert list(done.contradictions) == [("sample/1", "torso")]


def test_moved_joints_and_exchanged_sides_are_in_the_version(
    log: Log, version: Path, tmp_path: Path
) -> None:
    log.say("anna", "sample/1", "flag", "swapped", "on")
    log.say("anna", "sample/1", "joint", "left_wrist", "10.5,20.25")
    log.say("anna", "sample/1", "answer", "left_forearm", "F")
    export_version(log.tasks, version, log.read(), tmp_path / "out")
    old = Annotations.read(version / "annotations.parquet")
    new = Annotations.read(tmp_path / "out" / "annotations.parquet")
    x, y, scale = new.stored_from_source[0]
    in_source = new.joints2d_px[0] / scale + (x, y)
    assert in_source[Joint.LEFT_WRIST] == pytest.approx([10.5, 20.25], abs=0.01)
    before = old.joints2d_px[old.row_of["sample/1"]]
    assert in_source[Joint.LEFT_KNEE] == pytest.approx(before[Joint.RIGHT_KNEE], abs=0.01)
    assert relation(new, "sample/1", "left_forearm") == 1


def test_people_who_are_not_there_are_left_out(log: Log, version: Path, tmp_path: Path) -> None:
    log.say("anna", "sample/1", "flag", "no_person", "on")
    log.say("anna", "sample/2", "answer", "head", "F")
    log.say("anna", "sample/3", "answer", "head", "F")
    log.say("anna", "sample/3", "flag", "cannot_tell", "on")
    export_version(log.tasks, version, log.read(), tmp_path / "out")
    table = Annotations.read(tmp_path / "out" / "annotations.parquet")
    assert list(table.sample_id) == ["sample/2"]


def test_an_export_without_a_label_or_into_a_folder_that_exists_is_refused(
    log: Log, version: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no part is labelled"):
        export_version(log.tasks, version, [], tmp_path / "out", method="dawid-skene")
    log.say("anna", "sample/1", "answer", "head", "U")
    with pytest.raises(ConfigError, match="no part is labelled"):
        export_version(log.tasks, version, log.read(), tmp_path / "out")
    with pytest.raises(ConfigError, match="exists"):
        export_version(log.tasks, version, log.read(), version)


def test_photographs_become_a_version_and_those_that_are_gone_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    store = AnswerStore(tmp_path / "log.sqlite", source=photo_source(folder))
    for number, name in enumerate(("a.jpg", "b.jpg")):
        image = np.full((1800, 2400, 3), 60 + 50 * number, np.uint8)
        (folder / name).write_bytes(encode_jpeg(image))
        joints = np.random.default_rng(number).uniform(600, 1500, (18, 2)).tolist()
        joints[0] = [1900.0, 1700.0]  # Beyond the detector's box.
        content = {
            "width": 2400, "height": 1800, "box": [500, 400, 1600, 1600], "joints": joints,
            "hash": f"{number}" * 64, "found": True,
        }  # fmt: skip
        store.add_people([FoundPerson(number, f"photos/{name}/0", name, content)])
    tasks = PhotoTasks(folder, store)
    log = Log(tasks, store)
    for name in ("a.jpg", "b.jpg"):
        log.say("anna", f"photos/{name}/0", "answer", "head", "B")
    (folder / "b.jpg").unlink()
    done = export_version(tasks, folder, log.read(), tmp_path / "out")
    assert done.gone == ("photos/b.jpg/0",)
    table = Annotations.read(tmp_path / "out" / "annotations.parquet")
    assert list(table.sample_id) == ["photos/a.jpg/0"]
    assert relation(table, "photos/a.jpg/0", "head") == -1
    inside = (table.joints2d_px[0] >= 0) & (table.joints2d_px[0] <= table.image_width[0])
    assert inside.all(), "joints are those of the stored image"
    assert (table.joints2d_px[0].max(0) <= table.box_xyxy[0, 2:] + 1e-3).all(), "the box has all"


def test_a_label_file_edited_by_hand_loses_its_bad_lines_alone(tmp_path: Path) -> None:
    good = {
        "sample_id": "a", "part": "head", "label": "F", "annotator": "anna",
        "time": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    edits = [{"label": "forward"}, {"part": "tail"}, {"time": "yesterday"}, {"annotator": ""}]
    path = tmp_path / "answers.json"
    labels = [good, *(good | edit for edit in edits)]
    path.write_text(json.dumps({"format": "hemlets-fbi", "version": 1, "labels": labels}))
    quarantine = Quarantine()
    assert len(read_labels(path, quarantine)) == 1
    assert {item.row for item in quarantine.items} == {1, 2, 3, 4}


def test_an_export_has_its_labels_with_their_times_and_is_replaced_whole(
    log: Log, version: Path, tmp_path: Path
) -> None:
    log.say("anna", "sample/1", "answer", "head", "F")
    export_version(log.tasks, version, log.read(), tmp_path / "out")
    (label,) = read_labels(tmp_path / "out" / ANSWERS / "answers.json")
    assert (label.sample_id, label.label, label.elapsed_ms) == ("sample/1", "F", 900)
    table = Annotations.read(tmp_path / "out" / "annotations.parquet")
    assert table.label_ms.tolist() == [900]
    log.say("anna", "sample/2", "answer", "head", "B")
    export_version(log.tasks, version, log.read(), tmp_path / "out", over=True)
    table = Annotations.read(tmp_path / "out" / "annotations.parquet")
    assert sorted(table.sample_id) == ["sample/1", "sample/2"]
    with pytest.raises(ConfigError, match="no export of labels"):
        export_version(log.tasks, version, log.read(), version, over=True)


def test_the_whole_log_is_written_as_lines_of_json(log: Log, tmp_path: Path) -> None:
    log.say("Анна", "sample/1", "answer", "head", "F")
    log.say("Анна", "sample/1", "undo", "", "key-00001")
    assert write_answers(tmp_path / "answers.jsonl", log.store) == 2
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["answer", "undo"]
    assert json.loads(lines[0])["annotator"] == "Анна"


def test_the_model_looks_at_photographs_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    from hemlets.annotation.prepare import prepare
    from hemlets.inference.model import Model

    folder = tmp_path / "photos"
    folder.mkdir()
    golden = Path(__file__).parents[1] / "models" / "golden" / "two_people.png"
    (folder / "a.png").write_bytes(golden.read_bytes())
    (folder / "b.jpg").write_bytes(encode_jpeg(np.full((300, 200, 3), 90, np.uint8)))
    (folder / "c.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no photograph")
    model = Model.load(fast=True)
    with AnswerStore(tmp_path / "log.sqlite", source=photo_source(folder)) as store:
        tasks = PhotoTasks(folder, store)
        assert (len(tasks), tasks.growing) == (0, True)
        prepare(folder, store, model)
        assert (len(tasks), tasks.growing) == (3, False)
        names = [tasks.task(position).name for position in range(3)]
        assert names == ["photos/a.png/0", "photos/a.png/1", "photos/b.jpg/0"]
        assert [tasks.task(position).found for position in range(3)] == [True, True, False]
        opinion = store.opinion("photos/a.png/0")
        assert opinion is not None
        assert set(opinion["relations"]) == set(PARTS)
        prepare(folder, store, model)
        assert len(tasks) == 3
