"""The commands around the page: report, export, next."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.cli import open_source
from hemlets.annotation.pictures import require_pictures
from hemlets.cli import main
from hemlets.data.table import Annotations
from hemlets.data.weak_labels import read_annotators

from .conftest import MakeVersion


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEMLETS_HOME", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "workspace"


@pytest.fixture
def labelled(make_version: MakeVersion, workspace: Path, label_tasks: Callable[..., None]) -> Path:
    """A version that two simulated people have labelled."""
    folder = make_version(20, with_3d=20)
    log, tasks, _ = open_source(str(folder), None, "fbi")
    with log:
        for seed, name in enumerate(("anna", "ben")):
            rng = np.random.default_rng(seed)
            label_tasks(log, tasks.truth(), read_annotators()["fbi"], name, rng)
    return folder


def test_a_report_with_its_rates(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "report", str(labelled), "--rates", "rates.toml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["gold"]) == (40, 40)
    assert found["paper"]["error_above_30"] == 0.074
    assert Path("annotation.html").read_text().startswith("<!doctype html>")
    assert tomllib.loads(Path("rates.toml").read_text())["fbi"]["tilt_deg"][-1] == 90


def test_an_export_by_the_command(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["annotate", "export", str(labelled), "--out", "labels", "--answers", "log.jsonl"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "answered Forward and Backward" in said
    assert len(Path("log.jsonl").read_text().splitlines()) == 2 * 20 * 14
    table = Annotations.read(Path("labels/annotations.parquet"))
    assert set(table.column("split")) == {"train"}, "nobody becomes a judge of models"
    assert main(words) == 2, "the folder exists"


def test_an_export_is_committed_with_dvc_and_read_as_a_source(
    labelled: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.sources import Source
    from flows.steps.sync import sync
    from hemlets.core.workspace import Workspace

    assert main(["annotate", "export", str(labelled)]) == 2, "neither a folder nor a name"
    words = ["annotate", "export", str(labelled), "--commit", "answers"]
    assert main(words) == 0
    committed = capsys.readouterr().out.split("committed ")[1].strip()
    assert main(["data", "versions"]) == 0
    assert committed in capsys.readouterr().out
    assert main([*words, "--replace"]) == 0
    assert f"committed {committed}" in capsys.readouterr().out, "the same labels, the same version"

    own = Workspace(home=workspace)
    source = Source(name="labels", place=str(own.home / "ingested" / "answers"),
                    dataset="open_rendered")  # fmt: skip
    (synced,) = sync(own, [source])
    assert synced.rows == 20
    exported, taken = (
        Annotations.read(own.home / "ingested" / name / "annotations.parquet")
        for name in ("answers", "labels")
    )
    for field in ("relations", "relations_valid", "relations_source", "label_ms"):
        assert (exported.column(field) == taken.column(field)).all(), field


def test_an_export_of_answers_without_a_look_is_refused(
    make_version: MakeVersion, label_tasks: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_version(20, with_3d=20)
    log, tasks, _ = open_source(str(folder), None, "fbi")
    one_key = read_annotators()["fbi"].model_copy(update={"skip": (1.0,) * 4})
    with log:
        label_tasks(log, tasks.truth(), one_key, "robot", np.random.default_rng(0))
    words = ["annotate", "export", str(folder), "--out", "labels"]
    assert main(words) == 3
    assert "robot: 100% of the parts are Unknown" in capsys.readouterr().err
    assert not Path("labels").exists()


def test_a_queue_is_chosen_and_labelled_people_are_not_in_it(labelled: Path) -> None:
    from hemlets.data.versions.writer import TABLE

    assert main(["annotate", "next", str(labelled), "--count", "3"]) == 1 + 1, "all are labelled"
    other = labelled.parent / "other"
    other.mkdir()
    Annotations.read(labelled / TABLE).take(np.arange(5)).write(other / TABLE)
    (other / "shards").symlink_to(labelled / "shards")
    assert main(["annotate", "next", str(other), "--count", "3", "--out", "queue.txt"]) == 0
    names = Path("queue.txt").read_text().split()
    assert len(set(names)) == 3
    assert set(names) <= {f"sample/{number}" for number in range(5)}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["annotate", "nowhere"], "no data version"),
        (["annotate", "report", "."], "there are no photos"),
        (["annotate", "export", "nowhere", "--out", "x"], "no data version"),
        (["annotate", "export", ".", "--commit", "../x"], "can't be the name"),
    ],
)
def test_a_wrong_source_is_named(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) in (1, 2)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("beside", [[], ["a.jpg"]], ids=["alone", "beside a JPEG"])
def test_photos_that_cant_be_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], beside: list[str]
) -> None:
    for name in ["b.heic", "c.HEIC", *beside]:
        Image.new("RGB", (64, 64)).save(tmp_path / name, "JPEG")
    if beside:
        assert require_pictures(tmp_path) == ["b.heic", "c.HEIC"]
        return
    assert main(["annotate", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert "2 such as b.heic" in shown
    assert "convert them to JPEG" in shown
