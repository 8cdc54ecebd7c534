"""Score a predictions file by a protocol: figures, intervals, slices and a page of HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemlets.cli.benchmark_photos import photos
from hemlets.cli.benchmark_predict import predict
from hemlets.cli.options import require_folder
from hemlets.cli.terminal import plain_console
from hemlets.core.errors import ConfigError

if TYPE_CHECKING:
    from hemlets.body import BodyModel
    from hemlets.evaluation.paper.table import WrittenTable
    from hemlets.evaluation.protocols import Protocol
    from hemlets.evaluation.scoring.summary import Summary
    from hemlets.evaluation.scoring.truth import Truth

_Resamples = Annotated[int, typer.Option(min=100, help="Draws of sequences behind each interval.")]
_Seed = Annotated[int, typer.Option(min=0, help="Of the draws.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no table.")]

benchmark = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Score predictions by a protocol: files in, figures and a page out.",
)
benchmark.command("predict")(predict)
benchmark.command("photos")(photos)


@benchmark.command("score")
def score(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="Predictions file (Parquet).")
    ],
    annotations: Annotated[
        Path,
        typer.Option(metavar="TABLE", help="annotations.parquet of the data that was predicted."),
    ],
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Protocol (see `hemlets benchmark protocols`), or a TOML file of your own.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where report.html and the figures go.")
    ] = Path("benchmark"),
    body: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Body file (.npz in SMPL's form) that θ and β belong to. The open body when "
            "omitted.",
        ),
    ] = None,
    true_body: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GENDER=FILE",
            help="Body file that the true β of this gender belong to (female=FILE male=FILE), as "
            "those of SURREAL and 3DPW; --body when omitted.",
        ),
    ] = None,
    shards: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Image shards of the table, for pictures of the worst samples and for --training.",
        ),
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="annotations.parquet that the model was trained on: shared people or images stop "
            "the benchmark.",
        ),
    ] = None,
    training_shards: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Image shards of --training; with --shards, nearly the same images stop it too.",
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, max=24, help="Worst samples to show as pictures.")
    ] = 12,
    resamples: _Resamples = 2000,
    seed: _Seed = 0,
    quiet: _Quiet = False,
) -> None:
    """Score predictions against annotations, from these files alone."""
    require_folder(out)
    _check_files(predictions, annotations, shards)
    from hemlets.evaluation import Truth, load_protocol, summarise, write_results
    from hemlets.evaluation import score as score_predictions
    from hemlets.reports.benchmark_page import write_benchmark_page

    chosen = load_protocol(protocol)
    truth = Truth.read(annotations, chosen)
    if training is not None:
        _check_unseen(training, annotations, chosen, truth, training_shards, shards)
    scores = score_predictions(
        predictions,
        truth,
        chosen,
        body=_body(chosen, body),
        true_bodies=_true_bodies(true_body or []),
    )
    summary = summarise(scores, resamples=resamples, seed=seed)
    gallery: list[tuple[str, bytes]] = []
    if shards is not None and pictures:
        from hemlets.reports.gallery import pictures_of, worst_samples

        worst = worst_samples(summary, pictures)
        gallery = pictures_of(predictions, annotations, shards, worst)
    write_results(out, scores, summary)
    write_benchmark_page(out / "report.html", summary, gallery)
    if not quiet:
        _print(summary)
        typer.echo(f"wrote {out / 'report.html'}")


def _check_files(predictions: Path, annotations: Path, shards: Path | None) -> None:
    from hemlets.evaluation.predictions import Predictions

    wanted = {
        "PREDICTIONS": (predictions, "a predictions file, e.g. predictions.parquet"),
        "--annotations": (annotations, "annotations.parquet of the data that was predicted"),
    }
    for given, (path, expected) in wanted.items():
        if path.is_file():
            if path == predictions:
                # What a file of others lacks is said first: it takes the longest to mend.
                Predictions.info_of(path)
            continue
        inside = path / expected.rpartition("e.g. ")[2].partition(" ")[0]
        raise ConfigError(
            "this is a folder, not a file" if path.is_dir() else "there is no such file",
            where=f"{given} {path}",
            expected=expected,
            remedy=f"name {inside}" if inside.is_file() else None,
        )
    if shards is not None and not shards.is_dir():
        raise ConfigError(
            "there is no such folder",
            where=f"--shards {shards}",
            expected="the folder shards beside annotations.parquet",
            remedy="without --shards the page has no pictures",
        )


@benchmark.command("table")
def table(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Of the paper's table, 1-8.")],
    annotations: Annotated[
        list[Path],
        typer.Option(
            metavar="TABLE",
            help="annotations.parquet of the data that was predicted; again for further datasets.",
        ),
    ],
    predictions: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PREDICTIONS", help="Predictions files; the rows are the models' versions."
        ),
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW=FILE",
            help="A row's predictions, again for each: tables 4, 5 and 8 have rows of their own. "
            "ROW:h36m-only=FILE for table 4's second column.",
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Protocol of tables 4, 5 and 8, which is found by the samples when omitted.",
        ),
    ] = "",
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where tableN.html and tableN.csv go.")
    ] = Path("benchmark"),
    body: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Body file that θ and β belong to, as for score."),
    ] = None,
    true_body: Annotated[
        list[str] | None,
        typer.Option(metavar="GENDER=FILE", help="Bodies of a gendered truth, as for score."),
    ] = None,
    resamples: _Resamples = 2000,
    seed: _Seed = 0,
    quiet: _Quiet = False,
) -> None:
    """Make a table of the paper from predictions, its printed figures beside ours."""
    require_folder(out)
    from hemlets.evaluation.paper.table import make_table, paper_table
    from hemlets.evaluation.paper.table_scoring import Given
    from hemlets.evaluation.protocols import load_protocol
    from hemlets.reports.table_page import write_table

    paper = paper_table(number)
    used = list(paper.protocols)
    needing = [name for name in used if _body_needed(load_protocol(name))]
    made = make_table(
        paper,
        [Given(path=path) for path in predictions or []]
        + [Given.parse(part) for part in row or []],
        annotations,
        body=_body(load_protocol(needing[0]), body) if needing else None,
        true_bodies=_true_bodies(true_body or []),
        protocol=protocol,
        resamples=resamples,
        seed=seed,
    )
    page, values = write_table(out, made)
    if not quiet:
        _print_table(made)
        typer.echo(f"wrote {page} and {values}")


@benchmark.command("protocols")
def protocols() -> None:
    """List the protocols, with the paper's tables that have such figures."""
    from hemlets.evaluation.protocols import load_protocol, protocol_names

    for name in protocol_names():
        found = load_protocol(name)
        tables = ", ".join(map(str, found.paper_tables))
        typer.echo(f"{name:20} {found.title}" + (f" (tables {tables})" if tables else ""))


def _check_unseen(
    training: Path,
    annotations: Path,
    protocol: Protocol,
    truth: Truth,
    training_shards: Path | None,
    shards: Path | None,
) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    from hemlets.data.table import Annotations
    from hemlets.evaluation.unseen import check_unseen

    table = Annotations.read(annotations).table
    rows = pc.is_in(table.column("sample_id"), value_set=pa.array(truth.ids))
    check_unseen(
        Annotations.read(training),
        Annotations(table.filter(rows)),
        protocol,
        training_shards=training_shards,
        test_shards=shards,
    )


def _body_needed(protocol: Protocol) -> bool:
    from hemlets.evaluation.metrics.definitions import SEGMENTS, SURFACE

    return protocol.needs(SURFACE | SEGMENTS)


def _body(protocol: Protocol, file: Path | None) -> BodyModel | None:
    if not _body_needed(protocol):
        return None
    from hemlets.body import BodyModel

    return BodyModel.load() if file is None else BodyModel.load(file)


def _true_bodies(given: list[str]) -> dict[str, BodyModel]:
    """Bodies by gender, from ``GENDER=FILE``."""
    from hemlets.body import BodyModel

    found = {}
    for text in given:
        gender, _, file = text.partition("=")
        if gender not in ("female", "male", "neutral") or not file:
            raise ConfigError(
                f"{text!r} names no gender and file",
                where="--true-body",
                expected="female=FILE, male=FILE or neutral=FILE",
            )
        found[gender] = BodyModel.load(Path(file))
    return found


def _print(summary: Summary) -> None:
    from rich.table import Table

    from hemlets.core.wording import counted

    console = plain_console()
    console.print(
        f"{summary.protocol.title}: {counted(summary.samples, 'sample')} of "
        f"{counted(summary.sequences, 'sequence')}, "
        f"model {summary.predictions.model_version}",
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    lines = [(m.title, m.figure, m.name) for m in summary.metrics]
    lines += [
        (f"mean of columns, {t.title}", t.average, t.average_name)
        for t in summary.tables
        if t.average_name != t.name
    ]
    for title, figure, _ in lines:
        interval = "" if figure.low is None else f"{figure.low:.1f}-{figure.high:.1f}"
        table.add_row(title, "-" if figure.mean is None else f"{figure.mean:.1f}", interval)
    console.print(table)
    # In a table a narrow terminal would cut them off.
    for *_, name in lines:
        console.print(name)
    for metric in summary.metrics:
        if (some := metric.figure.samples) < summary.samples:
            console.print(
                f"note: {metric.title}: {some:,} of {summary.samples:,} samples have what it needs",
            )
    for sentence in summary.privileges:
        console.print(f"given: {sentence}", style="red")


def _print_table(made: WrittenTable) -> None:
    """The table on its side, so that a terminal is wide enough."""
    from rich.table import Table

    console = plain_console()
    console.print(f"Table {made.paper.number}: {made.paper.title}")
    shown = tuple(row.method for row in made.paper.printed if row.own)
    for section in made.sections:
        # Rivals' rows are in the files: a terminal has room for the paper's own and ours.
        rows = [row for row in section.rows if not row.printed or row.title.startswith(shown)]
        turned = Table(box=None, pad_edge=False)
        turned.add_column("")
        for row in rows:
            style = "bright_black" if row.printed else None
            turned.add_column(row.title, justify="right", style=style)
        for place, column in enumerate(section.columns):
            unit = f" ({column.unit})" if column.unit else ""
            title = f"{column.block or section.title}, {column.title}{unit}"
            turned.add_row(title, *(row.cells[place].text for row in rows))
        console.print(turned)
    for title, sentences in made.privileges.items():
        console.print(f"given to {title}: {' '.join(sentences)}", style="red")
