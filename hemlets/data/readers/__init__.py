"""Readers: convert each dataset's own files to rows of the annotation table."""

from hemlets.data.readers.contract import (
    Dataset,
    ImageRef,
    LayoutEntry,
    Reader,
    ReadOptions,
    SourceRows,
    Supervision,
    missing_entries,
    require_layout,
)

__all__ = [
    "Dataset",
    "ImageRef",
    "LayoutEntry",
    "ReadOptions",
    "Reader",
    "SourceRows",
    "Supervision",
    "missing_entries",
    "require_layout",
]
