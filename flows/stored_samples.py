"""A data version's stored samples in the forms that a predictor and an endpoint are asked with."""

from __future__ import annotations

from hemlets.annotations import Annotations, ShardReader, decode_image
from hemlets.inference.types import Camera, PredictionRequest
from serving.canary import CanarySample

__all__ = ["request_of", "stored_sample"]


def stored_sample(rows: Annotations, row: int, reader: ShardReader) -> CanarySample:
    """The stored bytes of one row's image, with the annotated box and, where known, camera.

    Args:
        rows: Annotations of the data version.
        row: Which of them.
        reader: Of the data version's shards.

    Raises:
        DataError: The shard does not hold this sample.
    """
    left, top, right, bottom = rows.box_xyxy[row].tolist()
    fx, fy, cx, cy = rows.camera[row].tolist()
    name = str(rows.sample_id[row])
    return CanarySample(
        image=reader.jpeg(rows.shard[row], int(rows.shard_row[row]), name),
        box=(left, top, right, bottom),
        camera=Camera(fx=fx, fy=fy, cx=cx, cy=cy) if rows.camera_valid[row] else None,
    )


def request_of(rows: Annotations, row: int, reader: ShardReader) -> PredictionRequest:
    """The same row as a predictor takes it: its image decoded.

    Raises:
        DataError: The shard does not hold this sample, or its image can't be decoded.
    """
    sample = stored_sample(rows, row, reader)
    return PredictionRequest(
        image_HW3=decode_image(sample.image, where=str(rows.sample_id[row])),
        box_xyxy=sample.box,
        camera=sample.camera,
    )
