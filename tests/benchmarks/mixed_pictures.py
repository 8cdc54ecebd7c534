"""Pictures of the mixed-training study: what is trained on, and photographs before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.data.table import Annotations, ShardReader, decode_image
from hemlets.data.transforms import square_crop
from hemlets.evaluation import Predictions
from hemlets.models.codecs import VolumeSpec
from hemlets.reports.drawing import draw_bones, sheet
from hemlets.reports.drawing.bones import put_text
from hemlets.reports.drawing.contact_sheet import Tile, contact_sheet
from hemlets.reports.pictures import pick_samples
from hemlets.training.batches import Batch

__all__ = ["before_and_after", "training_crops"]

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]

_TILE_PX: Final = 224
_THICK_PX: Final = 2


def training_crops(batch: Batch, volume: VolumeSpec) -> Image:
    """A batch as the network gets it: crops after every variation, with the joints it is told."""

    def tiles() -> Iterator[Tile]:
        crop_px_BJ2, _ = volume.from_voxels(batch.voxel_BJ3)
        for image, joints, known, deep, relation, told in zip(
            batch.image_BHW3.numpy(),
            crop_px_BJ2.numpy(),
            batch.known2d_BJ.numpy() > 0,
            batch.known3d_BJ.numpy() > 0,
            batch.relation_BK.numpy(),
            batch.relation_known_BK.numpy() > 0,
            strict=True,
        ):
            side = float(volume.crop_px)
            yield Tile(
                image_HW3=image,
                joints2d_px=joints,
                valid2d=known,
                visible=known,
                box_xyxy=np.array([0.0, 0.0, side, side]),
                relations=relation.astype(np.int8),
                relations_valid=told,
                caption=(f"{known.sum()} joints in 2D, {deep.sum()} in depth",),
            )

    return contact_sheet(tiles(), columns=6, tile_px=_TILE_PX)


def before_and_after(
    rows: Annotations,
    reader: ShardReader,
    predictions: Mapping[str, Predictions],
    pck_pct: Mapping[str, Float],
    *,
    count: int,
) -> Image:
    """Photographs in rows, models in columns: the truth thin, what is predicted bold.

    Args:
        rows: The photographs.
        reader: Of their shards.
        predictions: By model, the one to compare with first, in the rows' order.
        pck_pct: By model and photograph.
        count: Photographs, from the first model's best to its worst at even steps of rank, so
            that the sheet flatters nobody.
    """
    first = next(iter(predictions))
    tiles = []
    for row in pick_samples(-pck_pct[first], count):
        name = str(rows.sample_id[row])
        image = decode_image(reader.jpeg(rows.shard[row], int(rows.shard_row[row]), name))
        crop = square_crop(rows.box_xyxy[row], _TILE_PX)
        picture = crop.extract(image)
        for model, found in predictions.items():
            tile = picture.copy()
            draw_bones(tile, crop.to_crop(rows.joints2d_px[row]), rows.valid2d[row], truth=True)
            draw_bones(tile, crop.to_crop(found.joints2d_px[row]), thickness=_THICK_PX)
            put_text(tile, f"{name.rpartition('/')[2]} {model}", (4, 14))
            put_text(tile, f"PCK {pck_pct[model][row]:.0f} %", (4, _TILE_PX - 6))
            tiles.append(tile)
    return sheet(tiles, columns=2 * len(predictions))
