"""The endpoint's prediction log is labelled as photographs are: looked at, queued, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from annotate.cli import open_source
from hemlets.annotation.pictures import open_pictures
from hemlets.annotation.questions import FBI
from hemlets.annotation.store import AnswerStore
from hemlets.annotation.tasks import PhotoTasks, photo_source
from hemlets.cli import main
from hemlets.core.errors import ConfigError, DataError
from hemlets.data.table import Annotations
from hemlets.inference.prediction_log import PredictionLog
from hemlets.inference.types import BodyEstimate, Camera

from .test_export import Log

BOX = (30.0, 20.0, 70.0, 90.0)
WriteLog = Callable[..., Path]


@pytest.fixture
def write_log(tmp_path: Path) -> WriteLog:
    """Writes a log of requests, each for one person."""

    def write(requests: int = 6, *, images: bool = True) -> Path:
        estimate = BodyEstimate(
            joints3d_mm=np.zeros((18, 3)), root_mm=np.array([0.0, 0.0, 4000.0]),
            joints2d_px=np.zeros((18, 2)), confidence=np.full(18, 0.5), theta=np.zeros((24, 3)),
            betas=np.zeros(10), box_xyxy=BOX, camera=Camera(fx=1.0, fy=1.0, cx=0.0, cy=0.0),
        )  # fmt: skip
        log = PredictionLog(tmp_path / "log", share=1.0, images=images)
        rng = np.random.default_rng(3)
        for _ in range(requests):
            coarse = rng.integers(0, 255, (10, 12, 3), np.uint8)
            image = np.kron(coarse, np.ones((12, 10, 1), np.uint8))
            log.add(image, [estimate], version="1")
        log.flush()
        return tmp_path / "log"

    return write


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEMLETS_HOME", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "workspace"


def test_a_logged_image_shows_the_person_with_a_margin(write_log: WriteLog) -> None:
    pictures = open_pictures(write_log(1))
    (name,) = pictures.names()
    image, box = pictures.image(name), pictures.box(name)
    assert box == pytest.approx((8, 14, 48, 84))
    assert image.shape == (98, 56, 3)


def test_a_log_without_images_is_refused(write_log: WriteLog) -> None:
    with pytest.raises(ConfigError, match="no images") as caught:
        open_source(str(write_log(images=False)), None, "fbi")
    assert "HEMLETS_PREDICTION_LOG_IMAGES=1" in str(caught.value)


def test_a_log_is_queued_labelled_and_exported(
    write_log: WriteLog, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_log()
    assert main(["annotate", "next", str(folder), "--count", "3"]) == 0
    chosen = Path("queue.txt").read_text().split()
    assert len(set(chosen)) == 3
    store, tasks, _ = open_source(str(folder), None, "fbi", queue=Path("queue.txt"))
    with store:
        assert tasks.names(0, 9) == [tasks.task(place).name for place in range(3)] == chosen
        log = Log(tasks, store)
        for name in chosen:
            log.say("anna", name, "answer", "head", "F")
    assert main(["annotate", "next", str(folder), "--count", "9"]) == 0
    assert not set(chosen) & set(Path("queue.txt").read_text().split()), "nobody twice"
    assert main(["annotate", "export", str(folder), "--out", "labels"]) == 0
    table = Annotations.read(Path("labels/annotations.parquet"))
    assert sorted(table.sample_id) == sorted(chosen)
    head = [question.name for question in FBI].index("head")
    assert (table.relations[:, head] == 1).all()
    capsys.readouterr()


def test_a_log_whose_oldest_files_are_removed_keeps_its_answers(write_log: WriteLog) -> None:
    folder = write_log(1)
    with AnswerStore(Path("answers.sqlite"), source=photo_source(folder)) as store:
        (name,) = open_pictures(folder).names()
        content = {"width": 1, "height": 1, "box": [0, 0, 1, 1], "joints": [[0, 0]] * 18,
                   "hash": "0" * 64, "found": True}  # fmt: skip
        from hemlets.annotation.store import FoundPerson

        store.add_people([FoundPerson(0, f"photos/{name}/0", name, content)])
        tasks = PhotoTasks(folder, store)
        next(folder.glob("*/*/*.parquet")).unlink()
        with pytest.raises(Exception, match="does not exist"):
            tasks.image(0)
        assert tasks.task(0).name == f"photos/{name}/0"


@pytest.mark.parametrize("name", ["../../x/0", "/etc/passwd/0", "2026-01-01/00/a.parquet/0"])
def test_no_name_leads_out_of_the_log(write_log: WriteLog, name: str) -> None:
    from hemlets.core.errors import HemletsError

    with pytest.raises(HemletsError):
        open_pictures(write_log(1)).image(name)


def test_a_row_that_a_log_lacks_is_named(write_log: WriteLog) -> None:
    pictures = open_pictures(write_log(1))
    (name,) = pictures.names()
    with pytest.raises(DataError, match="logged image"):
        pictures.image(name.rpartition("/")[0] + "/7")
