"""The shape stage: joints alone teach θ and β, exactly repeatable, without an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import torch
from safetensors.torch import load_file

from hemlets.body import mirror_theta
from hemlets.core.errors import DataError
from hemlets.core.skeleton import FLIP_JOINTS, Joint
from hemlets.data.table import FIELDS, Annotations
from hemlets.data.transforms import AugmentationConfig
from hemlets.models import ShapeNetwork, ShapeNetworkConfig
from hemlets.models.codecs import VolumeSpec
from hemlets.models.model_folder import load_model, save_model
from hemlets.models.posh import nominal_metres
from hemlets.training.batches import Samples
from hemlets.training.config import StageJob
from hemlets.training.engine import train
from hemlets.training.reporting import Rows
from hemlets.training.shape_samples import ShapeSamples
from hemlets.training.stages import initial_model
from hemlets.training.validation import validate_shape

VOLUME = VolumeSpec(crop_px=64, cells=16)
STILL = AugmentationConfig(
    rotation_deg=0, scale_min=1, scale_max=1, flip=0, colour=0, shift=0, joint_noise_m=0
)


@pytest.fixture(scope="module")
def table(data: Path) -> Annotations:
    return Annotations.read(data / "annotations.parquet")


def _samples(table: Annotations, seed: int = 0, **changes: Any) -> ShapeSamples:
    augmentation = STILL.model_copy(update=changes)
    return ShapeSamples(table, VOLUME, seed=seed, augmentation=augmentation)


def _all(samples: ShapeSamples, epoch: int = 0) -> Any:
    return samples.batch(np.arange(len(samples)), epoch)


def test_joints_are_those_that_a_perfect_pose_network_would_give(
    table: Annotations, data: Path
) -> None:
    images = Samples(table, data / "shards", VOLUME, seed=0, augmentation=None)
    voxels = images.batch(np.arange(4), 0).voxel_BJ3
    found = _samples(table).batch(np.arange(4), 0).joints_BJ3_m
    torch.testing.assert_close(found, nominal_metres(voxels, VOLUME), atol=1e-5, rtol=0)


def test_a_mirrored_sample_has_mirrored_joints_and_the_mirrored_pose(table: Annotations) -> None:
    plain, mirrored = _all(_samples(table)), _all(_samples(table, flip=1.0))
    expected = plain.joints_BJ3_m[:, list(FLIP_JOINTS)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored.joints_BJ3_m, expected, atol=1e-6, rtol=0)
    assert torch.equal(mirrored.rotation_BR33, mirror_theta(plain.rotation_BR33))
    assert torch.equal(mirrored.betas_BS, plain.betas_BS)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_turned_sample_has_its_joints_and_its_root_turned_alike(
    table: Annotations, flip: float
) -> None:
    plain = _all(_samples(table, flip=flip))
    turned = _all(_samples(table, flip=flip, rotation_deg=30.0))
    turn = turned.rotation_BR33[:, 0] @ plain.rotation_BR33[:, 0].mT
    torch.testing.assert_close(turned.joints_BJ3_m, plain.joints_BJ3_m @ turn.mT, atol=1e-5, rtol=0)
    vectors = roma.rotmat_to_rotvec(turn)
    assert vectors[:, :2].abs().max() < 1e-3  # about the camera's axis
    assert 20 < np.rad2deg(vectors[:, 2].abs().max()) <= 30.01
    assert torch.equal(turned.rotation_BR33[:, 1:], plain.rotation_BR33[:, 1:])


def test_scale_moves_the_plane_and_leaves_depth(table: Annotations) -> None:
    plain, large = _all(_samples(table)), _all(_samples(table, scale_min=1.0, scale_max=1.25))
    torch.testing.assert_close(large.joints_BJ3_m[..., 2], plain.joints_BJ3_m[..., 2])
    ratio = large.joints_BJ3_m[:, Joint.HEAD_TOP, 1] / plain.joints_BJ3_m[:, Joint.HEAD_TOP, 1]
    assert 1.0 <= ratio.min() < ratio.max() <= 1.2501


def test_noise_is_of_every_strength_and_never_on_the_pelvis(table: Annotations) -> None:
    plain, noisy = _all(_samples(table)), _all(_samples(table, joint_noise_m=0.12))
    off = (noisy.joints_BJ3_m - plain.joints_BJ3_m)[:, 1:].flatten(1).std(1)
    assert off.min() < 0.01
    assert 0.05 < off.max() < 0.25
    assert not noisy.joints_BJ3_m[:, Joint.PELVIS].any()


def test_a_sample_depends_on_seed_epoch_and_index_alone(table: Annotations) -> None:
    changes = {"joint_noise_m": 0.12, "rotation_deg": 30.0}
    whole = _all(_samples(table, **changes), 3)
    fresh = _samples(table, **changes)
    fresh.batch(np.array([1]), 2)
    alone = fresh.batch(np.array([7]), 3)
    assert torch.equal(alone.joints_BJ3_m[0], whole.joints_BJ3_m[7])
    assert not torch.equal(_all(_samples(table, **changes), 4).joints_BJ3_m, whole.joints_BJ3_m)
    assert not torch.equal(_all(_samples(table, 1, **changes), 3).joints_BJ3_m, whole.joints_BJ3_m)


def test_rows_without_a_body_or_a_whole_skeleton_are_left_out(table: Annotations) -> None:
    columns = {field.name: table.column(field.name).copy() for field in FIELDS}
    columns["smpl_valid"][0] = False
    columns["valid3d"][1, Joint.LEFT_WRIST] = False
    assert len(_samples(Annotations.from_columns(columns))) == len(table) - 2
    columns["smpl_valid"][:] = False
    with pytest.raises(DataError, match="shape stage"):
        _samples(Annotations.from_columns(columns))


def test_features_have_no_say_until_training_brings_them_in() -> None:
    torch.manual_seed(0)
    network = ShapeNetwork(ShapeNetworkConfig(hidden=32, blocks=1), 8)
    network.forget_features()
    joints, features = torch.randn(4, 18, 3), torch.randn(4, 8)
    found = network(joints, features).rotation_BR33
    assert torch.equal(found, network(joints, 0 * features).rotation_BR33)
    torch.autograd.backward(found[:, :, 0, 1].sum())
    gradient = network.input[0].weight.grad  # type: ignore[union-attr]
    assert isinstance(gradient, torch.Tensor)
    assert gradient[:, 54:].abs().max() > 0


@pytest.fixture(scope="module")
def job(job_for: Callable[..., StageJob]) -> Callable[..., StageJob]:
    def make(out: Path, **training: Any) -> StageJob:
        settings = {"steps": 150, "batch_size": 32, "learning_rate": 3e-3, "log_every": 25}
        return job_for(
            out,
            stage="shape",
            shape={"hidden": 128, "blocks": 1},
            augmentation=STILL.model_dump(mode="json"),
            training=settings | {"validate_every": 50, "checkpoint_every": 10} | training,
        )

    return make


@pytest.fixture(scope="module")
def run(job: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    out = tmp_path_factory.mktemp("shape")
    rows: list[Any] = []
    train(job(out), reporter=Rows(rows.append))
    return out, rows


def test_the_stage_learns_the_bodies_of_its_joints(run: tuple[Path, list[Any]]) -> None:
    rows = run[1]
    assert rows[-1]["loss/theta"] < 0.7 * rows[0]["loss/theta"]
    assert {"validation/theta_deg", "validation/theta_deg_noisy", "validation/betas"} <= (
        rows[-1].keys()
    )


def test_only_the_shape_network_changes(run: tuple[Path, list[Any]], job: Any) -> None:
    torch.manual_seed(3)
    before = initial_model(job(Path())).state_dict()
    after = load_file(run[0] / "model" / "model.safetensors")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"shape"}


def test_an_interrupted_stage_resumes_to_the_same_bits(
    run: tuple[Path, list[Any]], job: Any, tmp_path: Path
) -> None:
    def stop(row: dict[str, float]) -> None:
        if row["step"] == 75:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(job(tmp_path), reporter=Rows(stop))
    train(job(tmp_path))
    weights = [load_file(out / "model" / "model.safetensors") for out in (run[0], tmp_path)]
    assert [
        name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])
    ] == []


def test_end_to_end_training_starts_from_the_warmed_up_network(
    run: tuple[Path, list[Any]], job_for: Callable[..., StageJob], tmp_path: Path
) -> None:
    warm = run[0] / "model" / "model.safetensors"
    shape = {"hidden": 128, "blocks": 1}
    job = job_for(tmp_path, stage="posh", shape=shape, initial=str(warm), training={"steps": 1})
    started = initial_model(job).shape.state_dict()
    expected = load_file(warm)
    assert all(torch.equal(value, expected[f"shape.{name}"]) for name, value in started.items())
    rows: list[dict[str, float]] = []
    train(job, reporter=Rows(rows.append))
    assert rows[-1]["loss/theta"] > 0


def test_the_shape_stage_keeps_the_scale_of_the_pose_network_that_it_carries_along(
    job_for: Callable[..., StageJob], whole_run: Any, tmp_path: Path
) -> None:
    model, card = load_model(whole_run.out / "model")
    pose = tmp_path / "pose"
    saved = save_model(
        pose, model.state_dict(), pose=card.pose, shape=card.shape, training={},
        bones=card.bones.scaled(1.1),
    )  # fmt: skip
    job = job_for(
        tmp_path / "shape",
        stage="shape",
        initial_pose=str(pose / "model.safetensors"),
        training={"steps": 2, "validate_every": 2},
    )
    train(job)
    _, card = load_model(job.out / "model")
    assert card.bones == saved.bones


def test_a_validation_split_without_bodies_leaves_the_bodies_figures_out(
    table: Annotations,
) -> None:
    columns = {field.name: table.column(field.name) for field in FIELDS}
    bare = Annotations.from_columns(columns | {"smpl_valid": np.zeros(len(table), bool)})
    network = ShapeNetwork(ShapeNetworkConfig(hidden=32, blocks=1), 4)
    assert validate_shape(network, bare, VOLUME, device=torch.device("cpu")) == {}
