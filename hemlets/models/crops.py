"""From crops of images to what a network takes, and from its voxels back to the images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hemlets.core.arrays import Float, Image
from hemlets.data.transforms import Crop, normalise
from hemlets.models.codecs import VolumeSpec


class ImageJoints(NamedTuple):
    """Predicted joints of a batch.

    Attributes:
        crop_px_BJ2: In the crops.
        image_px_BJ2: In the images that the crops were cut from.
        depth_mm_BJ: Relative to the middle of the volume, where the pelvis should be.
    """

    crop_px_BJ2: Float
    image_px_BJ2: Float
    depth_mm_BJ: Float


def network_input(
    images_HW3: Iterable[Image], crops: Sequence[Crop], device: torch.device
) -> Tensor:
    """Normalised crops (B, 3, H, W) of as many RGB images, taken one at a time."""
    pixels = [crop.extract(image) for crop, image in zip(crops, images_HW3, strict=True)]
    return normalise(torch.from_numpy(np.stack(pixels)).to(device))


def joints_in_images(voxel_BJ3: Tensor, volume: VolumeSpec, crops: Sequence[Crop]) -> ImageJoints:
    """Decoded joints in crops, images and millimetres of depth, in float64."""
    crop_px, depth_mm = volume.from_voxels(voxel_BJ3.cpu().double())
    crop_px_BJ2: Float = crop_px.numpy()
    image_px = [crop.to_image(points) for crop, points in zip(crops, crop_px_BJ2, strict=True)]
    return ImageJoints(crop_px_BJ2, np.stack(image_px), depth_mm.numpy())
