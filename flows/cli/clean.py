"""``hemlets clean``: gives back the disk that results take which nothing needs any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.storage.cleaning import Plan
    from hemlets.core.workspace import Workspace

__all__ = ["clean"]


def clean(
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="Newest runs whose stages are kept.")
    ] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    home: Annotated[
        Path | None,
        typer.Option("--home", help="Workspace folder; by default HEMLETS_HOME or ./workspace."),
    ] = None,
) -> None:
    """Remove old results of stages, data versions, downloads and servers' leftovers.

    What the champion, the one before it and the newest runs need stays, and so do MLflow's runs,
    reports and ingested datasets. Nothing is removed while a retraining runs.
    """
    import os

    from flows.storage.cleaning import clean as carry_out
    from flows.storage.cleaning import plan
    from hemlets.core.workspace import Workspace

    if home is not None:
        os.environ["HEMLETS_HOME"] = str(home.resolve())
    workspace = Workspace.from_env()
    if not workspace.home.exists():
        typer.echo(f"there is nothing at {workspace.home}")
        return
    done = plan(workspace, keep) if dry_run else carry_out(workspace, keep)
    for line in _told(done, workspace):
        typer.echo(line)
    typer.echo(f"{'would free' if dry_run else 'freed'} {_size(done.bytes)}")


def _told(done: Plan, workspace: Workspace) -> list[str]:
    lines = [
        f"{_size(item.bytes):>9}  {_short(item.path, workspace)}  ({item.why})"
        for item in (*done.leftovers, *done.logs)
    ]
    lines += [f"{'':>9}  data version {version}" for version in done.data.versions]
    if done.data.objects:
        lines.append(
            f"{_size(done.data.bytes):>9}  {done.data.objects} files of data versions in DVC's "
            "cache and remote"
        )
    lines += [f"left alone: {_short(path, workspace)}, a server runs" for path in done.in_use]
    return lines


def _short(path: Path, workspace: Workspace) -> str:
    inside = path.is_relative_to(workspace.home)
    return str(path.relative_to(workspace.home) if inside else path)


def _size(count: int) -> str:
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
