"""Evaluation of heads on a few photographs of public datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from flows.ablation.scoring import find
from flows.ablation.study import Study
from flows.ablation.training import CPU, EVALUATED, encoder
from hemlets.core.skeleton import N_JOINTS, N_PARTS
from hemlets.data.table import decode_image
from hemlets.data.transforms import Crop, square_crop
from hemlets.evaluation.photos import PhotoPerson, load_photos, photo_figures
from hemlets.models import PoseNetwork
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.codecs.decode import metric_joints
from hemlets.models.crops import joints_in_images, network_input
from hemlets.training.features import FeatureBatch, flatten_features

_FIGURES: Final = ("photo_pa_mpjpe_mm", "photo_pck_torso_pct")


@dataclass(frozen=True, kw_only=True, eq=False)
class Photographs:
    """Annotated people with precomputed features.

    Attributes:
        people: Annotations.
        crops: Crops around the boxes.
        batches: Features; targets are empty.
    """

    people: list[PhotoPerson]
    crops: list[Crop]
    batches: list[FeatureBatch]

    @classmethod
    def encoded(cls, study: Study, folder: Path) -> Photographs:
        """Read and encode the people of a folder, see `hemlets.evaluation.photos`."""
        network = encoder(study.pose).eval()
        people = load_photos(folder)
        crops = [square_crop(person.box_xyxy, study.pose.crop_px) for person in people]
        images = [decode_image(p.image.read_bytes(), where=str(p.image)) for p in people]
        batches = []
        for start in range(0, len(people), EVALUATED):
            part = slice(start, start + EVALUATED)
            with torch.inference_mode():
                pair = flatten_features(
                    network.encode(network_input(images[part], crops[part], CPU))
                )
            batches.append(_without_targets(*pair))
        return cls(people=people, crops=crops, batches=batches)

    def figures(self, network: PoseNetwork, bones: BoneLengths) -> dict[str, float]:
        """PA-MPJPE over the people with 3D joints and a camera, PCK of LSPET's."""
        seen = joints_in_images(
            find(network, self.batches).voxel_BJ3, network.config.volume, self.crops
        )
        joints_mm = np.zeros((len(self.people), N_JOINTS, 3))
        for number, person in enumerate(self.people):
            if person.camera is not None:
                c = person.camera
                one = slice(number, number + 1)
                joints_mm[one] = metric_joints(
                    seen.image_px_BJ2[one],
                    seen.depth_mm_BJ[one],
                    np.array([[c.fx, c.fy, c.cx, c.cy]]),
                    bones,
                )[0]
        found = photo_figures(self.people, list(seen.image_px_BJ2), list(joints_mm))
        errors = [f for name, f in found.items() if name.endswith("_pa_mpjpe_mm")]
        count = sum(f.people for f in errors)
        mean = sum(f.value * f.people for f in errors) / count if count else float("nan")
        hits = found.get("lspet_pck_torso_pct")
        return dict(zip(_FIGURES, (mean, hits.value if hits else float("nan")), strict=True))


def no_photographs() -> dict[str, float]:
    """Return NaN for each figure, for a study without a folder of photographs."""
    return dict.fromkeys(_FIGURES, float("nan"))


def _without_targets(feature_BF: torch.Tensor, keypoints_BK3: torch.Tensor) -> FeatureBatch:
    count = len(feature_BF)
    joints, parts, one = (torch.zeros(count, n) for n in (N_JOINTS, N_PARTS, 1))
    return FeatureBatch(
        feature_BF, keypoints_BK3, torch.zeros(count, N_JOINTS, 3), joints, joints,
        parts, parts, parts, torch.zeros(count, 24, 3, 3), torch.zeros(count, 10), one[:, 0],
        one[:, 0],
    )  # fmt: skip
