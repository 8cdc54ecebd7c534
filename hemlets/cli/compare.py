"""``hemlets compare``: benchmarks side by side, where their figures may be compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemlets.cli.terminal import plain_console
from hemlets.core.errors import ConfigError
from hemlets.core.plugins import load_plugin

if TYPE_CHECKING:
    from hemlets.evaluation import Run
    from hemlets.evaluation.scoring.side_by_side import Comparison


def compare(
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN…",
            help="Folders that `hemlets benchmark score` wrote, or ids of MLflow runs that hold "
            "one. The first is what the others are measured against.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the HTML page goes.")] = Path(
        "compare.html"
    ),
    predictions: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Predictions file of each run, in order, for pictures."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="annotations.parquet of the data, for pictures."),
    ] = None,
    shards: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Image shards of --annotations.")
    ] = None,
) -> None:
    """Set benchmarks of several models side by side: figures, charts, the same samples."""
    from hemlets.evaluation.scoring.side_by_side import compare_runs
    from hemlets.reports.compare_page import write_compare_page

    if len(run) < 2:
        raise ConfigError(
            "one run can't be compared",
            where=f"RUN {run[0]}",
            expected="two runs or more",
            remedy="name another one behind it",
        )
    if out.is_dir():
        raise ConfigError("this is a folder", where=f"--out {out}", expected="an HTML file")
    runs = _labelled([_read(name) for name in run])
    found = compare_runs(runs)
    pictures = {}
    if predictions or annotations or shards:
        if annotations is None or shards is None or len(predictions or []) != len(runs):
            raise ConfigError(
                "the pictures need the data and every run's predictions",
                where="--predictions, --annotations, --shards",
                expected=f"all three, with {len(runs)} predictions files",
            )
        from hemlets.reports.gallery import pictures_of

        samples = [(name, name) for name in found.samples]
        for one, file in zip(runs, predictions or [], strict=True):
            pictures[one.label] = pictures_of(file, annotations, shards, samples)
    write_compare_page(out, found, pictures)
    _print(found)
    typer.echo(f"wrote {out}")


def _read(name: str) -> Run:
    from hemlets.evaluation import read_run

    folder = Path(name)
    if folder.is_dir():
        return read_run(folder)
    found: tuple[Path, str] | None = load_plugin("tracked-run")(name)
    if found is not None:
        return read_run(*found)
    raise ConfigError(
        f"there is no run {name!r}",
        where="RUN",
        expected="a folder that `hemlets benchmark score` wrote, or the id of a tracked run",
        remedy="check the path; `hemlets ui` lists the tracked runs",
    )


def _labelled(runs: list[Run]) -> list[Run]:
    """Runs with labels that differ: numbered where models have the same name."""
    from dataclasses import replace

    labels = [run.label for run in runs]
    return [
        replace(run, label=f"{run.label} #{i + 1}") if labels.count(run.label) > 1 else run
        for i, run in enumerate(runs)
    ]


def _print(found: Comparison) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("figure")
    for run in found.runs:
        table.add_column(run.label, justify="right")
    for row in found.rows:
        cells = []
        for number, figure in enumerate(row.figures):
            text = "-" if figure is None or figure.mean is None else f"{figure.mean:.1f}"
            change = row.against_first[number - 1] if number else None
            if change is not None:
                text += f" ({100 * change.ratio:+.1f} %)"
            cells.append(text)
        table.add_row(row.title, *cells)
    plain_console().print(table)
