"""``hemlets predict``: photos in; joints, a body and a picture out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemlets.cli.options import (
    BodyOption,
    CameraOption,
    ModelOption,
    QuietOption,
    RefineOption,
    require_folder,
)
from hemlets.core.errors import ConfigError, HemletsError

if TYPE_CHECKING:
    from hemlets.cli.prediction import PhotoResult

__all__ = ["predict"]


def predict(
    photo: Annotated[
        list[Path],
        typer.Argument(help="One photo or several (JPEG, PNG, WebP, BMP or TIFF)."),
    ],
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X0,Y0,X1,Y1",
            help="The person's box in pixels: left, top, right, bottom. "
            "The whole photo when omitted.",
        ),
    ] = None,
    camera: CameraOption = None,
    model: ModelOption = None,
    body: BodyOption = None,
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Where NAME.json and NAME.overlay.png go."),
    ] = Path("predictions"),
    json: Annotated[
        bool,
        typer.Option("--json", help="Print each photo's result as one line of JSON."),
    ] = False,
    openpose: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="OpenPose's JSON of the photo: everybody in it is predicted.",
        ),
    ] = None,
    refine: RefineOption = False,
    mesh: Annotated[
        str | None,
        typer.Option(metavar="glb|obj|ply", help="Write the body's mesh, too, in metres."),
    ] = None,
    page: Annotated[
        bool,
        typer.Option("--page/--no-page", help="Write NAME.html, the body in 3D to turn around."),
    ] = False,
    picture: Annotated[
        bool, typer.Option("--picture/--no-picture", help="Draw the overlay picture.")
    ] = True,
    quiet: QuietOption = False,
) -> None:
    """Predict the 3D pose and body of the person in a photo."""
    from hemlets.cli.values import parse_box, parse_camera, parse_mesh_format

    mesh_suffix = None if mesh is None else parse_mesh_format(mesh)

    given_box = None if box is None else parse_box(box)
    given_camera = None if camera is None else parse_camera(camera)
    if given_box is not None and len(photo) > 1:
        raise ConfigError(
            f"one box was given for {len(photo)} photos",
            where="--box",
            expected="one photo where a box is given",
            remedy="run the command once for each photo",
        )
    if openpose is not None and (len(photo) > 1 or box is not None):
        raise ConfigError(
            "OpenPose's file goes with one photo and no box",
            where="--openpose",
            expected="one photo",
        )
    require_folder(out)

    from hemlets.cli.prediction import PhotoPredictor

    predictor = PhotoPredictor.load(model, body=body)
    results: list[PhotoResult] = []
    failures: list[HemletsError] = []
    for source, name in zip(photo, _names(photo), strict=True):
        try:
            if openpose is not None:
                found = predictor.predict_people(source, openpose, given_camera, refine=refine)
            else:
                found = [predictor.predict(source, given_box, given_camera, refine=refine)]
            for number, result in enumerate(found):
                label = name if len(found) == 1 else f"{name}.person{number}"
                result.write(out, label, picture=picture, mesh_suffix=mesh_suffix, page=page)
        except HemletsError as error:
            if len(photo) == 1:
                raise
            # The other photos are none the worse for this one.
            typer.echo(f"error: {error}", err=True)
            failures.append(error)
            continue
        results += found
        if json:
            for result in found:
                typer.echo(result.json_line())
    if not quiet:
        _print_summary(results, predictor.origin, err=json)
    if failures:
        typer.echo(f"{len(failures)} of {len(photo)} photos could not be predicted", err=True)
        raise typer.Exit(failures[0].exit_code)


def _names(photos: list[Path]) -> list[str]:
    """A name for each photo's files: its stem, numbered where another has the same."""
    names: list[str] = []
    for photo in photos:
        name, number = photo.stem, 1
        while name in names:
            number += 1
            name = f"{photo.stem}-{number}"
        names.append(name)
    return names


def _print_summary(results: list[PhotoResult], origin: str, *, err: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=err, highlight=False, soft_wrap=True)
    if not results:
        return
    version = results[0].estimate.model_version
    console.print(f"model: {version} — {origin}", markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("photo", overflow="fold")
    table.add_column("pelvis x, y, z (m)", justify="right")
    table.add_column("confidence", justify="right")
    for result in results:
        table.add_row(*result.summary_row())
    console.print(table)
    for file in (file for result in results for file in result.files):
        console.print(f"wrote {file}", markup=False)
    for line in dict.fromkeys(line for result in results for line in result.assumptions()):
        console.print(f"note: {line}", markup=False)
