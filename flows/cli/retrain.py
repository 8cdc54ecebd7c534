"""``hemlets retrain``, ``hemlets rollback`` and ``hemlets ui``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hemlets.cli.options import HomeOption
from hemlets.cli.terminal import plain_console

if TYPE_CHECKING:
    from hemlets.core.workspace import Workspace


def retrain(
    profile: Annotated[
        str, typer.Option("--profile", "-p", help="Name of a bundled profile or path of a file.")
    ] = "demo",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value over the profile; may be repeated."),
    ] = None,
    number: Annotated[
        str,
        typer.Option(
            "--number",
            help="Each number trains on other rendered people, the same number on the same; "
            "date: the number of the day.",
        ),
    ] = "0",
    home: HomeOption = None,
) -> None:
    """Retrain from data to promotion; stages that are whole already are not run again.

    A rejected challenger is a sound outcome, so it ends with code 0 like a promoted one.
    """
    from flows.services.prefect_session import prefect_session
    from flows.starting import RETRAIN_LOCK, RETRAINING, run_number
    from hemlets.core.files import lock
    from hemlets.core.process_setup import paused_collection
    from hemlets.core.workspace import Workspace

    workspace = Workspace.exported(home)
    counted: int | Literal["date"] = (
        "date" if number == "date" else run_number(number, datetime.now(UTC))
    )

    # Reject a wrong profile before anything is created.
    from flows.profile import load_profile

    load_profile(profile, tuple(overrides or ()))

    def import_flow() -> None:
        with paused_collection():
            import flows.retrain  # noqa: F401

    # Taken here, before a server is started for nothing.
    with (
        lock(workspace.locks / RETRAIN_LOCK, RETRAINING),
        prefect_session(workspace, import_flow),
    ):
        _retrain(profile, overrides, workspace, counted)


def _retrain(
    profile: str,
    overrides: list[str] | None,
    workspace: Workspace,
    number: int | Literal["date"],
) -> None:
    from rich.text import Text

    from flows.retrain import retrain as flow
    from flows.services.user_errors import find_user_error

    try:
        outcome = flow(profile, overrides, str(workspace.home), number)
    except Exception as error:
        known = find_user_error(error)
        if known is None:
            raise
        raise known from None
    console = plain_console()
    console.print()
    decision = (outcome["decision"], "bold")
    console.print(Text.assemble(decision, f": {'; '.join(outcome['reasons'])}"))
    console.print(f"  report     {outcome['report']}")
    program = Path(sys.argv[0])
    command = str(program) if program.name == "hemlets" else "hemlets"
    console.print(f"  runs       {command} ui")
    console.print(f"  predict    {command} predict PHOTO.jpg")
    console.print(f"  serve      {command} serve")


def rollback(
    version: Annotated[
        int | None,
        typer.Argument(help="Model version to go back to; by default the champion before this."),
    ] = None,
    because: Annotated[
        str, typer.Option(help="Why; kept with the version that is withdrawn.")
    ] = "",
    home: HomeOption = None,
) -> None:
    """Go back to an earlier champion; the withdrawn one is not promoted again.

    Predictions use it at once, and a running server switches to it as it does to a promotion.
    """
    from flows.registry import rollback as back
    from hemlets.core.workspace import Workspace

    done = back.rollback(Workspace.exported(home), version, because=because)
    if done.withdrawn is None:
        typer.echo(f"version {done.champion} is the champion, and is what is served")
        return
    typer.echo(f"version {done.champion} is the champion again, and is what is served")
    typer.echo(f"version {done.withdrawn} is withdrawn: {done.because}")


def ui(
    mlflow_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the MLflow pages; 0 chooses a free one.")
    ] = 5000,
    prefect_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the Prefect pages; 0 chooses a free one.")
    ] = 4200,
    home: HomeOption = None,
) -> None:
    """Show the MLflow and Prefect pages on loopback until Ctrl-C."""
    from flows.services.servers import run_ui
    from hemlets.core.workspace import Workspace

    run_ui(Workspace.exported(home), mlflow_port, prefect_port)
