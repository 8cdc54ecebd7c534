"""The page of a retraining: every word that its readers had to ask about."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.profile import BenchmarkConfig, load_profile, profile_names
from flows.steps.benchmark import Benchmark
from flows.steps.ingest import Data
from flows.steps.package import Package
from flows.steps.report import start_words, write_report
from flows.steps.scoring import score_model
from flows.storage.stage_cache import StageResult
from flows.tracking.settings_table import settings_of
from hemlets.core.workspace import Workspace
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.evaluation import read_run
from hemlets.evaluation.metrics.meanings import PREDICTORS, glossary, what_was_given
from hemlets.evaluation.metrics.names import MetricName
from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.model_folder import save_model

BONES = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)

NAME = MetricName(
    key="mpjpe_mm", split="test", over="18j", root="pelvis", align="none", box="ground-truth",
    depth="bone-length-prior", flip="no",
)  # fmt: skip


def result(folder: Path) -> StageResult:
    return StageResult(stage="benchmark", key="k", folder=folder, content="c", cached=False)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data version with empty scenes, and the benchmark of an untrained model on it."""
    folder = tmp_path_factory.mktemp("report")
    sizes = SplitSizes(train=24, validation=4, gate=4, test=8)
    config = OpenDataConfig(samples=sizes, image_px=64, background_share=0.25)
    build_open_data(config, folder / "data")
    torch.manual_seed(0)
    pose = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=16)
    shape = ShapeNetworkConfig(hidden=32, blocks=0)
    save_model(
        folder / "model", HemletsPosh(pose, shape).state_dict(), pose=pose, shape=shape,
        bones=BONES, training={},
    )  # fmt: skip
    score_model(
        folder / "benchmark", BenchmarkConfig(resamples=100, pictures=4, bodies=0),
        data_folder=folder / "data", data_version="v", code_version="c",
        model_folder=folder / "model", judges={},
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def page(scored: Path, project: Path) -> str:
    stage = scored / "stage"
    stage.mkdir()
    history = [
        {"samples": 8 * step, "loss/total": 1.0, "validation/mpjpe_mm": 100.0 - step}
        for step in (1, 2, 3)
    ]
    (stage / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    facts: dict[str, Any] = {
        "decision": "rejected", "version": "3", "reasons": ["it is untrained"], "failures": [],
        "comparison": None, "champion_benchmark": None,
        "gate": {"samples": 4, "hash": "0" * 64, "champion_hash": None, "needed": 4, "usual": 4},
    }  # fmt: skip
    benchmark = result(scored / "benchmark")
    path = write_report(
        Workspace(home=scored / "workspace"),
        load_profile(str(project / "tests" / "flows" / "tiny.toml")),
        key="0123456789",
        data=Data(result=result(scored / "data"), version="v"),
        validation={"rows": 49, "expectations": 68, "passed": True, "warnings": [],
                    "compared_with": "nothing"},
        stages_done={"train-posh": stage}, scored=Benchmark(result=benchmark),
        packaged=Package(result=benchmark, archive=stage, passed=True, summary="agreed"),
        facts=facts, timings={"benchmark": 1.0}, code_version="c",
    )  # fmt: skip
    return path.read_text()


def words(page: str) -> str:
    """The page's text without tags, on one line."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())


def test_every_figure_that_is_named_is_shown(page: str) -> None:
    named = set(re.findall(r"<code>([a-z0-9_]+)/(?:test|gate)/", page))
    shown = set(re.findall(r"<td title=\"([a-z0-9_]+)/test/", page))
    assert {"root_mm", "joints2d_px"} <= shown
    # The rest pose has a column instead of a row.
    assert named - shown == {"theta_rest_deg"}


def test_the_columns_say_what_each_predictor_is_given_and_how_it_scales(page: str) -> None:
    said = words(page).replace("&#39;", "'")
    for text in PREDICTORS.values():
        assert text in said
    assert "mean pose : The same answer to every image" in said


def test_the_scale_is_told_as_the_open_benchmarks_page_tells_it(page: str) -> None:
    said = words(page).replace("&#39;", "'")
    assert what_was_given(NAME)[1:] in said
    for text in glossary(NAME, rendered=True).values():
        assert text in said


def test_the_page_says_what_the_weights_had_seen_before(page: str, project: Path) -> None:
    assert "Training started from random weights." in words(page)
    trained = json.loads((project / "hemlets/assets/starter/model.json").read_text())["training"]
    said = start_words(load_profile("demo"), {"kick", "punch+spin"})
    assert f"{trained['distinct_images']:,} rendered images" in said
    assert said.endswith("of the families of validation, gate and test they had seen none.")
    assert start_words(load_profile("demo"), {"kick", "punch+run"}).endswith("seen run.")


def test_every_setting_is_listed_with_its_meaning(page: str) -> None:
    rows = re.findall(r"<li><code>([\w.…]+)</code>: <strong>.*?</strong>\.(.*?)</li>", page)
    keys = {key for key, _ in rows}
    assert {"data.shape_std", "losses.alpha", "train_pose.steps", "train_posh.…"} <= keys
    assert not [key for key, meaning in rows if not meaning.strip()]


@pytest.mark.parametrize("profile", profile_names())
def test_no_setting_of_a_bundled_profile_is_without_a_meaning(profile: str) -> None:
    assert not [row.key for row in settings_of(load_profile(profile)) if not row.meaning]


def test_what_an_earlier_part_says_alike_is_not_said_again() -> None:
    rates = "train_pose.learning_rate=1e-4", "train_posh.learning_rate=1e-4"
    demo = settings_of(load_profile("demo", (*rates, "train_posh.steps=7")))
    later = [row for row in demo if row.key.startswith("train_posh.")]
    assert [(row.key, row.value) for row in later] == [
        ("train_posh.…", "as train_pose"), ("train_posh.steps", "7"),
    ]  # fmt: skip


def test_each_split_is_listed_with_its_people_and_its_empty_scenes(page: str) -> None:
    table = page[page.index('<table class="words">') :]
    rows = re.findall(
        r'<tr><td>(\w+)</td><td class="word">[\w, ]+</td><td>(\d+)</td>.*?<td>([\d–]+)</td>',
        table,
        re.DOTALL,
    )
    assert rows == [
        ("train", "24", "6"), ("validation", "4", "1"), ("gate", "4", "–"), ("test", "8", "2"),
    ]  # fmt: skip


def test_the_box_of_an_empty_scene_is_explained(page: str) -> None:
    assert "It has a box all the same" in words(page)


def test_expectations_are_explained_where_they_are_counted(page: str) -> None:
    assert "held against 68 expectations: rules that a machine checks" in words(page)
    assert "with 0 warnings" in words(page)


def test_a_stretch_of_a_clip_is_called_a_sequence_throughout(page: str) -> None:
    assert "stretch" not in words(page)
    assert re.search(r"8 samples of \d+ sequence", words(page))


def test_the_samples_of_each_picture_are_named_below_it_in_its_order(
    page: str, scored: Path
) -> None:
    found = read_run(scored / "benchmark" / "test" / "model").samples
    errors = dict(zip(found.sample_id, found.by_key["mpjpe_mm"], strict=True))
    worst = (
        words(page).split("The worst held-out samples")[1].split("Row by row from the left: ")[1]
    )
    names = re.findall(r"(open-test-\d+) \((\d+) mm\)", worst.split(". ")[0])
    ordered = sorted(errors, key=lambda name: -errors[name])[:4]
    assert names == [(name, f"{errors[name]:.0f}") for name in ordered]


def test_headings_of_tables_are_repeated_on_each_sheet_of_paper(page: str) -> None:
    assert page.count("<thead>") == page.count("<table")
