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
from hemlets.cli.terminal import plain_console
from hemlets.core.errors import ConfigError, HemletsError, InputError
from hemlets.core.process_setup import paused_collection

if TYPE_CHECKING:
    from hemlets.inference.people import Detection
    from hemlets.inference.results import People


def predict(
    photo: Annotated[
        list[Path],
        typer.Argument(help="One photo or several (JPEG, PNG, WebP, BMP or TIFF)."),
    ],
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X0,Y0,X1,Y1",
            help="A person's box in pixels: left, top, right, bottom; once for each person. "
            "Everybody is found when omitted.",
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
            help="JSON of OpenPose, AlphaPose or MediaPipe: who is in it is predicted.",
        ),
    ] = None,
    refine: RefineOption = False,
    mesh: Annotated[
        str | None,
        typer.Option(metavar="glb|obj|ply", help="Write each body's mesh, too, in metres."),
    ] = None,
    page: Annotated[
        bool,
        typer.Option("--page/--no-page", help="Write NAME.html, everybody in 3D to turn around."),
    ] = False,
    picture: Annotated[
        bool, typer.Option("--picture/--no-picture", help="Draw the overlay picture.")
    ] = True,
    quiet: QuietOption = False,
) -> None:
    """Predict the 3D pose and body of everybody in a photo."""
    from hemlets.cli.values import parse_box, parse_camera, parse_mesh_format
    from hemlets.inference.request import ImageRequest

    mesh_suffix = None if mesh is None else parse_mesh_format(mesh)
    request = ImageRequest(
        boxes=tuple(parse_box(text) for text in box) if box else None,
        camera=None if camera is None else parse_camera(camera),
    )
    if request.boxes and len(photo) > 1:
        raise ConfigError(
            f"boxes were given for {len(photo)} photos",
            where="--box",
            expected="one photo where a box is given",
            remedy="run the command once for each photo",
        )
    if openpose is not None and (len(photo) > 1 or request.boxes):
        raise ConfigError(
            "OpenPose's file goes with one photo and no box",
            where="--openpose",
            expected="one photo",
        )
    require_folder(out)

    with paused_collection():
        from hemlets.inference.images import read_photo
        from hemlets.inference.model import Model

        loaded = Model.load(model, body=body)
    results: list[People] = []
    failures: list[HemletsError] = []
    written: list[Path] = []
    for source, name in zip(photo, _names(photo, out), strict=True):
        try:
            image_HW3 = read_photo(source)
            size = (image_HW3.shape[1], image_HW3.shape[0])
            people = loaded.predict(
                image_HW3,
                request,
                name=source.name,
                where=str(source),
                detections=None if openpose is None else _of_openpose(openpose, size),
                refine=refine,
            )
            written += people.save(out, name, picture=picture, page=page, mesh_suffix=mesh_suffix)
        except HemletsError as error:
            if len(photo) == 1:
                raise
            # The other photos are none the worse for this one.
            typer.echo(f"error: {error}", err=True)
            failures.append(error)
            continue
        results.append(people)
        if json:
            typer.echo(people.json_line())
    if not quiet and results:
        _print_summary(results, written, loaded.origin, err=json)
    if failures:
        typer.echo(f"{len(failures)} of {len(photo)} photos could not be predicted", err=True)
        raise typer.Exit(failures[0].exit_code)


def _of_openpose(file: Path, size: tuple[int, int]) -> list[Detection]:
    from hemlets.inference.openpose import read_openpose

    found = read_openpose(file, size=size)
    for reason in found.left_out:
        typer.echo(f"{file.name}: left out {reason}", err=True)
    if not found.people:
        raise InputError(
            "nobody in the file can be used" if found.left_out else "OpenPose found nobody",
            where=file,
            expected="a person of whom there is enough for a box, inside the image",
        )
    return list(found.people)


def _names(photos: list[Path], folder: Path) -> list[str]:
    """Name each photo's files, so that no two photos share one."""
    from hemlets.inference.outputs import free_stem

    names: list[str] = []
    for photo in photos:
        names.append(free_stem(folder, photo.name, names))
    return names


def _print_summary(results: list[People], written: list[Path], origin: str, *, err: bool) -> None:
    from rich.table import Table

    from hemlets.cli.prediction import notes, summary_rows

    console = plain_console(stderr=err)
    console.print(f"model: {results[0].model_version} — {origin}")
    table = Table(box=None, pad_edge=False)
    table.add_column("photo", overflow="fold")
    table.add_column("pelvis x, y, z (m)", justify="right")
    table.add_column("confidence", justify="right")
    for row in (row for people in results for row in summary_rows(people)):
        table.add_row(*row)
    console.print(table)
    for file in written:
        console.print(f"wrote {file}")
    for line in notes(results):
        console.print(f"note: {line}")
