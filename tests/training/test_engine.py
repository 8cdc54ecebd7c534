"""The training engine: repeatable, resumable, and honest about its end."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hemlets.core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    TrainingError,
    WorkspaceError,
)
from hemlets.core.files import lock
from hemlets.core.processes import die_with_parent
from hemlets.data.table import Annotations
from hemlets.models.model_folder import load_model
from hemlets.training import run
from hemlets.training.checkpoints import load_checkpoint, save_checkpoint
from hemlets.training.config import StageJob, TrainingConfig
from hemlets.training.engine import main, train
from hemlets.training.identity import Identity
from hemlets.training.optimisers import learning_rate
from hemlets.training.reporting import Rows
from hemlets.training.validation import validate

from .one_of_several import recording
from .rounding import SMALL_RATE, assert_same_gradients, assert_same_losses

# Most tests train a network, and some of them several times.
pytestmark = pytest.mark.slow


def _assert_same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def _losses(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k.startswith("loss/")} for row in history]


def _read_until_step(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{") and json.loads(line)["step"] >= step:
            return
    pytest.fail("the process ended too early")


def test_the_loss_falls(whole_run: Any) -> None:
    totals = [row["loss/total"] for row in whole_run.history]
    assert np.mean(totals[-5:]) < 0.98 * np.mean(totals[:5])


def test_validation_figures_are_those_of_the_weights_on_the_validation_rows(
    whole_run: Any, data: Path
) -> None:
    model, _ = load_model(whole_run.out / "model")
    table = Annotations.read(data / "annotations.parquet")

    def figures(split: str) -> dict[str, float]:
        return validate(
            model.pose, table.split(split), data / "shards",
            precision=torch.float32, device=torch.device("cpu"),
        )  # fmt: skip

    logged = {
        name.removeprefix("validation/"): value
        for name, value in whole_run.history[-1].items()
        if name.startswith("validation/")
    }
    assert {"joints_px", "depth_mm"} <= set(logged)
    assert figures("validation") == pytest.approx(logged, rel=1e-3)
    assert figures("train")["depth_mm"] != pytest.approx(logged["depth_mm"], rel=1e-3)


def test_the_same_job_gives_the_same_bits(
    whole_run: Any, job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    train(job_for(tmp_path))
    _assert_same_weights(load_file(tmp_path / "model/model.safetensors"), whole_run.weights)


def test_a_killed_run_resumes_to_the_same_bits(
    whole_run: Any,
    job_for: Callable[..., StageJob],
    start_process: Callable[[StageJob], subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    job = job_for(tmp_path / "out")
    process = start_process(job)
    _read_until_step(process, int(np.random.default_rng().integers(1, 20)))
    process.kill()
    process.wait()
    train(job)
    resumed = type(whole_run)(job.out, job)
    _assert_same_weights(resumed.weights, whole_run.weights)
    assert [row["step"] for row in resumed.history] == list(range(1, 21))
    assert _losses(resumed.history) == _losses(whole_run.history)


def test_sigterm_saves_and_asks_to_be_run_again(
    whole_run: Any,
    job_for: Callable[..., StageJob],
    start_process: Callable[[StageJob], subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    job = job_for(tmp_path / "out", training={"checkpoint_every": 1000})
    process = start_process(job)
    _read_until_step(process, 5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) == 75
    saved = torch.load(job.out / "checkpoint.pt", weights_only=True)["step"]
    assert saved >= 5
    train(job)
    resumed = type(whole_run)(job.out, job)
    _assert_same_weights(resumed.weights, whole_run.weights)
    assert [row["step"] for row in resumed.history] == list(range(1, 21))


def test_a_resumed_run_logs_the_losses_that_an_unbroken_one_logs(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    def rows(out: Path, stop_after: int | None) -> list[dict[str, float]]:
        job = job_for(out, training={"steps": 6, "log_every": 3, "checkpoint_every": 2})
        if stop_after is not None:
            with pytest.raises(KeyboardInterrupt):
                train(job, reporter=Rows(_interrupt))
        train(job)
        lines = (out / "history.jsonl").read_text().splitlines()
        return _losses([json.loads(line) for line in lines])

    def _interrupt(row: dict[str, float]) -> None:
        raise KeyboardInterrupt

    assert rows(tmp_path / "broken", 3) == rows(tmp_path / "unbroken", None)


def test_every_validation_that_is_due_is_noted_also_between_two_rows_of_losses(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    settings = {"steps": 7, "log_every": 3, "validate_every": 2, "checkpoint_every": 99}
    train(job_for(tmp_path, training=settings))
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    validated = [row["step"] for row in rows if "validation/mpjpe_mm" in row]
    assert validated == [2, 4, 6, 7]
    assert [row["step"] for row in rows] == [2, 3, 4, 6, 7]
    assert all("loss/total" in row and row["time_s"] > 1.7e9 for row in rows)


def test_a_run_that_is_asked_to_stop_in_its_last_step_finishes(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    job = job_for(tmp_path, training={"steps": 2})

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 2:
            signal.raise_signal(signal.SIGTERM)

    assert "mpjpe_mm" in train(job, reporter=Rows(stop))


def test_a_finished_run_is_not_trained_again(whole_run: Any) -> None:
    figures = train(whole_run.job, reporter=Rows(lambda row: pytest.fail("it trained again")))
    assert figures == json.loads((whole_run.out / "finished.json").read_text())["figures"]


def test_a_finished_run_on_other_data_is_trained_again(
    whole_run: Any, job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    job = job_for(tmp_path, training={"steps": 1})
    train(job)
    record = json.loads((tmp_path / "finished.json").read_text())
    (tmp_path / "finished.json").write_text(json.dumps(record | {"annotations": "other"}))
    rows: list[dict[str, float]] = []
    train(job, reporter=Rows(rows.append))
    assert [row["step"] for row in rows] == [1]


def test_the_model_folder_loads_and_knows_its_scale(whole_run: Any) -> None:
    model, card = load_model(whole_run.out / "model")
    # The skeletons of a network that has learnt next to nothing are short, never below a half.
    true_mm = card.training["true_bone_length_mm"]
    assert 4000 < true_mm < 6000
    assert 0.5 * true_mm - 1e-3 <= card.bones.sum_mm <= 1.1 * true_mm
    assert card.training["steps"] == 20
    assert not model.training
    assert not (whole_run.out / "checkpoint.pt").exists()


def test_both_stages_train_end_to_end(
    whole_run: Any, job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    job = job_for(
        tmp_path,
        stage="posh",
        initial_pose=str(whole_run.out / "model/model.safetensors"),
        training={"steps": 2},
    )
    rows: list[dict[str, float]] = []
    figures = train(job, reporter=Rows(rows.append))
    assert {"loss/theta", "loss/betas", "loss/joints", "loss/hemlets"} <= rows[-1].keys()
    named = {"mpjpe_mm", "joints_px", "depth_mm", "theta_deg", "betas", "bone_length_mm"}
    assert named == figures.keys()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    job = job_for(tmp_path, losses={"alpha": 1e38}, training={"steps": 3})
    with pytest.raises(TrainingError, match="not finite at step 0") as caught:
        train(job)
    batch = load_file(caught.value.where)
    assert batch["image_BHW3"].shape == (8, 64, 64, 3)
    assert "hemlets" in str(caught.value)
    assert "remedy" in str(caught.value)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_stops_the_run_before_it_reaches_the_weights(
    job_for: Callable[..., StageJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: float
) -> None:
    from hemlets.training.objectives import PoseObjective

    forward, calls = PoseObjective.forward, []

    def with_a_root_at_zero(self: PoseObjective, batch: Any) -> dict[str, torch.Tensor]:
        terms = forward(self, batch)
        calls.append(batch)
        if len(calls) == 4:
            # Zero, and so is nothing to the loss; its gradient is 0 · ∞.
            still = 0.0 * next(self.network.parameters()).sum()
            terms["total"] = terms["total"] + still.square().sqrt()
        return terms

    job = job_for(tmp_path, training={"checkpoint_every": 1, "gradient_clip": clip, "steps": 5})
    monkeypatch.setattr(PoseObjective, "forward", with_a_root_at_zero)
    with pytest.raises(TrainingError, match=r"gradient is not finite at step 3, in \w+") as caught:
        train(job)
    assert torch.equal(load_file(caught.value.where)["image_BHW3"], calls[3].image_BHW3)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 3
    for weights in (state["network"], state["average"]):
        assert all(value.isfinite().all() for value in weights.values())
    # What the damage was in is gone: the same command goes on.
    monkeypatch.setattr(PoseObjective, "forward", forward)
    assert math.isfinite(train(job)["joints_px"])


def test_a_state_that_is_not_finite_never_replaces_a_checkpoint(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    identity = Identity.of(job_for(tmp_path))
    fine = {
        "identity": identity.record,
        "network": {"w": torch.ones(2)},
        "optimiser": {"state": [torch.ones(1)]},
    }
    save_checkpoint(path, fine)
    lost = fine | {"optimiser": {"state": [torch.tensor([math.inf])]}}
    with pytest.raises(TrainingError, match=r"optimiser\.state\[0\]"):
        save_checkpoint(path, lost)
    kept = load_checkpoint(path, identity)
    assert kept is not None
    assert torch.equal(kept["optimiser"]["state"][0], torch.ones(1))


def test_signal_handlers_are_given_back(job_for: Callable[..., StageJob], tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingError):
        train(job_for(tmp_path, losses={"alpha": 1e38}))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_checkpoint_of_another_job_is_refused(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    record = Identity.of(job_for(tmp_path, training={"seed": 4})).record
    torch.save({"identity": record}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="other settings"):
        train(job_for(tmp_path))


def test_a_checkpoint_of_another_version_is_refused(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    torch.save({"step": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="another version"):
        train(job_for(tmp_path))


def test_a_damaged_checkpoint_is_named(job_for: Callable[..., StageJob], tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        train(job_for(tmp_path))


def test_a_second_writer_is_refused(
    job_for: Callable[..., StageJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemlets.training.engine.LOCK_TIMEOUT_S", 0.1)
    with lock(tmp_path / "training.lock", "a training"), pytest.raises(WorkspaceError):
        train(job_for(tmp_path))


def test_a_batch_larger_than_the_data_is_refused(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"training\.batch_size"):
        train(job_for(tmp_path, training={"batch_size": 65}))


def test_data_in_metres_are_refused_before_training(
    job_for: Callable[..., StageJob], data: Path, tmp_path: Path
) -> None:
    from hemlets.data.table import FIELDS, Annotations

    whole = Annotations.read(data / "annotations.parquet")
    columns = {field.name: whole.column(field.name) for field in FIELDS}
    columns["joints3d_mm"] = columns["joints3d_mm"] / 1000
    Annotations.from_columns(columns).write(tmp_path / "annotations.parquet")
    with pytest.raises(DataError, match="millimetres") as caught:
        train(job_for(tmp_path / "out", data=tmp_path))
    file = tmp_path / "annotations.parquet"
    assert caught.value.where == f"{file}: joints3d_mm, first in sample figure-0000"


def test_the_command_names_what_is_wrong_with_its_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job.json"
    job.write_text("{}")
    assert main([str(job)]) == 2
    assert "missing key 'stage'" in capsys.readouterr().err
    assert main([]) == 2


def test_two_processes_of_torchrun_train_as_one_does(
    whole_run: Any, job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    # BatchNorm takes its statistics a process, so it is frozen on both sides.
    settings = {"steps": 20, "freeze_batch_norm": True, "learning_rate": SMALL_RATE}
    one, two = (job_for(tmp_path / name, training=settings) for name in ("one", "two"))
    file = tmp_path / "job.json"
    file.write_text(two.model_dump_json())
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    launched = subprocess.run(
        [sys.executable, *torchrun, "--nproc-per-node=2", "-m", "hemlets.training", str(file)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=die_with_parent,
    )
    assert launched.returncode == 0, launched.stderr
    train(one)
    found, expected = (_losses(type(whole_run)(job.out, job).history) for job in (two, one))
    assert len(expected) == 20
    assert_same_losses(found, expected)


def test_a_batch_in_parts_trains_as_a_whole_one_does(
    whole_run: Any,
    job_for: Callable[..., StageJob],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # BatchNorm takes its statistics a part, so it is frozen on both sides.
    settings = {"steps": 5, "freeze_batch_norm": True, "learning_rate": SMALL_RATE}
    histories, gradients = [], []
    for parts in (4, 1):
        job = job_for(tmp_path / str(parts), training=settings | {"accumulate": parts})
        gradients.append(tmp_path / f"gradients-{parts}.safetensors")
        with monkeypatch.context() as patch:
            patch.setattr(run, "StageOptimiser", recording(run.StageOptimiser, gradients[-1]))
            train(job)
        histories.append(_losses(type(whole_run)(job.out, job).history))
    assert_same_gradients(*gradients)
    assert_same_losses(*histories)


def test_a_batch_that_can_t_be_cut_evenly_is_refused(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"multiple of 3"):
        train(job_for(tmp_path, training={"accumulate": 3}))


def test_frozen_statistics_stay_as_they_came(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    train(job_for(tmp_path, training={"steps": 2, "freeze_batch_norm": True}))
    weights = load_file(tmp_path / "model/model.safetensors")
    statistics = {k: v for k, v in weights.items() if k.endswith("running_mean")}
    assert statistics
    assert not any(value.any() for value in statistics.values())


def test_killed_five_times_and_resumed_the_weights_are_those_of_an_unbroken_run(
    whole_run: Any, job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    job = job_for(tmp_path)

    class Killed(BaseException):
        """Nothing in the engine may catch this, as nothing catches SIGKILL."""

    class Kill:
        def __init__(self, step: int) -> None:
            self.step = step

        def metrics(self, step: int, values: Any) -> None:
            if step >= self.step:
                raise Killed

        def picture(self, step: int, name: str, image_HW3: Any) -> None: ...

    steps = sorted(np.random.default_rng().integers(1, 20, 5).tolist())
    for step in steps:
        with pytest.raises(Killed):
            train(job, reporter=Kill(step))
    train(job)
    resumed = type(whole_run)(job.out, job)
    _assert_same_weights(resumed.weights, whole_run.weights)
    assert _losses(resumed.history) == _losses(whole_run.history)


def test_a_hundred_steps_twice_give_the_same_bits(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    weights = []
    for name in ("first", "second"):
        settings = {"steps": 100, "batch_size": 2, "log_every": 50, "validate_every": 100}
        train(job_for(tmp_path / name, training=settings | {"checkpoint_every": 100}))
        weights.append(load_file(tmp_path / name / "model/model.safetensors"))
    _assert_same_weights(*weights)


def test_a_loss_that_explodes_stops_the_run_and_keeps_the_batch(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    # So high a rate throws the weights far away with the first step.
    settings = {"learning_rate": 1.0, "warmup": 0.0, "explosion": 1.5, "steps": 20}
    job = job_for(tmp_path, losses={"alpha": 1.0, "marginal": 0.0}, training=settings)
    with pytest.raises(TrainingError, match=r"exploded at step|not finite") as caught:
        train(job)
    assert load_file(caught.value.where)["image_BHW3"].shape[0] == 8


def test_a_reporter_is_told_figures_and_shown_pictures(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    class Listener:
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.pictures: list[tuple[int, str, Any]] = []

        def metrics(self, step: int, values: Any) -> None:
            self.steps.append(step)

        def picture(self, step: int, name: str, image_HW3: Any) -> None:
            self.pictures.append((step, name, image_HW3))

    listener = Listener()
    settings = {"steps": 4, "log_every": 2, "validate_every": 4}
    train(job_for(tmp_path, training=settings), reporter=listener)
    assert listener.steps == [2, 4]
    ((step, name, image),) = listener.pictures
    assert (step, name, image.dtype) == (4, "validation", np.uint8)
    # Eight crops in two rows, with skeletons drawn onto them.
    assert image.shape[1] == 4 * 192
    assert (tmp_path / "pictures" / "step-0000004.png").stat().st_size > 1000


def test_backbone_weights_are_part_of_what_a_run_is(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    from hemlets.models.backbones import ResNet

    path = tmp_path / "resnet18.pth"
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(ResNet("resnet18").state_dict(), path)
        settings = {"steps": 1, "backbone_weights": str(path), "learning_rate": 1e-9}
        train(job_for(tmp_path / "out", training=settings | {"ema": 0.0}))
        found = load_file(tmp_path / "out/model/model.safetensors")
        own = torch.load(path, weights_only=True)["layer1.0.conv1.weight"]
        torch.testing.assert_close(found["pose.backbone.layer1.0.conv1.weight"], own)


def test_backbone_weights_that_are_missing_are_named_before_training(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    settings = {"backbone_weights": str(tmp_path / "resnet18.pth")}
    with pytest.raises(CheckpointError, match=r"resnet18\.pth"):
        train(job_for(tmp_path / "out", training=settings))


def test_the_shape_network_is_warmed_up_before_end_to_end_training(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    def first_theta(warmup: int) -> float:
        rows: list[dict[str, float]] = []
        settings = {"steps": 1, "shape_warmup": warmup, "freeze_batch_norm": True}
        job = job_for(tmp_path / str(warmup), stage="posh", training=settings)
        train(job, reporter=Rows(rows.append))
        return rows[0]["loss/theta"]

    out = tmp_path / "40" / "shape-warm-up"
    assert first_theta(40) != first_theta(0)
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 40
    assert not (out / "model").exists()


@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
def test_the_rate_rises_then_falls_and_never_leaves_its_range(warmup: float) -> None:
    config = TrainingConfig(steps=50, warmup=warmup)
    rates = [learning_rate(config, step) for step in range(50)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert min(rates) > 0
    assert max(rates) <= config.learning_rate
    assert math.isclose(rates[peak], config.learning_rate, rel_tol=0.2)


def test_muon_resumes_to_the_same_bits_too(
    job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    def trained(out: Path, stop_at: int | None) -> dict[str, torch.Tensor]:
        job = job_for(out, training={"steps": 4, "optimiser": "muon", "checkpoint_every": 2})

        def stop(row: dict[str, float]) -> None:
            if row["step"] == stop_at:
                raise KeyboardInterrupt

        if stop_at is not None:
            with pytest.raises(KeyboardInterrupt):
                train(job, reporter=Rows(stop))
            assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 2
        train(job)
        weights: dict[str, torch.Tensor] = load_file(out / "model/model.safetensors")
        return weights

    _assert_same_weights(trained(tmp_path / "broken", 3), trained(tmp_path / "unbroken", None))
