"""The examples run as their first lines say."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from hemlets.body import BodyModel
from hemlets.core.skeleton import JOINTS
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, RenderedPerson, render_person
from hemlets.data.table import Annotations
from hemlets.evaluation.scoring.results import read_summary

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., ModuleType]]:
    """Loads an example as a module, with an empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEMLETS_HOME", str(tmp_path / "workspace"))
    loaded: list[str] = []

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        loaded.append(spec.name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        del sys.modules[name]


@pytest.fixture(scope="module")
def person() -> RenderedPerson:
    config = OpenDataConfig(image_px=256, occluder_probability=0.0)
    return render_person(config, MotionLibrary.bundled(), BodyModel.load(), "test", 0)


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'example("{path.stem}")' in tested


def test_a_photo_gives_json_a_picture_and_a_page(example, person, tmp_path, capsys) -> None:
    (tmp_path / "photo.jpg").write_bytes(person.jpeg)
    example("predict_photo").main("photo.jpg")
    assert "people in photo.jpg" in capsys.readouterr().out
    (found,) = (tmp_path / "predictions").glob("*.json")
    json.loads(found.read_text())
    assert {path.suffix for path in (tmp_path / "predictions").iterdir()} >= {".json", ".html"}


def test_a_predictions_file_is_scored_by_a_protocol(example, tmp_path, capsys) -> None:
    example("score_predictions").main(".")
    summary = read_summary(tmp_path / "benchmark")
    assert len(summary.logged) > 5
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("mpjpe_mm/open/18j/root:pelvis/align:none/") for line in lines)


def test_rendered_people_are_drawn_side_by_side(example, tmp_path) -> None:
    example("render_people").main("people.png", "3")
    sheet = cv2.imread(str(tmp_path / "people.png"))
    assert sheet.std() > 10
    assert sheet.shape[1] > 2 * 300


def test_a_network_is_trained_for_some_steps_and_loads(example, tmp_path, capsys) -> None:
    example("train_pose").main(".", "3")
    printed = capsys.readouterr().out
    assert len(printed.splitlines()[0].split(": ")[1].split()) == 3
    assert (tmp_path / "run/model/model.safetensors").exists()


def test_a_table_of_ones_own_becomes_a_data_version_and_damage_is_named(
    example, person, tmp_path, capsys
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(person.jpeg)
    joints = np.asarray(person.row["joints2d_px"])
    names = [f"{joint}_{axis}" for joint in JOINTS for axis in "xy"]
    values = [f"{value:.2f}" for value in joints.ravel()]
    with (tmp_path / "photos" / "people.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "split", *names])
        table.writerow(["a.jpg", "train", *values])
        table.writerow(["a.jpg", "train", "", "", *values[2:]])
        table.writerow(["a.jpg", "train", *[""] * len(values)])
        table.writerow(["a.jpg", "train", "left", *values[1:]])
    example("own_dataset").main("photos", "data")
    annotations = Annotations.read(tmp_path / "data" / "annotations.parquet")
    by_name = annotations.take(np.argsort(annotations.sample_id))
    assert by_name.valid2d.sum(1).tolist() == [18, 17]
    printed = capsys.readouterr().out
    assert "no joint is known" in printed
    assert "could not convert string to float: 'left'" in printed
