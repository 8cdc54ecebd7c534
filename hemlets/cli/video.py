"""``hemlets video``: a video in; tracks, an annotated video and motion files out."""

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
from hemlets.core.errors import ConfigError

if TYPE_CHECKING:
    from hemlets.inference.video import Finder, Video


def video(
    file: Annotated[Path, typer.Argument(metavar="VIDEO", help="MP4, AVI, MOV, MKV or WebM.")],
    openpose: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="OpenPose's JSON files of the frames: everybody in them is followed.",
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X0,Y0,X1,Y1",
            help="One person's box, the same in all frames. Everybody is found when omitted.",
        ),
    ] = None,
    every: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Look for people in every Nth frame; they move on in between."
        ),
    ] = 3,
    camera: CameraOption = None,
    model: ModelOption = None,
    body: BodyOption = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the results go.")] = Path(
        "predictions"
    ),
    smooth: Annotated[
        bool, typer.Option("--smooth/--raw", help="Take the jitter out of each person's motion.")
    ] = True,
    refine: RefineOption = False,
    picture: Annotated[
        bool, typer.Option("--picture/--no-picture", help="Write the annotated video.")
    ] = True,
    quiet: QuietOption = False,
) -> None:
    """Follow the people in a video: motion files (npz, BVH) and an annotated video."""
    from hemlets.cli.values import parse_box, parse_camera

    if openpose is not None and box is not None:
        raise ConfigError(
            "a box and OpenPose's files were both given", where="--box", expected="one of them"
        )
    given_camera = None if camera is None else parse_camera(camera)
    given_box = None if box is None else parse_box(box)
    if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"):
        raise ConfigError(
            "this is a photo, not a video",
            where=file,
            expected="an MP4, AVI, MOV, MKV or WebM file",
            remedy=f"for a photo: hemlets predict {file}",
        )
    require_folder(out)

    from hemlets.cli.footage import VideoPredictor
    from hemlets.inference.video import Video

    source = Video.open(file)
    if source.timing.resampled:
        typer.echo(
            f"{file.name}: the frame rate is variable; results are resampled to "
            f"{source.fps:g} frames a second, by the frames' time stamps",
            err=True,
        )
    finder = _finder(openpose, given_box, source)
    predictor = VideoPredictor.load(model, body=body)
    finder = finder or predictor.following(every=every)
    result = predictor.follow(source, finder, given_camera, smooth=smooth, refine=refine)
    written = result.write(out, picture=picture)
    if not quiet:
        people = len(result.tracks)
        who = "nobody was found" if not people else f"{people} tracks" if people > 1 else "1 track"
        typer.echo(f"model: {predictor.origin}; {result.n_frames} frames, {who}")
        for path in written:
            typer.echo(f"wrote {path}")
    for track in result.tracks:
        empty = sum(estimate.person is False for estimate in track.estimates)
        if empty:
            typer.echo(
                f"{file.name}: track {track.number}: there is probably no person in the box in "
                f"{empty} of {len(track.estimates)} frames. Their confidence is below the model's "
                "threshold, so don't rely on them; the .json and .npz say which they are.",
                err=True,
            )


def _finder(
    openpose: Path | None, box: tuple[float, float, float, float] | None, source: Video
) -> Finder | None:
    """Who is where by what the user has given; None for what the detector finds."""
    from hemlets.inference.openpose_folder import pair_frames
    from hemlets.inference.people import Detection
    from hemlets.inference.video import openpose_finder

    if openpose is not None:
        n_frames = source.n_source_frames
        paired = pair_frames(openpose, n_frames)
        if paired.without:
            typer.echo(
                f"{openpose}: {len(paired.without)} of {n_frames} frames have no file; nobody is "
                "taken to be in them",
                err=True,
            )
        files = paired.files
        return openpose_finder(
            {
                frame: files[source_frame]
                for frame, source_frame in enumerate(source.timing.source_frames)
                if source_frame in files
            }
        )
    if box is None:
        return None
    return lambda number, frame: [Detection(box_xyxy=box)]
