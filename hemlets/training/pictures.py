"""Draw predictions and ground truth of a few validation samples."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch

from hemlets.core.arrays import Image
from hemlets.data.table import Annotations, ShardReader, stored_images
from hemlets.data.transforms import square_crop
from hemlets.models import HemletsPosh, PoseNetwork
from hemlets.models.crops import joints_in_images, network_input
from hemlets.training.objectives import downscale

TILES: Final = 8
_TILE_PX: Final = 192


def validation_picture(
    network: PoseNetwork | HemletsPosh,
    annotations: Annotations,
    shards: Path,
    *,
    device: torch.device,
    shrink: int = 1,
) -> Image:
    """Draw crops of the first samples: thin true skeletons, bold predictions."""
    import cv2

    from hemlets.reports.drawing import draw_bones, sheet

    pose = network.pose if isinstance(network, HemletsPosh) else network
    rows = annotations.take(np.arange(min(TILES, len(annotations))))
    reader = ShardReader(shards)
    crops = [square_crop(box, pose.config.crop_px) for box in rows.box_xyxy]
    images = list(stored_images(rows, range(len(rows)), reader))
    was_training = pose.training
    pose.eval()
    with torch.inference_mode():
        image_B3HW = downscale(network_input(images, crops, device), shrink)
        found = joints_in_images(pose.decode(pose(image_B3HW)).voxel_BJ3, pose.config.volume, crops)
    pose.train(was_training)
    tiles = []
    for i, (image, crop) in enumerate(zip(images, crops, strict=True)):
        tile: Image = np.asarray(
            cv2.resize(crop.extract(image), (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_CUBIC),
            np.uint8,
        )
        factor = _TILE_PX / crop.size_px
        true_px = crop.to_crop(rows.joints2d_px[i]) * factor
        draw_bones(tile, true_px, rows.valid2d[i], truth=True)
        draw_bones(tile, found.crop_px_BJ2[i] * factor)
        tiles.append(tile)
    return sheet(tiles, columns=4)
