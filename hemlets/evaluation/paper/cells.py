"""The paper's tables as printed, and whether a cell may be compared with a figure of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from pydantic import Field, model_validator

from hemlets.core.config import Config, read_toml
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.protocols.protocol import Key, load_protocol

OURS: Final = "Ours"
"""Title of the paper's own row."""

_FOLDER: Final = Path(__file__).parent
_PARTS: Final = {
    "over": "joints",
    "root": "root",
    "align": "alignment",
    "box": "box source",
    "depth": "depth source",
    "flip": "flip test",
}
"""Titles of the parts of a full metric name that decide whether two figures are comparable."""

Value = Annotated[str, Field(pattern=r"^(-|\d+(\.\d+)?( \(\d+\.\d+\*\))?)$")]


class Measured(Config):
    """How the paper measured its own row, part by part as in a full metric name.

    ``untold`` stands where the paper and the authors' released evaluator state nothing.
    """

    over: str = "untold"
    root: str = "untold"
    align: str = "untold"
    box: str = "untold"
    depth: str = "untold"
    flip: str = "untold"


class PaperCell(Config):
    """A figure of the paper's own row.

    Attributes:
        method: title of the row.
        column: title of the column; ``Avg`` or ``All`` for the whole.
        value: literally as printed; never recomputed.
        protocol: name of the protocol.
        key: the quantity.
        measured: how the paper measured it.
        ambiguous: why it is comparable with no figure at all; empty where it may be.
        quirk: what is odd about it.
    """

    method: str
    column: str
    value: str
    protocol: str
    key: str
    measured: Measured
    ambiguous: str = ""
    quirk: str = ""


class Reading(Config):
    """One interpretation of a block whose definition is ambiguous: its title and protocol."""

    title: str
    protocol: str


class Block(Config):
    """Columns of a table with one quantity and one protocol.

    Attributes:
        title: above the columns.
        protocol: its name; empty where the samples decide among the table's protocols.
        readings: protocols to score where the paper's definition can be read in several ways.
        key: the quantity.
        groups: title of the protocol's table whose columns these are; empty for none.
        whole: title of the last column, over all samples or the mean of the groups; empty for none.
        setting: which of a row's predictions; empty for its only or first ones.
        scale: factor from our unit to the printed one.
        decimals: printed ones.
        measured: how the paper measured its own row.
        ambiguous: why the paper's cells are comparable with no figure; empty where they may be.
    """

    title: str
    protocol: str = ""
    readings: tuple[Reading, ...] = ()
    key: Key
    groups: str = ""
    whole: str = ""
    setting: str = ""
    scale: float = 1.0
    decimals: int = 1
    measured: Measured = Measured()
    ambiguous: str = ""

    @property
    def titles(self) -> tuple[str, ...]:
        """Titles of the columns."""
        found: tuple[str, ...] = ()
        if self.groups:
            name = self.protocol or self.readings[0].protocol
            tables = load_protocol(name).tables
            table = next(table for table in tables if table.title == self.groups)
            found = tuple(column.title for column in table.columns)
        return (*found, self.whole) if self.whole else found

    @property
    def variants(self) -> tuple[tuple[str, Block], ...]:
        """The block once for each reading, with the reading's title; once where there is none."""
        if not self.readings:
            return (("", self),)
        return tuple(
            (reading.title, self.model_copy(update={"protocol": reading.protocol}))
            for reading in self.readings
        )


class Row(Config):
    """A row that a table must have.

    Attributes:
        name: word by which its predictions are given.
        title: as printed.
        detail: text of the table's further column, if it has one.
    """

    name: str
    title: str
    detail: str = ""


class PrintedRow(Config):
    """A row as printed.

    Attributes:
        method: title.
        block: title of the block that the row is in, where blocks are stacked.
        own: whether it is the paper's own method.
        values: of all columns of the block, or of the table, literally.
        quirk: what is odd about the row.
    """

    method: str
    block: str = ""
    own: bool = False
    values: tuple[Value, ...]
    quirk: str = ""


class PaperTable(Config):
    """A table of the paper.

    Attributes:
        number: of the table.
        title: the caption, shortened.
        protocols: that give such figures.
        stacked: whether its blocks stand below each other, each with rows of its own.
        detail: heading of a further text column of ``rows``; empty for none.
        quirks: what a reader of the table should know.
        blocks: the columns in the paper's order.
        rows: in the paper's order; empty where every method is a row.
        given: whether rows differ in oracle inputs.
        printed: all rows of the paper.
    """

    number: int
    title: str
    protocols: tuple[str, ...]
    stacked: bool = False
    detail: str = ""
    quirks: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = ()
    given: bool = False
    printed: tuple[PrintedRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> PaperTable:
        for row in self.printed:
            blocks = self.blocks_of(row)
            columns = sum(len(block.titles) for block in blocks)
            if len(row.values) != columns:
                raise ValueError(
                    f"row {row.method!r} of block {row.block!r} has {len(row.values)} values for "
                    f"{columns} columns"
                )
        return self

    def blocks_of(self, row: PrintedRow) -> tuple[Block, ...]:
        """The blocks that a printed row's values are of."""
        return tuple(block for block in self.blocks if block.title == row.block or not row.block)

    @property
    def cells(self) -> Iterator[PaperCell]:
        """The figures of the paper's own rows, once for each protocol that they may be of."""
        for row in self.printed:
            if not row.own:
                continue
            place = [(b, title) for b in self.blocks_of(row) for title in b.titles]
            for (block, title), value in zip(place, row.values, strict=True):
                for _, variant in block.variants:
                    for protocol in [variant.protocol] if variant.protocol else self.protocols:
                        yield PaperCell(
                            method=row.method,
                            column=title,
                            value=value,
                            protocol=protocol,
                            key=block.key,
                            measured=block.measured,
                            ambiguous=block.ambiguous,
                            quirk=row.quirk,
                        )


class Beside(NamedTuple):
    """A cell of the same protocol, which may be compared with ours."""

    table: int
    cell: PaperCell


class Apart(NamedTuple):
    """A cell that may not be compared with ours, and why."""

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


def apart_because(measured: Measured, name: MetricName, ambiguous: str = "") -> str:
    """Why a printed figure may not be compared with a figure of ours; empty if it may."""
    reasons = [ambiguous] if ambiguous else []
    reasons += [
        f"{title}: ours {getattr(name, field)}, the paper's {getattr(measured, field)}"
        for field, title in _PARTS.items()
        if getattr(measured, field) != getattr(name, field)
    ]
    return "; ".join(reasons)


def beside(protocol: str, names: tuple[MetricName, ...]) -> tuple[list[Beside], list[Apart]]:
    """The paper's own cells of a protocol: those comparable with ours, and those that are not.

    A cell is comparable only where every part of its protocol is stated and equal to ours.

    Args:
        protocol: name of the protocol.
        names: of our figures.
    """
    same: list[Beside] = []
    apart: list[Apart] = []
    ours = {name.key: name for name in names}
    for table in paper_tables():
        # Tables 4, 5 and 8 vary the training or the input: their rows are not this model's.
        for cell in () if table.rows else table.cells:
            if cell.protocol != protocol or cell.key not in ours:
                continue
            why = apart_because(cell.measured, ours[cell.key], cell.ambiguous)
            if why:
                apart.append(Apart(table.number, cell, why))
            else:
                same.append(Beside(table.number, cell))
    return same, apart
