"""``hemlets benchmark photos``: a model on annotated photographs of public datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemlets.cli.options import ModelOption, SecondLookOption


def photos(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Subfolders lspet, coco, mpii, human36m, mpi_inf_3dhp in the datasets' own forms.",
        ),
    ],
    model: ModelOption = None,
    lspet: Annotated[
        str,
        typer.Option(
            metavar="FIRST-LAST",
            help="Numbers of LSPET's photographs. Variants are chosen by 1-100.",
        ),
    ] = "251-300",
    second_look: SecondLookOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Figures as CSV, a row for each.")
    ] = None,
) -> None:
    """Predict annotated people in photographs from their true boxes, and score them."""
    import csv

    from hemlets.core.files import atomic_path
    from hemlets.core.workspace import Workspace
    from hemlets.evaluation.photos import load_photos, numbered, photo_figures, predict_photos
    from hemlets.inference.champion import find_model
    from hemlets.inference.predictor import Predictor

    people = numbered(load_photos(folder), lspet)
    choice = find_model(model, Workspace.from_env())
    predictor = Predictor.load(choice.folder, second_look=second_look)
    estimates = predict_photos(predictor, people)
    figures = photo_figures(
        people, [e.joints2d_px for e in estimates], [e.joints3d_mm for e in estimates]
    )
    typer.echo(f"model {predictor.version} ({choice.origin}), {len(people)} people, true boxes")
    rows = [
        {"figure": name, "value": f"{figure.value:.1f}", "people": figure.people,
         "lspet": lspet, "model": predictor.version}
        for name, figure in figures.items()
    ]  # fmt: skip
    for row in rows:
        typer.echo(f"{row['figure']:32} {row['value']:>7}  ({row['people']} people)")
    if out is not None:
        with atomic_path(out) as scratch, scratch.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        typer.echo(f"wrote {out}")
