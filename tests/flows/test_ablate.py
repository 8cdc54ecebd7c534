"""Ablations: what the arms know, how they are compared, what a page may claim, and resumption."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.ablation.arms import ARMS, COMPARISONS, Arm, Comparison, Rest, in_order
from flows.ablation.comparison import compare, paired_difference
from flows.ablation.evidence import (
    budget_sentence,
    claim,
    knowledge_sentence,
    supervision_sentence,
    use_sentence,
    variants_sentence,
)
from flows.ablation.labels import has_depth, relabelled
from flows.ablation.report import markdown
from flows.ablation.results import COLUMNS, Results, Row
from flows.ablation.runs import Bench
from flows.ablation.scoring import FIGURES, find, sign_right_pct
from flows.ablation.study import Study
from flows.ablation.training import evaluated_batches, head, train_head
from hemlets.core.errors import DataError
from hemlets.core.skeleton import PART_CHILD, PART_PARENT, depth_relations
from hemlets.core.workspace import Workspace
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import FIELDS, Annotations

SMALL: dict[str, Any] = {
    "samples": 16,
    "batch_size": 8,
    "precision": "float32",
    "curve": 2,
    "validation_samples": 4,
    "scored_samples": 8,
    "far_samples": 4,
    "pose": {
        "backbone": "movenet_thunder",
        "crop_px": 64,
        "volume_cells": 16,
        "branch_channels": 16,
        "fusion_channels": 16,
        "lateral": True,
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation") / "data"
    sizes = SplitSizes(train=60, validation=4, gate=0, test=4)
    build_open_data(OpenDataConfig(samples=sizes, image_px=96, supersampling=1), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the features that runs share."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def people(data: Path) -> Annotations:
    return Annotations.read(data / "annotations.parquet").split("train")


def _bench(data: Path, folder: Path, **changes: Any) -> Bench:
    return Bench(study=Study.from_mapping(SMALL | changes), data=data, folder=folder)


def _half(people: Annotations) -> np.ndarray:
    return has_depth(np.ones(len(people), bool), 50)


def test_a_smaller_share_of_people_with_depth_is_part_of_every_larger_one() -> None:
    learnt = np.arange(1500) % 3 > 0
    shares = [has_depth(learnt, share) for share in (1, 3, 10, 30, 100)]
    assert [int(known.sum()) for known in shares] == [10, 30, 100, 300, 1000]
    assert np.array_equal(shares[-1], learnt)
    for smaller, larger in pairwise(shares):
        assert not (smaller & ~larger).any()


@pytest.mark.parametrize("rest", ["2d", "fbi", "ordinal", "fbi+ordinal"])
def test_hidden_people_keep_their_image_joints_and_nothing_of_their_depth(
    people: Annotations, rest: Rest
) -> None:
    known = _half(people)
    found = relabelled(people, known, rest)
    assert found.take(known).table.equals(people.take(known).table)
    hidden = found.take(~known)
    assert hidden.valid2d.all()
    for name in ("valid3d", "smpl_valid", "joints3d_mm", "theta"):
        assert not hidden.column(name).any()
    assert hidden.relations_valid.any() == (rest != "2d")
    assert not hidden.relations[~hidden.relations_valid].any()


def test_ordinal_labels_fill_what_fbi_annotators_skip(people: Annotations) -> None:
    known = _half(people)
    hidden = ~known
    fbi, ordinal, both = (
        relabelled(people, known, rest).take(hidden) for rest in ("fbi", "ordinal", "fbi+ordinal")
    )
    assert not fbi.relations_valid.all()
    assert both.relations_valid.all()
    expected = np.where(fbi.relations_valid, fbi.relations, ordinal.relations)
    assert np.array_equal(both.relations, expected)
    assert (fbi.relations[fbi.relations_valid] != 0).all()


def test_measured_rates_change_the_labels_and_the_key_of_weakly_labelled_arms_only(
    data: Path, folder: Path, people: Annotations, tmp_path: Path
) -> None:
    rates = tmp_path / "rates.toml"
    rates.write_text("[fbi]\ntilt_deg = [0.0, 90.0]\nskip = [1.0]\nerror = [0.0]\n")
    known = _half(people)
    labels = relabelled(people, known, "fbi", annotators=rates).take(~known)
    assert not labels.relations_valid.any()
    plain = _bench(data, folder)
    measured = replace(plain, study=plain.study.model_copy(update={"annotators": rates}))
    for name, same in (("full@30+fbi", False), ("full@30+2d", True)):
        keys = {bench.plan(ARMS[name], 0).key for bench in (plain, measured)}
        assert (len(keys) == 1) == same


def test_the_last_frames_of_every_clip_are_scored_and_not_learnt_from(
    data: Path, folder: Path
) -> None:
    bench = _bench(data, folder, held_out_share=0.4, scored_samples=60)
    people = bench.rows("train")
    held_out = bench.study.held_out(people)
    last: dict[str, int] = {}
    named = [(clip.split("+")[0], int(f)) for clip, f in zip(
        people.column("clip"), people.column("frame"), strict=True)]  # fmt: skip
    for clip, frame in named:
        last[clip] = max(last.get(clip, 0), frame)
    assert held_out.tolist() == [frame >= 0.6 * (last[clip] + 1) for clip, frame in named]
    assert 0 < held_out.sum() < len(people)
    scored = bench.rows("scored")
    assert set(scored.sample_id) == {
        name
        for name, clip, held in zip(people.sample_id, people.column("clip"), held_out, strict=True)
        if held and "+" not in clip
    }


def test_a_quarter_of_a_clip_is_held_out_to_the_frame(people: Annotations) -> None:
    columns = {f.name: people.column(f.name).copy() for f in FIELDS}
    columns["clip"][:] = "walk+run"
    columns["frame"][:] = np.arange(60)
    held_out = Study(held_out_share=0.25).held_out(Annotations.from_columns(columns))
    assert np.array_equal(held_out, np.arange(60) >= 45)


def test_the_studys_losses_are_the_papers_alone() -> None:
    for arm in ARMS.values():
        losses = Study().losses(arm)
        assert (losses.alpha, losses.marginal, losses.posed_joints) == (0.05, 0.0, 0.0)
        assert losses.supervision == arm.supervision


def test_held_out_people_teach_nothing(data: Path, folder: Path) -> None:
    """Labels of theirs may be anything."""
    bench = _bench(data, folder)
    encoded = bench.train
    columns = {f.name: encoded.rows.column(f.name).copy() for f in FIELDS}
    held_out = bench.study.held_out(encoded.rows)
    assert held_out.any()
    columns["joints3d_mm"][held_out] = columns["joints3d_mm"][held_out][::-1] + 500.0
    other = replace(encoded, rows=Annotations.from_columns(columns))
    for arm in ("full", "full@30+fbi"):
        weights = [
            train_head(
                bench.study, ARMS[arm], 0, people, data / "shards", point=lambda done, network: None
            ).state_dict()
            for people in (encoded, other)
        ]
        assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_every_arm_is_in_a_comparison_and_differs_from_every_other() -> None:
    assert {name for comparison in COMPARISONS for name in comparison.arms} == set(ARMS)
    assert len({replace(arm, name="") for arm in ARMS.values()}) == len(ARMS)


def test_runs_go_comparison_by_comparison_and_none_twice() -> None:
    runs = in_order(ARMS, 3)
    assert len(set(runs)) == len(runs) == 3 * len(ARMS)
    first = COMPARISONS[0].arms
    assert [arm.name for arm, _ in runs[:12]] == [*first] * 3
    assert [seed for _, seed in runs[:12]] == [0] * 4 + [1] * 4 + [2] * 4


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


def _row(arm: str, seed: int, mpjpe_mm: float, **figures: float) -> Row:
    return Row(
        key=f"{arm}{seed}",
        arm=arm,
        seed=seed,
        samples=16,
        scored_samples=8,
        mean_pose_mm=360.0,
        far_mean_pose_mm=360.0,
        figures=dict.fromkeys(FIGURES, mpjpe_mm) | figures,
        seconds=1.0,
        curve=((8, 3.0), (16, 2.5)),
    )


def _rows(errors: dict[str, list[float]]) -> list[Row]:
    return [_row(arm, seed, e) for arm, es in errors.items() for seed, e in enumerate(es)]


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


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ([90.0, 81.0, 86.0], "better"),
        ([110.0, 101.0, 106.0], "worse"),
        ([90.0, 110.0, 96.0], "open"),
        ([90.0, 81.0], "untested"),
        ([], "untested"),
    ],
)
def test_a_verdict_needs_three_pairs_and_an_interval_without_zero(
    ours: list[float], verdict: str
) -> None:
    rows = _rows({"full": ours, "2d-heatmaps": [100.0, 91.0, 96.5]})
    assert claim(rows, "full", "2d-heatmaps").verdict == verdict


def test_a_larger_share_is_better_and_a_larger_error_worse() -> None:
    rows = _rows({"full": [60.0, 61.0, 62.5], "2d-heatmaps": [50.0, 51.0, 52.0]})
    assert claim(rows, "full", "2d-heatmaps", "pck3d_150mm_pct").verdict == "better"
    assert claim(rows, "full", "2d-heatmaps", "mpjpe_mm").verdict == "worse"


def test_the_sentence_claims_what_the_intervals_carry_and_no_more() -> None:
    rows = _rows({"full": [90.0, 81.0, 86.0], "2d-heatmaps": [100.0, 91.0, 96.5]})
    sentence = supervision_sentence(rows)
    assert "lowers the error (-10.2 [-10.9, -9.4] mm) with 3D joints of everybody" in sentence
    assert sentence.count("is not decided yet") == 2
    assert supervision_sentence(rows[1:]).count("is not decided yet") == 3


def test_the_sentence_of_variants_speaks_of_losses_and_shares_with_their_own_directions() -> None:
    def rows(arm: str, loss: float, pck: float) -> list[Row]:
        return [
            _row(arm, s, 100.0, validation_loss=loss + 0.01 * s * s, pck3d_150mm_pct=pck + s * s)
            for s in range(3)
        ]

    found = [*rows("full", 2.5, 50), *rows("5s", 2.75, 50), *rows("full@30+2d", 2.5, 50)]
    found += [*rows("full@30+fbi", 2.5, 57), *rows("full@30+ordinal", 2.5, 50)]
    sentence = variants_sentence(found)
    assert "two states in place of three is not decided yet" in sentence
    assert "five states raises the validation loss (+0.250 [+0.250, +0.250] voxels)" in sentence
    assert "FBI's raises the 3DPCK (+7.0 [+7.0, +7.0] points)" in sentence
    assert "Ordinal's labelling shows no difference" in sentence


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (60.0, "the volume learns depth before the HEMlets do"),
        (90.0, "the HEMlets know more of depth"),
        (80.0, "the interval holds 0"),
    ],
)
def test_what_the_hemlets_know_of_depth_is_held_against_the_volume(maps: float, said: str) -> None:
    rows = [
        _row("full", s, 100.0, maps_sign_right_pct=maps + s - 1, sign_right_pct=80.0)
        for s in range(3)
    ]
    sentence = knowledge_sentence(rows)
    assert said in sentence
    assert f"{maps:.1f} % of the parts' signs right and its volume 80.0 %" in sentence
    assert "not decided yet (2 runs)" in knowledge_sentence(rows[:2])


def test_the_volume_uses_the_maps_only_where_changing_them_hurts() -> None:
    def rows(shuffled: float, signs: float) -> list[Row]:
        return [
            _row(
                "full", seed, 100.0 + seed,
                shuffled_mpjpe_mm=shuffled + 1.1 * seed,
                sign_right_pct=80.0, swapped_sign_right_pct=signs + 0.1 * seed,
            )
            for seed in range(3)
        ]  # fmt: skip

    assert "uses the maps" in use_sentence(rows(150.0, 40.0))
    assert "reads depth from them" in use_sentence(rows(150.0, 40.0))
    assert "does not show to read depth" in use_sentence(rows(150.0, 79.9))
    assert "is not shown to use the maps" in use_sentence(rows(99.9, 80.0))
    assert "not decided yet (2 runs)" in use_sentence(rows(150.0, 40.0)[:2])


def test_a_baseline_above_half_of_the_mean_poses_error_is_admitted() -> None:
    sentence = budget_sentence([_row("baseline", 0, 179.0, far_mpjpe_mm=181.0)])
    assert "179.0 mm, 50% of the mean pose's 360.0 mm (below half)" in sentence
    assert sentence.count("(NOT below half)") == 1


def test_the_page_has_a_table_for_each_question_with_runs_and_how_many_there_are() -> None:
    rows = [_row("full", 0, 100.0), _row("2s", 0, 99.0), _row("full@30+2d", 0, 101.0)]
    text = markdown(Study(), rows, seeds=3, picture="x.png")
    assert "## States of a part's depth" in text
    assert "-1.000, one pair" in text
    assert f"3 of {3 * len(ARMS)} planned runs are done" in text
    assert "w/ FBI [38] + Ordinal [30]" in text


def test_signs_count_over_steep_parts_only() -> None:
    joints = np.random.default_rng(0).normal(0, 200, (50, 18, 3))
    relation = depth_relations(joints)[0]
    nearer = joints[:, PART_PARENT, 2] - joints[:, PART_CHILD, 2]
    assert sign_right_pct(nearer, joints) == 100.0
    assert sign_right_pct(np.where(relation == 0, -nearer, nearer), joints) == 100.0
    assert sign_right_pct(-nearer, joints) == 0.0


def test_changed_maps_reach_the_volume_and_leave_the_network_as_it_was(
    data: Path, folder: Path
) -> None:
    import torch

    torch.manual_seed(0)
    bench = _bench(data, folder)
    network = head(bench.study.network(ARMS["full"])).eval()
    torch.nn.init.normal_(network.heatmap_head.weight, std=1.0)
    batches = evaluated_batches(bench.scored)
    plain = find(network, batches)
    for change in ("cut", "shuffled", "swapped"):
        other = find(network, batches, change)  # type: ignore[arg-type]
        assert not torch.allclose(other.voxel_BJ3, plain.voxel_BJ3)
    swapped = find(network, batches, "swapped")
    np.testing.assert_allclose(swapped.polarity_BK, -plain.polarity_BK)
    assert torch.equal(find(network, batches).voxel_BJ3, plain.voxel_BJ3)


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
    flow_home: Path, data: Path, folder: Path, tmp_path: Path
) -> None:
    from flows.ablation.flow import ablate
    from flows.tracking.mlflow_client import connect

    workspace = Workspace(home=flow_home)
    bench = _bench(data, folder)
    results = tmp_path / "rows.csv"

    def call(most: int | None) -> Any:
        arms = ["full@30+fbi", "full"]
        return ablate(bench, arms, 1, workspace=workspace, results=results, most=most)

    first = call(1)
    assert (first.done, first.left) == (1, 1)
    begun = results.read_text()
    second = call(None)
    assert (second.done, second.left) == (1, 0)
    assert results.read_text().startswith(begun)
    third = call(None)
    assert (third.done, third.left) == (0, 0)
    assert [row.arm for row in third.rows] == ["full", "full@30+fbi"]
    for row in third.rows:
        assert all(math.isfinite(row.figures[name]) for name in ("mpjpe_mm", "cut_mpjpe_mm"))
        assert [samples for samples, _ in row.curve] == [8, 16]
    assert all(path.stat().st_size > 500 for path in third.report)

    tracking = connect(workspace)
    runs = tracking.client.search_runs([tracking.experiment_id])
    parents = [run for run in runs if run.info.run_name == "ablation"]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert {run.info.run_name for run in children} == {"full@30+fbi, seed 0", "full, seed 0"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert all("test/mpjpe_mm" in run.data.metrics for run in children)


def test_a_run_gives_the_same_figures_again(data: Path, folder: Path) -> None:
    bench = _bench(data, folder)
    planned = bench.plan(ARMS["full@30+fbi"], 1)
    one, two = bench.run(planned), _bench(data, folder).run(planned)
    assert one.curve == two.curve
    assert one.figures["mpjpe_mm"] == two.figures["mpjpe_mm"]


def test_weak_labels_and_supervision_change_what_is_learnt(data: Path, folder: Path) -> None:
    bench = _bench(data, folder)
    names = ["baseline@30+2d", "full@30+2d", "full@30+fbi", "full", "full, normalised", "5s"]
    curves = {bench.run(bench.plan(ARMS[name], 0)).curve for name in names}
    assert len(curves) == len(names)


def test_a_runs_key_follows_what_it_depends_on(data: Path, folder: Path) -> None:
    def key(arm: Arm = ARMS["full"], seed: int = 0, **changes: Any) -> str:
        return _bench(data, folder, **changes).plan(arm, seed).key

    keys = [key(), *(key(ARMS[name]) for name in ARMS if name != "full"), key(seed=1)]
    keys += [key(samples=24), key(scored_samples=4), key(alpha=0.3), key(crops=2)]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0] == key(threads=2)


def test_a_runs_key_is_of_its_people_not_of_their_folder(data: Path, tmp_path: Path) -> None:
    moved, fewer = tmp_path / "moved", tmp_path / "fewer"
    table = Annotations.read(data / "annotations.parquet")
    table.write(moved / "annotations.parquet")
    table.take(np.arange(len(table)) % 4 != 0).write(fewer / "annotations.parquet")
    keys = [_bench(d, tmp_path).plan(ARMS["full"], 0).key for d in (data, moved, fewer)]
    assert keys[0] == keys[1] != keys[2]


def test_a_split_without_3d_joints_is_named(data: Path, tmp_path: Path) -> None:
    table = Annotations.read(data / "annotations.parquet")
    columns = {f.name: table.column(f.name).copy() for f in FIELDS}
    columns["valid3d"][:] = False
    Annotations.from_columns(columns).write(tmp_path / "annotations.parquet")
    with pytest.raises(DataError, match="no train row has all joints in 3D"):
        _bench(tmp_path, tmp_path).rows("train")
