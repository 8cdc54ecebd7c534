"""Left and right from geometry alone, held against posed bodies."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_checks.proportions import Reference
from data_checks.rows import Rows, bone_lengths, known_joints
from data_checks.rules.anatomy import (
    bones_in_proportion,
    bones_symmetric,
    left_right_body,
    left_right_limb,
    left_right_pair,
    segment_distance,
    skeleton_size,
)
from hemlets.core.skeleton import FLIP_JOINTS, Joint

Columns = dict[str, Any]
RULES = (
    skeleton_size, bones_symmetric, bones_in_proportion, left_right_pair, left_right_limb,
    left_right_body,
)  # fmt: skip


def failing(joints: np.ndarray, source: str = "captured") -> dict[str, np.ndarray]:
    count = len(joints)
    table: Any = SimpleNamespace(
        joints3d_mm=joints,
        valid3d=np.ones((count, 18), bool),
        source=np.array([source] * count, object),
        subject=np.array([f"person {row}" for row in range(count)], object),
        theta=np.zeros((count, 24, 3)),
        betas=np.zeros((count, 10)),
        transl_mm=np.zeros((count, 3)),
        smpl_valid=np.zeros(count, bool),
        transl_valid=np.zeros(count, bool),
    )
    lengths = bone_lengths(known_joints(table))
    census: Any = SimpleNamespace(
        reference=Reference.of(lengths, table.source, table.subject), posed=np.zeros(count, bool)
    )
    rows = Rows(table=table, numbers=np.arange(count), census=census, shards=Path())
    return {rule.name: rule.fails(rows.measured(rule).values) for rule in RULES}


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

    np.testing.assert_allclose(segment_distance(a, b, c, d), searched, atol=0.04)


def test_a_short_head_is_a_fault_but_where_the_head_bends_between_its_joints(joints: np.ndarray):
    bent = joints.copy()
    neck = bent[:, Joint.NECK]
    bent[:, Joint.HEAD_TOP] = neck + 0.35 * (bent[:, Joint.HEAD_TOP] - neck)

    assert failing(bent)["bones_in_proportion"].all()
    assert not failing(bent, "human36m")["bones_in_proportion"].any()


def test_other_bones_of_such_a_dataset_are_judged_as_ever(joints: np.ndarray):
    wrong = joints.copy()
    knee = wrong[:, Joint.LEFT_KNEE]
    wrong[:, Joint.LEFT_ANKLE] = knee + 0.3 * (wrong[:, Joint.LEFT_ANKLE] - knee)

    assert failing(wrong, "human36m")["bones_in_proportion"].all()
