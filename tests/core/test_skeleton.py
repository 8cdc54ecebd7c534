"""The skeleton and the depth relations of equation (1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hemlets.core.skeleton import (
    FLIP_JOINTS,
    FLIP_PARTS,
    JOINTS,
    PARTS,
    SMPL_JOINTS,
    SMPL_PARENTS,
    Joint,
    depth_relations,
)


def _forearm(tilt_deg: float, length_mm: float = 250.0) -> npt.NDArray[Any]:
    """Joints in which only the left forearm has a length; positive tilt is away."""
    joints = np.zeros((18, 3))
    joints[:, 2] = 3000.0
    tilt = np.deg2rad(tilt_deg)
    offset = length_mm * np.array([np.cos(tilt), 0, np.sin(tilt)])
    joints[Joint.LEFT_WRIST] = joints[Joint.LEFT_ELBOW] + offset
    return joints


def _relation(joints: npt.NDArray[Any]) -> int:
    index = [part.name for part in PARTS].index("left_forearm")
    return int(depth_relations(joints)[0][index])


@pytest.mark.parametrize("length_mm", [30.0, 250.0, 2000.0])
@pytest.mark.parametrize(
    ("tilt_deg", "relation"),
    [(-90, 1), (-31, 1), (-29, 0), (0, 0), (29, 0), (31, -1), (90, -1)],
)
def test_a_tilt_of_thirty_degrees_parts_level_from_forward_and_backward(
    tilt_deg: int, relation: int, length_mm: float
) -> None:
    assert _relation(_forearm(tilt_deg, length_mm)) == relation


def test_a_child_nearer_the_camera_is_forward() -> None:
    assert _relation(_forearm(-90)) == 1


def test_a_part_of_no_length_is_level() -> None:
    assert not depth_relations(np.zeros((18, 3)))[0].any()


def test_a_part_with_an_unknown_end_has_no_relation() -> None:
    valid = np.ones(18, bool)
    valid[Joint.LEFT_WRIST] = False
    relation, known = depth_relations(_forearm(-90), valid)
    assert [part.name for part, k in zip(PARTS, known, strict=True) if not k] == ["left_forearm"]
    assert not relation.any()


def test_relations_equal_a_plain_loop_over_batches() -> None:
    joints = np.random.default_rng(0).normal(0, 300, (5, 4, 18, 3))
    valid = np.random.default_rng(1).random((5, 4, 18)) < 0.8
    relation, known = depth_relations(joints, valid)
    assert relation.dtype == np.int8
    for at in np.ndindex(5, 4):
        for k, part in enumerate(PARTS):
            parent, child = joints[at][part.parent], joints[at][part.child]
            limit = 0.5 * np.sqrt(sum((parent - child) ** 2))
            nearer = parent[2] - child[2]
            expected = 1 if nearer > limit else -1 if nearer < -limit else 0
            both = valid[at][part.parent] and valid[at][part.child]
            assert known[at][k] == both
            assert relation[at][k] == (expected if both else 0)


def test_the_skeleton_has_the_papers_joints_and_parts() -> None:
    assert len(JOINTS) == 18
    assert len(PARTS) == 14
    assert JOINTS[0] == "pelvis"
    assert JOINTS[17] == "thorax"
    assert JOINTS[1:7] == (
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    )  # fmt: skip


def test_parts_join_each_joint_to_at_most_one_parent() -> None:
    children = [part.child for part in PARTS]
    assert len(set(children)) == len(children)


@pytest.mark.parametrize(
    ("order", "names"), [(FLIP_JOINTS, JOINTS), (FLIP_PARTS, [part.name for part in PARTS])]
)
def test_flips_exchange_left_and_right_and_undo_themselves(order: Any, names: Any) -> None:
    assert [order[i] for i in order] == list(range(len(names)))
    for index, name in enumerate(names):
        other = names[order[index]]
        if name.startswith(("left_", "right_")):
            assert {name.split("_", 1)[0], other.split("_", 1)[0]} == {"left", "right"}
            assert name.split("_", 1)[1] == other.split("_", 1)[1]
        else:
            assert other == name


def test_flipping_joints_flips_relations() -> None:
    joints = np.random.default_rng(2).normal(0, 300, (50, 18, 3))
    mirrored = joints[:, list(FLIP_JOINTS)] * [-1, 1, 1]
    expected = depth_relations(joints)[0][:, list(FLIP_PARTS)]
    assert np.array_equal(depth_relations(mirrored)[0], expected)


def test_smpls_tree_has_parents_before_children_on_the_same_side() -> None:
    assert len(SMPL_JOINTS) == len(SMPL_PARENTS) == 24
    for child, parent in enumerate(SMPL_PARENTS[1:], 1):
        assert parent < child
        sides = {n.split("_")[0] for n in (SMPL_JOINTS[child], SMPL_JOINTS[parent]) if "_" in n}
        assert len(sides) <= 1
