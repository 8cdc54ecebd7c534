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
    "train": "5d213fe6efd00de163289de49a9f4d0765cecf5bd9a9955443e8316855d7343a",
    "validation": "be6825048a644d81b99e2635ff107f78fb0604f88618c0a702c5909265769e44",
    "scored": "c483078acb76ebee49e141e5bcbf69c78d1682b5c423723c77170d6f259451aa",
    "far": "da3c658bfc8797773578c2afff3ee670b2a1420b0467b814c8f7abf27f71f368",
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
