"""The paper's tables as printed, and their reproduction from predictions files."""

from hemlets.evaluation.paper.cells import (
    Apart,
    Beside,
    Block,
    PaperCell,
    PaperTable,
    PrintedRow,
    Row,
    beside,
    paper_tables,
)

__all__ = [
    "Apart",
    "Beside",
    "Block",
    "PaperCell",
    "PaperTable",
    "PrintedRow",
    "Row",
    "beside",
    "paper_tables",
]
