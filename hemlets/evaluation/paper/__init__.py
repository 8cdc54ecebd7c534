"""The paper's own figures, cell by cell as printed, each with the source it was read in."""

from hemlets.evaluation.paper.cells import (
    Apart,
    Beside,
    PaperCell,
    PaperTable,
    beside,
    paper_tables,
)

__all__ = ["Apart", "Beside", "PaperCell", "PaperTable", "beside", "paper_tables"]
