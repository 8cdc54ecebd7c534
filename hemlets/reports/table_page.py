"""Write a table of the paper as HTML and CSV."""

from __future__ import annotations

import csv
import io
from itertools import groupby
from pathlib import Path
from typing import Any

from hemlets.evaluation.metrics.meanings import explain
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.paper.table import Section, WrittenTable
from hemlets.reports.kit import MANY_COLUMNS, render_page, save_page


def write_table(folder: Path, table: WrittenTable) -> tuple[Path, Path]:
    """Write ``tableN.html`` and ``tableN.csv`` atomically."""
    stem = f"table{table.paper.number}"
    page, values = folder / f"{stem}.html", folder / f"{stem}.csv"
    save_page(page, table_html(table))
    save_page(values, table_csv(table))
    return page, values


def table_csv(table: WrittenTable) -> str:
    """Render rows and columns as in the paper; a second heading has our full names."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    detail = [table.paper.detail] if table.paper.detail else []
    for section in table.sections:
        heads = [f"{c.block or section.title}: {c.title}" for c in section.columns]
        writer.writerow(["", *detail, *heads])
        names = [" | ".join(c.names) for c in section.columns]
        writer.writerow(["full name", *([""] if detail else []), *names])
        for row in section.rows:
            extra = [row.detail] if detail else []
            writer.writerow([row.title, *extra, *(cell.text for cell in row.cells)])
    return out.getvalue()


def table_html(table: WrittenTable) -> str:
    """Render the table: the paper's rows in grey, each column's meaning, and all quirks."""
    names = dict.fromkeys(
        name for section in table.sections for column in section.columns for name in column.names
    )
    return render_page(
        "table.html",
        paper=table.paper,
        resamples=table.resamples,
        sections=[_shown(section) for section in table.sections],
        given=[f"{row}: {' '.join(inputs)}" for row, inputs in table.privileges.items()],
        meanings=[(name, explain(MetricName.parse(name))) for name in names],
        notes=[*table.paper.quirks, *_notes(table)],
    )


def _shown(section: Section) -> dict[str, Any]:
    blocks = groupby(section.columns, key=lambda column: column.block)
    return {
        "title": section.title,
        "blocks": [(title, len(list(columns))) for title, columns in blocks],
        "columns": section.columns,
        "rows": [(row, list(zip(row.cells, section.columns, strict=True))) for row in section.rows],
        "wide": len(section.columns) > MANY_COLUMNS,
    }


def _notes(table: WrittenTable) -> list[str]:
    """List quirks of printed rows, and why marked cells are not comparable, each once."""
    notes: dict[str, None] = {}
    for section in table.sections:
        for row in section.rows:
            where = f"{section.title}, {row.title}" if section.title else row.title
            for cell, column in zip(row.cells, section.columns, strict=True):
                if row.printed and cell.note:
                    notes[f"{where}: {cell.note}"] = None
                if cell.apart:
                    block = f"{column.block}, " if column.block else ""
                    notes[f"† {where}, {block}{column.title}: {cell.apart}."] = None
    return list(notes)
