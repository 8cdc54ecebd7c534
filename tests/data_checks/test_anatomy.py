"""Left and right from geometry alone, held against posed bodies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_checks.columns.anatomy import _segment_distance, anatomy_columns
from data_checks.expectations import ROW_CHECKS
from hemlets.skeleton import FLIP_JOINTS, Joint

Columns = dict[str, Any]
BOUNDS = {check.name: check for check in ROW_CHECKS}


def failing(joints: np.ndarray) -> dict[str, np.ndarray]:
    rows = len(joints)
    table: Any = SimpleNamespace(
        joints3d_mm=joints,
        valid3d=np.ones((rows, 18), bool),
        source=np.array(["captured"] * rows, object),
        subject=np.array([f"person {row}" for row in range(rows)], object),
    )
    result = {}
    for name, column in anatomy_columns(table).items():
        check = BOUNDS[name]
        low = -np.inf if check.low is None else check.low
        high = np.inf if check.high is None else check.high
        result[name] = (column.values < low) | (column.values > high)
    return result


@pytest.fixture
def joints(columns: Columns) -> np.ndarray:
    return np.asarray(columns["joints3d_mm"], np.float64)


def test_no_posed_body_looks_swapped(joints: np.ndarray):
    assert not any(flags.any() for flags in failing(joints).values())


@pytest.mark.parametrize("name", ["HIP", "KNEE", "ANKLE", "SHOULDER", "ELBOW", "WRIST"])
def test_nearly_every_swapped_pair_is_seen(joints: np.ndarray, name: str):
    pair = [Joint[f"LEFT_{name}"], Joint[f"RIGHT_{name}"]]
    seen = []
    for row in range(len(joints)):
        changed = joints.copy()
        changed[row, pair] = changed[row, pair[::-1]]
        seen.append(any(flags[row] for flags in failing(changed).values()))

    assert np.mean(seen) > 0.9


def test_nearly_every_wholly_swapped_body_is_seen(joints: np.ndarray):
    flags = failing(joints[:, list(FLIP_JOINTS)])

    assert flags["left_right_body"].mean() > 0.9


def test_the_distance_of_segments_agrees_with_a_dense_search():
    rng = np.random.default_rng(3)
    a, b, c, d = rng.normal(size=(4, 60, 3))
    steps = np.linspace(0, 1, 101)
    on_ab = a[:, None] + steps[:, None] * (b - a)[:, None]
    on_cd = c[:, None] + steps[:, None] * (d - c)[:, None]
    searched = np.linalg.norm(on_ab[:, :, None] - on_cd[:, None], axis=-1).min((1, 2))

    np.testing.assert_allclose(_segment_distance(a, b, c, d), searched, atol=0.04)
