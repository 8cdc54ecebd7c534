"""A table of the paper as an HTML page and as CSV."""

from __future__ import annotations

import csv
import io
from itertools import groupby
from pathlib import Path

from hemlets.evaluation.metrics.meanings import explain
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.paper.table import MISSING, WITHHELD, WrittenTable
from hemlets.reports.kit import MANY_COLUMNS, render_page, save_page


def write_table(folder: Path, table: WrittenTable) -> tuple[Path, Path]:
    """Write ``tableN.html`` and ``tableN.csv``, each whole or not at all."""
    stem = f"table{table.paper.number}"
    page, values = folder / f"{stem}.html", folder / f"{stem}.csv"
    save_page(page, table_html(table))
    save_page(values, table_csv(table))
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
    """The table with the paper's rows in grey, the meaning of each column, and all quirks."""
    paper = table.paper
    names = dict.fromkeys(name for column in table.columns for name in column.names)
    withheld = dict.fromkeys(
        f"{row.title}, {column.title}: {cell.note}"
        for row in table.rows
        for cell, column in zip(row.cells, table.columns, strict=True)
        if cell.text == WITHHELD
    )
    return render_page(
        "table.html",
        table=table,
        blocks=[
            (title, len(list(columns)))
            for title, columns in groupby(table.columns, key=lambda column: column.block)
        ],
        rows=[(row, list(zip(row.cells, table.columns, strict=True))) for row in table.rows],
        given=[f"{row}: {' '.join(said)}" for row, said in table.privileges.items()],
        meanings=[(name, explain(MetricName.parse(name))) for name in names],
        wide=len(table.columns) > MANY_COLUMNS,
        notes=[
            f"“{MISSING}”: that cell of the paper was read in no source ({paper.missing}).",
            f"“{WITHHELD}”: the printed figure was measured by another protocol than ours, or its "
            "source does not state the protocol; a dash: nothing was predicted there.",
            *paper.quirks,
            *withheld,
        ],
    )
