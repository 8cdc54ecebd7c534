"""Check that annotations have everything that a protocol needs."""

from __future__ import annotations

import numpy as np

from hemlets.core.arrays import Bool
from hemlets.core.errors import DataError
from hemlets.core.skeleton import JOINTS
from hemlets.core.wording import counted, truncate_list
from hemlets.evaluation.metrics.definitions import PIXELS, ROTATIONS, SEGMENTS, SURFACE
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS
from hemlets.evaluation.protocols.protocol import Column, GroupTable, Protocol, plain_word
from hemlets.evaluation.scoring.truth import Truth


def columns_of(table: GroupTable, truth: Truth) -> tuple[Column, ...]:
    """Return a table's columns: its own, or one per value of its field."""
    if table.by is None:
        return table.columns
    facet = truth.facets[table.by]
    present = sorted(facet.words[code] for code in np.unique(facet.codes))
    return tuple(Column(title=word or "(none)", where={table.by: (word,)}) for word in present)


def rows_of(column: Column, truth: Truth) -> Bool:
    """Mark the samples of a column, (N,)."""
    rows = np.ones(len(truth), bool)
    for field, words in column.where.items():
        rows &= truth.facets[field].among(words)
    return rows


def validate_protocol(protocol: Protocol, truth: Truth) -> None:
    """Refuse annotations that lack a subject or group, or have a sample outside every group.

    Raises:
        DataError: Subjects, groups or rows are named.
    """
    subject = truth.facets["subject"]
    there = {plain_word(subject.words[code]) for code in np.unique(subject.codes)}
    absent = [name for name in protocol.subjects if plain_word(name) not in there]
    if absent:
        raise DataError(
            f"the annotations hold no sample of subject {', '.join(absent)}",
            where=f"protocol {protocol.name}",
            expected=f"subjects {', '.join(protocol.subjects)}",
            remedy="ingest the whole test set, or choose the protocol of the subjects you have",
        )
    for table in protocol.tables:
        if table.required:
            _check_groups(protocol, table, truth)
    _check_frames(protocol, truth)
    if not protocol.any_joints:
        _check_joints(protocol, truth)


def _check_groups(protocol: Protocol, table: GroupTable, truth: Truth) -> None:
    columns = columns_of(table, truth)
    masks = np.stack([rows_of(column, truth) for column in columns])
    outside = np.flatnonzero(~masks.any(0))
    if outside.size:
        ids = truth.ids.take(outside[:10]).to_pylist()
        action = truth.facets["action"]
        words = sorted({action.words[code] for code in action.codes[outside]})
        raise DataError(
            f"{counted(outside.size, 'sample belongs', 'samples belong')} to no column of the "
            f"table {table.title} (actions: {truncate_list(words)})",
            where=truncate_list(ids) + (" and more" if outside.size > 10 else ""),
            expected=", ".join(column.title for column in columns),
            remedy="correct the samples' action or subject in the annotations",
        )
    lacking = [
        f"{column.title} of {name}" if len(protocol.subjects) > 1 else column.title
        for name in protocol.subjects or ("",)
        for column, rows in zip(columns, masks, strict=True)
        if ("subject" not in column.where or _names(column, name))
        and not (rows & (truth.facets["subject"].among([name]) if name else True)).any()
    ]
    if lacking:
        raise DataError(
            f"{counted(len(lacking), 'group')} of the table {table.title} "
            f"{'has' if len(lacking) == 1 else 'have'} no sample: {truncate_list(lacking)}",
            where=f"protocol {protocol.name}",
            expected="samples in every column" + (" of every subject" if protocol.subjects else ""),
            remedy="predict and annotate the whole test set",
        )


def _names(column: Column, subject: str) -> bool:
    return plain_word(subject) in {plain_word(word) for word in column.where.get("subject", ())}


def _check_joints(protocol: Protocol, truth: Truth) -> None:
    """Require that every joint of a set is known in some sample."""
    for measure in protocol.measures:
        if measure.key in SURFACE | SEGMENTS | ROTATIONS:
            continue
        field = "valid2d" if measure.key in PIXELS else "valid3d"
        known = np.logical_or.reduce(np.asarray(truth.columns[field], bool), axis=0)
        joints = JOINT_SETS[measure.joints]
        lacking = [JOINTS[joint] for joint in joints if not known[joint]]
        if lacking:
            many = "all joints" if len(lacking) == len(joints) else truncate_list(lacking)
            raise DataError(
                f"{many} of the joint set {measure.joints} are annotated in no sample",
                where=f"protocol {protocol.name}, {measure.key}",
                expected="a joint set that the dataset annotates, since it is part of every name",
                remedy="choose the dataset's protocol, or a joint set without these joints in a "
                f"protocol file of your own: {', '.join(JOINT_SETS)}",
            )


def _check_frames(protocol: Protocol, truth: Truth) -> None:
    """Require that samples of a sequence are whole steps apart."""
    if protocol.frame_step == 1:
        return
    sequence, camera = truth.sequence.codes.astype(np.int64), truth.facets["camera_id"]
    _, unit = np.unique(sequence * max(len(camera.words), 1) + camera.codes, return_inverse=True)
    first = np.full(unit.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, unit, truth.frame.astype(np.int64))
    off = np.flatnonzero((truth.frame - first[unit]) % protocol.frame_step)
    if off.size:
        ids = truth.ids.take(off[:10]).to_pylist()
        raise DataError(
            f"{counted(off.size, 'sample is', 'samples are')} not a multiple of "
            f"{protocol.frame_step} frames from the first of their sequence",
            where=truncate_list(ids) + (" and more" if off.size > 10 else ""),
            expected=f"every {protocol.frame_step}th frame, as {protocol.name} has it",
            remedy=f"ingest with a frame step of {protocol.frame_step}, or score with a protocol "
            "file of your own that has your step: it becomes part of every name",
        )
