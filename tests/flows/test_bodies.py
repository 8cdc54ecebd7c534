"""The study of bodies beside a benchmark: what is noted, logged and told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.profile import BenchmarkConfig, load_profile
from flows.steps.benchmark import Benchmark
from flows.steps.body_metrics import Bodies, body_metrics, body_page, body_table, read_bodies
from flows.steps.ingest import Data
from flows.steps.package import Package
from flows.steps.report import write_report
from flows.steps.scoring import score_model
from flows.storage.stage_cache import StageResult
from flows.tracking.figures import Figures
from flows.tracking.run import _METRIC_NAME
from hemlets.core.code_hash import _closure, imported_modules
from hemlets.core.workspace import Workspace
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.evaluation.bodies import BodyRow
from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.model_folder import save_model

BONES = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)

TEST, STUDIED = 8, 5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data version of a few people and an untrained model."""
    folder = tmp_path_factory.mktemp("bodies")
    sizes = SplitSizes(train=24, validation=4, gate=4, test=TEST)
    build_open_data(OpenDataConfig(samples=sizes, image_px=64), folder / "data")
    torch.manual_seed(0)
    pose = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=16)
    shape = ShapeNetworkConfig(hidden=32, blocks=0)
    save_model(
        folder / "model", HemletsPosh(pose, shape).state_dict(), pose=pose, shape=shape,
        bones=BONES, training={},
    )  # fmt: skip
    return folder


def scored(made: Path, folder: Path, bodies: int, told: list[tuple[int, int]]) -> Path:
    score_model(
        folder, BenchmarkConfig(resamples=100, pictures=4, bodies=bodies),
        data_folder=made / "data", data_version="v", code_version="c",
        model_folder=made / "model", judges={},
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def progress() -> list[tuple[int, int]]:
    return []


@pytest.fixture(scope="module")
def benchmark(made: Path, progress: list[tuple[int, int]]) -> Path:
    return scored(made, made / "scored", STUDIED, progress)


@pytest.fixture
def bodies(benchmark: Path) -> Bodies:
    found = read_bodies(benchmark)
    assert found is not None
    return found


def figure(found: Bodies, row: BodyRow, key: str) -> float:
    (value,) = (f.mean for f in found.figures if f.row == row and f.key == key)
    assert value is not None
    return value


def test_no_more_samples_are_studied_than_the_profile_allows(bodies: Bodies) -> None:
    assert (bodies.samples, bodies.available) == (STUDIED, TEST)
    assert {f.samples for f in bodies.figures} == {STUDIED}


def test_progress_ends_when_all_is_done(progress: list[tuple[int, int]], benchmark: Path) -> None:
    done, total = zip(*progress, strict=True)
    assert set(total) == {TEST + 4 + STUDIED}
    assert done[-1] == total[-1]
    assert list(done) == sorted(done)


def test_every_row_is_noted_with_its_protocol_and_interval(bodies: Bodies) -> None:
    assert {f.row for f in bodies.figures} == set(BodyRow)
    assert all("/test/" in f.name and f.name.endswith("/flip:no") for f in bodies.figures)
    known = [(f.low, f.mean, f.high) for f in bodies.figures]
    assert all(low and mean and high and low <= mean <= high for low, mean, high in known)


def test_studying_all_samples_finds_what_the_benchmark_finds(made: Path, tmp_path: Path) -> None:
    folder = scored(made, tmp_path, 1000, [])
    found = read_bodies(folder)
    assert found is not None
    assert found.samples == TEST
    figures = Figures.read(folder)
    for key in ("per_vertex_mm", "mesh_joints_mm", "theta_deg"):
        assert figure(found, BodyRow.PREDICTED, key) == pytest.approx(
            figures.mean("test", "model", key), rel=1e-4
        )
        assert figure(found, BodyRow.MEAN_PERSON, key) == pytest.approx(
            figures.mean("test", "mean-pose", key), rel=1e-4
        )
    assert figure(found, BodyRow.SKELETON, "mpjpe_mm") == pytest.approx(
        figures.mean("test", "model", "mpjpe_mm"), rel=1e-4
    )
    assert "every test sample with a known body" in body_page(found)["samples"]


def test_a_tracker_takes_every_defined_mean_under_its_row(bodies: Bodies) -> None:
    metrics = body_metrics(bodies)
    assert metrics["bodies/samples"] == STUDIED
    assert all(_METRIC_NAME.fullmatch(name) for name in metrics)
    refined = [name for name in metrics if name.startswith("bodies/refined.per_vertex_mm")]
    assert [metrics[name] for name in refined] == [figure(bodies, BodyRow.REFINED, "per_vertex_mm")]
    assert any(name.startswith("bodies/refined over predicted.") for name in metrics)
    assert len(body_table(bodies)) == len(bodies.figures)


def test_other_code_or_other_motions_make_another_benchmark() -> None:
    scoring = _closure(["flows.steps.scoring"])
    needed = imported_modules("hemlets.evaluation.bodies", "flows.steps.body_metrics")
    assert needed.keys() <= scoring.keys()
    assets = {path.name for source in scoring.values() for path in source.assets}
    assert "motions.npz" in assets


def test_the_gate_sees_nothing_of_it(benchmark: Path, bodies: Bodies) -> None:
    floors = Figures.read(benchmark).for_floors()
    assert not {"reprojection_from_truth_px", "reprojection_from_network_px"} & set(floors)


def changed(found: Bodies, row: BodyRow, other: BodyRow, **ratios: float) -> Bodies:
    """The study as if these were the only changes known, each sure to 5 %."""
    changes = [
        {"row": row, "other": other, "key": key, "ratio": r, "low": r - 0.05, "high": r + 0.05}
        for key, r in ratios.items()
    ]
    return Bodies.from_mapping(found.model_dump(mode="json") | {"changes": changes})


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(-0.4, "beats"), (-0.04, "does not surely beat"), (0.4, "is beaten by")]
)
def test_what_is_beaten_is_what_the_whole_interval_says(
    bodies: Bodies, ratio: float, verdict: str
) -> None:
    found = changed(
        bodies, BodyRow.PREDICTED, BodyRow.LAID, per_vertex_mm=ratio, mesh_joints_mm=ratio
    )
    said = body_page(found)["sentences"][-1]
    assert f"“predicted” {verdict} “mean shape on the predicted skeleton”" in said


def test_the_words_say_which_error_in_the_image_is_which(bodies: Bodies) -> None:
    network, truth, *_ = body_page(
        changed(
            bodies, BodyRow.REFINED, BodyRow.PREDICTED, per_vertex_mm=-0.17, mesh_joints_mm=-0.15,
            reprojection_from_network_px=-0.74, reprojection_from_truth_px=-0.25,
        )
    )["sentences"]  # fmt: skip
    assert "-74.0 %" in network
    assert "network's own joints in the image, which are what it fits to" in network
    assert "a cut by one third, is reached" in network
    assert "Against the truth" in truth
    assert "-25.0 %" in truth
    assert "a cut by one third, is missed" in truth


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(0.2, "becomes worse by refinement, +20.0 %"), (-0.2, "becomes better by refinement, -20.0 %"),
     (0.01, "is not surely better or worse with refinement, +1.0 %")],
)  # fmt: skip
def test_what_refinement_does_to_rotations_is_said_from_the_numbers(
    bodies: Bodies, ratio: float, verdict: str
) -> None:
    found = changed(
        bodies, BodyRow.REFINED, BodyRow.PREDICTED, per_vertex_mm=-0.1, mesh_joints_mm=-0.1,
        reprojection_from_network_px=-0.7, reprojection_from_truth_px=-0.2, theta_deg=ratio,
    )  # fmt: skip
    (said,) = [told for told in body_page(found)["sentences"] if "error of the rotations" in told]
    assert verdict in said


def test_one_sequence_says_nothing_about_refinement(bodies: Bodies) -> None:
    found = bodies.model_copy(update={"changes": ()})
    assert body_page(found)["sentences"] == ["Too few sequences to say what refinement changes."]


def facts() -> dict[str, Any]:
    return {
        "decision": "rejected", "version": "3", "reasons": ["it is untrained"], "failures": [],
        "comparison": None, "champion_benchmark": None,
        "gate": {"samples": 4, "hash": "0" * 64, "champion_hash": None, "needed": 4, "usual": 4},
    }  # fmt: skip


def page_of(benchmark: Path, made: Path, workspace: Workspace, project: Path) -> str:
    result = StageResult(stage="benchmark", key="k", folder=benchmark, content="c", cached=False)
    stage = workspace.home / "stage"
    stage.mkdir(parents=True)
    row = {"samples": 8, "loss/total": 1.0, "validation/mpjpe_mm": 100.0}
    (stage / "history.jsonl").write_text(json.dumps(row) + "\n")
    path = write_report(
        workspace, load_profile(str(project / "tests" / "flows" / "tiny.toml")), key="0123456789",
        data=Data(result=replace(result, folder=made / "data"), version="v"),
        validation={"rows": 40, "expectations": 1, "passed": True, "warnings": [],
                    "compared_with": "nothing"},
        stages_done={"train-posh": stage}, scored=Benchmark(result=result),
        packaged=Package(result=result, archive=stage, passed=True, summary="it answered"),
        facts=facts(), timings={"benchmark": 1.0}, code_version="c",
    )  # fmt: skip
    return path.read_text()


def test_the_report_has_a_row_for_each_body_and_says_what_it_tells(
    benchmark: Path, made: Path, bodies: Bodies, workspace: Workspace, project: Path
) -> None:
    page = page_of(benchmark, made, workspace, project)
    table = page[page.index("Bodies: pose, shape and refinement") :]
    for row in BodyRow:
        assert f"<td>{row.value}</td>" in table
    assert f"{STUDIED} samples of" in table
    assert "spread evenly over the 8 test samples with a known body" in table
    assert f"{figure(bodies, BodyRow.REFINED, 'per_vertex_mm'):.1f}" in table
    assert "the true β put in" in table
    assert "None" not in table[: table.index("</table>")]


def test_a_profile_can_leave_the_study_out(
    made: Path, tmp_path: Path, workspace: Workspace, project: Path
) -> None:
    folder = scored(made, tmp_path / "scored", 0, [])
    assert read_bodies(folder) is None
    assert body_metrics(None) == {}
    assert "Bodies: pose, shape" not in page_of(folder, made, workspace, project)
