"""A run is its settings and the contents of its inputs, and goes on with none but these."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hemlets.core.errors import CheckpointError
from hemlets.data.table import Annotations
from hemlets.models import HemletsPosh
from hemlets.training.checkpoints import load_checkpoint
from hemlets.training.config import StageJob
from hemlets.training.engine import train
from hemlets.training.identity import Identity
from hemlets.training.predicted_samples import PredictedSamples
from hemlets.training.reporting import Rows

INPUTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "initial weights": lambda path: {"initial": path},
    "initial pose weights": lambda path: {"initial_pose": path},
    "body model": lambda path: {"losses": {"body": path}},
    "backbone weights": lambda path: {"training": {"backbone_weights": path}},
}


@pytest.mark.parametrize("name", INPUTS)
def test_where_an_input_lies_does_not_matter_and_what_is_in_it_does(
    name: str, job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_bytes(b"one")
    there.write_bytes(b"one")
    one, same = (Identity.of(job_for(tmp_path, **INPUTS[name](str(p)))) for p in (here, there))
    assert one == same
    there.write_bytes(b"another")
    other = Identity.of(job_for(tmp_path, **INPUTS[name](str(there))))
    assert one.changed(other.record) == [name]
    assert one.key != other.key


def test_where_a_run_lies_and_who_renders_does_not_matter(
    job_for: Callable[..., StageJob], data: Path, tmp_path: Path
) -> None:
    shutil.copy(data / "annotations.parquet", tmp_path)
    one = Identity.of(job_for(tmp_path / "one"))
    assert Identity.of(job_for(tmp_path / "two", data=tmp_path, render_workers=3)) == one
    assert one.changed(Identity.of(job_for(tmp_path, stage="posh")).record) == ["settings"]


def test_weights_that_are_not_there_are_named(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        Identity.of(job_for(tmp_path, initial=str(tmp_path / "gone.safetensors")))


def test_a_refused_checkpoint_says_all_that_is_other_and_what_to_do(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    identity = Identity.of(job_for(tmp_path))
    torch.save({"identity": identity.record | {"annotations": "x", "body": "y"}}, path)
    with pytest.raises(CheckpointError, match="other annotations and body model") as caught:
        load_checkpoint(path, identity)
    assert "restore the annotations and body model" in str(caught.value.remedy)
    assert "delete the checkpoint" in str(caught.value.remedy)
    assert load_checkpoint(path, identity, drop_others=True) is None


def _stop(row: dict[str, float]) -> None:
    raise KeyboardInterrupt


def test_a_stopped_run_does_not_go_on_with_other_annotations(
    job_for: Callable[..., StageJob], data: Path, tmp_path: Path
) -> None:
    table = tmp_path / "annotations.parquet"
    shutil.copy(data / table.name, table)
    (tmp_path / "shards").symlink_to(data / "shards")
    settings = {"steps": 3, "checkpoint_every": 1, "log_every": 2}
    job = job_for(tmp_path / "out", data=tmp_path, training=settings)
    with pytest.raises(KeyboardInterrupt):
        train(job, reporter=Rows(_stop))
    rows = Annotations.read(table)
    rows.take(np.arange(1, len(rows))).write(table)
    with pytest.raises(CheckpointError, match="other annotations"):
        train(job)


def _weights(job: StageJob, path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    save_file(HemletsPosh(job.pose, job.shape).state_dict(), path)


@pytest.mark.parametrize("field", ["initial", "initial_pose"])
def test_a_finished_run_is_trained_again_from_other_weights_at_the_same_path(
    field: str, job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    path = tmp_path / "before.safetensors"
    settings = {"steps": 1, "learning_rate": 1e-9, "ema": 0.0}
    job = job_for(tmp_path / "out", training=settings, **{field: str(path)})
    for seed in (0, 1):
        _weights(job, path, seed)
        train(job)
        name = "pose.backbone.layer1.0.conv1.weight"
        found = load_file(job.out / "model/model.safetensors")[name]
        torch.testing.assert_close(found, load_file(path)[name])


@pytest.mark.slow
def test_tuning_never_goes_on_from_that_of_another_pose_network(
    job_for: Callable[..., StageJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(out: Path, rate: float) -> StageJob:
        # The rate is the pose network's alone: the tuning's own settings stay as they are.
        settings = {"steps": 1, "learning_rate": rate, "shape_tuning": 3, "predictions": 12}
        return job_for(out, stage="posh", training=settings)

    batch = PredictedSamples.batch

    def stop(self: PredictedSamples, *key: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return batch(self, *key)

    with monkeypatch.context() as patch:
        patch.setattr(PredictedSamples, "batch", stop)
        with pytest.raises(SystemExit):
            train(job(tmp_path / "broken", 1e-3))
    assert (tmp_path / "broken/shape-tuning/checkpoint.pt").exists()
    with pytest.raises(CheckpointError, match="settings"):
        train(job(tmp_path / "broken", 1e-2))
    (tmp_path / "broken/checkpoint.pt").unlink()
    found = []
    for name in ("broken", "fresh"):
        train(job(tmp_path / name, 1e-2))
        found.append(load_file(tmp_path / name / "model/model.safetensors"))
    assert [key for key in found[1] if not torch.equal(found[0][key], found[1][key])] == []
