"""Depth relations: one sign, whatever they come from."""

import numpy as np
import pytest

from hemlets.core.skeleton import N_JOINTS, N_PARTS, PARTS, Joint, depth_relations
from hemlets.data.readers.maps2d import LSP, MPII
from hemlets.data.readers.relations import (
    Relations,
    relations_from_labels,
    relations_from_order,
)

FOREARM = next(number for number, part in enumerate(PARTS) if part.name == "left_forearm")


def relations_from_joints(joints_NJ3: np.ndarray, valid_NJ: np.ndarray) -> Relations:
    values, valid = depth_relations(joints_NJ3, valid_NJ)
    return Relations(values_NK=values, valid_NK=valid, source="3d")


def reaching_forward() -> np.ndarray:
    """Somebody whose left hand reaches straight towards the camera."""
    joints = np.zeros((1, N_JOINTS, 3))
    joints[..., 2] = 4000.0
    joints[..., 0] = np.arange(N_JOINTS) * 100.0
    joints[0, Joint.LEFT_WRIST] = joints[0, Joint.LEFT_ELBOW] - [0, 0, 250]
    return joints


def order_of(joints_NJ3: np.ndarray, targets) -> np.ndarray:
    """What somebody who sees depth would say: +1 where the first is farther away."""
    depth = joints_NJ3[:, [int(joint) for joint in targets], 2]
    return np.sign(np.round(depth[:, :, None] - depth[:, None, :]))


def test_a_hand_towards_the_camera_is_forward_by_all_three_kinds_of_labels():
    joints = reaching_forward()
    labels = np.full((1, N_PARTS), "U")
    labels[0, FOREARM] = "F"
    from_3d = relations_from_joints(joints, np.ones((1, N_JOINTS), bool))
    from_people = relations_from_labels(labels)
    from_order = relations_from_order(order_of(joints, LSP.targets), LSP.targets)
    for relations in (from_3d, from_people, from_order):
        assert relations.values_NK[0, FOREARM] == 1
        assert relations.valid_NK[0, FOREARM]


@pytest.mark.parametrize("seed", range(5))
def test_order_agrees_with_the_sign_of_3d_wherever_a_part_is_tilted(seed):
    joints = np.random.default_rng(seed).normal(0, 300, (50, N_JOINTS, 3))
    joints[..., 2] += 4000.0
    exact = relations_from_joints(joints, np.ones((50, N_JOINTS), bool))
    told = relations_from_order(order_of(joints, MPII.targets), MPII.targets)
    tilted = exact.values_NK != 0
    assert told.valid_NK.all()
    np.testing.assert_array_equal(told.values_NK[tilted], exact.values_NK[tilted])


def test_unknown_stays_unknown_and_is_not_level():
    relations = relations_from_labels(np.full((2, N_PARTS), "U"))
    assert not relations.valid_NK.any()
    assert relations.columns()["relations_source"] == ["", ""]


def test_a_joint_that_is_not_known_leaves_its_parts_unknown():
    valid = np.ones((1, N_JOINTS), bool)
    valid[0, Joint.LEFT_WRIST] = False
    relations = relations_from_joints(reaching_forward(), valid)
    assert np.flatnonzero(~relations.valid_NK[0]).tolist() == [FOREARM]


def test_pairs_that_are_no_part_tell_nothing():
    order = np.full((1, 14, 14), np.nan)
    elbow, other = LSP.targets.index(Joint.LEFT_ELBOW), LSP.targets.index(Joint.RIGHT_ANKLE)
    order[0, elbow, other], order[0, other, elbow] = 1, -1
    assert not relations_from_order(order, LSP.targets).valid_NK.any()


def test_a_pair_told_one_way_round_only_is_enough():
    order = np.full((1, 14, 14), np.nan)
    order[0, LSP.targets.index(Joint.LEFT_WRIST), LSP.targets.index(Joint.LEFT_ELBOW)] = -1
    relations = relations_from_order(order, LSP.targets)
    assert relations.values_NK[0, FOREARM] == 1


def test_a_pair_that_contradicts_itself_is_unknown():
    order = np.full((1, 14, 14), np.nan)
    wrist, elbow = LSP.targets.index(Joint.LEFT_WRIST), LSP.targets.index(Joint.LEFT_ELBOW)
    order[0, wrist, elbow] = order[0, elbow, wrist] = 1
    assert not relations_from_order(order, LSP.targets).valid_NK.any()


def test_lsp_joints_make_nine_of_the_parts_and_mpii_joints_all():
    for joint_map, parts in ((LSP, 9), (MPII, 14)):
        order = np.zeros((1, joint_map.size, joint_map.size))
        assert relations_from_order(order, joint_map.targets).valid_NK.sum() == parts
