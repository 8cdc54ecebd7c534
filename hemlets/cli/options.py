"""Options that commands share, each with one name and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemlets.core.errors import ConfigError

CameraOption = Annotated[
    str | None,
    typer.Option(
        metavar="FX,FY,CX,CY",
        help="Focal lengths and principal point in pixels, or a JSON file with them. "
        "A field of view of 25° when omitted.",
    ),
]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Workspace folder; by default HEMLETS_HOME or ./workspace."),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Model folder. The workspace's champion when omitted, else the starter weights.",
    ),
]
BodyOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Body file (.npz in SMPL's form) of a model that wasn't trained on the open body.",
    ),
]
RefineOption = Annotated[
    bool,
    typer.Option(
        "--refine/--no-refine",
        help="Fit the body to the joints; the joints reported are then the body's.",
    ),
]
SecondLookOption = Annotated[
    bool | None,
    typer.Option(
        "--second-look/--no-second-look",
        help="Look again at people whom the network is unsure of, in four crops, turned and "
        "closer; as the model was made when omitted.",
    ),
]
FollowOption = Annotated[
    bool | None,
    typer.Option(
        "--follow-joints/--no-follow-joints",
        help="Let joints and bodies correct each other; both are the networks' own otherwise. As "
        "the model was made when omitted.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No summary.")]


def require_folder(out: Path, option: str = "--out") -> None:
    """Refuse results into a file before anything is computed.

    Raises:
        ConfigError: There is such a file.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError("this is a file", where=f"{option} {out}", expected="a folder")
