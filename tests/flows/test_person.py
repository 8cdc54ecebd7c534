"""Both error rates of telling people from empty scenes, as a benchmark reports them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flows.profile import BenchmarkConfig
from flows.steps.presence_metrics import person_metrics, person_sentence, read_person
from flows.steps.scoring import score_model
from flows.tracking.figures import Figures
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.codecs import PERSON_STATISTIC
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.model_folder import PersonThreshold, save_model

BONES = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)

CONFIG = BenchmarkConfig(resamples=100, pictures=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open") / "data"
    sizes = SplitSizes(train=24, validation=4, gate=4, test=8)
    build_open_data(OpenDataConfig(samples=sizes, image_px=64, background_share=0.25), folder)
    return folder


def scored(data: Path, folder: Path, person: PersonThreshold | None) -> Path:
    torch.manual_seed(0)
    pose = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=16)
    shape = ShapeNetworkConfig(hidden=32, blocks=0)
    save_model(
        folder / "model",
        HemletsPosh(pose, shape).state_dict(),
        pose=pose,
        shape=shape,
        bones=BONES,
        person=person,
        training={},
    )
    score_model(
        folder / "scored", CONFIG, data_folder=data, data_version="v", code_version="c",
        model_folder=folder / "model", judges={},
    )  # fmt: skip
    return folder / "scored"


@pytest.mark.parametrize(("threshold", "missed", "false_alarms"), [(0.0, 0, 1), (1.0, 1, 0)])
def test_the_rates_are_those_of_the_test_split_at_the_cards_threshold(
    data: Path, tmp_path: Path, threshold: float, missed: float, false_alarms: float
) -> None:
    known = PersonThreshold.measured(threshold, [0.9], [0.1], statistic=PERSON_STATISTIC)
    folder = scored(data, tmp_path, known)
    metrics = person_metrics(read_person(folder))
    assert metrics == {
        "person/missed": missed, "person/false_alarms": false_alarms,
        "person/people": 8, "person/backgrounds": 2, "person/threshold": threshold,
    }  # fmt: skip


def test_the_page_says_what_the_rates_mean_and_people_are_scored_alone(
    data: Path, tmp_path: Path
) -> None:
    known = PersonThreshold.measured(0.0, [0.9], [0.1], statistic=PERSON_STATISTIC)
    folder = scored(data, tmp_path, known)
    found = read_person(folder)
    assert found is not None
    assert "of 2 images without a person, it sees one in 100.0 %" in person_sentence(found)
    assert person_sentence(found) in (folder / "open" / "report.html").read_text()
    test = Figures.read(folder).by_split["test"]["model"]
    assert test["mpjpe_mm"]["samples"] == 8
    assert np.isfinite(test["mpjpe_mm"]["mean"])


def test_a_model_without_a_threshold_reports_nothing(data: Path, tmp_path: Path) -> None:
    assert person_metrics(read_person(scored(data, tmp_path, None))) == {}
