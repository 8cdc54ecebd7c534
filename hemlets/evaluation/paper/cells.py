"""Cells of the paper's tables, and whether one may stand beside a figure of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from hemlets.core.config import Config, read_toml
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.protocols.protocol import Key

__all__ = [
    "Apart", "Beside", "Block", "PaperCell", "PaperTable", "Row", "apart_because", "beside",
    "paper_tables",
]  # fmt: skip

_FOLDER: Final = Path(__file__).parent
_TITLES: Final = {
    "over": "joints",
    "root": "root",
    "align": "alignment",
    "box": "box source",
    "depth": "depth source",
    "flip": "flip test",
}


class PaperCell(Config):
    """One figure as printed.

    Attributes:
        method: the row.
        column: the column; ``Avg`` or ``all`` for the whole.
        value: literally as printed; never recomputed.
        protocol: name of the protocol.
        key: the quantity.
        over: joints; ``untold`` wherever the source says nothing, here and below.
        root: shared point.
        align: alignment.
        box: box source.
        depth: depth source.
        flip: flip test.
        source: where the cell was read.
        quirk: what is odd about it.
    """

    method: str
    column: str
    value: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")]
    protocol: str
    key: str
    over: str
    root: str
    align: str
    box: str
    depth: str
    flip: str
    source: str
    quirk: str = ""


class Block(Config):
    """Columns of a table that have one protocol and one quantity.

    Attributes:
        title: above the columns.
        protocol: its name; empty for the one of the table's that the samples are of.
        key: the quantity.
        groups: title of the protocol's table whose columns these are; empty for none.
        whole: title of the last column, over all samples or the mean of the groups; empty for none.
        setting: which of a row's predictions; empty for its only or first ones.
    """

    title: str
    protocol: str = ""
    key: Key
    groups: str = ""
    whole: str = ""
    setting: str = ""


class Row(Config):
    """A row that a table must have: the word by which its predictions are given, and its title."""

    name: str
    title: str


class PaperTable(Config):
    """A table of the paper, as far as its cells could be read.

    Attributes:
        number: of the table.
        title: what it is about.
        protocols: that give such figures.
        missing: which cells are not here, and why.
        quirks: what a reader of the table should know.
        blocks: the columns in the paper's order.
        rows: in the paper's order; empty where every method is one.
        given: whether rows differ in what of the truth the predictor was given.
        cells: those that were read.
    """

    number: int
    title: str
    protocols: tuple[str, ...]
    missing: str = ""
    quirks: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = ()
    given: bool = False
    cells: tuple[PaperCell, ...] = ()


class Beside(NamedTuple):
    """A cell of the same protocol, which may be shown beside ours."""

    table: int
    cell: PaperCell


class Apart(NamedTuple):
    """A cell that may not be shown beside ours, and why."""

    table: int
    cell: PaperCell
    why: str


def paper_tables() -> tuple[PaperTable, ...]:
    """All tables, by number."""
    tables = [
        PaperTable.from_mapping(read_toml(file), where=str(file))
        for file in _FOLDER.glob("table*.toml")
    ]
    return tuple(sorted(tables, key=lambda table: table.number))


def apart_because(cell: PaperCell, name: MetricName) -> str:
    """Why a cell of the same quantity may not stand beside a figure of ours; empty if it may."""
    return "; ".join(
        f"{title}: ours {getattr(name, field)}, the paper's {getattr(cell, field)}"
        for field, title in _TITLES.items()
        if getattr(cell, field) != getattr(name, field)
    )


def beside(protocol: str, names: tuple[MetricName, ...]) -> tuple[list[Beside], list[Apart]]:
    """The paper's cells of a protocol: those that may stand beside ours, and those that may not.

    A cell may only where the source tells every part of its protocol and each is ours.

    Args:
        protocol: name of the protocol.
        names: of our figures.
    """
    same: list[Beside] = []
    apart: list[Apart] = []
    ours = {name.key: name for name in names}
    for table in paper_tables():
        for cell in table.cells:
            if cell.protocol != protocol or cell.key not in ours:
                continue
            why = apart_because(cell, ours[cell.key])
            if why:
                apart.append(Apart(table.number, cell, why))
            else:
                same.append(Beside(table.number, cell))
    return same, apart
