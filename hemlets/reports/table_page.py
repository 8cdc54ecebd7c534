"""A table of the paper as an HTML page and as CSV."""

from __future__ import annotations

import csv
import io
from html import escape
from itertools import groupby
from pathlib import Path

from hemlets.core.files import atomic_path
from hemlets.evaluation.metrics.meanings import explain
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.paper.table import MISSING, WITHHELD, TableCell, WrittenTable
from hemlets.reports.page_parts import MANY_COLUMNS, STYLE, figure_html

__all__ = ["table_csv", "table_html", "write_table"]


def write_table(folder: Path, table: WrittenTable) -> tuple[Path, Path]:
    """Write ``tableN.html`` and ``tableN.csv``, each whole or not at all."""
    stem = f"table{table.paper.number}"
    page, values = folder / f"{stem}.html", folder / f"{stem}.csv"
    for path, text in ((page, table_html(table)), (values, table_csv(table))):
        with atomic_path(path) as scratch:
            scratch.write_text(text, encoding="utf-8")
    return page, values


def table_csv(table: WrittenTable) -> str:
    """Rows and columns as the paper has them; a second heading has the full names of ours."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", *(f"{c.block}: {c.title}" for c in table.columns)])
    writer.writerow(["full name", *(" | ".join(c.names) for c in table.columns)])
    for row in table.rows:
        writer.writerow([row.title, *(cell.text for cell in row.cells)])
    return out.getvalue()


def table_html(table: WrittenTable) -> str:
    """The table with the paper's rows in grey, what each column means, and all quirks."""
    paper = table.paper
    blocks = "".join(
        f"<th colspan='{len(list(columns))}'>{escape(title)}</th>"
        for title, columns in groupby(table.columns, key=lambda column: column.block)
    )
    heads = "".join(f"<th>{escape(c.title)} ({escape(c.unit)})</th>" for c in table.columns)
    rows = "".join(
        f"<tr{' class=paper' if row.printed else ''}><td>{escape(row.title)}</td>"
        + "".join(
            _cell(cell, column.unit) for cell, column in zip(row.cells, table.columns, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    given = "".join(
        f"<li>{escape(row)}: {escape(' '.join(said))}</li>"
        for row, said in table.privileges.items()
    )
    names = dict.fromkeys(name for column in table.columns for name in column.names)
    meanings = "".join(
        f"<li>{escape(explain(MetricName.parse(name)))}<br><code>{escape(name)}</code></li>"
        for name in names
    )
    withheld = dict.fromkeys(
        f"{row.title}, {column.title}: {cell.note}"
        for row in table.rows
        for cell, column in zip(row.cells, table.columns, strict=True)
        if cell.text == WITHHELD
    )
    said = [
        f"“{MISSING}”: that cell of the paper was read in no source ({paper.missing}).",
        f"“{WITHHELD}”: the printed figure was measured otherwise than ours, or its source does "
        "not tell how; a dash: nothing was predicted there.",
        *paper.quirks,
        *withheld,
    ]
    wide = " class=wide" if len(table.columns) > MANY_COLUMNS else ""
    notes = "".join(f"<li>{escape(text)}</li>" for text in said)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Table {paper.number}: {escape(paper.title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>Table {paper.number}: {escape(paper.title)}</h1>"
        + (
            "<div class='given'><strong>These figures were helped by the truth.</strong>"
            f"<ul>{given}</ul></div>"
            if given
            else ""
        )
        + f"<div class='scroll'><table{wide}><thead><tr><th></th>{blocks}</tr>"
        f"<tr><th></th>{heads}</tr></thead>{rows}"
        "</table></div><p class='note'>Rows in grey are the paper's own, as printed. Below our "
        "figures stand 95&nbsp;% intervals: sequences were drawn anew with replacement "
        f"{table.resamples:,} times.</p><h2>What the figures mean</h2><ul>{meanings}</ul>"
        f"<h2>The paper</h2><div class='paper'><ul>{notes}</ul></div></body></html>\n"
    )


def _cell(cell: TableCell, unit: str) -> str:
    if cell.figure is not None:
        return f"<td>{figure_html(cell.figure, unit)}</td>"
    hover = f" title='{escape(cell.note)}'" if cell.note else ""
    return f"<td{hover}>{escape(cell.text)}</td>"
