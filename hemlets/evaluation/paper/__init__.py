"""The paper's own figures, cell by cell as printed, each with the source it was read in."""

from hemlets.evaluation.paper.cells import (
    Apart,
    Beside,
    Block,
    PaperCell,
    PaperTable,
    Row,
    apart_because,
    beside,
    paper_tables,
)

__all__ = [
    "Apart",
    "Beside",
    "Block",
    "PaperCell",
    "PaperTable",
    "Row",
    "apart_because",
    "beside",
    "paper_tables",
]
