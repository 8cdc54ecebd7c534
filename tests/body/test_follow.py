"""Bodies turned onto joints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from hemlets.body import BodyModel, mirror_theta
from hemlets.body.follow import DEPTH_SHARE, SURE, TORSO_RAD, _tilted, swing, turn_onto
from hemlets.body.limits import LOWER_J3_RAD
from hemlets.body.posed_joints import PosedJoints
from hemlets.core.arrays import Float
from hemlets.core.skeleton import FLIP_JOINTS, SMPL_JOINTS, Joint

Draw = Callable[[int], tuple[Tensor, Tensor]]

SURE_18 = torch.ones(1, 18)
_DEGREE = torch.pi / 180


@pytest.fixture
def whole_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth counts as much as the image: the joints are exact."""
    monkeypatch.setattr("hemlets.body.follow.DEPTH_SHARE", 1.0)


def _joints(body: BodyModel, rotation: Tensor, betas: Tensor) -> Tensor:
    return 1000 * PosedJoints(body)(rotation, betas)


def _turned(
    body: BodyModel, rotation: Tensor, betas: Tensor, joints: Tensor, sure: Tensor
) -> Tensor:
    """Rotations (B, 24, 3, 3) of bodies turned onto joints."""
    given = (rotation, _joints(body, rotation, betas), joints, sure)
    theta = turn_onto(*(value.double().numpy() for value in given))
    return roma.rotvec_to_rotmat(torch.from_numpy(theta)).float()


def _pose(**axis_angles: tuple[float, float, float]) -> Tensor:
    """θ (1, 24, 3, 3) at rest but for some joints."""
    theta = torch.zeros(1, 24, 3)
    for name, value in axis_angles.items():
        theta[0, SMPL_JOINTS.index(name)] = torch.tensor(value)
    return roma.rotvec_to_rotmat(theta)


def _apart_deg(one: Tensor, other: Tensor) -> Tensor:
    return roma.rotmat_geodesic_distance(one, other) / _DEGREE


def test_joints_that_the_body_has_already_change_nothing(
    lite_body: BodyModel, held_out: Draw
) -> None:
    theta, betas = held_out(8)
    rotation = roma.rotvec_to_rotmat(theta)
    joints = _joints(lite_body, rotation, betas)
    found = _turned(lite_body, rotation, betas, joints, SURE_18.expand(8, 18))
    assert _apart_deg(found, rotation).max() < 0.1


@pytest.mark.usefixtures("whole_depth")
@pytest.mark.parametrize(
    ("bend", "within_deg"),
    [
        ({"left_elbow": (0.0, -1.3, 0.0)}, 3.0),
        ({"right_knee": (1.2, 0.0, 0.0)}, 4.0),
        ({"right_shoulder": (0.0, 0.6, 0.9)}, 3.0),
        ({"left_hip": (-0.9, 0.0, 0.3), "left_knee": (0.8, 0.0, 0.0)}, 4.0),
    ],
)
def test_a_bent_limb_is_found_from_rest(
    lite_body: BodyModel, bend: dict[str, tuple[float, float, float]], within_deg: float
) -> None:
    """The regressed joints move with the skin, so that bones are followed to some degrees."""
    true, betas = _pose(**bend), torch.zeros(1, 10)
    found = _turned(lite_body, _pose(), betas, _joints(lite_body, true, betas), SURE_18)
    joints = _joints(lite_body, found, betas)
    ends = [Joint.LEFT_WRIST, Joint.RIGHT_WRIST, Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE]
    assert (joints - _joints(lite_body, true, betas))[0, ends].norm(dim=-1).max() < 25
    turned = [SMPL_JOINTS.index(name) for name in bend]
    away_deg = roma.rotmat_to_rotvec(true[0, turned]).norm(dim=-1) / _DEGREE
    assert (_apart_deg(found, true)[0, turned] < within_deg + 0.1 * away_deg).all()


@pytest.mark.usefixtures("whole_depth")
def test_a_turned_torso_is_found(lite_body: BodyModel) -> None:
    turn = _pose(pelvis=(0.2, 0.5, -0.1))
    betas = torch.zeros(1, 10)
    found = _turned(lite_body, _pose(), betas, _joints(lite_body, turn, betas), SURE_18)
    assert _apart_deg(found, turn).max() < 0.5


@pytest.mark.usefixtures("whole_depth")
def test_a_torso_turned_the_other_way_round_is_not_believed(lite_body: BodyModel) -> None:
    turn = _pose(pelvis=(0.0, TORSO_RAD[1] + 0.2, 0.0))
    betas = torch.zeros(1, 10)
    found = _turned(lite_body, _pose(), betas, _joints(lite_body, turn, betas), SURE_18)
    assert _apart_deg(found, _pose())[0, 0] < 0.1


@pytest.mark.usefixtures("whole_depth")
def test_the_bend_of_the_elbow_tells_the_upper_arms_twist(lite_body: BodyModel) -> None:
    """About its own axis the upper arm (x at rest) is turned; only the forearm shows it."""
    start = _pose(left_elbow=(0.0, -1.5, 0.0))
    true = _pose(left_elbow=(0.0, -1.5, 0.0), left_shoulder=(0.6, 0.0, 0.0))
    betas = torch.zeros(1, 10)
    found = _turned(lite_body, start, betas, _joints(lite_body, true, betas), SURE_18)
    shoulder = SMPL_JOINTS.index("left_shoulder")
    before, after = (_apart_deg(one, true)[0, shoulder] for one in (start, found))
    assert after < 0.4 * before
    straight = _turned(lite_body, _pose(), betas, _joints(lite_body, _pose(), betas), SURE_18)
    assert _apart_deg(straight, _pose()).max() < 0.1


def test_twist_and_all_that_joints_do_not_show_stay_the_networks(
    lite_body: BodyModel, held_out: Draw
) -> None:
    theta, betas = held_out(8)
    rotation = roma.rotvec_to_rotmat(theta)
    other = _joints(lite_body, rotation.roll(1, 0), betas)
    found = _turned(lite_body, rotation, betas, other, SURE_18.expand(8, 18))
    unmoved = ("spine", "head", "ankle", "foot", "wrist", "hand")
    stay = [i for i, name in enumerate(SMPL_JOINTS) if any(part in name for part in unmoved)]
    torch.testing.assert_close(found[:, stay], rotation[:, stay])
    assert _apart_deg(found, rotation).max() > 5


@pytest.mark.usefixtures("whole_depth")
def test_a_nod_is_found_from_rest(lite_body: BodyModel) -> None:
    nod, betas = _pose(neck=(0.5, 0.2, 0.0)), torch.zeros(1, 10)
    found = _turned(lite_body, _pose(), betas, _joints(lite_body, nod, betas), SURE_18)
    neck = SMPL_JOINTS.index("neck")
    assert _apart_deg(found, nod)[0, neck] < 0.4 * _apart_deg(_pose(), nod)[0, neck]


def test_a_limb_that_starts_elsewhere_is_led_back_towards_its_joints(lite_body: BodyModel) -> None:
    """Knee and ankle of a shifted leg: half of the way, and half of the rest."""
    betas = torch.zeros(1, 10)
    joints = _joints(lite_body, _pose(), betas)
    leg = [Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE]
    moved = joints.clone()
    moved[0, leg, 0] += 60
    found = _joints(lite_body, _turned(lite_body, _pose(), betas, moved, SURE_18), betas)
    shares = (found - joints)[0, leg, 0] / 60
    assert shares.tolist() == pytest.approx([0.0, 0.5, 0.75], abs=0.1)


@pytest.mark.parametrize("size", [0.9, 1.1])
def test_the_same_pose_of_a_larger_or_smaller_person_changes_nothing(
    lite_body: BodyModel, held_out: Draw, size: float
) -> None:
    theta, betas = held_out(8)
    rotation = roma.rotvec_to_rotmat(theta)
    joints = size * _joints(lite_body, rotation, betas)
    found = _turned(lite_body, rotation, betas, joints, SURE_18.expand(8, 18))
    assert _apart_deg(found, rotation).max() < 1


def test_a_shin_that_looks_too_short_is_tilted_as_far_as_a_knee_bends(lite_body: BodyModel) -> None:
    """The ankle is seen at 0.6 of the shin below the knee, 400 mm behind or before it."""
    betas = torch.zeros(1, 10)
    joints = _joints(lite_body, _pose(), betas)
    bones = {}
    for side in (1, -1):
        seen = joints.clone()
        knee, ankle = seen[0, [Joint.LEFT_KNEE, Joint.LEFT_ANKLE]]
        shin = ankle - knee
        seen[0, Joint.LEFT_ANKLE] = knee + torch.tensor([0.6, 0.6, 0.0]) * shin
        seen[0, Joint.LEFT_ANKLE, 2] = knee[2] + side * 400
        posed = _joints(lite_body, _turned(lite_body, _pose(), betas, seen, SURE_18), betas)
        bones[side] = (posed[0, Joint.LEFT_ANKLE] - posed[0, Joint.LEFT_KNEE]) / shin.norm()
    # z is the body's front.
    assert bones[-1][:2].norm() < 0.85
    assert bones[-1][2] < -0.5
    assert bones[1][:2].norm() > 0.98


def test_a_neck_does_not_turn_further_than_necks_do(lite_body: BodyModel) -> None:
    betas = torch.zeros(1, 10)
    joints = _joints(lite_body, _pose(), betas)
    joints[0, [Joint.NOSE, Joint.HEAD_TOP]] = joints[0, Joint.NECK] + torch.tensor([300.0, 0, 0])
    found = _turned(lite_body, _pose(), betas, joints, SURE_18)
    neck = SMPL_JOINTS.index("neck")
    turned = roma.rotmat_to_rotvec(found[0, neck])
    assert turned[2] == pytest.approx(LOWER_J3_RAD[neck, 2], abs=1e-4)


@pytest.mark.parametrize("image", [0.3, 0.6, 0.9, 1.0, 1.1])
@pytest.mark.parametrize("depth", [-0.6, 0.2, 0.4, 0.9])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_a_tilt_is_about_the_best_of_all_angles(image: float, depth: float, weight: float) -> None:
    """A bone of 2 whose target is at (0, 2 image, 2 depth)."""
    target = np.array([[[0.0, 2 * image, 2 * depth]]])
    found = _tilted(target, np.full((1, 1, 1), 2.0), np.full((1, 1, 1), weight))[0, 0]
    assert np.linalg.norm(found) == pytest.approx(1)
    assert found[0] == 0
    assert found[1] >= 0

    def cost(away_rad: Float) -> Float:
        share = 1 - 0.7 * weight
        return (np.cos(away_rad) - image) ** 2 + share * (np.sin(away_rad) - depth) ** 2

    angles = np.linspace(-np.pi / 2, np.pi / 2, 1801)
    assert cost(np.arcsin(found[2])) < cost(angles).min() + 0.01


@pytest.mark.parametrize(("confidence", "share"), [(0.0, 0.0), (SURE / 2, 0.5), (SURE, 1.0)])
def test_joints_count_by_their_confidence(
    lite_body: BodyModel, confidence: float, share: float
) -> None:
    """In the image plane a leg turns by about its joints' share of the way."""
    betas = torch.zeros(1, 10)
    joints = _joints(lite_body, _pose(left_hip=(0.0, 0.0, 0.4)), betas)
    found = _turned(lite_body, _pose(), betas, joints, confidence * SURE_18)
    hip = SMPL_JOINTS.index("left_hip")
    turned = float(roma.rotmat_to_rotvec(found[0, hip]).norm())
    assert turned == pytest.approx(0.4 * share, abs=0.06)


def test_depth_counts_less_than_the_image(lite_body: BodyModel) -> None:
    betas = torch.zeros(1, 10)
    joints = _joints(lite_body, _pose(), betas)
    turned = []
    for axis in (1, 2):
        moved = joints.clone()
        moved[0, Joint.LEFT_WRIST, axis] += 30
        found = _turned(lite_body, _pose(), betas, moved, SURE_18)
        turned.append(
            float(roma.rotmat_to_rotvec(found[0, SMPL_JOINTS.index("left_elbow")]).norm())
        )
    assert turned[1] == pytest.approx(DEPTH_SHARE * turned[0], rel=0.1)


def test_a_network_without_confidences_is_followed_wholly(
    lite_body: BodyModel, held_out: Draw
) -> None:
    theta, betas = held_out(4)
    rotation = roma.rotvec_to_rotmat(theta)
    joints = _joints(lite_body, rotation.roll(1, 0), betas)
    found = _turned(lite_body, rotation, betas, joints, torch.full((4, 18), float("nan")))
    sure = _turned(lite_body, rotation, betas, joints, SURE_18.expand(4, 18))
    torch.testing.assert_close(found, sure)


def test_a_mirrored_person_has_the_mirrored_body(lite_body: BodyModel, held_out: Draw) -> None:
    theta, betas = held_out(6)
    rotation = roma.rotvec_to_rotmat(theta)
    joints = _joints(lite_body, rotation.roll(1, 0), betas)
    sure = torch.rand(6, 18, generator=torch.Generator().manual_seed(0))
    flip = list(FLIP_JOINTS)
    mirrored = joints[:, flip] * torch.tensor([-1.0, 1.0, 1.0])
    found = _turned(lite_body, mirror_theta(rotation), betas, mirrored, sure[:, flip])
    expected = mirror_theta(_turned(lite_body, rotation, betas, joints, sure))
    assert _apart_deg(found, expected).max() < 0.5


def test_joints_in_one_point_leave_rotations(lite_body: BodyModel) -> None:
    found = _turned(lite_body, _pose(), torch.zeros(1, 10), torch.zeros(1, 18, 3), SURE_18)
    identity = torch.eye(3).expand(1, 24, 3, 3)
    torch.testing.assert_close(found @ found.mT, identity, atol=1e-4, rtol=0)
    assert torch.linalg.det(found).min() > 0.99


def test_the_smallest_rotation_takes_one_direction_to_the_other() -> None:
    start, end = np.random.default_rng(1).normal(size=(2, 1, 50, 3))
    start, end = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (start, end))
    rotation = swing(start, 2 * end)
    np.testing.assert_allclose((rotation @ start[..., None])[..., 0], end, atol=1e-12)
    # Its axis is orthogonal to both.
    axis = roma.rotmat_to_rotvec(torch.from_numpy(rotation)).numpy()
    assert np.abs((axis * start).sum(-1)).max() < 1e-7


@pytest.mark.parametrize("end", [(0.0, 0.0, 0.0), (-1.0, 0.0, 0.0)])
def test_no_smallest_rotation_is_none(end: tuple[float, float, float]) -> None:
    start = np.array([[[1.0, 0.0, 0.0]]])
    np.testing.assert_array_equal(swing(start, np.array([[end]]))[0, 0], np.eye(3))
