"""Datasets and data versions: list, ingest, show, validate, diff, commit, check out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_checks.cli import validate
from hemlets.cli.data import Home, data, find_version
from hemlets.core.errors import DataError

if TYPE_CHECKING:
    from hemlets.core.workspace import Workspace

__all__ = ["data"]

data.command("validate")(validate)


@data.callback()
def _data(context: typer.Context) -> None:
    """Datasets and data versions."""
    context.obj = _committed


def _committed(name: str) -> Path | None:
    """Folder of a version by its name; the newest of a dataset by the dataset's name."""
    from flows.storage import data_versions as data_version
    from hemlets.core.workspace import Workspace

    workspace = Workspace.from_env()
    known = data_version.versions(workspace)
    newest = [version for version in known if version.rpartition("-")[0] == name]
    if name not in known and not newest:
        return None
    return data_version.export(workspace, name if name in known else newest[-1])


@data.command("commit")
def commit(
    folder: Annotated[str, typer.Argument(help="Folder or name of an ingested dataset.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Of the dataset; what was ingested when omitted.")
    ] = None,
    home: Home = None,
) -> None:
    """Keep an ingested dataset as a data version, pushed to the remote."""
    from flows.storage import data_versions as data_version
    from hemlets.core.files import read_json
    from hemlets.data.locations import DataSettings

    workspace = _workspace(home)
    found = find_version(folder)
    told = read_json(found / "version.json")
    dataset = name or str(told.get("dataset") or told.get("kind"))
    version = data_version.commit(workspace, found, name=dataset)
    remote = DataSettings.of(workspace).remote or workspace.data_remote
    typer.echo(f"{version}, kept in {remote}")


@data.command("versions")
def versions(home: Home = None) -> None:
    """Show the committed versions of every dataset, oldest first."""
    from flows.storage import data_versions as data_version

    known = data_version.versions(_workspace(home))
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
    home: Home = None,
) -> None:
    """Bring a version back, from the remote where needed."""
    from flows.storage import data_versions as data_version

    workspace = _workspace(home)
    bring = data_version.export if beside else data_version.checkout
    folder = bring(workspace, version)
    if not (folder / "annotations.parquet").exists():
        raise DataError("the version holds no annotation table", where=folder)
    typer.echo(str(folder))


def _workspace(home: Path | None) -> Workspace:
    from hemlets.core.workspace import Workspace

    return Workspace.from_env() if home is None else Workspace(home=home.resolve())
