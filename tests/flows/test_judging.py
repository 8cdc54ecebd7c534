"""A champion that can't be scored becomes a reason; a workspace that can't be used does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import judging, registry
from flows.profile import load_profile
from flows.stage_store import StageResult
from flows.stages import Benchmark
from hemlets.errors import CheckpointError, WorkspaceError
from hemlets.workspace import Workspace

CHAMPION = registry.ModelVersion(
    version=4, run_id="r", source="s", model_hash="h", stage_key="k", tags={"gate_hash": "g"}
)


def held_against(tmp_path: Path, tiny: Path, error: Exception):
    def score(folder: Path) -> Benchmark:
        raise error

    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}")
    own = StageResult(stage="benchmark", key="k", folder=tmp_path, content="c", cached=True)
    return judging._hold_against(
        Workspace(home=tmp_path), CHAMPION, Benchmark(result=own), model=model,
        profile=load_profile(str(tiny)), score=score,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _found(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(registry, "model_folder_of", lambda *_: tmp_path)


@pytest.mark.parametrize(
    "error", [CheckpointError("weights do not fit"), RuntimeError("weights do not fit")]
)
def test_a_model_that_can_t_be_loaded_is_the_comparison_s_problem(tmp_path, tiny, error) -> None:
    comparison, other = held_against(tmp_path, tiny, error)
    assert other is None
    assert "the champion can't be scored" in comparison.problem
    assert "weights do not fit" in comparison.problem
    assert comparison.champion_version == 4
    assert comparison.champion_gate == "g"


def test_a_full_disk_is_no_fault_of_the_champion(tmp_path, tiny) -> None:
    with pytest.raises(WorkspaceError, match="full"):
        held_against(tmp_path, tiny, WorkspaceError("the disk is full"))
