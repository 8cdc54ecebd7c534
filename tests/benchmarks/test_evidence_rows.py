"""The committed runs belong to today's study, and the page says what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.ablation.arms import ARMS, in_order
from flows.ablation.report import markdown
from flows.ablation.results import Results
from flows.ablation.study import Study
from hemlets.core.files import sha256_file
from hemlets.models.backbones.pretrained import backbone_file

ROWS = Path(__file__).parent / "results" / "evidence.csv"
PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "evidence.md"
SEEDS = 3
FILES = {
    "train": "b68430f6238a8062b09bb6e2e33ff2bcad7bcbfcd6329aa195e0ba24e010d8df",
    "validation": "3ca29942a08a3bffaba6c7aea9c31ea4450d3f9ff8a71fd3ee9d2639cc6f7cfb",
    "scored": "f37bd91b3f76e55c3f3326a18fc124f5af2de544ec76aaaaf4bb73085ca4a563",
    "far": "082603350c9fa6cd84cd0ddf2d1f842285472772204f10560be16dcdefca4d23",
}
"""Fingerprints of the study's own rendered people."""


@pytest.fixture
def results() -> Results:
    if not ROWS.exists():
        pytest.skip(f"no run of the study is committed: {ROWS.name} is absent")
    return Results.read(ROWS)


def test_every_committed_run_is_one_of_todays_study(results: Results) -> None:
    study = Study()
    files = FILES | {"encoder": sha256_file(backbone_file("bundled", study.pose.backbone))}
    planned = {study.key(arm, seed, files): (arm.name, seed) for arm, seed in in_order(ARMS, SEEDS)}
    assert {
        row.key: (row.arm, row.seed) for row in results.rows.values()
    }.items() <= planned.items()


def test_the_page_is_written_from_the_committed_runs(results: Results) -> None:
    rows = list(results.rows.values())
    assert PAGE.read_text() == markdown(Study(), rows, seeds=SEEDS, picture="evidence.png")
