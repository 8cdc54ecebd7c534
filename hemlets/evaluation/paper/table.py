"""A table of the paper from predictions files: its rows and columns, ours beside the printed ones.

Cells of ours are figures of the benchmark, scored file by file and protocol by protocol. The
paper's are literal; where none was read in a source the cell says ``missing``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hemlets.core.errors import ConfigError, DataError
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.paper import Block, PaperCell, PaperTable, apart_because, paper_tables
from hemlets.evaluation.paper.table_scoring import Chosen, Given, Scoring
from hemlets.evaluation.predictions import Predictions
from hemlets.evaluation.protocols import load_protocol
from hemlets.evaluation.scoring.summary import Figure, Summary

if TYPE_CHECKING:
    from hemlets.body import BodyModel

MISSING: Final = "missing"
"""Of a cell of the paper that was read in no source."""

WITHHELD: Final = "withheld"
"""Of a cell of the paper whose protocol isn't ours, or isn't told."""


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """A column.

    Attributes:
        block: title above it.
        title: as the paper has it.
        unit: of its figures.
        names: full names of our figures in it, one as a rule.
    """

    block: str
    title: str
    unit: str
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """A cell.

    Attributes:
        text: as shown; a dash where nothing was predicted.
        figure: ours, with its interval; None for the paper's.
        note: its full name, or the paper's source and quirk, or why it is withheld.
    """

    text: str
    figure: Figure | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row: of ours, or of the paper's printed figures."""

    title: str
    printed: bool
    cells: tuple[TableCell, ...]


@dataclass(frozen=True, kw_only=True)
class WrittenTable:
    """A table, ready to be shown.

    Attributes:
        paper: the paper's table.
        columns: in the paper's order.
        rows: in the paper's order, ours first and the printed one below it.
        privileges: what the predictors were given of the truth, by row.
        resamples: draws of sequences behind each interval.
    """

    paper: PaperTable
    columns: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]
    privileges: Mapping[str, tuple[str, ...]]
    resamples: int


def paper_table(number: int) -> PaperTable:
    """A table of the paper by its number.

    Raises:
        ConfigError: There is no such table.
    """
    found = {table.number: table for table in paper_tables()}
    if number not in found:
        raise ConfigError(
            f"the paper has no table {number} of figures",
            where="NUMBER",
            expected=f"{min(found)}-{max(found)}",
        )
    return found[number]


def make_table(
    paper: PaperTable,
    given: Sequence[Given],
    annotations: Sequence[Path],
    *,
    body: BodyModel | None = None,
    protocol: str = "",
    resamples: int = 2000,
    seed: int = 0,
) -> WrittenTable:
    """Score predictions into a table of the paper.

    Args:
        paper: the table.
        given: predictions files and their rows.
        annotations: tables of the data that was predicted; a protocol takes the first that has
            samples of it.
        body: for surfaces and masks.
        protocol: of columns that may have one of several; found by the samples when empty.
        resamples: draws of sequences behind each interval.
        seed: of the draws.

    Raises:
        ConfigError: A row or setting isn't the table's, or a place is given twice.
        DataError: No file has samples of the table's protocols, files differ in how they were
            predicted, or a file is refused as :func:`score` does.
    """
    given = _named(paper, given)
    scoring = Scoring(paper, annotations, protocol, body, resamples, seed)
    blocks = [(block, scoring.truth_of(block)) for block in paper.blocks]
    found: dict[tuple[str, int], Summary] = {}
    for row in dict.fromkeys(part.row for part in given):
        for place, (block, truth) in enumerate(blocks):
            summary = None if truth is None else scoring.summary(row, block, given, truth)
            if summary is not None:
                found[row, place] = summary
    unused = [str(part.path) for part in given if part not in scoring.used]
    if unused or not found:
        raise DataError(
            f"predictions have no sample of table {paper.number}'s protocols",
            where=", ".join(unused) or f"table {paper.number}",
            expected=" or ".join(dict.fromkeys(block.protocol for block, _ in _filled(blocks)))
            or " or ".join(paper.protocols),
            remedy="name the annotations.parquet of the data that was predicted: --annotations",
        )
    columns = tuple(
        column
        for place, (block, _) in enumerate(blocks)
        for column in _columns(
            block, [s for (_, at), s in found.items() if at == place], differ=paper.given
        )
    )
    return WrittenTable(
        paper=paper,
        columns=columns,
        rows=tuple(_rows(paper, found, columns)),
        privileges=_privileges(paper, found),
        resamples=resamples,
    )


def _privileges(
    paper: PaperTable, found: Mapping[tuple[str, int], Summary]
) -> dict[str, tuple[str, ...]]:
    """What of the truth each row was helped by, in any of its figures."""
    said: dict[str, tuple[str, ...]] = {}
    for (row, _), summary in found.items():
        title = _title(paper, row)
        both = dict.fromkeys((*said.get(title, ()), *summary.privileges))
        if both:
            said[title] = tuple(both)
    return said


def _filled(blocks: Sequence[tuple[Block, Chosen | None]]) -> Iterator[tuple[Block, Chosen]]:
    for block, chosen in blocks:
        if chosen is not None:
            yield block.model_copy(update={"protocol": chosen.protocol.name}), chosen


def _named(paper: PaperTable, given: Sequence[Given]) -> list[Given]:
    """With a row's name wherever it was left to the model's."""
    names = [row.name for row in paper.rows]
    settings = {block.setting for block in paper.blocks}
    named = []
    for part in given:
        row = part.row
        if names and row not in names:
            close = difflib.get_close_matches(row, names, n=1)
            raise ConfigError(
                f"table {paper.number} has no row {row!r}"
                if row
                else f"table {paper.number} has several rows, and {part.path} names none",
                where="--row",
                expected=", ".join(names),
                remedy=f"did you mean {close[0]!r}?" if close else f"--row {names[0]}=FILE",
            )
        if part.setting not in settings:
            raise ConfigError(
                f"table {paper.number} has no setting {part.setting!r}",
                where=f"--row {row}:{part.setting}",
                expected=", ".join(filter(None, settings)) or "ROW=FILE",
            )
        if not part.path.is_file():
            raise ConfigError(
                "there is no such file", where=str(part.path), expected="a predictions file"
            )
        version = row or Predictions.info_of(part.path).model_version
        named.append(Given(path=part.path, row=version, setting=part.setting))
    if not named:
        raise ConfigError(
            "there is nothing to score",
            where=f"table {paper.number}",
            expected="PREDICTIONS" if not names else " ".join(f"--row {n}=FILE" for n in names),
        )
    return named


def _figures(block: Block, summary: Summary) -> list[tuple[str, Figure, str]]:
    """Title, figure and full name of each column of a block."""
    metric = next((m for m in summary.metrics if m.key == block.key), None)
    if metric is None:
        return []
    columns: list[tuple[str, Figure, str]] = []
    whole, name = metric.figure, metric.name
    if block.groups:
        table = next(t for t in summary.tables if t.title == block.groups)
        columns = [(cell.title, cell.figure, table.name) for cell in table.cells]
        whole, name = table.average, table.average_name
    if block.whole:
        columns.append((block.whole, whole, name))
    return columns


def _titles(block: Block) -> list[str]:
    titles: list[str] = []
    if block.groups:
        tables = load_protocol(block.protocol).tables
        table = next(t for t in tables if t.title == block.groups)
        titles = [column.title for column in table.columns]
    return [*titles, block.whole] if block.whole else titles


def _columns(block: Block, summaries: Sequence[Summary], *, differ: bool) -> list[TableColumn]:
    """Columns of a block, every one with figures of one name.

    Raises:
        DataError: Files differ in how they were predicted.
    """
    unit = MetricName(
        key=block.key, split="x", over="x", root="x", align="x", box="x", depth="x", flip="x"
    ).unit
    columns = []
    for place, title in enumerate(_titles(block)):
        found = [figures[place][2] for s in summaries if (figures := _figures(block, s))]
        names = tuple(dict.fromkeys(found))
        if len(names) > 1 and not differ:
            raise DataError(
                f"the figures of the column {block.title}, {title} are not of one kind",
                where="; ".join(names),
                expected="one full name in a column",
                remedy="predict every row with the same box, depth source and flip test",
            )
        columns.append(TableColumn(block=block.title, title=title, unit=unit, names=names))
    return columns


def _title(paper: PaperTable, row: str) -> str:
    return next((known.title for known in paper.rows if known.name == row), row)


def _rows(
    paper: PaperTable,
    found: Mapping[tuple[str, int], Summary],
    columns: Sequence[TableColumn],
) -> Iterator[TableRow]:
    rows = [row.name for row in paper.rows] or list(dict.fromkeys(row for row, _ in found))
    for row in rows:
        cells = [
            cell
            for place, block in enumerate(paper.blocks)
            for cell in _ours(block, found.get((row, place)))
        ]
        yield TableRow(title=_title(paper, row), printed=False, cells=tuple(cells))
        if paper.rows:
            yield _printed(paper, _title(paper, row), columns)
    if not paper.rows:
        methods = dict.fromkeys(cell.method for cell in paper.cells)
        for method in methods or ("HEMlets PoSh",):
            yield _printed(paper, method, columns)


def _ours(block: Block, summary: Summary | None) -> Iterator[TableCell]:
    figures = [] if summary is None else _figures(block, summary)
    if summary is None or not figures:
        why = "not predicted" if summary is None else summary.left_out.get(block.key, "")
        for _ in _titles(block):
            yield TableCell(text="–", note=why)
    for _, figure, name in figures:
        text = "–" if figure.mean is None else f"{figure.mean:.1f}"
        yield TableCell(text=text, figure=figure, note=name)


def _printed(paper: PaperTable, method: str, columns: Sequence[TableColumn]) -> TableRow:
    titles = [(block, title) for block in paper.blocks for title in _titles(block)]
    cells = []
    for (block, title), column in zip(titles, columns, strict=True):
        cell = next((c for c in paper.cells if _is_at(c, method, block, title)), None)
        cells.append(_literal(cell, column))
    return TableRow(title=f"{method}, as printed", printed=True, cells=tuple(cells))


def _is_at(cell: PaperCell, method: str, block: Block, title: str) -> bool:
    return (cell.method, cell.key, cell.column, cell.protocol) == (
        method, block.key, title, block.protocol or cell.protocol,
    )  # fmt: skip


def _literal(cell: PaperCell | None, column: TableColumn) -> TableCell:
    if cell is None:
        return TableCell(text=MISSING, note="this cell of the paper was read in no source")
    why = [apart_because(cell, MetricName.parse(name)) for name in column.names]
    if not why or any(why):
        return TableCell(
            text=WITHHELD,
            note="; ".join(filter(None, dict.fromkeys(why)))
            or "there is no figure of ours beside which it could stand",
        )
    return TableCell(text=cell.value, note=f"{cell.source}. {cell.quirk}".strip())
