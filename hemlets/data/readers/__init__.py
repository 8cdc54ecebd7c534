"""Readers: convert each dataset's own files to rows of the annotation table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def __getattr__(name: str) -> object:
    # The contract imports Arrow, which predicting a photograph must not.
    if name in __all__:
        from hemlets.data.readers import contract

        return getattr(contract, name)
    raise AttributeError(name)
