"""The annotation table and its image shards, for all data sources.

A data version is a folder: ``annotations.parquet`` (one typed row per person), ``shards/``
(JPEG images in Arrow files) and ``version.json`` (provenance).
"""

from hemlets.data.images import decode_image, encode_jpeg
from hemlets.data.table.shards import ShardReader, ShardWriter
from hemlets.data.table.stored import stored_images
from hemlets.data.table.table import (
    ALL_SPLITS,
    BACKGROUND_SPLITS,
    FIELDS,
    SPLITS,
    Annotations,
    Field,
)

__all__ = [
    "ALL_SPLITS",
    "BACKGROUND_SPLITS",
    "FIELDS",
    "SPLITS",
    "Annotations",
    "Field",
    "ShardReader",
    "ShardWriter",
    "decode_image",
    "encode_jpeg",
    "stored_images",
]
