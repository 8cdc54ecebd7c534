"""Labels for a training: a data version that ingest makes of the answers, and of the images.

A skeleton that annotators corrected is corrected in the version; a person whom most of them did
not find is left out. Frames that only measure the annotators are left out, too.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.annotation.agreement import Decided, Item, Method, decide_votes, votes_of
from hemlets.annotation.labelled import Labelled
from hemlets.annotation.store import AnswerStore
from hemlets.annotation.tasks import PhotoTasks, Task, VersionTasks
from hemlets.core.arrays import Array
from hemlets.core.errors import ConfigError, HemletsError
from hemlets.core.files import atomic_path
from hemlets.core.skeleton import FLIP_JOINTS, JOINTS
from hemlets.data.readers.fbi import DATASET, FbiLabel, write_labels
from hemlets.data.table import FIELDS, Annotations, ShardWriter, decode_image
from hemlets.data.versions.combine import place_file
from hemlets.data.versions.ingest import IngestResult, ingest
from hemlets.data.versions.ingest_config import IngestConfig, SplitCut
from hemlets.data.versions.writer import SHARDS, TABLE

ANSWERS: Final = "labels"
"""Folder of an exported version with the labels that it was made of."""
_IN_A_SHARD: Final = 256


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Result of an export.

    Attributes:
        ingested: Result of the ingest.
        labels: How many labels F and B there are.
        contradictions: Items that were answered both F and B, with the votes.
        gone: Photographs that could not be read any more.
    """

    ingested: IngestResult
    labels: int
    contradictions: dict[Item, dict[str, str]]
    gone: tuple[str, ...] = ()


def export_version(
    tasks: VersionTasks | PhotoTasks,
    source: Path,
    labelled: Sequence[Labelled],
    folder: Path,
    *,
    method: Method = "majority",
    config: IngestConfig | None = None,
    over: bool = False,
) -> Exported:
    """Make a data version of labels.

    The folder `ANSWERS` of the version has the labels that it was made of.

    Args:
        tasks: What was labelled.
        source: Its folder.
        labelled: Of all annotators.
        folder: Gets the data version.
        method: How several annotators' labels become one.
        config: For the ingest.
        over: Whether an earlier export in the folder is replaced.

    Raises:
        ConfigError: The folder exists and is not replaced, or there is no label.
    """
    if folder.exists() and not (over and (folder / ANSWERS).is_dir()):
        raise ConfigError(
            "the folder is no export of labels" if over else "the folder exists",
            where=f"--out {folder}",
            remedy="choose another folder" if over else "choose another folder, or --replace",
        )
    own = tasks.named({one.task for one in labelled})
    agreed = _agreed([one for one in labelled if one.task in own])
    decided = decide_votes(votes_of(agreed), method)
    labels = _labels(agreed, decided, method)
    known = sum(label != "U" for label in decided.labels.values())
    if not known:
        raise ConfigError(
            "no part is labelled Forward or Backward",
            where=source,
            remedy=f"label some: hemlets annotate {source}",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        staging, made = Path(scratch, "source"), Path(scratch, "version")
        by_task: dict[str, list[Labelled]] = defaultdict(list)
        for one in agreed:
            by_task[one.task].append(one)
        corrected = {name: _corrected(own[name], group) for name, group in by_task.items()}
        gone: tuple[str, ...] = ()
        if isinstance(tasks, VersionTasks):
            _stage_version(source, corrected, staging)
        else:
            gone = _stage_photos(tasks, corrected, staging)
        write_labels(
            staging / ANSWERS / "answers.json", [x for x in labels if x.sample_id not in gone]
        )
        # People are labelled to train on: none becomes a judge of models.
        own_splits = IngestConfig(cut=SplitCut(validation=0.0, gate=0.0))
        result = ingest(DATASET, staging, made, config or own_splits)
        shutil.copytree(staging / ANSWERS, made / ANSWERS)
        if folder.exists():
            folder.replace(Path(scratch, "before"))
        made.replace(folder)
    result = replace(result, folder=folder)
    return Exported(ingested=result, labels=known, contradictions=decided.contradictions, gone=gone)


def _agreed(labelled: Sequence[Labelled]) -> list[Labelled]:
    """Drop people whom most annotators marked absent, and annotators outvoted on left and right."""
    by_task: dict[str, list[Labelled]] = defaultdict(list)
    for one in labelled:
        by_task[one.task].append(one)
    kept: list[Labelled] = []
    for group in by_task.values():
        absent = sum("no_person" in one.state.flags for one in group)
        if 2 * absent >= len(group):
            continue
        group = [one for one in group if "no_person" not in one.state.flags]
        swapped = sum("swapped" in one.state.flags for one in group)
        if 2 * swapped == len(group):
            continue
        turned = 2 * swapped > len(group)
        kept += [one for one in group if ("swapped" in one.state.flags) == turned]
    return kept


def _labels(labelled: Sequence[Labelled], decided: Decided, method: Method) -> list[FbiLabel]:
    """Return all annotators' labels (ingest counts the votes), or the Dawid–Skene labels."""
    if method == "majority":
        return [
            FbiLabel(sample_id=o.task, part=part, label=label, annotator=o.annotator, time=o.given,
                     elapsed_ms=o.elapsed_ms.get(part, 0))
            for o in labelled
            for part, label in o.labels.items()
        ]  # fmt: skip
    given = {one.task: one.given for one in labelled}
    times: dict[Item, list[int]] = defaultdict(list)
    for one in labelled:
        for part, elapsed in one.elapsed_ms.items():
            times[one.task, part].append(elapsed)
    return [
        FbiLabel(sample_id=task, part=part, label=label, annotator=method, time=given[task],
                 elapsed_ms=round(float(np.median(times.get((task, part), [0])))))
        for (task, part), label in decided.labels.items()
    ]  # fmt: skip


def _corrected(task: Task, labelled: Sequence[Labelled]) -> Task:
    """Return the task with corrected joints: the mean position over annotators."""
    turned = bool(labelled) and "swapped" in labelled[0].state.flags
    order = list(FLIP_JOINTS) if turned else list(range(len(JOINTS)))
    joints, valid = task.joints_J2[order].astype(np.float32), task.valid_J[order].copy()
    for number, name in enumerate(JOINTS):
        places = [one.state.joints[name] for one in labelled if name in one.state.joints]
        if places:
            joints[number], valid[number] = np.mean(places, axis=0), True
    return replace(task, joints_J2=joints, valid_J=valid)


def _stage_version(source: Path, corrected: Mapping[str, Task], staging: Path) -> None:
    """Stage the labelled rows with corrected skeletons, and link the version's shards."""
    table = Annotations.read(source / TABLE)
    rows = table.take(np.array([table.row_of[name] for name in corrected], np.int64))
    columns: dict[str, Any] = {f.name: rows.column(f.name).copy() for f in FIELDS}
    for row, task in enumerate(corrected.values()):
        moved = (task.joints_J2 != columns["joints2d_px"][row]).any(-1) & task.valid_J
        size = np.array((task.width, task.height))
        moved &= ((task.joints_J2 >= 0) & (task.joints_J2 <= size)).all(-1)
        columns["box_xyxy"][row] = _grown(columns["box_xyxy"][row], task.joints_J2[moved])
        columns["joints2d_px"][row], columns["valid2d"][row] = task.joints_J2, task.valid_J
    Annotations.from_columns(columns).write(staging / TABLE)
    for name in sorted(set(map(str, rows.shard))):
        place_file(source / SHARDS / name, staging / SHARDS / name)


def _stage_photos(
    tasks: PhotoTasks, corrected: Mapping[str, Task], staging: Path
) -> tuple[str, ...]:
    """Stage a table and shards of photographs; return tasks whose photograph is missing."""
    names: list[str] = []
    images: list[bytes] = []
    gone: list[str] = []
    scales: list[float] = []
    for name, task in corrected.items():
        try:
            data = tasks.photo(name)
        except HemletsError:
            gone.append(name)
            continue
        names.append(name)
        images.append(data)
        scales.append(decode_image(data).shape[1] / task.width)
    for start in range(0, len(names), _IN_A_SHARD):
        ShardWriter.write(
            staging / SHARDS / _shard(start),
            names[start : start + _IN_A_SHARD],
            images[start : start + _IN_A_SHARD],
        )
    _photo_table([corrected[name] for name in names], scales, images).write(staging / TABLE)
    return tuple(gone)


def _grown(box_xyxy: Array, places_N2: Array) -> Array:
    """Extend a box to contain positions: a detector's box may cut off hands and feet."""
    if not len(places_N2):
        return np.asarray(box_xyxy)
    low, high = places_N2.min(0), places_N2.max(0)
    return np.concatenate([np.minimum(box_xyxy[:2], low), np.maximum(box_xyxy[2:], high)])


def _shard(number: int) -> str:
    return f"train-{number // _IN_A_SHARD:05d}.arrow"


def _photo_table(
    tasks: Sequence[Task], scales: Sequence[float], images: Sequence[bytes]
) -> Annotations:
    import hashlib

    count, joints = len(tasks), len(JOINTS)
    scale = np.array(scales)
    joints_NJ2 = np.stack([task.joints_J2 for task in tasks]) * scale[:, None, None]
    size = np.round(np.array([(task.width, task.height) for task in tasks]) * scale[:, None])
    valid = np.stack([task.valid_J for task in tasks])
    inside = ((joints_NJ2 >= 0) & (joints_NJ2 < size[:, None])).all(-1)
    photo = [task.name.rpartition("/")[0] for task in tasks]
    return Annotations.from_columns(
        {
            "sample_id": [task.name for task in tasks], "source": [DATASET.name] * count,
            "split": ["train"] * count, "subject": [""] * count, "clip": photo,
            "family": ["photos"] * count, "frame": np.zeros(count, int),
            "shard": [_shard(i) for i in range(count)],
            "shard_row": np.arange(count) % _IN_A_SHARD,
            "source_image": [name.removeprefix("photos/") for name in photo],
            "image_hash": [hashlib.sha256(data).hexdigest() for data in images],
            "image_width": size[:, 0], "image_height": size[:, 1],
            "box_xyxy": np.stack(
                [
                    _grown(np.array(task.box_xyxy) * factor, joints_J2[seen])
                    for task, factor, joints_J2, seen in zip(
                        tasks, scale, joints_NJ2, valid & inside, strict=True
                    )
                ]
            ),
            "box_source": ["detected"] * count,
            "joints2d_px": joints_NJ2, "joints3d_mm": np.zeros((count, joints, 3)),
            "valid2d": valid, "valid3d": np.zeros((count, joints), bool),
            "visible": valid & inside, "truncated": valid & ~inside,
            "camera": np.zeros((count, 4)), "camera_valid": np.zeros(count, bool),
            "relations": np.zeros((count, 14), np.int8),
            "relations_valid": np.zeros((count, 14), bool),
            "theta": np.zeros((count, 24, 3)), "betas": np.zeros((count, 10)),
            "transl_mm": np.zeros((count, 3)), "smpl_valid": np.zeros(count, bool),
            "transl_valid": np.zeros(count, bool), "mask": [b""] * count,
        }
    )  # fmt: skip


def write_answers(path: Path, store: AnswerStore) -> int:
    """Write the log as JSON lines, whole or not at all; returns how many."""
    count = 0
    with atomic_path(path) as scratch, scratch.open("w", encoding="utf-8") as stream:
        for event in store.events():
            stream.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
            count += 1
    return count
