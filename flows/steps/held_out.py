"""Held-out sets for scoring: those of the rendered people and those of the user's own data.

A set has the name of its split, ``gate`` or ``test``; a set of the user's own data adds the
dataset, as in ``gate-street``. Figures and MLflow use these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from hemlets.core.errors import DataError
from hemlets.data.table import Annotations
from hemlets.data.versions.hold_out import SUFFIX
from hemlets.evaluation.leaks import check_no_leak

SPLITS: Final = ("gate", "test")

Judges = Mapping[str, tuple[str, ...]]
"""Fields that held-out rows must not share with training, by dataset."""


def own_set(split: str, dataset: str) -> str:
    """Name of a set of the user's own data.

    >>> own_set("gate", "street")
    'gate-street'
    """
    return f"{split}-{dataset}"


def split_of(name: str) -> str:
    """Split of a set."""
    return name.partition("-")[0]


def held_out_sets(
    table: Annotations, datasets: Iterable[str], splits: Iterable[str] = SPLITS
) -> dict[str, Annotations]:
    """Rows by set: every split of rendered people, then the user's own sets that have rows."""
    shard = table.shard.astype(str)
    owner = {name: np.char.startswith(shard, f"{name}{SUFFIX}-") for name in datasets}
    split_N = table.column("split").astype(str)
    rendered = ~np.logical_or.reduce([np.zeros(len(table), bool), *owner.values()])
    sets = {split: table.take((split_N == split) & rendered) for split in splits}
    for name, mine in owner.items():
        for split in splits:
            rows = table.take((split_N == split) & mine)
            sets |= {own_set(split, name): rows} if len(rows) else {}
    return sets


def require_unseen(table_file: Path, judges: Judges) -> None:
    """Refuse held-out rows of the user's own data that leak into training.

    Raises:
        DataError: A dataset shares samples with training; names both.
    """
    if not judges:
        return
    table = Annotations.read(table_file)
    train = table.split("train")
    for name, rows in held_out_sets(table, judges).items():
        if name not in SPLITS:
            dataset = name.partition("-")[2]
            try:
                check_no_leak(train, rows, judges[dataset])
            except DataError as error:
                raise DataError(
                    f"the {split_of(name)} rows of {dataset} leak into training: {error.what}",
                    where=table_file,
                    expected=error.expected,
                    remedy="leave the dataset that holds them out of the profile, or hold other "
                    f"rows out: hemlets data hold-out {dataset} --move; nothing was trained",
                ) from error
