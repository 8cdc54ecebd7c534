"""Ablations: what the arms know, how they are compared, and runs that are gone on from."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.ablation.arms import ARMS, COMPARISONS, Comparison
from flows.ablation.comparison import compare, paired_difference
from flows.ablation.labels import FBI_ERROR, ORDINAL_ERROR, Labels, relabelled, write_labels
from flows.ablation.report import markdown
from flows.ablation.results import COLUMNS, Results, Row
from flows.ablation.scoring import FIGURES
from flows.ablation.study import Study
from flows.steps.split_fingerprint import SplitFingerprint
from hemlets.core.errors import DataError
from hemlets.core.skeleton import PART_CHILD, PART_PARENT
from hemlets.core.workspace import Workspace
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import FIELDS, Annotations

SMALL: dict[str, Any] = {
    "samples": 16,
    "batch_size": 8,
    "precision": "float32",
    "curve": 2,
    "validation_samples": 4,
    "test_samples": 8,
    "shrink": 1,
    "start": "random",
    "pose": {"crop_px": 64, "volume_cells": 16, "branch_channels": 16, "fusion_channels": 32},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation") / "data"
    sizes = SplitSizes(train=40, validation=4, gate=0, test=8)
    build_open_data(OpenDataConfig(samples=sizes, image_px=96, supersampling=1), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def table(data: Path) -> Annotations:
    return Annotations.read(data / "annotations.parquet")


def _second(table: Annotations) -> Any:
    """Rows that lose their depth."""
    kept = set(relabelled(table, "half-3d").sample_id)
    return np.array([name not in kept for name in table.sample_id])


def test_half_of_the_training_rows_stay_whole_and_the_other_splits_untouched(
    table: Annotations,
) -> None:
    second = _second(table)
    assert second.sum() == 20
    assert not second[table.column("split") != "train"].any()
    for labels in ("half-2d", "half-relations", "half-ordinal"):
        found = relabelled(table, labels)
        assert found.take(~second).table.equals(table.take(~second).table)


@pytest.mark.parametrize("labels", ["half-2d", "half-relations", "half-ordinal"])
def test_the_other_half_keeps_its_image_joints_and_nothing_of_its_depth(
    table: Annotations, labels: Labels
) -> None:
    found = relabelled(table, labels).take(_second(table))
    assert found.valid2d.all()
    assert not found.valid3d.any()
    assert not found.smpl_valid.any()
    assert not found.joints3d_mm.any()
    assert not found.theta.any()
    assert found.relations_valid.any() == (labels != "half-2d")


def _many() -> Annotations:
    """A table of many rows, for shares: only what relabelling looks at varies."""
    from hemlets.core.skeleton import depth_relations
    from hemlets.data.table import FIELDS

    rows = 4000
    joints = np.random.default_rng(0).normal(0, 200, (rows, 18, 3))
    plain = {"string": [""] * rows, "binary": [b""] * rows}
    values: dict[str, Any] = {
        f.name: np.zeros((rows, *f.shape), f.dtype.to_pandas_dtype())
        if f.shape
        else plain.get(str(f.dtype), np.zeros(rows))
        for f in FIELDS
    }
    values |= {name: np.ones(rows, bool) for name in ("smpl_valid", "transl_valid")}
    values["camera_valid"] = np.ones(rows, bool)
    relations, known = depth_relations(joints)
    values |= {"split": ["train"] * rows, "joints3d_mm": joints, "relations": relations}
    values |= {"relations_valid": known, "sample_id": [str(i) for i in range(rows)]}
    return Annotations.from_columns(values)


def test_the_share_of_wrong_relations_is_the_papers() -> None:
    table = _many()
    second = _second(table)
    found = relabelled(table, "half-relations")
    wrong = found.relations[second] != table.relations[second]
    assert wrong.mean() == pytest.approx(FBI_ERROR, abs=0.005)
    assert set(np.unique(found.relations)) == {-1, 0, 1}


def test_ordinal_relations_know_no_thirty_degrees() -> None:
    table = _many()
    second = _second(table)
    found = relabelled(table, "half-ordinal").relations[second]
    depth = (
        table.joints3d_mm[second][:, PART_PARENT, 2] - (table.joints3d_mm[second][:, PART_CHILD, 2])
    )
    clear = np.abs(depth) > 20.0
    wrong = found[clear] != np.sign(depth[clear])
    assert wrong.mean() == pytest.approx(ORDINAL_ERROR, abs=0.005)
    assert (found == 0).mean() < 0.2 < (table.relations == 0).mean()


def _other_than(data: Path, folder: Path) -> Path:
    """A data version of the same images with other rows."""
    table = Annotations.read(data / "annotations.parquet")
    fewer = table.take(np.arange(len(table)) % 4 != 0)
    fewer.write(folder / "annotations.parquet")
    (folder / "shards").symlink_to(data / "shards")
    return folder


def test_the_labels_of_a_data_version_are_never_taken_for_anothers(
    data: Path, table: Annotations, tmp_path: Path
) -> None:
    other = _other_than(data, tmp_path / "other")
    labels = tmp_path / "labels"
    one, two, again = (write_labels(d, labels, "half-2d") for d in (data, other, data))
    assert one == again
    written = Annotations.read(one / "annotations.parquet")
    assert list(written.sample_id) == list(table.sample_id)
    fewer = Annotations.read(other / "annotations.parquet")
    found = Annotations.read(two / "annotations.parquet")
    assert list(found.sample_id) == list(fewer.sample_id)


def test_a_data_version_that_was_moved_keeps_its_labels_and_its_images_are_found(
    data: Path, tmp_path: Path
) -> None:
    labels, moved = tmp_path / "labels", tmp_path / "moved"
    first = write_labels(data, labels, "half-3d")
    before = (first / "annotations.parquet").read_bytes()
    moved.mkdir()
    (moved / "annotations.parquet").write_bytes((data / "annotations.parquet").read_bytes())
    (moved / "shards").mkdir()
    assert write_labels(moved, labels, "half-3d") == first
    assert (first / "annotations.parquet").read_bytes() == before
    assert (first / "shards").resolve() == moved / "shards"


def test_every_arm_is_in_a_comparison_and_has_labels_of_its_own() -> None:
    assert {name for comparison in COMPARISONS for name in comparison.arms} == set(ARMS)
    assert len({(a.labels, a.supervision, a.states) for a in ARMS.values()}) == len(ARMS)


def test_what_a_seed_does_to_both_arms_falls_out_of_their_difference() -> None:
    seeds = {0: 10.0, 1: 90.0, 2: 500.0}
    found = paired_difference({s: v - 3.0 for s, v in seeds.items()}, seeds)
    assert found.mean == pytest.approx(-3.0)
    assert found.high - found.low == pytest.approx(0.0, abs=1e-9)
    assert found.pairs == 3


def test_the_interval_is_students() -> None:
    found = paired_difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.0, 1: 0.0, 2: 0.0})
    # t(0.975, 2 degrees of freedom) = 4.3027; the standard error is 1/√3.
    assert found.high - found.mean == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)


def test_seeds_that_one_arm_lacks_are_left_out_and_one_pair_has_no_interval() -> None:
    found = paired_difference({0: 1.0, 1: 5.0}, {1: 4.0, 2: 9.0})
    assert (found.mean, found.pairs) == (1.0, 1)
    assert math.isnan(found.low)


def _row(arm: str, seed: int, mpjpe_mm: float) -> Row:
    settings = dict.fromkeys(
        ("supervision", "labels", "states", "samples", "start", "crop_px", "precision"), "x"
    )
    return Row(
        key=f"{arm}{seed}",
        arm=arm,
        seed=seed,
        settings=settings | {"test_samples": "8"},
        figures=dict.fromkeys(FIGURES, mpjpe_mm),
        seconds=1.0,
        curve=((8, 300.0), (16, 200.5)),
    )


def test_rows_survive_their_file(tmp_path: Path) -> None:
    results = Results.read(tmp_path / "rows.csv")
    for seed in range(2):
        results.add(_row("full", seed, 100.0 + seed))
    assert Results.read(tmp_path / "rows.csv").rows == results.rows
    assert next(csv.reader((tmp_path / "rows.csv").open())) == list(COLUMNS)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    results = Results.read(path)
    results.add(_row("full", 0, 1.0))
    path.write_text(path.read_text() + "cut,off\n")
    with pytest.raises(DataError, match=r"rows\.csv:3"):
        Results.read(path)


def test_lines_are_held_against_the_tables_first_arm() -> None:
    comparison = Comparison(name="c", title="t", paper="Figure 9", arms=("a", "b", "absent"))
    rows = [_row("a", 0, 10.0), _row("a", 1, 20.0), _row("b", 0, 9.0), _row("b", 1, 17.0)]
    first, second = compare(comparison, rows, ["mpjpe_mm"])
    assert (first.arm, second.arm) == ("a", "b")
    assert first.differences["mpjpe_mm"].mean == 0.0
    assert second.differences["mpjpe_mm"].mean == -2.0


def test_the_page_has_a_table_for_each_question_with_runs_and_the_papers_place() -> None:
    text = markdown(Study(), [_row("full", 0, 100.0), _row("2s", 0, 99.0)])
    assert "## States of a part's depth" in text
    assert "-1.0, one pair" in text
    assert "Figure 9" in text
    assert "15,000 training samples" in text


@pytest.fixture(scope="module")
def flow_home(tmp_path_factory: pytest.TempPathFactory, prefect_url: str) -> Iterator[Path]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    home = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_API_URL: prefect_url}):
        patch.setenv("PREFECT_API_URL", prefect_url)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("HEMLETS_HOME", str(home))
        yield home


@pytest.mark.services
def test_a_stopped_ablation_goes_on_and_does_nothing_twice(
    flow_home: Path, data: Path, tmp_path: Path
) -> None:
    from flows.ablation.flow import ablate
    from flows.ablation.runs import Bench
    from flows.tracking.mlflow_client import connect
    from hemlets.assets import asset_path

    workspace = Workspace(home=flow_home)
    bench = Bench(
        study=Study.from_mapping(SMALL),
        data=data,
        folder=tmp_path / "runs",
        starter=asset_path("starter/model.safetensors"),
    )
    arms = [ARMS["full+2d"], ARMS["full+3d"]]
    results = tmp_path / "rows.csv"

    def call(most: int | None) -> Any:
        return ablate(bench, arms, [0], workspace=workspace, results=results, most=most)

    first = call(1)
    assert (first.done, first.left) == (1, 1)
    begun = results.read_text()
    second = call(None)
    assert (second.done, second.left) == (1, 0)
    assert results.read_text().startswith(begun)
    third = call(None)
    assert (third.done, third.left) == (0, 0)
    assert [row.arm for row in third.rows] == ["full+2d", "full+3d"]
    assert len({row.key for row in third.rows}) == 2
    for row in third.rows:
        assert all(math.isfinite(row.figures[name]) for name in ("mpjpe_mm", "depth_mm"))
        assert [samples for samples, _ in row.curve] == [8, 16]
    assert all(path.stat().st_size > 500 for path in third.report)

    tracking = connect(workspace)
    runs = tracking.client.search_runs([tracking.experiment_id])
    parents = [run for run in runs if run.info.run_name == "ablation"]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert {run.info.run_name for run in children} == {"full+2d, seed 0", "full+3d, seed 0"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert all("test/mpjpe_mm" in run.data.metrics for run in children)


def test_a_runs_key_follows_what_it_depends_on(data: Path, tmp_path: Path) -> None:
    from flows.ablation.runs import Bench
    from hemlets.assets import asset_path

    def key(arm: str = "full", seed: int = 0, **changes: Any) -> str:
        bench = Bench(
            study=Study.from_mapping(SMALL | changes),
            data=data,
            folder=tmp_path,
            starter=asset_path("starter/model.safetensors"),
        )
        return bench.plan(ARMS[arm], seed).key

    keys = [key(), key("2s"), key("full+2d"), key(seed=1), key(samples=24), key(test_samples=4)]
    lite = {"backbone": "efficientnet_lite0", "crop_px": 64, "volume_cells": 16}
    keys += [key(pose=lite), key(pose=lite, start="imagenet")]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


def test_a_runs_key_is_of_its_rows_and_labels_not_of_the_folder_that_they_lie_in(
    data: Path, table: Annotations, tmp_path: Path
) -> None:
    from flows.ablation.runs import Bench
    from hemlets.assets import asset_path

    study, arm = Study.from_mapping(SMALL), ARMS["full+2d"]
    bench = Bench(
        study=study, data=data, folder=tmp_path / "a",
        starter=asset_path("starter/model.safetensors"),
    )  # fmt: skip
    planned = bench.plan(arm, 0)
    # The labels as they are made, in a folder of any name.
    plain = tmp_path / "plain"
    columns = {f.name: table.column(f.name) for f in FIELDS} | {"mask": [b""] * len(table)}
    relabelled(Annotations.from_columns(columns), arm.labels).write(plain / "annotations.parquet")
    job = study.job(arm, 0, data=plain, out=Path(), initial_pose=None)
    assert study.key(job, SplitFingerprint.of(bench.test_rows).hash) == planned.key
    other = replace(bench, data=_other_than(data, tmp_path / "other"))
    assert other.plan(arm, 0).key != planned.key
