"""Simulated keypoints of training people, and a refinement that is trained alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import Joint
from hemlets.data.transforms import AugmentationConfig, draw_augmentation
from hemlets.models import HemletsPosh, PoseNetworkConfig
from hemlets.models.evidence import KEYPOINT_NAMES
from hemlets.training.config import StageJob
from hemlets.training.engine import train
from hemlets.training.features import FeatureBatch
from hemlets.training.simulated_keypoints import SimulatedKeypoints
from hemlets.training.stages import initial_model

CELLS = 32
COUNT = 400
WRIST = KEYPOINT_NAMES.index("left_wrist")
JobFor = Callable[..., StageJob]


class Features:
    """Features of people whose joints are known, with keypoints in the crop's corner."""

    def __init__(self, **changes: torch.Tensor) -> None:
        torch.manual_seed(0)
        zeros = torch.zeros(COUNT, 1)
        whole = dict.fromkeys(FeatureBatch._fields, zeros) | {
            "keypoints_BK3": torch.zeros(COUNT, len(KEYPOINT_NAMES), 3),
            "voxel_BJ3": CELLS * (0.1 + 0.8 * torch.rand(COUNT, len(Joint), 3)),
            "known2d_BJ": torch.ones(COUNT, len(Joint)),
            "absent_B": torch.zeros(COUNT),
        }
        self.whole = FeatureBatch(**whole | changes)

    def __len__(self) -> int:
        return COUNT

    def batch(self, indices: Any, epoch: int) -> FeatureBatch:
        return FeatureBatch(*(value[torch.as_tensor(indices)] for value in self.whole))


def simulated(features: Features, share: float = 1.0, epoch: int = 0) -> torch.Tensor:
    source = SimulatedKeypoints(features, share, CELLS, 0)
    return source.batch(np.arange(COUNT), epoch).keypoints_BK3


def test_most_joints_of_a_chosen_person_have_a_keypoint_near_their_true_place() -> None:
    features = Features()
    wrist = simulated(features)[:, WRIST]
    shown = wrist[:, 2] > 0
    assert 0.8 < shown.float().mean() < 0.9
    true = features.whole.voxel_BJ3[:, Joint.LEFT_WRIST, :2] / CELLS
    error = (wrist[:, :2] - true)[shown]
    assert 0.010 < error.std() < 0.014
    assert 0.35 <= wrist[shown, 2].min() < 0.4
    assert 0.9 < wrist[shown, 2].max() <= 0.95
    ear = KEYPOINT_NAMES.index("left_ear")
    assert not simulated(features)[:, ear].any()


def test_a_share_of_the_people_is_chosen() -> None:
    chosen = (simulated(Features(), 0.3)[..., 2] > 0).any(1)
    assert 0.24 < chosen.float().mean() < 0.36


@pytest.mark.parametrize(
    "changes",
    [
        {"absent_B": torch.ones(COUNT)},
        {"known2d_BJ": torch.zeros(COUNT, len(Joint))},
        {"voxel_BJ3": torch.full((COUNT, len(Joint), 3), 1.2 * CELLS)},
    ],
    ids=["nobody there", "joints unknown", "joints outside of the crop"],
)
def test_what_is_not_there_or_not_known_is_not_simulated(changes: dict[str, torch.Tensor]) -> None:
    assert not simulated(Features(**changes)).any()


def test_who_is_chosen_does_not_depend_on_the_augmentations_draw() -> None:
    chosen = (simulated(Features(), 0.5)[..., 2] > 0).any(1).numpy()
    angles = [draw_augmentation(AugmentationConfig(), (0, 0, n)).angle_rad for n in range(COUNT)]
    assert 0.4 < chosen[np.array(angles) < 0].mean() < 0.6


def test_a_draw_depends_on_epoch_and_index_alone() -> None:
    features = Features()
    source = SimulatedKeypoints(features, 0.5, CELLS, 0)
    whole = simulated(features, 0.5, epoch=3)
    assert torch.equal(source.batch(np.array([7, 2]), 3).keypoints_BK3, whole[[7, 2]])
    assert not torch.equal(simulated(features, 0.5, epoch=4), whole)


REFINED = {
    "backbone": "movenet_thunder", "keypoints": True, "refinement_layers": 1,
    "refinement_context": True,
}  # fmt: skip


def refinement_job(job_for: JobFor, out: Path, **changes: Any) -> StageJob:
    training = {"steps": 3, "frozen_levels": 4, "feature_crops": 1, "validate_every": 3,
                "simulated_keypoints": 0.5, "refinement_only": True,
                "freeze_batch_norm": True}  # fmt: skip
    return job_for(out, training=training | changes.pop("training", {}), **changes)


def test_a_refinement_is_trained_alone(job_for: JobFor, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    pose = job_for(tmp_path).pose.model_dump() | REFINED
    below = tmp_path / "below.safetensors"
    torch.manual_seed(0)
    network = HemletsPosh(PoseNetworkConfig(**pose), job_for(tmp_path).shape)
    save_file(network.state_dict(), below)
    job = refinement_job(job_for, tmp_path, pose=pose, initial=str(below))
    train(job)
    before = initial_model(job).state_dict()
    after = load_file(tmp_path / "model" / "model.safetensors")
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"refinement", "context"}


@pytest.mark.parametrize(
    ("pose", "training", "message"),
    [
        (REFINED, {"freeze_batch_norm": False}, "freeze_batch_norm = true"),
        (REFINED, {"feature_crops": 0}, "needs feature_crops"),
        (REFINED | {"refinement_layers": 0, "refinement_context": False}, {}, "refinement_layers"),
        (REFINED, {}, "needs initial weights"),
        ({"refinement_layers": 1}, {"refinement_only": False}, "needs pose.keypoints"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    job_for: JobFor,
    tmp_path: Path,
    pose: dict[str, Any],
    training: dict[str, Any],
    message: str,
) -> None:
    whole = job_for(tmp_path).pose.model_dump() | pose
    initial = None if "initial" in message else "below.safetensors"
    with pytest.raises(ConfigError, match=message):
        refinement_job(job_for, tmp_path, pose=whole, training=training, initial=initial)
