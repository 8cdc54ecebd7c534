"""The shape stage after an end to end one: stopped anywhere, it goes on from there."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hemlets.core.errors import ConfigError
from hemlets.training import predictions
from hemlets.training.config import StageJob
from hemlets.training.engine import train
from hemlets.training.reporting import Rows


def test_the_shape_network_is_tuned_on_its_own_predictions_after_end_to_end_training(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    def weights(tuning: int) -> dict[str, torch.Tensor]:
        settings = {"steps": 2, "shape_tuning": tuning, "predictions": 12}
        out = tmp_path / str(tuning)
        train(job_for(out, stage="posh", training=settings))
        found: dict[str, torch.Tensor] = load_file(out / "model/model.safetensors")
        return found

    plain, tuned = weights(0), weights(10)
    changed = {name for name, value in plain.items() if not torch.equal(value, tuned[name])}
    assert changed
    assert all(name.startswith("shape.") for name in changed)
    out = tmp_path / "10" / "shape-tuning"
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 10
    assert not list(out.rglob("*.safetensors"))
    card = json.loads((tmp_path / "10/model/model.json").read_text())
    assert card["training"]["stage"] == "posh"


@pytest.mark.slow
def test_tuning_that_is_interrupted_goes_on_to_the_same_bits_without_a_step_before_it(
    job_for: Callable[..., StageJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"steps": 3, "checkpoint_every": 2, "shape_tuning": 4, "predictions": 12}
    rows: list[float] = []

    def run(out: Path) -> None:
        reporter = Rows(lambda row: rows.append(row["step"]))
        train(job_for(out, stage="posh", training=settings), reporter=reporter)

    def model(out: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        card = json.loads((out / "model/model.json").read_text())
        return load_file(out / "model/model.safetensors"), card

    run(tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        patch.setattr("hemlets.training.stages.PredictedSamples.batch", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken")
    assert not (tmp_path / "broken/model").exists()
    rows.clear()
    run(tmp_path / "broken")
    assert rows == []
    (unbroken, its_card), (broken, card) = (model(tmp_path / n) for n in ("unbroken", "broken"))
    assert [name for name in broken if not torch.equal(broken[name], unbroken[name])] == []
    # What the last step measured is kept with its weights.
    assert card == its_card


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_predicting_ends_soon_when_asked_to_and_leaves_a_run_that_goes_on(
    job_for: Callable[..., StageJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"steps": 1, "shape_tuning": 1, "predictions": 100}
    job = job_for(tmp_path, stage="posh", training=settings)
    looks = predictions._looks
    seen: list[int] = []

    def look(network: Any, image: torch.Tensor) -> torch.Tensor:
        seen.append(len(image))
        if len(seen) == 2:
            signal.raise_signal(signal.SIGTERM)
        return looks(network, image)

    monkeypatch.setattr(predictions, "_CHUNK", 1)
    monkeypatch.setattr(predictions, "_looks", look)
    with pytest.raises(SystemExit) as stopped:
        train(job)
    assert stopped.value.code == 75
    assert seen == [32, 32]
    progress = json.loads((tmp_path / "shape-tuning/progress.json").read_text())
    assert progress == {"step": 0, "steps": 1, "predicted": 32, "predictions": 100}
    train(job)
    # Batches of an epoch of 64 rows, and of the 36 that are left.
    assert seen == [32, 32, 32, 32, 4]
    assert not list((tmp_path / "shape-tuning").rglob("*.safetensors"))


def test_without_predictions_it_is_refused(job_for: Callable[..., StageJob]) -> None:
    with pytest.raises(ConfigError, match="predictions"):
        job_for(Path("out"), stage="posh", training={"shape_tuning": 10})
