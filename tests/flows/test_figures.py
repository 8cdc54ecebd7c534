"""A benchmark's stored figures give what floors and the tracker need."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flows.tracking.figures import LIFTER_RATIO, MEAN_POSE_RATIO, Figures
from hemlets.core.files import write_json
from hemlets.evaluation.metrics.names import MetricName

NAME = MetricName(
    key="mpjpe_mm", split="gate", over="18j", root="pelvis", align="none", box="ground-truth",
    depth="bone-length-prior", flip="no",
)  # fmt: skip


def entry(mean: float | None, samples: int = 10) -> dict[str, Any]:
    return {"name": NAME.full, "mean": mean, "low": None, "high": None, "samples": samples}


def stored(tmp_path, **model: dict[str, Any]) -> Figures:
    baselines = {
        "mean-pose": {"mpjpe_mm": entry(200.0), "theta_deg": entry(40.0)},
        "linear-lifter": {"mpjpe_mm": entry(100.0)},
    }
    write_json(tmp_path / "figures.json", {"gate": {"model": model, **baselines}})
    return Figures.read(tmp_path)


def test_floors_see_the_means_and_the_ratios_to_both_baselines(tmp_path) -> None:
    figures = stored(tmp_path, mpjpe_mm=entry(50.0), theta_deg=entry(None, 0))
    assert figures.for_floors() == {
        "mpjpe_mm": 50.0,
        "theta_deg": None,
        MEAN_POSE_RATIO: 0.25,
        LIFTER_RATIO: 0.5,
    }


def test_without_an_error_of_its_own_a_model_has_no_ratios(tmp_path) -> None:
    floors = stored(tmp_path, mpjpe_mm=entry(None, 0)).for_floors()
    assert floors[MEAN_POSE_RATIO] is None
    assert floors[LIFTER_RATIO] is None


def test_what_is_undefined_is_not_logged(tmp_path) -> None:
    figures = stored(tmp_path, mpjpe_mm=entry(50.0), theta_deg=entry(None, 0))
    assert figures.logged("gate") == {"gate/mpjpe_mm": 50.0}


def test_a_tracker_gets_short_names_and_a_baseline_a_section_of_its_own(tmp_path) -> None:
    figures = stored(tmp_path, mpjpe_mm=entry(50.0))
    assert figures.logged("gate", "linear-lifter") == {"gate-linear-lifter/mpjpe_mm": 100.0}
    assert figures.short("gate", LIFTER_RATIO) == f"gate/{LIFTER_RATIO}"
    assert figures.protocol == "box:ground-truth depth:bone-length-prior flip:no"


@pytest.mark.parametrize(
    ("change", "short"),
    [
        ({}, "gate/mpjpe_mm"),
        ({"flip": "yes"}, "gate/mpjpe_mm.flip"),
        ({"box": "detected"}, "gate/mpjpe_mm.box-detected"),
        ({"over": "14j", "depth": "truth"}, "gate/mpjpe_mm.14j.depth-truth"),
        ({"key": "pck3d_150mm_pct", "over": "17j-no-pelvis"}, "gate/pck3d_150mm_pct"),
        ({"key": "pck3d_150mm_pct"}, "gate/pck3d_150mm_pct.18j"),
        ({"key": "per_vertex_mm", "over": "6890v"}, "gate/per_vertex_mm"),
    ],
)
def test_no_two_protocols_share_a_row_of_the_tracker(change, short) -> None:
    assert replace(NAME, **change).short == short


@pytest.mark.parametrize(("samples", "gaps"), [(10, 0), (9, 1)])
def test_a_metric_that_is_missing_where_a_baseline_has_it_is_a_gap(tmp_path, samples, gaps) -> None:
    figures = stored(tmp_path, mpjpe_mm=entry(50.0, samples), root_mm=entry(30.0, 4))
    assert figures.gaps() == ["the mean joint error (MPJPE) is missing on 1 of 10 samples"][:gaps]
