"""Reproduce a table of the paper from predictions files: the printed rows, then ours.

Our cells are benchmark figures, scored per file and protocol. The paper's are literal; a cell of
the paper's own row that was measured differently from ours is marked.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hemlets.core.errors import ConfigError, DataError
from hemlets.evaluation.metrics.definitions import metric_of
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.paper.cells import (
    Block,
    PaperTable,
    PrintedRow,
    paper_tables,
    why_not_comparable,
)
from hemlets.evaluation.paper.table_scoring import Given, Scoring
from hemlets.evaluation.predictions import Predictions
from hemlets.evaluation.scoring.summary import Figure, Summary

if TYPE_CHECKING:
    from hemlets.body import BodyModel


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """A column.

    Attributes:
        block: Title above it; empty if the section has it.
        title: As in the paper.
        unit: Unit of its figures; empty for shares between 0 and 1.
        decimals: Decimals of its figures.
        names: Full names of our figures in it.
    """

    block: str
    title: str
    unit: str
    decimals: int
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """A cell.

    Attributes:
        text: As shown; a dash without a prediction.
        figure: Our figure with its interval, in the printed unit; None for the paper's.
        note: Full name of ours, or peculiarity of the printed row.
        apart: Why a printed figure is not comparable with ours; empty if it is.
    """

    text: str
    figure: Figure | None = None
    note: str = ""
    apart: str = ""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of our figures or of printed figures.

    Attributes:
        title: As printed, or the model's version.
        detail: Cell of the table's further text column.
        printed: Whether the figures are the paper's.
        cells: One per column.
    """

    title: str
    printed: bool
    cells: tuple[TableCell, ...]
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Columns with their rows; a table of stacked blocks has a section per block.

    Attributes:
        title: Title of the block; empty if the table has one section.
        columns: In the paper's order.
        rows: In the paper's order, ours below the printed ones.
    """

    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True, kw_only=True)
class WrittenTable:
    """A table, ready for display.

    Attributes:
        paper: The paper's table.
        sections: One, or one per stacked block.
        privileges: Oracle inputs of the predictors, by row.
        resamples: Resamples behind each interval.
    """

    paper: PaperTable
    sections: tuple[Section, ...]
    privileges: Mapping[str, tuple[str, ...]]
    resamples: int


Found = Mapping[tuple[str, int, int], Summary]
"""By row, index of the block and index of the reading."""


def paper_table(number: int) -> PaperTable:
    """Return a table of the paper by its number.

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
    true_bodies: Mapping[str, BodyModel] | None = None,
    protocol: str = "",
    resamples: int = 2000,
    seed: int = 0,
) -> WrittenTable:
    """Score predictions into a table of the paper.

    Args:
        paper: The table.
        given: Predictions files and their rows.
        annotations: Annotation tables; a protocol uses the first that has samples of it.
        body: Body model for surfaces and masks.
        true_bodies: Bodies of a gendered truth, as for :func:`score`.
        protocol: Protocol of columns that may have one of several; by default the samples decide.
        resamples: Resamples behind each interval.
        seed: Seed of the resamples.

    Raises:
        ConfigError: A row or setting isn't the table's, or a place is given twice.
        DataError: No file has samples of the table's protocols, files differ in how they were
            predicted, or :func:`score` refuses a file.
    """
    given = _named(paper, given)
    scoring = Scoring(paper, annotations, protocol, body, true_bodies or {}, resamples, seed)
    found: dict[tuple[str, int, int], Summary] = {}
    for place, block in enumerate(paper.blocks):
        for number, (_, variant) in enumerate(block.variants):
            truth = scoring.truth_of(variant)
            for row in dict.fromkeys(part.row for part in given):
                summary = None if truth is None else scoring.summary(row, variant, given, truth)
                if summary is not None:
                    found[row, place, number] = summary
    unused = [str(part.path) for part in given if part not in scoring.used]
    if unused or not found:
        raise DataError(
            f"predictions have no sample of table {paper.number}'s protocols",
            where=", ".join(unused) or f"table {paper.number}",
            expected=" or ".join(paper.protocols),
            remedy="name the annotations.parquet of the data that was predicted: --annotations",
        )
    places = range(len(paper.blocks))
    groups = [[place] for place in places] if paper.stacked else [list(places)]
    return WrittenTable(
        paper=paper,
        sections=tuple(_section(paper, group, found) for group in groups),
        privileges=_privileges(paper, found),
        resamples=resamples,
    )


def _privileges(paper: PaperTable, found: Found) -> dict[str, tuple[str, ...]]:
    """Collect the oracle inputs of each row."""
    inputs: dict[str, tuple[str, ...]] = {}
    for (row, _, _), summary in found.items():
        title = _title(paper, row)
        both = dict.fromkeys((*inputs.get(title, ()), *summary.privileges))
        if both:
            inputs[title] = tuple(both)
    return inputs


def _named(paper: PaperTable, given: Sequence[Given]) -> list[Given]:
    """Check the files and name their rows: the model's version by default."""
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


def _section(paper: PaperTable, places: Sequence[int], found: Found) -> Section:
    columns = tuple(column for place in places for column in _columns(paper, place, found))
    printed = [row for row in paper.printed if not paper.stacked or _is_in(paper, row, places)]
    rows: list[TableRow] = []
    if paper.rows:
        for row in paper.rows:
            own = {place: summary for place, summary in found.items() if place[0] == row.name}
            compared = tuple(column for place in places for column in _columns(paper, place, own))
            rows += [_printed(paper, p, places, compared) for p in printed if p.method == row.title]
            rows += _ours(paper, row.name, places, found)
    else:
        rows += [_printed(paper, row, places, columns) for row in printed]
        for name in dict.fromkeys(row for row, _, _ in found):
            rows += _ours(paper, name, places, found)
    title = paper.blocks[places[0]].title if paper.stacked else ""
    return Section(title=title, columns=columns, rows=tuple(rows))


def _is_in(paper: PaperTable, row: PrintedRow, places: Sequence[int]) -> bool:
    return row.block == paper.blocks[places[0]].title


def _figures(block: Block, summary: Summary) -> list[tuple[Figure, str]]:
    """Return figure and full name of each column of a block; empty if not measured."""
    metric = next((m for m in summary.metrics if m.key == block.key), None)
    if metric is None:
        return []
    columns: list[tuple[Figure, str]] = []
    whole, name = metric.figure, metric.name
    if block.groups:
        table = next(t for t in summary.tables if t.title == block.groups)
        columns = [(cell.figure, table.name) for cell in table.cells]
        whole, name = table.average, table.average_name
    if block.whole:
        columns.append((whole, name))
    return columns


def _columns(paper: PaperTable, place: int, found: Found) -> Iterator[TableColumn]:
    """Build the columns of a block; all figures of a reading must have the same name.

    Raises:
        DataError: Files differ in how they were predicted.
    """
    block = paper.blocks[place]
    unit = metric_of(block.key).unit if block.scale == 1.0 else ""
    for number, title in enumerate(block.titles):
        names: list[str] = []
        for reading in range(len(block.variants)):
            own = dict.fromkeys(
                figures[number][1]
                for (_, at, of), summary in found.items()
                if (at, of) == (place, reading) and (figures := _figures(block, summary))
            )
            if len(own) > 1 and not paper.given:
                raise DataError(
                    f"the figures of the column {block.title}, {title} are not of one kind",
                    where="; ".join(own),
                    expected="one full name in a column",
                    remedy="predict every row with the same box, depth source and flip test",
                )
            names += own
        yield TableColumn(
            block="" if paper.stacked else block.title,
            title=title,
            unit=unit,
            decimals=block.decimals,
            names=tuple(names),
        )


def _title(paper: PaperTable, row: str) -> str:
    return next((known.title for known in paper.rows if known.name == row), row)


def _detail(paper: PaperTable, title: str) -> str:
    return next((known.detail for known in paper.rows if known.title == title), "")


def _ours(paper: PaperTable, row: str, places: Sequence[int], found: Found) -> Iterator[TableRow]:
    """Build our row, once per reading of the section's blocks."""
    title = _title(paper, row)
    of = f"{title}, this project" if paper.rows else title
    readings = paper.blocks[places[0]].variants if paper.stacked else (("", None),)
    for number, (reading, _) in enumerate(readings):
        yield TableRow(
            title=f"{of} ({reading})" if reading else of,
            detail=_detail(paper, title),
            printed=False,
            cells=tuple(
                cell
                for place in places
                for cell in _our_cells(paper.blocks[place], found.get((row, place, number)))
            ),
        )


def _our_cells(block: Block, summary: Summary | None) -> Iterator[TableCell]:
    figures = [] if summary is None else _figures(block, summary)
    if summary is None or not figures:
        why = "not predicted" if summary is None else summary.left_out.get(block.key, "")
        for _ in block.titles:
            yield TableCell(text="–", note=why)
    for figure, name in figures:
        shown = _scaled(figure, block.scale)
        text = "–" if shown.mean is None else f"{shown.mean:.{block.decimals}f}"
        yield TableCell(text=text, figure=shown, note=name)


def _scaled(figure: Figure, scale: float) -> Figure:
    if scale == 1.0:
        return figure
    ends = {end: getattr(figure, end) for end in ("mean", "low", "high")}
    return figure.model_copy(
        update={end: None if value is None else scale * value for end, value in ends.items()}
    )


def _printed(
    paper: PaperTable, row: PrintedRow, places: Sequence[int], columns: Sequence[TableColumn]
) -> TableRow:
    blocks = [block for place in places for block in (paper.blocks[place],) for _ in block.titles]
    cells = []
    for value, block, column in zip(row.values, blocks, columns, strict=True):
        reasons = [
            why_not_comparable(block.measured, MetricName.parse(name), block.ambiguous)
            for name in column.names
        ]
        apart = "; ".join(dict.fromkeys(filter(None, reasons))) if row.own and all(reasons) else ""
        cells.append(TableCell(text=value, note=row.quirk, apart=apart))
    title = f"{row.method}, as printed" if row.own else row.method
    return TableRow(
        title=title, detail=_detail(paper, row.method), printed=True, cells=tuple(cells)
    )
