"""FBI labels: parts that point Forward or Backward, annotated by people (section 5).

The format of the project's annotation tool:

CSV, UTF-8, with this header and one label per line::

    sample_id,part,label,annotator,time
    mpii/015601864/0,left_forearm,F,anna,2024-05-02T09:30:00Z

JSON, with the same fields::

    {"format": "hemlets-fbi", "version": 1, "labels": [
        {"sample_id": "mpii/015601864/0", "part": "left_forearm", "label": "F",
         "annotator": "anna", "time": "2024-05-02T09:30:00Z"}]}

``part`` is a name of `hemlets.core.skeleton.PARTS`; ``label`` is F (the child is nearer the camera
than the parent), B (farther) or U (uncertain); ``time`` is ISO 8601 with a zone; JSON may have the
milliseconds that the label took as ``elapsed_ms``. Of several labels by one annotator for a part,
the latest counts. Several annotators vote: the label with most votes
counts, and a tie is unknown. Unknown is never converted to level.

As a dataset, the labels are in ``labels/`` of the data version of their samples.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Bool
from hemlets.core.errors import DataError
from hemlets.core.files import atomic_path, read_json, write_json
from hemlets.core.skeleton import N_PARTS, PARTS
from hemlets.data.readers.contract import Dataset, LayoutEntry, ReadOptions, SourceRows, Supervision
from hemlets.data.readers.open_rendered import version_rows
from hemlets.data.readers.quarantine import Quarantine, or_refuse
from hemlets.data.readers.relations import LABELS, UNKNOWN, Relations, relations_from_labels
from hemlets.data.table import FIELDS as TABLE_FIELDS
from hemlets.data.table import Annotations

FIELDS: Final = ("sample_id", "part", "label", "annotator", "time")

_FORMAT: Final = "hemlets-fbi"
_VERSION: Final = 1
_PART_NUMBER: Final = {part.name: number for number, part in enumerate(PARTS)}

DATASET: Final = Dataset(
    name="fbi",
    title="FBI labels",
    paper="the labelling scheme of HEMlets PoSh, section 5; Shi et al., 2018",
    licence="that of the labelled images; the labels are their annotators'",
    document="hemlets.data.readers.fbi",
    supervision=(Supervision.RELATIONS, Supervision.JOINTS_2D),
    layout=(
        LayoutEntry(pattern="annotations.parquet", what="the data version that was labelled"),
        LayoutEntry(pattern="shards/*.arrow", what="its images"),
        LayoutEntry(pattern="labels/*.csv|labels/*.json", what="the labels"),
    ),
    joints="those of the data version",
    conventions="F: the child is nearer the camera than its parent (+1); B: farther (-1); U: not "
    "known. Samples without a label that counts are left out",
    faults=("people confuse left and right in mirror images: several annotators vote",),
    reader="hemlets.data.readers.fbi:read",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FbiLabel:
    """One annotator's label of one part of one person."""

    sample_id: str
    part: str
    label: str
    annotator: str
    time: str
    elapsed_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Relations by majority of the annotators.

    Attributes:
        sample_ids: Labelled samples, in the order of their first labels.
        relations: Relations of each sample.
        label_ms: Median time of a label of each sample, 0 where unknown.
    """

    sample_ids: tuple[str, ...]
    relations: Relations
    label_ms: tuple[int, ...]


def read_labels(path: Path, quarantine: Quarantine | None = None) -> list[FbiLabel]:
    """Read a file of labels.

    Args:
        path: ``.csv`` or ``.json``.
        quarantine: Gets labels that can't be used; without it the first is an error.

    Raises:
        DataError: The file is of another form.
    """
    collector = or_refuse(quarantine)
    entries = _json_entries(path) if path.suffix == ".json" else _csv_entries(path)
    labels = []
    for row, entry in entries:
        what, field, remedy = _fault(entry)
        if what:
            collector.report(what, file=path.name, row=row, field=field, remedy=remedy)
        else:
            texts = {name: entry[name].strip() for name in FIELDS}
            labels.append(FbiLabel(**texts, elapsed_ms=entry.get("elapsed_ms") or 0))
    return labels


def _json_entries(path: Path) -> Iterator[tuple[int, Any]]:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise DataError(
            "this is no file of FBI labels",
            where=path,
            expected=f'an object with "format": "{_FORMAT}" and "labels"',
            remedy="see the documentation of hemlets.data.readers.fbi for the form",
        )
    if content.get("version") != _VERSION or not isinstance(content.get("labels"), list):
        raise DataError(
            f"the labels are of version {content.get('version')}",
            where=path,
            expected=f'"version": {_VERSION} and a list of "labels"',
            remedy="export them again with this version of the project",
        )
    return enumerate(content["labels"])


def _csv_entries(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError.missing("the file", path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the labels can't be read: {error}", where=path, expected="a CSV file in UTF-8"
        ) from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    header = [name.strip('" ') for name in text.partition("\n")[0].strip().split(",")]
    if set(FIELDS) - set(header):
        raise DataError(
            f"the header is {', '.join(header) or 'missing'}",
            where=path,
            expected=",".join(FIELDS),
            remedy="name the columns so in the first line",
        )
    try:
        return enumerate(list(rows))
    except csv.Error as error:
        raise DataError(
            f"the labels are no CSV: {error}",
            where=f"{path}: line {rows.line_num}",
            expected="text with one label a line",
            remedy="export the labels again",
        ) from error


def _fault(entry: Any) -> tuple[str, str, str]:
    """Describe the fault of a label, with its field and the remedy; empty without a fault."""
    if not isinstance(entry, dict):
        return "a label is no object", "", f"give {', '.join(FIELDS)}"
    for name in FIELDS:
        value = entry.get(name)
        if not isinstance(value, str) or not value.strip():
            return f"{name} is missing or no text", name, "fill it in"
    if entry["part"].strip() not in _PART_NUMBER:
        known = ", ".join(_PART_NUMBER)
        return f"there is no part {entry['part']}", "part", f"use one of {known}"
    if entry["label"].strip() not in LABELS:
        return f"there is no label {entry['label']}", "label", f"use one of {', '.join(LABELS)}"
    elapsed = entry.get("elapsed_ms") or 0
    if not isinstance(elapsed, int) or not 0 <= elapsed < 2**31:
        return (
            f"elapsed_ms is {elapsed!r}",
            "elapsed_ms",
            "give whole milliseconds, or leave it out",
        )
    if _seconds(entry["time"].strip()) is None:
        return (
            f"{entry['time']} is no time with a zone", "time",
            "write it as 2024-05-02T09:30:00Z",
        )  # fmt: skip
    return "", "", ""


@lru_cache(maxsize=65_536)
def _seconds(time: str) -> float | None:
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.astimezone(UTC).timestamp()


def write_labels(path: Path, labels: Iterable[FbiLabel]) -> None:
    """Write labels atomically, as JSON or CSV by the file's suffix."""
    entries = [asdict(label) for label in labels]
    if path.suffix == ".json":
        write_json(path, {"format": _FORMAT, "version": _VERSION, "labels": entries})
        return
    with atomic_path(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(entries)


def decide(labels: Sequence[FbiLabel]) -> Decisions:
    """Count votes: the label with most votes wins, a tie is unknown."""
    latest: dict[tuple[str, str, str], tuple[float, str]] = {}
    for label in labels:
        key = label.sample_id, label.part, label.annotator
        vote = _seconds(label.time) or 0.0, label.label
        if key not in latest or vote[0] >= latest[key][0]:
            latest[key] = vote
    times: dict[str, list[int]] = defaultdict(list)
    for label in labels:
        if label.elapsed_ms:
            times[label.sample_id].append(label.elapsed_ms)
    votes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (sample, part, _), (_, said_label) in latest.items():
        votes[sample, part][said_label] += 1
    samples = {sample: row for row, sample in enumerate(dict.fromkeys(key[0] for key in votes))}
    decided = np.full((len(samples), N_PARTS), UNKNOWN)
    for (sample, part), counts in votes.items():
        decided[samples[sample], _PART_NUMBER[part]] = majority(counts)
    return Decisions(
        sample_ids=tuple(samples),
        relations=relations_from_labels(decided),
        label_ms=tuple(round(float(np.median(times.get(sample, [0])))) for sample in samples),
    )


def majority(counts: Counter[str]) -> str:
    """Return the label with most votes; U for a tie."""
    (first, most), *others = counts.most_common()
    return UNKNOWN if others and others[0][1] == most else first


def apply_decisions(
    annotations: Annotations,
    decisions: Decisions,
    quarantine: Quarantine | None = None,
    *,
    file: str = "labels",
    replace_3d: bool = False,
) -> tuple[Annotations, Bool]:
    """Replace the table's relations of the labelled samples by the decisions.

    Args:
        annotations: The table.
        decisions: Relations by majority of the annotators.
        quarantine: Gets samples that the table lacks; without it the first is an error.
        file: File of the labels, for messages.
        replace_3d: Whether labels also replace relations computed from 3D, which are exact.

    Returns:
        The table, and the mask (N,) of changed rows.

    Raises:
        DataError: A sample is not in the table, and there is no quarantine.
    """
    collector = or_refuse(quarantine)
    source = annotations.relations_source.copy()
    values, valid = annotations.relations.copy(), annotations.relations_valid.copy()
    label_ms = annotations.label_ms.copy()
    changed = np.zeros(len(annotations), bool)
    for index, sample in enumerate(decisions.sample_ids):
        row = annotations.row_of.get(sample)
        if row is None:
            collector.report(
                f"the sample {sample} is not in the annotation table", file=file, row=index,
                field="sample_id", remedy="label samples of this data version",
            )  # fmt: skip
        elif replace_3d or source[row] != "3d":
            values[row] = decisions.relations.values_NK[index]
            valid[row] = decisions.relations.valid_NK[index]
            source[row] = "fbi" if valid[row].any() else ""
            label_ms[row] = decisions.label_ms[index] if valid[row].any() else 0
            changed[row] = True
    columns = {field.name: annotations.column(field.name) for field in TABLE_FIELDS}
    columns |= {
        "relations": values, "relations_valid": valid, "relations_source": source,
        "label_ms": label_ms,
    }  # fmt: skip
    return Annotations.from_columns(columns), changed


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Read rows of the labelled samples, with majority relations."""
    labels: list[FbiLabel] = []
    for path in sorted([*root.glob("labels/*.csv"), *root.glob("labels/*.json")]):
        with quarantine.guard(path.relative_to(root).as_posix()):
            labels += read_labels(path, quarantine)
    table = Annotations.read(root / "annotations.parquet")
    table, changed = apply_decisions(table, decide(labels), quarantine, replace_3d=True)
    labelled = table.take(changed & table.relations_valid.any(1))
    yield from version_rows(labelled, options, quarantine, root)
