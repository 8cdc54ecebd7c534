"""Two figures are comparable only where they are of the same people with the same labels."""

from __future__ import annotations

import numpy as np
import pytest

from flows.steps.split_fingerprint import (
    SplitFingerprint,
    read_split_fingerprint,
    write_split_fingerprint,
)
from hemlets.core.errors import DataError
from hemlets.data.table import FIELDS, Annotations

ROWS = 4


def columns() -> dict[str, object]:
    rng = np.random.default_rng(0)
    values: dict[str, object] = {}
    for field in FIELDS:
        if field.shape:
            values[field.name] = rng.integers(0, 2, (ROWS, *field.shape))
        elif field.name == "mask":
            values[field.name] = [bytes([row]) for row in range(ROWS)]
        elif str(field.dtype) == "string":
            values[field.name] = [f"{field.name} {row}" for row in range(ROWS)]
        else:
            values[field.name] = [row % 2 == 0 if "bool" in str(field.dtype) else row
                                  for row in range(ROWS)]  # fmt: skip
    return values


def held_out(**changes: object) -> SplitFingerprint:
    return SplitFingerprint.of(Annotations.from_columns(columns() | changes))


def test_the_order_of_rows_and_the_shards_that_hold_them_do_not_matter() -> None:
    shuffled = Annotations.from_columns(columns()).take(np.array([2, 0, 3, 1]))
    assert SplitFingerprint.of(shuffled) == held_out()
    assert held_out(shard=["moved"] * ROWS, shard_row=[9] * ROWS) == held_out()


@pytest.mark.parametrize("field", [f.name for f in FIELDS if f.name not in ("shard", "shard_row")])
def test_any_other_label_makes_other_rows(field: str) -> None:
    values = columns()[field]
    if isinstance(values, np.ndarray):
        changed: object = 1 - values
    elif isinstance(values[0], str | bytes):
        changed = [value + type(value)(values[0][:1]) for value in values]
    else:
        changed = [not v if isinstance(v, bool) else v + 1 for v in values]
    assert held_out(**{field: changed}).hash != held_out().hash


def test_a_split_is_found_again_as_it_was_noted(tmp_path) -> None:
    write_split_fingerprint(tmp_path, {"gate": held_out()})
    assert read_split_fingerprint(tmp_path, "gate") == held_out()
    with pytest.raises(DataError, match="test split"):
        read_split_fingerprint(tmp_path, "test")
