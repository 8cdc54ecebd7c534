"""Datasets and data versions: list, ingest, render, combine, validate, diff, commit, check out.

All of ``hemlets data`` is here, so that it works where only the library is installed. Three parts
need the pipeline and come as plug-ins (`hemlets.core.plugins`): validation, the store of committed
versions, and what reads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemlets.cli.options import HomeOption, JsonOption, require_folder
from hemlets.cli.terminal import ProgressBars, console, print_json
from hemlets.core.errors import ConfigError, DataError, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from hemlets.core.workspace import Workspace
    from hemlets.data.locations import DataSettings
    from hemlets.data.readers.contract import ReadOptions
    from hemlets.data.synthetic.motions import Motions
    from hemlets.data.table import Annotations
    from hemlets.data.versions.ingest import IngestResult

data = typer.Typer(
    help="Datasets and data versions.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Gets the data version; by default one of the workspace."),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes; all cores when omitted.")
]

_IDS_SHOWN = 120


@data.command("list")
def list_datasets(
    root: Annotated[
        list[Path] | None,
        typer.Option("--root", help="Folder that holds datasets, each in a folder of its name."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show every dataset, what it needs and whether it is found.

    Datasets are looked for below --root, in the folders of HEMLETS_DATA, and in those of data.toml
    in the workspace.
    """
    from hemlets.data.locations import locate
    from hemlets.data.readers.catalogue import datasets

    settings = _settings(home, root)
    rows = [(dataset, locate(dataset, settings)) for dataset in datasets()]
    if json:
        print_json(
            [
                {
                    "name": dataset.name,
                    "title": dataset.title,
                    "teaches": list(map(str, dataset.supervision)),
                    "licence": dataset.licence,
                    "needs": [entry.pattern for entry in dataset.layout if entry.required],
                    "folder": place.folder and str(place.folder),
                    "missing": [entry.pattern for entry in place.missing],
                    "complete": place.is_complete,
                }
                for dataset, place in rows
            ]
        )
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 1, 0))
    for title in ("dataset", "teaches", "needs", "licence page", "found"):
        table.add_column(title, overflow="fold")
    for dataset, place in rows:
        if place.folder is None:
            found = "no"
        elif place.is_complete:
            found = f"yes: {place.folder}"
        else:
            lacks = ", ".join(_words(entry.pattern) for entry in place.missing)
            found = f"in part: {place.folder} lacks {lacks}"
        needs = "\n".join(f"{_words(e.pattern)}: {e.what}" for e in dataset.layout if e.required)
        teaches = "\n".join(map(str, dataset.supervision))
        table.add_row(dataset.name, teaches, needs, dataset.licence, found)
    screen = console()
    screen.print(table)
    if not settings.roots and not settings.folders:
        screen.print("note: name folders of datasets with HEMLETS_DATA, --root or data.toml")


@data.command("ingest")
def ingest_dataset(
    name: Annotated[
        str, typer.Argument(help="Name of the dataset, as hemlets data list shows it.")
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FOLDER|s3://…", help="Place of the dataset; looked for when omitted."
        ),
    ] = None,
    out: OutOption = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Only this split; may be repeated.")
    ] = None,
    every: Annotated[
        int | None, typer.Option("--every", min=1, help="Read every n-th frame of a sequence.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--setting", metavar="KEY=VALUE", help="A setting of the dataset's reader."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="E.g. crop_px=320, cut.gate=0.1."),
    ] = None,
    workers: WorkersOption = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="URL of an S3 server other than Amazon's.")
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Remove what an earlier ingest left in the folder.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Make a data version of a dataset: crops and a table of rows.

    Rows that are left out are listed with their reasons. An interrupted ingest continues when the
    command is run again.
    """
    import os

    from hemlets.core.config import set_overrides
    from hemlets.data.locations import locate
    from hemlets.data.readers.catalogue import find
    from hemlets.data.versions.ingest import ingest
    from hemlets.data.versions.ingest_config import IngestConfig

    dataset = find(name)
    config = IngestConfig.from_mapping(set_overrides({}, overrides or ()), where="--set")
    options = _read_options(split, every, setting)
    workspace = _workspace(home)
    if source is None:
        place = locate(dataset, _settings(home, None))
        if place.folder is None:
            raise ConfigError(
                f"{dataset.title} was not found",
                where="HEMLETS_DATA, data.toml",
                expected=f"a folder {dataset.name} in one of them",
                remedy="name its place: --from FOLDER or --from s3://bucket/prefix",
            )
        folder = place.folder
    else:
        folder = _local(source, workspace.home / "downloads", endpoint)
    target = out or workspace.home / "ingested" / dataset.name
    if anew:
        _remove_version(target)
    with ProgressBars() as bars:
        result = ingest(
            dataset,
            folder,
            target,
            config,
            options=options,
            workers=workers or os.cpu_count() or 1,
            progress=bars,
        )
    _print_ingested(result)


@data.command("render")
def render(
    name: Annotated[
        str, typer.Argument(help="A benchmark, e.g. open-benchmark-1; with --motions any name.")
    ],
    motions: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="AMASS motions to render people with."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="E.g. samples.train=4096, seed=1."),
    ] = None,
    out: OutOption = None,
    workers: WorkersOption = None,
    home: HomeOption = None,
) -> None:
    """Render people: a fixed benchmark, or with a folder of motions."""
    import os
    from functools import partial

    from hemlets.core.config import set_overrides
    from hemlets.data.synthetic.benchmark_set import benchmark_names, build_benchmark
    from hemlets.data.synthetic.config import OpenDataConfig
    from hemlets.data.synthetic.dataset import build_open_data

    fixed = name in benchmark_names()
    if fixed and (motions or overrides):
        raise ConfigError(
            f"{name} is fixed", where="--motions, --set", remedy="render under another name"
        )
    if not fixed and motions is None:
        raise ConfigError(
            f"there is no rendered benchmark {name!r}",
            expected=", ".join(benchmark_names()),
            remedy="with --motions FOLDER people are rendered under a name of your own",
        )
    target = out or _workspace(home).home / "ingested" / name
    processes = workers or os.cpu_count() or 1
    build: Callable[..., object] = partial(build_benchmark, name)
    if motions is not None:
        config = OpenDataConfig.from_mapping(set_overrides({}, overrides or ()), where="--set")
        build = partial(build_open_data, config, motions=_motions(name, motions))
    with ProgressBars() as bars:
        build(target, workers=processes, progress=partial(bars, "images"))
    typer.echo(f"wrote {target}")


def _motions(name: str, folder: Path) -> Motions:
    """Read the motions of a folder; print which files were left out, and why."""
    from hemlets.data.readers.quarantine import Quarantine
    from hemlets.data.synthetic.motions import read_motions
    from hemlets.data.versions.committed import require_name

    require_name(name, f"--motions {name}=")
    if folder.is_file():
        raise ConfigError(
            "this is a file, not a folder", where=f"--motions {folder}",
            expected="AMASS motions", remedy=f"give its folder: --motions {folder.parent}",
        )  # fmt: skip
    if not folder.is_dir():
        raise ConfigError.missing("the folder", f"--motions {folder}", expected="AMASS motions")
    quarantine = Quarantine()
    found = read_motions(name, folder, quarantine)
    typer.echo(f"{len(found.clips):,} motions beside the bundled ones")
    if quarantine.items:
        typer.echo(f"{len(quarantine.items):,} files were left out:")
        for item in quarantine.items:
            typer.echo(f"  {item}" + (f" ({item.remedy})" if item.remedy else ""))
    return found


@data.command("combine")
def combine_versions(
    versions: Annotated[
        list[str], typer.Argument(metavar="VERSION...", help="Folders or names of data versions.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Gets the union; by default 'combined' of the workspace."),
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--splits",
            metavar="VERSION=SPLIT,SPLIT",
            help="Only these splits of a version; all when omitted. May be repeated.",
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Combine data versions, e.g. rendered people and ingested photographs."""
    from collections import Counter

    from hemlets.core.files import read_json
    from hemlets.data.table import ALL_SPLITS
    from hemlets.data.versions.combine import Part, combine
    from hemlets.data.versions.committed import find_version

    workspace = _workspace(home)

    taken = {
        name: _commas(value) for name, value in (_pair(text, "--splits") for text in splits or [])
    }
    strange = sorted(taken.keys() - set(versions))
    if strange:
        raise ConfigError(
            f"{strange[0]!r} is not among the versions",
            where="--splits",
            expected=", ".join(versions),
        )
    parts: list[Part] = []
    names: Counter[str] = Counter()
    for text in versions:
        folder = find_version(text, workspace)
        name = _dataset_name(folder)
        names[name] += 1
        own = name if names[name] == 1 else f"{name}-{names[name]}"
        parts.append(Part(name=own, folder=folder, splits=taken.get(text, ALL_SPLITS)))
    target = out or workspace.home / "ingested" / "combined"
    combine(parts, target)
    for split, count in read_json(target / "version.json")["samples"].items():
        typer.echo(f"{split}: {count:,} rows")
    typer.echo(f"wrote {target}")


@data.command("show")
def show(
    version: Annotated[str, typer.Argument(help="Folder or name of a data version.")],
    split: Annotated[str | None, typer.Option("--split", help="Only this split.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=400, help="Samples drawn.")] = 24,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")] = 0,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="FIELD=VALUE", help="Only such rows; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The picture.")] = Path("contact-sheet.png"),
) -> None:
    """Draw samples with boxes, skeletons and depth relations."""
    import numpy as np

    from hemlets.core.files import write_bytes
    from hemlets.data.table import Annotations, ShardReader
    from hemlets.data.versions.committed import find_version
    from hemlets.reports.drawing.contact_sheet import contact_sheet, stored_tiles
    from hemlets.reports.drawing.encoding import png

    folder = find_version(version, _workspace(None))
    table = Annotations.read(folder / "annotations.parquet")
    rows = np.flatnonzero(_matching(table, split, where or []))
    if not len(rows):
        raise ConfigError(
            "no row fits",
            where=folder / "annotations.parquet",
            remedy="look at --split and --where, which must all be true of a row",
        )
    picked = np.random.default_rng(seed).permutation(rows)[:count]
    tiles = stored_tiles(table, ShardReader(folder / "shards"), sorted(map(int, picked)))
    write_bytes(out, png(contact_sheet(tiles)))
    typer.echo(f"wrote {out}: {len(picked)} of {len(rows):,} rows")


@data.command("diff")
def diff(
    before: Annotated[str, typer.Argument(help="Folder or name of a data version.")],
    after: Annotated[str, typer.Argument(help="Folder or name of another.")],
    json: JsonOption = False,
) -> None:
    """Show the differences between two versions.

    Added and removed rows, changed labels, and shifts of distributions.
    """
    from hemlets.data.versions.committed import find_version
    from hemlets.data.versions.diff import diff_versions

    folders = [find_version(text, _workspace(None)) for text in (before, after)]
    found = diff_versions(*folders)
    if json:
        print_json(found.to_json())
        return
    from rich.table import Table

    screen = console()
    screen.print(f"{found.rows[0]:,} rows → {found.rows[1]:,} rows")
    if found.is_empty:
        screen.print("the same rows with the same values")
    for words, names in (("added", found.added), ("removed", found.removed)):
        if names:
            screen.print(f"\n{len(names):,} {words}: {_some(names)}")
    for field, names in found.changed.items():
        screen.print(f"\n{field} changed in {len(names):,} rows: {_some(names)}")
    if found.changed:
        screen.print(f"\n{len(found.changed_samples):,} rows changed in all")
    if found.restored:
        screen.print(f"\n{found.restored:,} rows lie in another place of the shards")
    if found.shifts:
        table = Table(box=None, pad_edge=False, title="\ndistributions", title_justify="left")
        for title in ("", "before", "after"):
            table.add_column(title, justify="right" if title else "left")
        for shift in found.shifts:
            digits = 0 if shift.unit == "rows" else 2
            unit = "" if shift.unit == "rows" else f" {shift.unit}"
            values = (f"{value:,.{digits}f}{unit}" for value in (shift.before, shift.after))
            table.add_row(shift.what, *values)
        screen.print(table)


@data.command("validate")
def validate(
    folder: Annotated[
        Path, typer.Argument(help="Data version: a folder with annotations.parquet and shards.")
    ],
    previous: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Earlier version to compare distributions with."),
    ] = None,
    docs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Gets report and Data Docs; NAME.validation beside the version when omitted.",
        ),
    ] = None,
    suite: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML file that adds, changes or switches off expectations, or notifies.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a data version before anything is trained on it.

    Names the rows and fields of every fault, shows which of them stop a retraining, and writes
    pages with pictures. Ends with exit code 3 where one does.
    """
    from hemlets.core.plugins import load_plugin
    from hemlets.data.versions.writer import TABLE

    for version in (folder, previous):
        if version is not None and not (version / TABLE).is_file():
            raise DataError(
                "this is no data version: it has no annotation table",
                where=version,
                expected=TABLE,
                remedy="name a folder that `hemlets data ingest` or `hemlets data render` wrote",
            )
    if docs is not None:
        require_folder(docs, "--docs")
    where = folder.resolve()
    out = docs or where.with_name(f"{where.name}.validation")
    result = load_plugin("validate-data")(folder, out, previous=previous, overlay=suite)
    if json:
        print_json(result.to_json(), indent=None)
    elif result.passed:
        typer.echo(result.message())
    if not result.passed:
        raise ValidationFailed(
            result.message(),
            where=folder / TABLE,
            remedy="correct or remove these rows, or the code that made them, and validate again",
        )


@data.command("expectations")
def expectations(
    suite: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A suite file whose changes are applied.")
    ] = None,
) -> None:
    """List the expectations of `hemlets data validate` as YAML: names, bounds and reasons."""
    from hemlets.core.plugins import load_plugin

    typer.echo(load_plugin("list-expectations")(suite), nl=False)


@data.command("commit")
def commit(
    folder: Annotated[str, typer.Argument(help="Folder or name of an ingested dataset.")],
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the dataset; that of the ingest when omitted."),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Commit a data version and push it to the remote."""
    from hemlets.data.locations import DataSettings
    from hemlets.data.versions.committed import find_version, version_store

    workspace = _workspace(home)
    found = find_version(folder, workspace)
    version = version_store().publish(workspace, found, name=name or _dataset_name(found))
    remote = DataSettings.of(workspace).remote or workspace.data_remote
    typer.echo(f"{version}, stored in {remote}")


@data.command("hold-out")
def hold_out_rows(
    dataset: Annotated[str, typer.Argument(help="Name of an ingested dataset.")],
    by: Annotated[str, typer.Option(help="What is held out whole: subject or clip.")] = "subject",
    gate: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of them that decides on promotion.")
    ] = 0.1,
    test: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of them that is scored only.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Selects them.")] = 0,
    move: Annotated[
        bool, typer.Option("--move", help="Hold other rows out than an earlier call did.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Freeze the gate and test rows of a dataset of one's own, which are never trained on.

    Prints the lines for the profile. The rows are frozen under the hash of their bytes; scores
    before and after --move can't be compared.
    """
    import shutil

    from hemlets.data.versions.committed import find_version, require_name, version_store
    from hemlets.data.versions.hold_out import SUFFIX, Group, hold_out

    if by not in ("subject", "clip"):
        raise ConfigError(f"{by!r} can't be held out", where="--by", expected="subject or clip")
    name = f"{dataset}{SUFFIX}"
    require_name(name)
    workspace, store = _workspace(home), version_store()
    known = [text for text in store.versions(workspace) if text.rpartition("-")[0] == name]
    if known and not move:
        raise ConfigError(
            f"rows of {dataset} are held out already: {known[-1]}",
            where=workspace.data / "versions",
            remedy="keep them; or add --move, and scores can't be compared with earlier ones",
        )
    out = workspace.home / "ingested" / name
    found = find_version(dataset, workspace)
    shutil.rmtree(out, ignore_errors=True)
    group: Group = "subject" if by == "subject" else "clip"
    samples = hold_out(found, out, by=group, gate=gate, test=test, seed=seed)
    version = store.commit(workspace, out, name=name)
    for split, count in samples.items():
        typer.echo(f"# {split}: {count:,} rows")
    typer.echo(f'[[judges]]\nheld_out = "{version}"\nfloors = {{ joints2d_px = {{ max = 20.0 }} }}')


@data.command("versions")
def versions(
    remote: Annotated[
        bool, typer.Option("--remote", help="Those in the remote, whichever machine pushed them.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Show the committed versions of every dataset, oldest first."""
    from hemlets.data.versions.committed import version_store

    store, workspace = version_store(), _workspace(home)
    known = store.remote_versions(workspace) if remote else store.versions(workspace)
    for version in known:
        typer.echo(version)
    if not known:
        typer.echo("none yet: hemlets data commit or hemlets retrain makes the first", err=True)


@data.command("checkout")
def checkout(
    version: Annotated[str, typer.Argument(help="As hemlets data versions shows it.")],
    beside: Annotated[
        bool, typer.Option("--beside", help="Leave the current version where it is.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Bring a committed version back, from the remote where needed."""
    from hemlets.data.versions.committed import version_store
    from hemlets.data.versions.writer import TABLE

    store, workspace = version_store(), _workspace(home)
    bring = store.export if beside else store.checkout
    folder = bring(workspace, version)
    if not (folder / TABLE).exists():
        raise DataError("the version holds no annotation table", where=folder)
    typer.echo(str(folder))


def _words(pattern: str) -> str:
    return " or ".join(part.strip() for part in pattern.split("|"))


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - _IDS_SHOWN
    return ", ".join(names[:_IDS_SHOWN]) + (f" and {more:,} more (see --json)" if more > 0 else "")


def _matching(table: Annotations, split: str | None, conditions: list[str]) -> Any:
    import numpy as np

    from hemlets.data.table import FIELDS

    scalars = [field.name for field in FIELDS if not field.shape and field.name != "mask"]
    mask = np.ones(len(table), bool)
    for condition in [*([f"split={split}"] if split else []), *conditions]:
        name, equals, value = condition.partition("=")
        if not equals or name not in scalars:
            raise ConfigError(
                f"{condition!r} is no condition",
                where="--where",
                expected=f"FIELD=VALUE with one of {', '.join(scalars)}",
            )
        mask &= np.array([_same(found, value) for found in table.column(name)], bool)
    return mask


def _same(found: Any, value: str) -> bool:
    return str(found) == value or str(found).lower() == value.lower()


def _dataset_name(folder: Path) -> str:
    """Return the name of a data version's dataset."""
    from hemlets.core.files import read_json
    from hemlets.data.versions.writer import VERSION

    path = folder / VERSION
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise DataError.damaged("it is no object of JSON", path, remedy="make this version anew")
    return str(found.get("dataset") or found.get("kind") or folder.name)


def _workspace(home: Path | None) -> Workspace:
    from hemlets.core.workspace import Workspace

    return Workspace.at(home)


def _settings(home: Path | None, roots: list[Path] | None) -> DataSettings:
    from hemlets.data.locations import DataSettings

    settings = DataSettings.of(_workspace(home))
    given = tuple(str(root) for root in roots or ())
    for root in given:
        if not Path(root).is_dir():
            raise ConfigError(
                "this is no folder", where=f"--root {root}", expected="a folder that holds datasets"
            )
    return settings.model_copy(update={"roots": (*given, *settings.roots)})


def _local(source: str, cache: Path, endpoint: str | None) -> Path:
    from hemlets.data.remote import fetch_s3, is_s3_url

    if not is_s3_url(source):
        folder = Path(source)
        if not folder.is_dir():
            raise ConfigError(
                "this is no folder",
                where=f"--from {source}",
                expected="a folder, or s3://BUCKET/PREFIX",
                remedy="check the path; an S3 address begins with s3://",
            )
        return folder
    with ProgressBars() as bars:
        return fetch_s3(
            source,
            cache,
            endpoint=endpoint,
            progress=lambda done, total: bars("megabytes", done // 10**6, total // 10**6),
        )


def _remove_version(folder: Path) -> None:
    """Remove a data version, complete or unfinished, and nothing else."""
    import shutil

    if not folder.exists():
        return
    known = {"annotations.parquet", "quarantine.jsonl", "shards", "version.json", ".unfinished"}
    strange = sorted({path.name for path in folder.iterdir()} - known)
    if strange:
        raise ConfigError(
            f"the folder holds more than a data version: {', '.join(strange[:5])}",
            where=folder,
            remedy="choose another folder with --out",
        )
    shutil.rmtree(folder)


def _read_options(
    splits: list[str] | None, every: int | None, settings: list[str] | None
) -> ReadOptions:
    from hemlets.data.readers.contract import ReadOptions
    from hemlets.data.table import SPLITS

    for split in splits or []:
        if split not in SPLITS:
            raise ConfigError(
                f"there is no split {split!r}", where="--split", expected=", ".join(SPLITS)
            )
    pairs = dict(_pair(text, "--setting") for text in settings or [])
    wanted = frozenset(splits) if splits else ReadOptions().splits
    return ReadOptions(splits=wanted, frame_step=every, settings=pairs)


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{text!r} can't be read", where=option, expected="KEY=VALUE")
    return key.strip(), value.strip()


def _commas(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _print_ingested(result: IngestResult) -> None:
    from rich.table import Table

    screen = console()
    table = Table(box=None, pad_edge=False)
    table.add_column("split")
    table.add_column("rows", justify="right")
    for split, count in result.samples.items():
        table.add_row(split, f"{count:,}")
    screen.print(table)
    if result.refused:
        screen.print(f"\n{sum(result.refused.values()):,} rows were left out:")
        for reason, count in list(result.refused.items())[:10]:
            screen.print(f"  {count:,} × {reason}")
        screen.print(f"  each is in {result.folder / 'quarantine.jsonl'}")
    if result.skipped:
        screen.print(f"\n{sum(result.skipped.values()):,} rows teach nothing and were skipped:")
        for reason, count in result.skipped.items():
            screen.print(f"  {count:,} × {reason}")
    screen.print(f"\nwrote {result.folder}")
