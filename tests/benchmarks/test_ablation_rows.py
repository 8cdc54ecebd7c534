"""The committed rows of the ablations belong to today's study, so that nobody repeats them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from flows.ablation import study as module
from flows.ablation.arms import ARMS
from flows.ablation.study import Study
from hemlets.core.files import sha256_file

ROWS = Path(__file__).parent / "results" / "ablations.csv"

# What the runs were done on: the study's own rendered people. Another default of the study, or a
# new setting of a training job, makes other keys: a default that changes nothing takes the rows'
# keys along, one that does leaves rows to be done again.
TABLES = {
    "half-3d": "bb880e3d375b032b0b82069a40e92c1652aa8461179670829241fd2ae81e7d3f",
    "half-2d": "984aa52ee617e9a858eca3019ea7964d6e8fa12d06e4cc3fb892615d6d06f396",
    "half-relations": "144c47247d23bca1d76fa76785e4871d785e8ae91c6e86f03758ea78c3f4f215",
    "half-ordinal": "c52087424b56ea442ff99f1ad4dd20bb22207ae3fb29cec0cbf44e3ae7ec893f",
    "all-3d": "89c72027470ce779117681c9328c763f43967d6c260973e0cf131a37c9e88610",
}
TEST_ROWS = "29f4b3beec4efd1df577b72b6a3826d417a0f3fa19fb8a195c3791acaaa5e27b"


def _hash(path: Path) -> str:
    return TABLES[path.parent.name] if path.name == "annotations.parquet" else sha256_file(path)


def test_every_run_of_the_study_with_three_seeds_has_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "sha256_file", _hash)
    study = Study()
    expected = {}
    for arm in ARMS.values():
        for seed in range(3):
            job = study.job(arm, seed, data=Path(arm.labels), out=Path(), initial_pose=None)
            expected[study.key(job, TEST_ROWS)] = (arm.name, str(seed))
    with ROWS.open() as stream:
        rows = {row["key"]: (row["arm"], row["seed"]) for row in csv.DictReader(stream)}
    assert {key: rows.get(key) for key in expected} == expected
