"""``hemlets benchmark predict``: a split of a data version in, a predictions file out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from hemlets.cli.options import FollowOption, ModelOption, SecondLookOption
from hemlets.core.errors import ConfigError, DataError


class RootDepthChoice(StrEnum):
    """Where the pelvis' distance comes from."""

    BONES = "bones"
    TRUTH = "truth"


class PutInChoice(StrEnum):
    """What of the true body replaces the prediction."""

    POSE = "pose"
    SHAPE = "shape"


_PUT_IN: Final[dict[PutInChoice, Literal["pose", "shape"]]] = {
    PutInChoice.POSE: "pose",
    PutInChoice.SHAPE: "shape",
}


def predict(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Data version: annotations.parquet and shards/."),
    ],
    model: ModelOption = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Whose people are predicted.")
    ] = "test",
    root_depth: Annotated[
        RootDepthChoice,
        typer.Option(
            help="Where the pelvis' distance comes from: the lengths of the predicted bones, or "
            "the truth, which the figures' names then say and no promotion takes.",
        ),
    ] = RootDepthChoice.BONES,
    put_in: Annotated[
        PutInChoice | None,
        typer.Option(
            help="Replace the predicted pose θ or shape β by the true one: the paper's Table 8. "
            "The figures' names say so, and no promotion takes them.",
        ),
    ] = None,
    flip_test: Annotated[
        bool | None,
        typer.Option(
            "--flip-test/--no-flip-test",
            help="Average with the prediction of the mirrored image, as the paper's tables do; as "
            "the model was trained to when omitted.",
        ),
    ] = None,
    second_look: SecondLookOption = None,
    follow_joints: FollowOption = None,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Fit each body to the predicted joints (SMPLify): the paper's rows “Ours*”.",
        ),
    ] = False,
    body: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Body file that θ and β belong to."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The predictions file (Parquet).")
    ] = Path("predictions.parquet"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Predict a split of a data version, for `hemlets benchmark score`."""
    table, shards = data / "annotations.parquet", data / "shards"
    if not table.is_file() or not shards.is_dir():
        raise ConfigError(
            "this is no data version with images",
            where=f"DATA {data}",
            expected="a folder with annotations.parquet and shards/",
        )
    if out.is_dir():
        raise ConfigError("this is a folder", where=f"--out {out}", expected="a file")

    from hemlets import __version__
    from hemlets.body import BodyModel
    from hemlets.core.files import sha256_file
    from hemlets.core.workspace import Workspace
    from hemlets.data.table import SPLITS, Annotations
    from hemlets.evaluation.predicting import predict_split
    from hemlets.inference.champion import find_model
    from hemlets.inference.predictor import Predictor

    if split not in SPLITS:
        raise ConfigError(
            f"there is no split {split!r} of people",
            where="--split",
            expected=", ".join(SPLITS),
        )
    rows = Annotations.read(table).split(split)
    if not len(rows):
        raise DataError("the split has no rows", where=f"{table}: split {split}", expected="some")
    choice = find_model(model, Workspace.from_env())
    predictor = Predictor.load(
        choice.folder,
        flip_test=flip_test,
        second_look=second_look,
        follow_joints=follow_joints,
        body=body,
    )
    with _bar(quiet) as bar:
        predictions = predict_split(
            predictor,
            rows,
            shards,
            data_version=sha256_file(table)[:16],
            code_version=__version__,
            root_depth="truth" if root_depth is RootDepthChoice.TRUTH else "bones",
            put_in=None if put_in is None else _PUT_IN[put_in],
            refine=refine,
            body=None if body is None else BodyModel.load(body),
            progress=bar,
        )
    predictions.write(out)
    if not quiet:
        version = predictions.info.model_version
        typer.echo(f"model {version} ({choice.origin}), {len(rows):,} samples")
        typer.echo(f"wrote {out}")


@contextlib.contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=quiet or not console.is_terminal
    ) as progress:
        task = progress.add_task("predicting", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
