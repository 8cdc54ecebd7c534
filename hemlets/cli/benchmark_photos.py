"""``hemlets benchmark photos``: a model on annotated photographs of public datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemlets.cli.options import FollowOption, ModelOption, SecondLookOption


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
    follow_joints: FollowOption = None,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Without flip test and second look, and in bfloat16."),
    ] = False,
    mediapipe: Annotated[
        Path | None,
        typer.Option(
            metavar="PYTHON",
            help="Beside MediaPipe full and heavy: the interpreter that infra/rivals.sh prints.",
        ),
    ] = None,
    movenet: Annotated[
        bool, typer.Option("--movenet", help="Beside the 2D keypoints of MoveNet Thunder.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Figures as CSV, a row for each.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="HTML page with pictures of everybody, worst first."),
    ] = None,
) -> None:
    """Predict annotated people in photographs from their true boxes, and score them."""
    import csv

    from hemlets.core.files import atomic_path
    from hemlets.core.workspace import Workspace
    from hemlets.evaluation.photos import (
        Figure,
        load_photos,
        numbered,
        people_missed,
        predict_photos,
    )
    from hemlets.evaluation.rivals import mediapipe_answers, thunder_answers
    from hemlets.inference.champion import find_model
    from hemlets.inference.detector import MultiPoseDetector
    from hemlets.inference.predictor import Predictor
    from hemlets.reports.photos_page import write_photos_page

    people = numbered(load_photos(folder), lspet)
    choice = find_model(model, Workspace.from_env())
    predictor = Predictor.load(
        choice.folder,
        flip_test=False if fast else None,
        precision="bfloat16" if fast else None,
        second_look=False if fast and second_look is None else second_look,
        follow_joints=follow_joints,
    )
    typer.echo(f"model {predictor.version} ({choice.origin}), {len(people)} people, true boxes")
    answers = [predict_photos(predictor, people)]
    if mediapipe is not None:
        answers += [mediapipe_answers(mediapipe, size, people) for size in ("full", "heavy")]
    if movenet:
        answers.append(thunder_answers(people))
    missed = people_missed(MultiPoseDetector.load(), people)
    rows = []
    for answer in answers:
        figures = answer.figures(people)
        if answer is answers[0]:
            figures["missed_in_photograph"] = Figure(len(missed), len(people))
        rows += [
            {"figure": name, "value": f"{figure.value:.1f}", "people": str(figure.people),
             "lspet": lspet, "model": answer.name}
            for name, figure in figures.items()
        ]  # fmt: skip
    for row in rows:
        typer.echo(
            f"{row['model']:28} {row['figure']:28} {row['value']:>7}  ({row['people']} people)"
        )
    if missed:
        typer.echo(f"not found in their photographs: {' '.join(p.name for p in missed)}")
    if out is not None:
        with atomic_path(out) as scratch, scratch.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        typer.echo(f"wrote {out}")
    if page is not None:
        write_photos_page(page, people, answers, rows)
        typer.echo(f"wrote {page}")
