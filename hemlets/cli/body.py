"""Make and check body files, for models of a licensed SMPL body."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemlets.core.errors import ConfigError

if TYPE_CHECKING:
    from hemlets.body.body_file import BodyFacts

body = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make and check body files, for models of a licensed SMPL body.",
)


@body.command()
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="MODEL.pkl", help="SMPL's own file, as its licence gives it.")
    ],
    target: Annotated[
        Path, typer.Argument(metavar="OUT.npz", help="The body file to write, outside of the code.")
    ],
    regressor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy",
            help="Joint weights of the same mesh: (17, V) for Human3.6M's joints, as "
            "J_regressor_h36m.npy has them, or (18, V).",
        ),
    ] = None,
    betas: Annotated[int, typer.Option(min=1, help="Shape coefficients to keep.")] = 10,
) -> None:
    """Convert a licensed SMPL pickle to a body file. Nothing in the pickle is run."""
    from hemlets.body.body_file import convert_smpl

    if target.suffix.lower() != ".npz":
        raise ConfigError(
            "a body file ends in .npz", where=str(target), expected="OUT.npz",
            remedy=f"write to {target.with_suffix('.npz')}",
        )  # fmt: skip
    facts = convert_smpl(source, target, regressor=regressor, n_betas=betas)
    typer.echo(_sentence(facts))
    typer.echo(f"wrote {target}; the terms of {source.name} hold for it, too: don't pass it on")


@body.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="BODY.npz", help="A body file.")],
) -> None:
    """Check a body file and say what it holds."""
    from hemlets.body.body_file import check_body_arrays, read_body_arrays

    typer.echo(_sentence(check_body_arrays(read_body_arrays(file), where=str(file))))


def _sentence(facts: BodyFacts) -> str:
    blends = "with" if facts.pose_blends else "without"
    return (
        f"{facts.n_vertices} vertices, {facts.n_faces} triangles, {facts.n_betas} shape "
        f"coefficients, {blends} pose blend shapes, {facts.height_m:.2f} m high; the 18 joints "
        f"come from {facts.joints}"
    )
