"""The shape network's last lesson: joints as its own pose network predicts them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hemlets.core.errors import DataError
from hemlets.core.skeleton import FLIP_JOINTS
from hemlets.data.table import FIELDS, Annotations
from hemlets.data.transforms import AugmentationConfig, normalise
from hemlets.models import HemletsPosh
from hemlets.models.fused import can_prepare
from hemlets.models.model_folder import load_model
from hemlets.models.posh import nominal_metres
from hemlets.training.batches import Samples
from hemlets.training.config import StageJob
from hemlets.training.engine import train
from hemlets.training.group import Group
from hemlets.training.predicted_samples import PredictedSamples
from hemlets.training.predictions import PredictedBodies, predict_bodies
from hemlets.training.reporting import Rows
from hemlets.training.stages import stage_of

MIRROR = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def job(job_for: Callable[..., StageJob], tmp_path_factory: pytest.TempPathFactory) -> StageJob:
    """A shape stage on 12 predictions, which goes on from a model of random weights."""
    folder = tmp_path_factory.mktemp("predictions")
    torch.manual_seed(0)
    plain = job_for(folder / "none")
    model = HemletsPosh(plain.pose, plain.shape)
    save_file(model.state_dict(), folder / "initial.safetensors")
    settings = {"predictions": 12, "steps": 80, "batch_size": 8, "learning_rate": 1e-2}
    return job_for(
        folder / "out",
        stage="shape",
        training=settings,
        initial=str(folder / "initial.safetensors"),
    )


@pytest.fixture(scope="module")
def crops(job: StageJob) -> Samples:
    rows = Annotations.read(job.data / "annotations.parquet").split("train").take(np.arange(8))
    augmentation = job.augmentation.model_copy(update={"flip": 0.0})
    return Samples(rows, job.data / "shards", job.pose.volume, seed=3, augmentation=augmentation)


def _model(job: StageJob) -> HemletsPosh:
    model = HemletsPosh(job.pose, job.shape)
    model.load_state_dict(load_file(job.initial))
    return model.eval()


def test_the_looks_are_at_the_crop_at_its_mirror_image_and_their_average(
    job: StageJob, crops: Samples, tmp_path: Path
) -> None:
    model = _model(job)
    found = predict_bodies(model, crops, 8, shrink=1, keep=tmp_path, group=Group()).looks_NLJ3_m
    image = normalise(crops.batch(np.arange(8), 0).image_BHW3)
    with torch.inference_mode():
        one, other = (
            nominal_metres(model(x).decoded.voxel_BJ3, model.volume)
            for x in (image, image.flip(-1))
        )
    other = other[:, list(FLIP_JOINTS)] * MIRROR
    rounding = 0.02 if can_prepare("bfloat16") else 1e-5
    torch.testing.assert_close(found[:, 0], one, atol=rounding, rtol=0)
    torch.testing.assert_close(found[:, 1], other, atol=rounding, rtol=0)
    torch.testing.assert_close(found[:, 2], (found[:, 0] + found[:, 1]) / 2)


def test_bodies_are_those_of_the_crops_and_come_again_turned_otherwise(
    job: StageJob, crops: Samples, tmp_path: Path
) -> None:
    found = predict_bodies(_model(job), crops, 12, shrink=1, keep=tmp_path, group=Group())
    first, second = crops.batch(np.arange(8), 0), crops.batch(np.array([0, 2, 4, 7]), 1)
    assert torch.equal(found.rotation_NR33[:8], first.rotation_BR33)
    assert torch.equal(found.rotation_NR33[8:], second.rotation_BR33)
    assert torch.equal(found.betas_NS[8:], second.betas_BS)
    assert not torch.equal(found.rotation_NR33[0], found.rotation_NR33[8])


class _Counted:
    """Samples that note which of them were asked for."""

    def __init__(self, crops: Samples) -> None:
        self._crops = crops
        self.asked: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._crops)

    def batch(self, indices: np.ndarray[Any, Any], epoch: int) -> Any:
        self.asked += [(epoch, int(index)) for index in indices]
        return self._crops.batch(indices, epoch)


def _predicted(job: StageJob, samples: Any, keep: Path, **changes: Any) -> PredictedBodies:
    values = {"shrink": 1, "keep": keep, "group": Group(), "batch_size": 2}
    return predict_bodies(_model(job), samples, 12, **(values | changes))


def test_predictions_that_are_kept_are_not_made_again(
    job: StageJob, crops: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemlets.training.predictions._CHUNK", 2)

    def stop(predicted: int) -> None:
        if predicted == 8:
            raise KeyboardInterrupt

    samples = _Counted(crops)
    with pytest.raises(KeyboardInterrupt):
        _predicted(job, samples, tmp_path / "broken", report_progress=stop)
    progress: list[int] = []
    found = _predicted(job, samples, tmp_path / "broken", report_progress=progress.append)
    assert progress == [12]
    assert samples.asked == [*((0, i) for i in range(8)), (1, 0), (1, 2), (1, 4), (1, 7)]
    whole = _predicted(job, crops, tmp_path / "unbroken")
    assert all(torch.equal(a, b) for a, b in zip(found, whole, strict=True))


@dataclass(frozen=True)
class _Thread(Group):
    """A process of a group of two, played by a thread."""

    meet: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=30))
    table: dict[int, Any] = field(default_factory=dict)

    def barrier(self) -> None:
        self.meet.wait()

    def all_gather(self, value: Any) -> list[Any]:
        self.table[self.rank] = value
        self.meet.wait()
        values = [self.table[rank] for rank in range(self.size)]
        self.meet.wait()
        return values

    def any(self, flag: bool) -> bool:
        return max(self.all_gather(flag))


def test_processes_share_the_predicting_and_all_get_all(
    job: StageJob, crops: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemlets.training.predictions._CHUNK", 2)
    # The form for inference is traced, which two threads of one process can't do at once.
    monkeypatch.setattr("hemlets.training.predictions.can_prepare", lambda precision: False)
    first = _Thread(rank=0, size=2)
    groups = [first, replace(first, rank=1)]
    shares = [_Counted(crops) for _ in groups]
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(_predicted, job, share, tmp_path / "two", group=group)
            for share, group in zip(shares, groups, strict=True)
        ]
        found = [done.result() for done in jobs]
    # Three chunks of four: the first process has the last one to itself.
    assert [len(share.asked) for share in shares] == [8, 4]
    assert not set(shares[0].asked) & set(shares[1].asked)
    one = _predicted(job, crops, tmp_path / "one")
    for bodies in found:
        assert all(torch.equal(a, b) for a, b in zip(bodies, one, strict=True))


def _still(**changes: float) -> AugmentationConfig:
    values = {"rotation_deg": 0.0, "scale_min": 1.0, "scale_max": 1.0, "flip": 0.0}
    return AugmentationConfig(**(values | changes))


def _bodies(count: int) -> PredictedBodies:
    looks = torch.randn(count, 3, 18, 3, generator=torch.Generator().manual_seed(0))
    looks = looks - looks[:, :, :1]
    return PredictedBodies(looks, torch.eye(3).repeat(count, 24, 1, 1), torch.zeros(count, 10))


def test_each_epoch_shows_another_look_without_any_noise() -> None:
    bodies = _bodies(30)
    samples = PredictedSamples(bodies, seed=0, augmentation=_still(joint_noise_m=0.1))
    shown = torch.stack([samples.batch(np.arange(30), epoch).joints_BJ3_m for epoch in range(20)])
    same = (shown[:, :, None] == bodies.looks_NLJ3_m).all(-1).all(-1)
    assert (same.sum(-1) == 1).all()
    assert same.any(0).all()


def test_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    augmentation = AugmentationConfig()
    samples = PredictedSamples(_bodies(9), seed=1, augmentation=augmentation)
    whole = samples.batch(np.arange(9), 4)
    samples.batch(np.arange(9), 5)
    alone = samples.batch(np.array([7]), 4)
    assert torch.equal(alone.joints_BJ3_m[0], whole.joints_BJ3_m[7])
    other = PredictedSamples(_bodies(9), seed=2, augmentation=augmentation)
    assert not torch.equal(other.batch(np.arange(9), 4).joints_BJ3_m, whole.joints_BJ3_m)


def test_the_stage_teaches_the_shape_network_and_leaves_the_pose_network(job: StageJob) -> None:
    rows: list[dict[str, float]] = []
    figures = train(job, reporter=Rows(rows.append))
    assert rows[-1]["loss/theta"] < 0.93 * rows[0]["loss/theta"]
    before, after = load_file(job.initial), load_file(job.out / "model/model.safetensors")
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith("shape.") for name in changed)
    # What is validated is the whole model, on images.
    assert {"mpjpe_mm", "theta_deg"} <= set(figures)
    load_model(job.out / "model")


def test_data_without_bodies_are_refused(job: StageJob) -> None:
    rows = Annotations.read(job.data / "annotations.parquet")
    columns = {field.name: rows.column(field.name) for field in FIELDS}
    columns["smpl_valid"] = np.zeros(len(rows), bool)
    with pytest.raises(DataError, match="θ and β"):
        stage_of(job).samples(Annotations.from_columns(columns))
