"""The paper's tables as printed, and which cells are comparable with our figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from pydantic import Field, model_validator

from hemlets.core.config import Config, read_toml
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.protocols.protocol import Key, load_protocol

_FOLDER: Final = Path(__file__).parent
_PARTS: Final = {
    "over": "joints",
    "root": "root",
    "align": "alignment",
    "box": "box source",
    "depth": "depth source",
    "flip": "flip test",
}
"""Titles of the parts of a full metric name that must be equal for a comparison."""

Value = Annotated[str, Field(pattern=r"^(-|\d+(\.\d+)?( \(\d+\.\d+\*\))?)$")]


class Measured(Config):
    """How the paper measured its own row: the parts of a full metric name.

    ``unstated``: neither the paper nor the authors' released evaluator states it.
    """

    over: str = "unstated"
    root: str = "unstated"
    align: str = "unstated"
    box: str = "unstated"
    depth: str = "unstated"
    flip: str = "unstated"


class PaperCell(Config):
    """A figure of the paper's own row.

    Attributes:
        method: Title of the row.
        column: Title of the column; ``Avg`` or ``All`` for the whole.
        value: Literally as printed.
        protocol: Name of the protocol.
        key: Key of the quantity.
        measured: How the paper measured it.
        ambiguous: Why it is comparable with no figure; empty if it may be.
        quirk: Peculiarity of the cell.
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
        title: Title above the columns.
        protocol: Protocol; empty if the samples decide among the table's protocols.
        readings: Protocols to score where the paper's definition is ambiguous.
        key: Key of the quantity.
        groups: Title of the protocol's table with these columns; empty for none.
        whole: Title of the last column, over all samples or the mean of the groups; empty for none.
        setting: Which of a row's predictions; empty for its only or first ones.
        scale: Factor from our unit to the printed unit.
        decimals: Printed decimals.
        measured: How the paper measured its own row.
        ambiguous: Why the paper's cells are comparable with no figure; empty if they may be.
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
        """Return the block once per reading with the reading's title; once without readings."""
        if not self.readings:
            return (("", self),)
        return tuple(
            (reading.title, self.model_copy(update={"protocol": reading.protocol}))
            for reading in self.readings
        )


class Row(Config):
    """A required row of a table."""

    name: str
    title: str
    detail: str = ""


class PrintedRow(Config):
    """A row as printed.

    Attributes:
        method: Title.
        block: Title of its block, if blocks are stacked.
        own: Whether it is the paper's own method.
        values: All columns of the block or table, literally.
        quirk: Peculiarity of the row.
    """

    method: str
    block: str = ""
    own: bool = False
    values: tuple[Value, ...]
    quirk: str = ""


class PaperTable(Config):
    """A table of the paper.

    Attributes:
        number: Number of the table.
        title: Caption, shortened.
        protocols: Protocols with such figures.
        stacked: Whether its blocks are stacked, each with its own rows.
        head: Heading of the methods' column, as printed.
        detail: Heading of a further text column of ``rows``; empty for none.
        quirks: Notes for readers of the table.
        blocks: Columns in the paper's order.
        rows: Rows in the paper's order; empty if every method is a row.
        given: Whether rows differ in oracle inputs.
        printed: All rows of the paper.
    """

    number: int
    title: str
    protocols: tuple[str, ...]
    stacked: bool = False
    head: str = ""
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
        """Return the blocks of a printed row's values."""
        return tuple(block for block in self.blocks if block.title == row.block or not row.block)

    @property
    def cells(self) -> Iterator[PaperCell]:
        """Return the paper's own figures, once per protocol that they may belong to."""
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


class ComparableCell(NamedTuple):
    """A cell of the same protocol, comparable with ours."""

    table: int
    cell: PaperCell


class OtherCell(NamedTuple):
    """A cell that is not comparable with ours, and why."""

    table: int
    cell: PaperCell
    why: str


def paper_tables() -> tuple[PaperTable, ...]:
    """Return all tables by number."""
    tables = [
        PaperTable.from_mapping(read_toml(file), where=str(file))
        for file in _FOLDER.glob("table*.toml")
    ]
    return tuple(sorted(tables, key=lambda table: table.number))


def why_not_comparable(measured: Measured, name: MetricName, ambiguous: str = "") -> str:
    """Return why a printed figure is not comparable with ours; empty if it is."""
    reasons = [ambiguous] if ambiguous else []
    reasons += [
        f"{title}: ours {getattr(name, field)}, the paper's {getattr(measured, field)}"
        for field, title in _PARTS.items()
        if getattr(measured, field) != getattr(name, field)
    ]
    return "; ".join(reasons)


def compare_cells(
    protocol: str, names: tuple[MetricName, ...]
) -> tuple[list[ComparableCell], list[OtherCell]]:
    """Return the paper's own cells of a protocol: comparable ones, and the others with reasons.

    A cell is comparable only if every part of its protocol is stated and equal to ours.
    """
    same: list[ComparableCell] = []
    apart: list[OtherCell] = []
    ours = {name.key: name for name in names}
    for table in paper_tables():
        # Tables 4, 5 and 8 vary the training or the input: their rows are not this model's.
        for cell in () if table.rows else table.cells:
            if cell.protocol != protocol or cell.key not in ours:
                continue
            why = why_not_comparable(cell.measured, ours[cell.key], cell.ambiguous)
            if why:
                apart.append(OtherCell(table.number, cell, why))
            else:
                same.append(ComparableCell(table.number, cell))
    return same, apart
