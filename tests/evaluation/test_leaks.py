from __future__ import annotations

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.data.table import Annotations
from hemlets.evaluation import check_no_leak


@pytest.fixture
def train(make_annotations) -> Annotations:
    return make_annotations(split="train", prefix="a", seed=1)


@pytest.fixture
def test_split(make_annotations) -> Annotations:
    return make_annotations(prefix="b", seed=2)


def with_first(annotations: Annotations, column: str, value: str) -> Annotations:
    kept = {f: annotations.column(f) for f in annotations.table.column_names}
    changed = np.array(kept[column], object)
    changed[0] = value
    return Annotations.from_columns(kept | {column: changed})


def test_splits_of_different_motions_pass(train, test_split):
    check_no_leak(train, test_split)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("clip", "aclip3", "clip aclip3"),
        ("clip", "bclip0+aclip3", "clip aclip3"),
        ("family", "afamily2", "family afamily2"),
        ("image_hash", "a1hash5", "images of test samples b2-00000"),
    ],
)
def test_a_leak_is_named(train, test_split, column, value, says):
    with pytest.raises(DataError, match=says):
        check_no_leak(train, with_first(test_split, column, value))


def test_a_training_mixture_with_a_test_clip_is_a_leak(train, test_split):
    with pytest.raises(DataError, match="clip bclip1"):
        check_no_leak(with_first(train, "clip", "aclip0+bclip1"), test_split)


def test_all_kinds_of_leak_are_told_at_once(train):
    with pytest.raises(DataError, match=r"clip aclip0.*family afamily0.*images of test samples"):
        check_no_leak(train, train)
