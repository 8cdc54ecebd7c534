"""``hemlets annotate``: label people in a browser; report, export and queue."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from typer.core import TyperGroup

from hemlets.cli.options import JsonOption, ModelOption
from hemlets.core.errors import ConfigError, ValidationFailed

if TYPE_CHECKING:
    from annotate.security import Access
    from hemlets.annotation.questions import Mode
    from hemlets.annotation.store import AnswerStore
    from hemlets.annotation.tasks import PhotoTasks, VersionTasks

_LABEL: Final = "label"


class _LabelByDefault(TyperGroup):
    """``hemlets annotate PATH`` is ``hemlets annotate label PATH``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Treat a first word that is no command as the path to label."""
        if args and args[0] not in self.commands:
            return _LABEL, self.commands[_LABEL], args
        return super().resolve_command(ctx, args)


annotate = typer.Typer(
    cls=_LabelByDefault,
    help="Label people as Forward, Backward or Unknown in a browser (section 5 of the paper).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Source = Annotated[
    str,
    typer.Argument(
        metavar="PATH",
        help="A data version by folder or name, a folder of photographs, or a prediction log.",
    ),
]
StoreOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The log of answers; one of the workspace when omitted."),
]
ModeOption = Annotated[
    Literal["fbi", "ordinal"],
    typer.Option(help="14 parts (fbi), or 91 pairs of joints (ordinal) for comparison."),
]
GoldOption = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="Data version with 3D truth that is mixed in unseen."),
]


@annotate.command(_LABEL)
def label(
    source: Source,
    store: StoreOption = None,
    mode: ModeOption = "fbi",
    gold: GoldOption = None,
    queue: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Samples to label, a name a line, in this order."),
    ] = None,
    votes: Annotated[
        int, typer.Option(min=0, help="Annotators who label each image; 0 for everybody.")
    ] = 0,
    model: ModelOption = None,
    opinions: Annotated[
        bool, typer.Option(help="Let the model look at the images, for its opinion on request.")
    ] = True,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 8085,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine a token is asked for.")
    ] = "127.0.0.1",
) -> None:
    """Serve the page until Ctrl-C. Labelling resumes where it stopped."""
    from annotate.app import make_app
    from hemlets.core.ports import free_port, require_free_port

    port = port or free_port(host=host)
    require_free_port(port, needed_by="the annotation page", host=host)
    log, tasks, folder = open_source(source, store, mode, gold=gold, queue=queue)
    access, address = _access(host, port)
    preparing = None
    if opinions or tasks.growing:
        preparing = _prepare(folder, log.path, model)
    typer.echo(f"{address}\nanswers go to {log.path}\nCtrl-C ends")
    try:
        _serve(make_app(tasks, log, access, votes=votes), host, port)
    finally:
        if preparing is not None:
            preparing.terminate()
            preparing.wait()
        log.close()


@annotate.command("report")
def report(
    source: Source,
    store: StoreOption = None,
    mode: ModeOption = "fbi",
    gold: GoldOption = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the HTML page goes.")] = Path(
        "annotation.html"
    ),
    rates: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Gets the measured rates as TOML, for simulated annotators."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure the labels: errors and skips by tilt, part and annotator, times, agreement."""
    from hemlets.annotation.labelled import read_labelled
    from hemlets.annotation.study import measured_rates, study, suspicions
    from hemlets.cli.terminal import print_json
    from hemlets.core.files import write_text
    from hemlets.reports.annotation_page import write_annotation_page

    log, tasks, folder = open_source(source, store, mode, gold=gold)
    with log:
        labelled = read_labelled(log, tasks.asked(log.tasks(), mode))
    if not labelled:
        raise ConfigError(
            "nothing is labelled yet", where=log.path, remedy=f"hemlets annotate {source}"
        )
    found = study(labelled, tasks.truth(), mode)
    write_annotation_page(out, found, source=str(folder))
    if rates is not None:
        text = measured_rates(found)
        if not text:
            raise ConfigError(
                "no answered image has known 3D, so there are no rates",
                where=f"--rates {rates}",
                remedy="label with --gold VERSION, and name it here, too",
            )
        write_text(rates, text)
    if json:
        print_json(found.to_json())
        return
    for line in suspicions(found):
        typer.echo(f"warning: {line}", err=True)
    typer.echo(f"wrote {out}")


@annotate.command("export")
def export(
    source: Source,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Gets the data version; ingested/NAME of the workspace if omitted.",
        ),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Commit the version with DVC, and announce it."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an earlier export in the folder.")
    ] = False,
    store: StoreOption = None,
    gold: GoldOption = None,
    method: Annotated[
        Literal["majority", "dawid-skene"],
        typer.Option(help="How the labels of several annotators become one."),
    ] = "majority",
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Gets the whole log as JSON lines.")
    ] = None,
    suspicious: Annotated[
        bool, typer.Option("--suspicious", help="Export implausible answers, too.")
    ] = False,
) -> None:
    """Make a data version of the labels, which ingest reads as the dataset fbi."""
    from hemlets.annotation.export import export_version, write_answers
    from hemlets.annotation.labelled import read_labelled
    from hemlets.annotation.study import study, suspicions
    from hemlets.core.wording import counted
    from hemlets.core.workspace import Workspace
    from hemlets.data.versions.committed import require_name, version_store

    workspace = Workspace.from_env()
    if commit is not None:
        require_name(commit, "--commit")
    if out is None:
        if commit is None:
            raise ConfigError(
                "the export has no folder and no name",
                where="--out, --commit",
                remedy=f"hemlets annotate export {source} --commit NAME",
            )
        out = workspace.home / "ingested" / commit
    log, tasks, folder = open_source(source, store, "fbi", gold=gold)
    with log:
        labelled = read_labelled(log, tasks.asked(log.tasks(), "fbi"))
        if answers is not None:
            typer.echo(f"wrote {counted(write_answers(answers, log), 'event')} to {answers}")
        doubts = suspicions(study(labelled, {}, "fbi")) if labelled else []
        if doubts and not suspicious:
            raise ValidationFailed(
                "; ".join(doubts),
                where=log.path,
                remedy="look at `hemlets annotate report`; --suspicious exports them all the same",
            )
        done = export_version(tasks, folder, labelled, out, method=method, over=replace)
    rows = sum(done.ingested.samples.values())
    typer.echo(f"{counted(done.labels, 'label')} of {counted(rows, 'person', 'people')}")
    if done.contradictions:
        typer.echo(f"{counted(len(done.contradictions), 'part')} answered Forward and Backward")
    for name in done.gone:
        typer.echo(f"left out, the photograph can't be read any more: {name}", err=True)
    typer.echo(f"wrote {out}")
    if commit is not None:
        typer.echo(f"committed {version_store().publish(workspace, out, name=commit)}")


@annotate.command("next")
def choose_next_people(
    source: Source,
    count: Annotated[int, typer.Option(min=1, help="People to choose.")] = 100,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Gets the queue.")] = Path("queue.txt"),
    store: StoreOption = None,
    model: ModelOption = None,
    second: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Another model: where the two disagree is useful."),
    ] = None,
) -> None:
    """Choose people to label next: uncertain for the model, and unlike those labelled.

    Of a data version, only the training split is chosen from. The model looks at new images only.
    """
    from hemlets.annotation.prepare import disagreements, prepare
    from hemlets.annotation.queue import (
        candidates,
        choose,
        groups_of_pictures,
        groups_of_version,
        write_queue,
    )
    from hemlets.annotation.tasks import PhotoTasks
    from hemlets.core.wording import counted
    from hemlets.inference.model import Model

    log, tasks, folder = open_source(source, store, "fbi")
    with log:
        prepare(folder, log, Model.load(model))
        opinions = log.opinions()
        groups = (
            groups_of_pictures(tasks, log.people())
            if isinstance(tasks, PhotoTasks)
            else groups_of_version(tasks.tables[0])
        )
        other = None if second is None else disagreements(tasks, opinions, Model.load(second))
        chosen = choose(candidates(groups, opinions, second=other), count, log.tasks())
    if not chosen:
        raise ConfigError(
            "nobody is left to be labelled",
            where=folder,
            expected="people without labels, of a data version in its training split",
        )
    write_queue(out, chosen)
    typer.echo(f"wrote {counted(len(chosen), 'name')} to {out}")
    typer.echo(f"label them: hemlets annotate {source} --queue {out}")


def open_source(
    source: str,
    store: Path | None,
    mode: Mode,
    *,
    gold: str | None = None,
    queue: Path | None = None,
) -> tuple[AnswerStore, PhotoTasks | VersionTasks, Path]:
    """Open the answer log, the tasks and the folder of a source.

    Raises:
        ConfigError: No data version, photographs or prediction log, or nothing to label.
        DataError: The log or the table can't be used.
    """
    from hemlets.annotation.pictures import require_pictures
    from hemlets.annotation.queue import read_queue
    from hemlets.annotation.store import AnswerStore
    from hemlets.annotation.tasks import PhotoTasks, VersionTasks, photo_source
    from hemlets.core.files import content_hash
    from hemlets.core.workspace import Workspace
    from hemlets.data.versions.committed import find_version

    workspace = Workspace.from_env()

    def log_of(name: str, folder: Path) -> AnswerStore:
        file = f"{folder.resolve().name}-{content_hash(name)[:10]}.sqlite"
        return AnswerStore(store or workspace.home / "annotation" / file, source=name, mode=mode)

    folder = Path(source)
    if folder.is_dir() and not (folder / "annotations.parquet").exists():
        if gold is not None:
            raise ConfigError(
                "frames with 3D truth can be mixed into a data version only",
                where=f"--gold {gold}",
                remedy="make a data version of the pictures first: hemlets annotate export",
            )
        unread = require_pictures(folder)
        if unread:
            typer.echo(
                f"{folder}: {len(unread)} photos such as {unread[0]} can't be read and are left "
                "out; convert them to JPEG",
                err=True,
            )
        log = log_of(photo_source(folder), folder)
        chosen = None if queue is None else read_queue(queue)
        return log, PhotoTasks(folder, log, queue=chosen), folder
    folder = find_version(source, workspace)
    tasks = VersionTasks(
        folder,
        gold=None if gold is None else find_version(gold, workspace),
        queue=None if queue is None else read_queue(queue),
    )
    return log_of(tasks.source, folder), tasks, folder


def _access(host: str, port: int) -> tuple[Access, str]:
    """Return the access rules of a host and the address to open."""
    from annotate.security import LOOPBACK, Access

    if host in LOOPBACK:
        shown = f"[{host}]" if ":" in host else host
        return Access(), f"http://{shown}:{port}/"
    token = secrets.token_urlsafe(24)
    everywhere = host in ("0.0.0.0", "::")
    name = socket.gethostname() if everywhere else host
    # Who has the token may use any name of this machine.
    return Access(hosts=(), token=token), f"http://{name}:{port}/?token={token}"


def _prepare(folder: Path, log: Path, model: Path | None) -> subprocess.Popen[bytes]:
    """Run the model over the images in a separate process, so that the page stays fast."""
    words = [sys.executable, "-m", "hemlets.annotation.prepare", str(folder), str(log)]
    if model is not None:
        words.append(str(model))
    return subprocess.Popen(words)


def _serve(app: Any, host: str, port: int) -> None:
    import uvicorn

    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)
