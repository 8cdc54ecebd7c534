"""Let a model look at what is labelled, ahead of the annotators: a process of its own.

``python -m hemlets.annotation.prepare SOURCE LOG [MODEL]`` finds the people of a folder of
photographs, and gives the model's opinion of everybody. It goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hemlets.annotation.store import PREPARED, AnswerStore, FoundPerson
from hemlets.annotation.tasks import VersionTasks
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
    """Find people and give opinions, until all is looked at.

    Args:
        source: A data version, or a folder of photographs.
        store: Gets them.
        model: Looks.
    """
    if (source / TABLE).exists():
        look_at_version(source, store, model)
    else:
        _look_at_photos(source, store, model)
    store.note(PREPARED, "yes")


def look_at_version(folder: Path, store: AnswerStore, model: Model) -> None:
    """Give the model's opinion of everybody in a data version who has none yet."""
    known = store.tasks_with_opinion()
    for part in _looks(folder, known, model):
        store.add_opinions({name: opinion.to_json() for name, opinion in part.items()})


def disagreements(
    folder: Path, opinions: Mapping[str, Mapping[str, Any]], second: Model
) -> dict[str, float]:
    """Divergence of a second model's opinion of everybody in a data version from the first's."""
    from hemlets.annotation.opinions import divergence

    return {
        name: divergence(np.array(opinions[name]["probability"]), opinion.probability_K3)
        for part in _looks(folder, set(), second)
        for name, opinion in part.items()
        if name in opinions
    }


def _looks(folder: Path, known: set[str], model: Model) -> Iterator[dict[str, Opinion]]:
    """Opinions of everybody who is not known, in batches."""
    from hemlets.annotation.opinions import opinions

    tasks = VersionTasks(folder, every=0)
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


def photographs(folder: Path) -> Iterator[Path]:
    """The photographs of a folder, by name."""
    from hemlets.inference.images import SUFFIXES

    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if Path(e.name).suffix.lower() in SUFFIXES)
    return (folder / name for name in names)


def _look_at_photos(folder: Path, store: AnswerStore, model: Model) -> None:
    from hemlets.annotation.opinions import opinions
    from hemlets.inference.images import read_photo

    known = store.photos()
    position = store.count_people()
    for path in photographs(folder):
        if path.name in known:
            continue
        try:
            image = read_photo(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except (HemletsError, OSError) as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        boxes = [d.box_xyxy for d in model.detector.detect(image) if d.box_xyxy is not None]
        found = opinions(model.predictor, [image] * len(boxes), boxes)
        people = [
            FoundPerson(position + i, f"photos/{path.name}/{i}", path.name, content)
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
    """Run the process: the source, the log and, if there is one, the model's folder."""
    from hemlets.core.processes import die_with_parent
    from hemlets.inference.model import Model

    die_with_parent()
    # The page comes first.
    os.nice(5)
    source, log, *model = words
    with AnswerStore(Path(log), source=None) as store:
        store.note(PREPARED, "no")
        try:
            prepare(Path(source), store, Model.load(model[0] if model else None))
        except HemletsError as error:
            print(f"the model can't look at the images: {error}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
