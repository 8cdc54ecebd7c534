"""``hemlets video``: a video in; tracks, an annotated video and motion files out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hemlets.cli.options import (
    BodyOption,
    CameraOption,
    ModelOption,
    QuietOption,
    RefineOption,
    require_folder,
)
from hemlets.core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from hemlets.inference.video import Finder


_DOUBTS: Final = {
    "ends-early": "its pictures end before the {0.stated_s:.1f} s that it states: it may be cut",
    "non-square-pixels": "its pixels are {0.pixel_aspect:.2f} times as wide as high when shown; "
    "people are predicted as they are stored, too narrow or too wide: convert it with square ones",
}


def video(
    source: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO",
            help="A file (MP4, MOV, AVI, MKV, WebM, MPEG-TS, …), a camera's number, or an "
            "address: rtsp://…, http://….",
        ),
    ],
    openpose: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|FILE",
            help="OpenPose's JSON files of the frames, or AlphaPose's one file: everybody in them "
            "is followed.",
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
    fast: Annotated[
        bool,
        typer.Option(
            "--fast/--exact",
            help="Without the flip test and in bfloat16, for a third of the time.",
        ),
    ] = True,
    smooth: Annotated[
        bool, typer.Option("--smooth/--raw", help="Take the jitter out of each person's motion.")
    ] = True,
    refine: RefineOption = False,
    picture: Annotated[
        bool, typer.Option("--picture/--no-picture", help="Write the annotated video.")
    ] = True,
    live: Annotated[
        bool, typer.Option("--live", help="Show the annotated pictures on a page on loopback.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of that page; any that is free when 0.")
    ] = 0,
    seconds: Annotated[
        float | None,
        typer.Option(min=0, metavar="S", help="Stop after this time. Ctrl-C ends a camera, too."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=86_400,
            metavar="S",
            help="Longest wait for a camera's or stream's picture.",
        ),
    ] = 10.0,
    quiet: QuietOption = False,
) -> None:
    """Follow the people in a video, camera or stream: motion files and an annotated video."""
    from hemlets.cli.values import parse_box, parse_camera

    if openpose is not None and box is not None:
        raise ConfigError(
            "a box and OpenPose's files were both given", where="--box", expected="one of them"
        )
    given_camera = None if camera is None else parse_camera(camera)
    given_box = None if box is None else parse_box(box)
    require_folder(out)

    from hemlets.cli.footage import VideoPredictor
    from hemlets.inference.live_page import LivePage
    from hemlets.inference.video_source import VideoSource

    left_out: list[str] = []
    finder = _finder(openpose, given_box, source, left_out)
    opened = VideoSource.open(source, timeout_s=timeout)
    predictor = VideoPredictor.load(model, body=body, fast=fast)
    with contextlib.ExitStack() as stack:
        page = stack.enter_context(LivePage(port)) if live else None
        if page is not None:
            typer.echo(f"live: {page.url}")
        result = predictor.follow(
            opened,
            finder or predictor.following(every=every),
            given_camera,
            folder=out,
            smooth=smooth,
            refine=refine,
            picture=picture,
            show=None if page is None else page.show,
            seconds=seconds,
        )
    if result.resampled and not quiet:
        typer.echo(
            f"{opened.name}: the frame rate is variable; results are resampled to a constant one, "
            "by the frames' time stamps",
            err=True,
        )
    for flag in result.flags:
        typer.echo(f"{opened.name}: {_DOUBTS[flag].format(opened)}", err=True)
    if not quiet:
        people = len(result.seen)
        who = "nobody was found" if not people else f"{people} tracks" if people > 1 else "1 track"
        typer.echo(f"model: {predictor.origin}; {result.n_frames} frames, {who}")
        for path in result.written:
            encoder = f" ({result.encoder})" if ".overlay." in path.name else ""
            typer.echo(f"wrote {path}{encoder}")
    for number, empty in sorted(result.nobody.items()):
        if empty:
            typer.echo(
                f"{opened.name}: track {number}: there is probably no person in the box in "
                f"{empty} of {result.seen[number]} frames. Their confidence is below the model's "
                "threshold, so don't rely on them; the .json and .npz say which they are.",
                err=True,
            )
    if left_out:
        more = f"; and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        typer.echo(f"{openpose}: left out {'; '.join(left_out[:3])}{more}", err=True)
    if result.stopped is not None:
        raise result.stopped
    if left_out and not result.seen:
        raise InputError(
            "nobody in OpenPose's files can be used",
            where=openpose,
            expected="a person of whom there is enough for a box, inside the picture",
        )


def _finder(
    openpose: Path | None,
    box: tuple[float, float, float, float] | None,
    source: str,
    left_out: list[str],
) -> Finder | None:
    """Who is where by what the user has given; None for what the detector finds."""
    from hemlets.inference.openpose_folder import pair_frames
    from hemlets.inference.people import Detection
    from hemlets.inference.video import openpose_finder
    from hemlets.inference.video_source import count_frames

    if openpose is not None:
        n_frames = count_frames(Path(source))
        paired = pair_frames(openpose, n_frames)
        if paired.from_1:
            typer.echo(f"{openpose}: the files count the frames from 1", err=True)
        if paired.without:
            typer.echo(
                f"{openpose}: {len(paired.without)} of {n_frames} frames have no file; nobody is "
                "taken to be in them",
                err=True,
            )
        return openpose_finder(paired.files, left_out, paired.contents)
    if box is None:
        return None
    return lambda number, frame: [Detection(box_xyxy=box)]
