"""Draw a benchmark's worst samples from the files that it was scored from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hemlets.data.table import Annotations, ShardReader, decode_image
from hemlets.evaluation.predictions import Predictions
from hemlets.evaluation.scoring.summary import Summary
from hemlets.reports.drawing import png
from hemlets.reports.pictures import prediction_tile


def worst_samples(summary: Summary, count: int) -> list[tuple[str, str]]:
    """Return ids of a benchmark's worst samples with captions."""
    metric = next(metric for metric in summary.metrics if metric.key == summary.headline)
    return [
        (
            worst.sample_id,
            f"{worst.sample_id}: {worst.value:.1f} {metric.unit}"
            + (f" ({worst.about})" if worst.about else ""),
        )
        for worst in summary.worst[:count]
    ]


def rows_of_samples(annotations: Path, sample_ids: Sequence[str]) -> Annotations:
    """Read a few rows of an annotation table.

    Raises:
        DataError: The table lacks a column.
    """
    # An empty list has no type that could be compared with names.
    wanted = pc.field("sample_id").isin(pa.array(sample_ids, pa.string()))
    table = pq.read_table(annotations, columns=Annotations.schema.names, filters=wanted)
    return Annotations(table.combine_chunks())


def predictions_of(path: Path, sample_ids: Sequence[str]) -> Predictions:
    """Read predictions of a few samples.

    Raises:
        DataError: The file can't be used.
    """
    wanted = set(sample_ids)
    found: list[Predictions] = []
    for batch in Predictions.batches(path):
        rows = np.flatnonzero([name in wanted for name in batch.sample_id])
        if rows.size or not found:
            found.append(batch.take(rows))
    return Predictions.concatenate(found)


def pictures_of(
    predictions: Path, annotations: Path, shards: Path, samples: Sequence[tuple[str, str]]
) -> list[tuple[str, bytes]]:
    """Draw samples as PNG: image with both skeletons, and both from the side; with captions.

    Raises:
        DataError: An image can't be read, or a file can't be used.
    """
    ids = [name for name, _ in samples]
    rows, predicted, reader = (
        rows_of_samples(annotations, ids),
        predictions_of(predictions, ids),
        ShardReader(shards),
    )
    found = []
    for name, caption in samples:
        row = rows.row_of[name]
        jpeg = reader.jpeg(str(rows.shard[row]), int(rows.shard_row[row]), name)
        tile = prediction_tile(decode_image(jpeg, where=name), predicted, rows, name)
        found.append((caption, png(tile)))
    return found
