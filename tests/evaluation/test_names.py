from __future__ import annotations

import string

import pytest

from hemlets.core.errors import DataError
from hemlets.evaluation import MetricName

MLFLOW_ALPHABET = set(string.ascii_letters + string.digits + "_-. :/")


@pytest.fixture
def name() -> MetricName:
    return MetricName(
        key="pa_mpjpe_mm",
        split="test",
        over="18j",
        root="centroid",
        align="similarity",
        box="ground-truth",
        depth="bone-length-prior",
        flip="no",
    )


def test_the_full_name_tells_the_protocol(name):
    assert name.full == (
        "pa_mpjpe_mm/test/18j/root:centroid/align:similarity"
        "/box:ground-truth/depth:bone-length-prior/flip:no"
    )


def test_the_full_name_is_one_that_mlflow_takes(name):
    from posixpath import normpath

    assert set(name.full) <= MLFLOW_ALPHABET
    assert normpath(name.full) == name.full
    assert len(name.full) <= 250


def test_a_full_name_is_read_back(name):
    assert MetricName.parse(name.full) == name


def test_titles_are_short_and_have_the_unit(name):
    assert name.title == "PA-MPJPE (mm)"
    assert not name.higher_is_better


@pytest.mark.parametrize("text", ["mpjpe", "mpjpe_mm/test/18j/root:pelvis", "a/b/c/d/e/f/g/h"])
def test_something_else_is_not_read_as_a_name(text):
    with pytest.raises(DataError, match="not a full metric name"):
        MetricName.parse(text)


@pytest.mark.parametrize("value", ["", "a b", "a/b", "../x", "box=gt", "β"])
def test_values_that_mlflow_would_refuse_are_refused(value):
    with pytest.raises(DataError, match="can't be part of a metric's name"):
        MetricName(
            key="mpjpe_mm", split=value, over="18j", root="pelvis", align="none", box="b",
            depth="d", flip="no",
        )  # fmt: skip
