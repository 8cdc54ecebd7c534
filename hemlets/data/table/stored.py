"""Decode the stored images of rows from their shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hemlets.core.arrays import Image
from hemlets.data.images import decode_image
from hemlets.data.table.shards import ShardReader
from hemlets.data.table.table import Annotations


def stored_images(rows: Annotations, which: Iterable[int], reader: ShardReader) -> Iterator[Image]:
    """Yield RGB images (H, W, 3) of some rows, one at a time.

    Raises:
        DataError: A shard does not hold the sample.
        InputError: An image can't be decoded; names the sample.
    """
    for i in which:
        name = rows.sample_id[i]
        yield decode_image(reader.jpeg(rows.shard[i], int(rows.shard_row[i]), name), where=name)
