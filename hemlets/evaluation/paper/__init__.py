"""The paper's tables as printed, and their reproduction from predictions files."""

from hemlets.evaluation.paper.cells import (
    Block,
    ComparableCell,
    OtherCell,
    PaperCell,
    PaperTable,
    PrintedRow,
    Row,
    compare_cells,
    paper_tables,
)

__all__ = [
    "Block",
    "ComparableCell",
    "OtherCell",
    "PaperCell",
    "PaperTable",
    "PrintedRow",
    "Row",
    "compare_cells",
    "paper_tables",
]
