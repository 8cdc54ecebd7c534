"""``hemlets ablate``: the paper's ablations on the open data, run by run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemlets.cli.options import HomeOption
from hemlets.cli.terminal import plain_console


def ablate(
    arms: Annotated[
        list[str] | None,
        typer.Option("--arm", help="Only this arm; may be repeated. All by default."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each arm.")] = 3,
    samples: Annotated[
        int | None, typer.Option(min=32, help="Training samples of a run: the budget.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value over the study's settings; may be repeated."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of a data version; by default people are rendered."),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs as the benchmark of photographs takes it."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="TOML with annotators' rates of skips and errors by tilt."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="CSV with a row a finished run; what has a row is not run again."),
    ] = None,
    most: Annotated[
        int | None, typer.Option(min=0, help="End after so many runs; 0 writes the report only.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Train and compare the paper's ablations on features of the frozen encoder.

    Supervision of the intermediate maps with and without 2D-only data (Table 4), weak labels
    (Table 5), two, three and five states (Figure 9), shares of 3D labels and units of L_3D. The
    page says what the intervals of paired runs carry. A stopped ablation goes on with the same
    command.
    """
    from flows.ablation.arms import ARMS
    from flows.ablation.study import Study
    from hemlets.core.config import set_overrides
    from hemlets.core.errors import ConfigError
    from hemlets.core.workspace import Workspace

    unknown = sorted(set(arms or ()) - set(ARMS))
    if unknown:
        raise ConfigError(
            f"there is no arm {', '.join(unknown)}", expected=f"some of {', '.join(ARMS)}"
        )
    budget = {} if samples is None else {"samples": samples}
    study = Study.from_mapping(set_overrides(budget, overrides or ()), where="--set")
    if labels is not None:
        study = study.model_copy(update={"annotators": labels.resolve()})
    workspace = Workspace.exported(home)
    from flows.services.prefect_session import prefect_session

    with prefect_session(workspace):
        _run(study, arms or list(ARMS), seeds, data, photos, results, most, workspace)


def _run(
    study: object,
    names: list[str],
    seeds: int,
    data: Path | None,
    photos: Path | None,
    results: Path | None,
    most: int | None,
    workspace: object,
) -> None:
    from flows.ablation.flow import ablate as flow
    from flows.ablation.runs import Bench
    from flows.ablation.study import Study
    from flows.services.user_errors import find_user_error
    from hemlets.core.workspace import Workspace
    from hemlets.data.synthetic import build_open_data

    assert isinstance(study, Study)
    assert isinstance(workspace, Workspace)
    folder = workspace.home / "ablation"
    if data is None:
        data = folder / f"data-{study.data.hash[:12]}"
        build_open_data(study.data, data, workers=study.threads)
    try:
        outcome = flow(
            Bench(
                study=study,
                data=data.resolve(),
                folder=folder,
                photos=photos and photos.resolve(),
            ),
            names,
            seeds,
            workspace=workspace,
            results=(results or folder / "ablations.csv").resolve(),
            most=most,
        )
    except Exception as error:
        known = find_user_error(error)
        if known is None:
            raise
        raise known from None
    console = plain_console()
    console.print(f"{outcome.done} runs done, {outcome.left} left, {len(outcome.rows)} rows")
    for path in outcome.report:
        console.print(f"  {path}")
