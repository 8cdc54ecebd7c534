"""Training from features that a frozen backbone gave once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hemlets.core.errors import ConfigError
from hemlets.data.table import Annotations
from hemlets.models.pose import PoseNetwork, PoseNetworkConfig
from hemlets.training import features
from hemlets.training.batches import Samples
from hemlets.training.config import LossConfig, StageJob
from hemlets.training.engine import train
from hemlets.training.features import FeatureSamples, compute_features
from hemlets.training.group import Group
from hemlets.training.objectives import PoseObjective
from hemlets.training.reporting import Rows
from hemlets.training.stages import initial_model, stage_of

JobFor = Callable[..., StageJob]


@pytest.fixture
def network() -> PoseNetwork:
    torch.manual_seed(0)
    config = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=32)
    return PoseNetwork(config).eval()


@pytest.fixture
def samples(job_for: JobFor, tmp_path: Path, network: PoseNetwork) -> Samples:
    job = job_for(tmp_path)
    return Samples(
        Annotations.read(job.data / "annotations.parquet").split("train").take(np.arange(12)),
        job.data / "shards",
        network.config.volume,
        seed=3,
        augmentation=job.augmentation,
    )


def computed(network: PoseNetwork, samples: Samples, folder: Path, crops: int) -> FeatureSamples:
    return compute_features(
        network, samples, crops, folder=folder, precision=torch.float32, group=Group()
    )


NEWER = {
    "backbone": "movenet_thunder", "keypoints": True, "quarter_level": True, "refinement_layers": 1,
    "refinement_context": True,
}  # fmt: skip


@pytest.mark.parametrize("cells", [32, 16])
@pytest.mark.parametrize("changes", [{}, NEWER], ids=["resnet18", "movenet_thunder"])
def test_losses_from_features_are_those_from_the_crops(
    samples: Samples, tmp_path: Path, cells: int, changes: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    if changes and cells == 32:
        changes = {**changes, "quarter_level": False}
    config = PoseNetworkConfig.from_mapping(
        {"crop_px": 128, "volume_cells": cells, "branch_channels": 16, "fusion_channels": 32,
         "lateral": True, **changes}
    )  # fmt: skip
    network = PoseNetwork(config).eval()
    samples.volume = config.volume
    found = computed(network, samples, tmp_path / "features", 2)
    objective = PoseObjective(network, LossConfig())
    chosen = np.array([3, 0, 7])
    for epoch in (0, 1, 2):
        ours = objective(found.batch(chosen, epoch))
        # The third epoch shows the first one's crops again.
        theirs = objective(samples.batch(chosen, epoch % 2))
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=2e-3, atol=0, msg=name)


def test_what_a_killed_process_computed_is_not_computed_again(
    network: PoseNetwork, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "CHUNK", 5)
    folder = tmp_path / "features"
    whole = computed(network, samples, folder, 1).batch(np.arange(12), 0)
    files = sorted(folder.iterdir())
    assert len(files) == 3
    files[1].unlink()
    times = {file: file.stat().st_mtime_ns for file in (files[0], files[2])}
    again = computed(network, samples, folder, 1).batch(np.arange(12), 0)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    assert times == {file: file.stat().st_mtime_ns for file in times}


def frozen(job_for: JobFor, out: Path, **changes: Any) -> StageJob:
    training = {"steps": 4, "frozen_levels": 4, "feature_crops": 2, "validate_every": 4}
    return job_for(out, training=training, **changes)


def test_only_what_follows_the_backbone_learns(job_for: JobFor, tmp_path: Path) -> None:
    job = frozen(job_for, tmp_path)
    rows: list[dict[str, Any]] = []
    train(job, reporter=Rows(rows.append))
    torch.manual_seed(job.training.seed)
    before = initial_model(job).state_dict()
    from safetensors.torch import load_file

    after = load_file(tmp_path / "model" / "model.safetensors")
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert not [name for name in changed if ".backbone." in name]
    assert not (tmp_path / "features").exists()


def test_stages_with_the_same_crops_share_their_features(job_for: JobFor, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    train(frozen(job_for, tmp_path / "pose", features=str(shared)))
    (folder,) = shared.iterdir()
    times = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    weights = tmp_path / "pose" / "model" / "model.safetensors"
    train(
        frozen(job_for, tmp_path / "posh", features=str(shared), stage="posh", initial=str(weights))
    )
    assert times == {file: file.stat().st_mtime_ns for file in shared.rglob("*.safetensors")}


def test_another_augmentation_has_features_of_its_own(job_for: JobFor, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    for angle in (10.0, 20.0):
        job = frozen(job_for, tmp_path, features=str(shared), augmentation={"rotation_deg": angle})
        rows = Annotations.read(job.data / "annotations.parquet").split("train")
        stage_of(job).samples(rows)
    assert len(list(shared.iterdir())) == 2


def test_features_of_a_backbone_that_learns_are_refused(job_for: JobFor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="feature_crops = 2 needs frozen_levels = 4"):
        job_for(tmp_path, training={"frozen_levels": 3, "feature_crops": 2})


def test_features_and_a_stream_exclude_each_other(job_for: JobFor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        frozen(job_for, tmp_path, stream={"window": 64})
