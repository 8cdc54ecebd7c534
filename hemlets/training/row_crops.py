"""Load annotated rows as network input, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from hemlets.data.table import Annotations, ShardReader, stored_images
from hemlets.data.transforms import Crop, square_crop
from hemlets.models.crops import network_input
from hemlets.training.objectives import downscale


class RowCrops(NamedTuple):
    """A batch of rows.

    Attributes:
        rows: Position of the batch in the table.
        crops: Square crops of the annotated boxes.
        image_B3HW: Normalised pixels of the crops, on the device.
    """

    rows: slice
    crops: list[Crop]
    image_B3HW: Tensor


def row_crops(
    annotations: Annotations,
    shards: Path,
    *,
    crop_px: int,
    device: torch.device,
    shrink: int = 1,
    batch_size: int = 32,
) -> Iterator[RowCrops]:
    """Yield the crops of all rows in order; ``shrink`` is the downscaling factor."""
    reader = ShardReader(shards)
    for start in range(0, len(annotations), batch_size):
        rows = range(start, min(start + batch_size, len(annotations)))
        crops = [square_crop(box, crop_px) for box in annotations.box_xyxy[start : rows.stop]]
        pixels = network_input(stored_images(annotations, rows, reader), crops, device)
        yield RowCrops(slice(start, rows.stop), crops, downscale(pixels, shrink))
