"""``hemlets clean``: free the disk space of results that nothing needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemlets.cli.options import HomeOption

if TYPE_CHECKING:
    from flows.storage.retention import Plan
    from hemlets.core.workspace import Workspace


def clean(
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="Newest runs whose stages are kept.")
    ] = 5,
    days: Annotated[
        float, typer.Option("--days", min=0, help="Also keep runs younger than so many days.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Remove old step results, data versions, downloads and leftovers of servers.

    What the champion, its predecessor and the newest runs need stays, and so do MLflow's runs,
    reports and ingested datasets. Nothing is removed while a retraining runs.
    """
    from flows.storage.retention import clean as carry_out
    from flows.storage.retention import plan
    from hemlets.core.workspace import Workspace

    workspace = Workspace.exported(home)
    if not workspace.home.exists():
        typer.echo(f"there is nothing at {workspace.home}")
        return
    done = plan(workspace, keep, days) if dry_run else carry_out(workspace, keep, days)
    for line in _lines(done, workspace):
        typer.echo(line)
    typer.echo(f"{'would free' if dry_run else 'freed'} {_size(done.bytes)}")


def _lines(done: Plan, workspace: Workspace) -> list[str]:
    lines = [
        f"{_size(item.bytes):>9}  {_short(item.path, workspace)}  ({item.why})"
        for item in (*done.leftovers, *done.logs)
    ]
    lines += [
        f"{'':>9}  data version {version}, with the files in DVC that no other needs"
        for version in done.versions
    ]
    lines += [f"left alone: {_short(path, workspace)}, a server runs" for path in done.in_use]
    return lines


def _short(path: Path, workspace: Workspace) -> str:
    inside = path.is_relative_to(workspace.home)
    return str(path.relative_to(workspace.home) if inside else path)


def _size(count: int) -> str:
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
