"""Features of the frozen encoder, computed once for all runs, and training of heads on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from flows.ablation.arms import Arm
from flows.ablation.labels import has_depth, relabelled
from flows.ablation.study import Study
from hemlets.core.files import content_hash
from hemlets.data.table import Annotations
from hemlets.data.transforms import AugmentationConfig
from hemlets.data.weak_labels import DEFAULT
from hemlets.models import PoseNetwork, PoseNetworkConfig
from hemlets.models.backbones import freeze_levels
from hemlets.models.backbones.pretrained import backbone_file, load_backbone
from hemlets.models.losses import joint_loss
from hemlets.training.batches import Loader, Samples
from hemlets.training.features import FeatureBatch, FeatureSamples, compute_features, weights_hash
from hemlets.training.group import Group
from hemlets.training.mixing import MixedSource
from hemlets.training.moving_average import ExponentialMovingAverage
from hemlets.training.objectives import PoseObjective
from hemlets.training.optimisers import StageOptimiser, learning_rate
from hemlets.training.precision import resolve_precision

CPU = torch.device("cpu")
EVALUATED = 32
"""Batch size in evaluation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """People of one split with their features.

    Attributes:
        rows: Annotations.
        crops: Crops with their targets.
        features: Encoder features of the crops.
    """

    rows: Annotations
    crops: Samples
    features: FeatureSamples


class _Channels(nn.Module):
    """Placeholder for a backbone whose features are precomputed."""

    def __init__(self, level_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.level_channels = level_channels


def encoder(config: PoseNetworkConfig) -> PoseNetwork:
    """Build a network with the bundled encoder, frozen."""
    network = PoseNetwork(config)
    load_backbone(network.backbone, backbone_file("bundled", config.backbone))
    freeze_levels(network.backbone, 4)
    return network


def head(config: PoseNetworkConfig) -> PoseNetwork:
    """Build a network with random weights and no encoder, for precomputed features."""
    network = PoseNetwork(config)
    network.backbone = _Channels(network.backbone.level_channels)  # type: ignore[assignment]
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def encode(
    study: Study,
    rows: Annotations,
    shards: Path,
    folder: Path,
    *,
    augmentation: AugmentationConfig | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Encoded:
    """Compute the features of a split, resuming an earlier call.

    Args:
        study: Network, precision and crops.
        rows: Annotated people.
        shards: Folder of their images.
        folder: Parent folder of the cached features.
        augmentation: Augmentation of training people; None encodes each person once, unaugmented.
        progress: Called with the number of finished crops.
    """
    network = encoder(study.pose)
    crops = Samples(rows, shards, study.pose.volume, seed=0, augmentation=augmentation)
    count = study.crops if augmentation else 1
    precision = resolve_precision(study.precision, CPU)
    augmented = augmentation and augmentation.model_dump(exclude={"joint_noise_m"})
    decided = {
        "backbone": [study.pose.backbone, weights_hash(network.backbone)],
        "crop": [study.pose.crop_px, network.n_levels],
        "rows": rows.sample_id.tolist(),
        "images": rows.image_hash.tolist(),
        "boxes": rows.box_xyxy.tolist(),
        "augmentation": augmented,
        "crops": count,
        "precision": str(precision),
    }
    own = folder / content_hash(decided)[:20]
    own.mkdir(parents=True, exist_ok=True)
    features = compute_features(
        network,
        crops,
        count,
        folder=own,
        precision=precision,
        group=Group(),
        report_progress=progress,
    )
    # Stored targets belong to the volume that they were first computed for.
    return Encoded(rows=rows, crops=crops, features=features.with_targets(crops))


def train_head(
    study: Study,
    arm: Arm,
    seed: int,
    train: Encoded,
    shards: Path,
    *,
    point: Callable[[int, PoseNetwork], None],
) -> PoseNetwork:
    """Train an arm's head.

    Args:
        study: Budget and settings.
        arm: Labels and losses.
        seed: Seed of initial weights and sample order.
        train: People of the training split with all their labels.
        shards: Folder of their images.
        point: Called with the samples seen and the averaged network, `Study.curve` times.
    """
    torch.set_num_threads(study.threads)
    torch.manual_seed(seed)
    config = study.training(seed)
    learnt = ~study.held_out(train.rows)
    known = has_depth(learnt, arm.share_pct)
    rows = relabelled(train.rows, known, arm.rest, annotators=study.annotators or DEFAULT)
    crops = Samples(rows, shards, study.pose.volume, seed=0, augmentation=train.crops.augmentation)
    sources = [MixedSource(members=np.flatnonzero(known), share=1.0)]
    if arm.rest != "absent":
        # As in the paper: half of a batch has depth labels.
        parts = known, learnt & ~known
        sources = [MixedSource(members=np.flatnonzero(part), share=0.5) for part in parts]
    loader = Loader(
        train.features.with_targets(crops),
        batch_size=study.batch_size,
        seed=seed,
        sources=sources,
    )
    network, averaged = (head(study.network(arm)) for _ in range(2))
    objective = PoseObjective(network, study.losses(arm))
    optimiser = StageOptimiser(network, config)
    average = ExponentialMovingAverage(network, config.ema)
    precision = resolve_precision(config.precision, CPU)
    every = max(1, study.steps // study.curve)
    for step, batch in enumerate(loader.batches(0, study.steps)):
        optimiser.set_rate(learning_rate(config, step))
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            terms = objective(batch)
        (terms["total"] / study.batch_size).backward()
        optimiser.step()
        average.update(network, step)
        last = step + 1 == study.steps
        if last or ((step + 1) % every == 0 and study.steps - step > every // 2):
            averaged.load_state_dict(average.state)
            point((step + 1) * study.batch_size, averaged.eval())
    return averaged


def evaluated_batches(encoded: Encoded) -> list[FeatureBatch]:
    """Batches of a split in order."""
    rows = np.arange(len(encoded.rows))
    return [
        encoded.features.batch(rows[start : start + EVALUATED], 0)
        for start in range(0, len(rows), EVALUATED)
    ]


def validation_loss(decoded_BJ3: Tensor, batches: list[FeatureBatch]) -> float:
    """L_3D per joint in voxels, equation (6), as in Figure 9's curves."""
    targets, known2d, known3d = (
        torch.cat([getattr(batch, name) for batch in batches])
        for name in ("voxel_BJ3", "known2d_BJ", "known3d_BJ")
    )
    return float(joint_loss(decoded_BJ3, targets, known2d, known3d)) / decoded_BJ3.shape[:2].numel()
