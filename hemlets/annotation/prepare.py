"""Run a model over the images to be labelled, in a separate process.

``python -m hemlets.annotation.prepare SOURCE LOG [MODEL]`` finds the people of photographs or of a
prediction log, and gives the model's opinion of everybody. It goes on where it stopped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hemlets.annotation.pictures import open_pictures
from hemlets.annotation.store import PREPARED, AnswerStore, FoundPerson
from hemlets.annotation.tasks import Tasks, VersionTasks
from hemlets.core.errors import HemletsError
from hemlets.data.table import decode_image
from hemlets.data.versions.writer import TABLE

if TYPE_CHECKING:
    from hemlets.annotation.opinions import Opinion
    from hemlets.inference.model import Model
    from hemlets.inference.types import Box

_BATCH: Final = 8
# A standing person in a box of 1 by 1, for a photograph in which nobody was found.
_STANDING: Final = (
    (0.5, 0.52), (0.44, 0.53), (0.43, 0.73), (0.42, 0.93), (0.56, 0.53), (0.57, 0.73), (0.58, 0.93),
    (0.5, 0.38), (0.5, 0.2), (0.5, 0.13), (0.5, 0.05), (0.6, 0.24), (0.64, 0.38), (0.66, 0.52),
    (0.4, 0.24), (0.36, 0.38), (0.34, 0.52), (0.5, 0.24),
)  # fmt: skip


def prepare(source: Path, store: AnswerStore, model: Model) -> None:
    """Detect people and predict their relations, until all images are done.

    Args:
        source: A data version, a folder of photographs, or a prediction log.
        store: Gets them.
        model: Looks.
    """
    if (source / TABLE).exists():
        known = store.tasks_with_opinion()
        for part in _looks(VersionTasks(source, every=0), known, model):
            store.add_opinions({name: opinion.to_json() for name, opinion in part.items()})
    else:
        _look_at_pictures(source, store, model)
    store.set_metadata(PREPARED, "yes")


def disagreements(
    tasks: Tasks, opinions: Mapping[str, Mapping[str, Any]], second: Model
) -> dict[str, float]:
    """Compute the divergence of a second model's opinion of each task from the first's."""
    from hemlets.annotation.opinions import divergence

    return {
        name: divergence(np.array(opinions[name]["probability"]), opinion.probability_K3)
        for part in _looks(tasks, set(), second)
        for name, opinion in part.items()
        if name in opinions
    }


def _looks(tasks: Tasks, known: set[str], model: Model) -> Iterator[dict[str, Opinion]]:
    """Yield predictions of all tasks without one, in batches."""
    from hemlets.annotation.opinions import opinions

    rows = (tasks.task(position) for position in range(len(tasks)))
    waiting = [(i, task) for i, task in enumerate(rows) if task.name not in known]
    for start in range(0, len(waiting), _BATCH):
        part = waiting[start : start + _BATCH]
        images = [decode_image(tasks.image(i), where=task.name) for i, task in part]
        boxes: list[Box] = []
        for image, (_, task) in zip(images, part, strict=True):
            x0, y0, x1, y1 = (v * image.shape[1] / task.width for v in task.box_xyxy)
            boxes.append((x0, y0, x1, y1))
        found = opinions(model.predictor, images, boxes)
        yield {task.name: opinion for (_, task), opinion in zip(part, found, strict=True)}


def _look_at_pictures(folder: Path, store: AnswerStore, model: Model) -> None:
    from hemlets.annotation.opinions import opinions

    known = store.photos()
    position = store.count_people()
    pictures = open_pictures(folder)
    for name in pictures.names():
        if name in known:
            continue
        try:
            image, digest, box = pictures.image(name), pictures.digest(name), pictures.box(name)
        except (HemletsError, OSError) as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        boxes = [box] if box is not None else [
            d.box_xyxy for d in model.detector.detect(image) if d.box_xyxy is not None
        ]  # fmt: skip
        found = opinions(model.predictor, [image] * len(boxes), boxes)
        people = [
            FoundPerson(position + i, f"photos/{name}/{i}", name, content)
            for i, content in enumerate(_contents(image, digest, boxes, found))
        ]
        store.add_people(people)
        store.add_opinions({p.task: o.to_json() for p, o in zip(people, found, strict=False)})
        position += len(people)


def _contents(image: Any, digest: str, boxes: Any, found: list[Opinion]) -> list[dict[str, Any]]:
    height, width = image.shape[:2]
    shared = {"width": width, "height": height, "hash": digest}
    if not boxes:
        side = 0.9 * height
        left = (width - side) / 2
        joints = np.array(_STANDING) * side + (left, 0.05 * height)
        boxes, placed = [(left, 0.05 * height, left + side, 0.95 * height)], [joints]
    else:
        placed = [opinion.joints2d_J2 for opinion in found]
    return [
        {
            **shared,
            "box": [round(float(v), 2) for v in box],
            "joints": np.asarray(joints, float).round(2).tolist(),
            "found": bool(found),
        }
        for box, joints in zip(boxes, placed, strict=True)
    ]


def main(words: list[str]) -> None:
    """Run the process. Arguments: source, answer log, optionally the model folder."""
    from hemlets.core.processes import die_with_parent
    from hemlets.inference.model import Model

    die_with_parent()
    # The page comes first.
    os.nice(5)
    source, log, *model = words
    with AnswerStore(Path(log), source=None) as store:
        store.set_metadata(PREPARED, "no")
        try:
            prepare(Path(source), store, Model.load(model[0] if model else None))
        except HemletsError as error:
            print(f"the model can't look at the images: {error}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
