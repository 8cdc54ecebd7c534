"""Identity: unique names, duplicated people, and data shared between splits."""

from __future__ import annotations

import numpy as np

from data_checks.names import SharedNames
from data_checks.rows import Rows
from data_checks.rule import Measured, Severity, numbers, rule, texts
from data_checks.rules.dataset import similar_name
from hemlets.data.table import ALL_SPLITS


@rule("rows", "sample_id", unique=True)
def sample_id_unique(rows: Rows) -> Measured:
    """Every sample id occurs once.

    Predictions and shards are joined to annotations by sample id.
    """
    ids = rows.table.sample_id

    def observed(row: int) -> str:
        same = rows.census.duplicated_ids.get(str(ids[row]), [])
        others = [other for other in same if other != rows.numbers[row]]
        return f"sample id {ids[row]!r} also in row {_some(others)}"

    return texts(ids, observed)


@rule("rows", "split", one_of=ALL_SPLITS)
def split_known(rows: Rows) -> Measured:
    """The split is one of those that the table knows, with or without people.

    A row of an unknown split is silently never used.
    """
    splits = rows.table.column("split")
    return texts(splits, lambda row: f"split {str(splits[row])!r}")


@rule("rows", "image_hash", at_most=0)
def person_annotated_once(rows: Rows) -> Measured:
    """No two rows of a split show the same image with the same box.

    A duplicated person counts twice, in the loss and in the metrics.
    """
    twins = rows.census.twins
    return numbers(
        np.array([len(twins.get(int(row), ())) for row in rows.numbers]),
        lambda row: f"same image and box as row {_some(twins[int(rows.numbers[row])])}",
    )


@rule("rows", "image_hash", at_most=1)
def image_in_one_split(rows: Rows) -> Measured:
    """The same image does not occur in two splits.

    An image that was trained on makes held-out errors look better than they are.
    """
    return _shared(rows, rows.census.images)


@rule("rows", "image_hash", at_most=0)
def image_alike_in_one_split(rows: Rows) -> Measured:
    """No image of a person looks like one of another split.

    A picture that was cropped or compressed again is still the same picture: trained on, it makes
    held-out errors look better than they are. All images of a table of up to 100,000 rows are
    compared, and a sample of a larger one.
    """
    census = rows.census

    def observed(row: int) -> str:
        other, correlation = census.near.partner[int(rows.numbers[row])]
        split, name = census.codes["split"].text(other), census.ids[other].as_py()
        return (
            f"looks like {name} (row {other}) of split {split}: the pictures' thumbnails "
            f"correlate by {correlation:.3f}"
        )

    return numbers(np.array([int(row) in census.near.partner for row in rows.numbers]), observed)


@rule("rows", "subject", at_most=1)
def test_subject_not_trained_on(rows: Rows) -> Measured:
    """Where a dataset's protocol tests on other people, no test subject is trained on.

    The model would know the person's build and clothes; the models of published figures do not.
    """
    return _shared(rows, rows.census.subjects_tested_on)


@rule("rows", "clip", at_most=1)
def clip_in_one_split(rows: Rows) -> Measured:
    """A motion clip, and every mixture with it, stays in one split.

    Neighbouring frames of a clip are nearly the same pose.
    """
    return _shared(rows, rows.census.clips)


@rule("rows", "family", at_most=1)
def family_in_one_split(rows: Rows) -> Measured:
    """A family of motions stays in one split.

    The splits are made by family; a family in two of them is a leak.
    """
    return _shared(rows, rows.census.families)


@rule("rows", "source", severity=Severity.WARN, at_most=0)
def source_spelled(rows: Rows) -> Measured:
    """Every dataset's name is spelled as its reader spells it.

    The facts about a dataset are not checked for rows under another name.
    """
    similar = {name: similar_name(name) for name in rows.of_source}
    return numbers(
        np.array([bool(similar[name]) for name in rows.sources.tolist()]),
        lambda row: (
            f"source {rows.sources[row]!r} looks like another spelling of "
            f"{similar[rows.sources[row]]!r}"
        ),
    )


def _shared(rows: Rows, names: SharedNames) -> Measured:
    return numbers(names.values[rows.numbers], lambda row: names.observed(int(rows.numbers[row])))


def _some(numbers_of_rows: list[int]) -> str:
    more = " …" if len(numbers_of_rows) > 3 else ""
    return ", ".join(str(row) for row in numbers_of_rows[:3]) + more
