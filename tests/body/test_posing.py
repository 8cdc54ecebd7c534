"""Posing against a body worked out by hand, a plain computation, and smplx where it is installed.

smplx has a licence for non-commercial research alone, so that nothing installs it but the extra
``smpl``.
"""

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hemlets.body import BodyModel
from hemlets.core.skeleton import N_JOINTS, SMPL_JOINTS, SMPL_PARENTS

MICROMETRE_IN_MM = 1e-3
SHOULDER, ELBOW, WRIST = (SMPL_JOINTS.index(f"left_{n}") for n in ("shoulder", "elbow", "wrist"))
SKIN = len(SMPL_JOINTS)


def stick_figure(**changes):
    """Vertex j is joint j; the last vertex is skin that hangs half on each part of the left arm."""
    template = np.array([[0.0, 0.07 * joint, 0.0] for joint in range(SKIN)] + [[0.6, 1.4, 0.0]])
    template[[SHOULDER, ELBOW, WRIST]] = [[0.2, 1.4, 0.0], [0.5, 1.4, 0.0], [0.7, 1.4, 0.0]]
    weights = np.eye(SKIN + 1, SKIN)
    weights[SKIN, [SHOULDER, ELBOW]] = 0.5
    arrays = {
        "v_template": template,
        "shapedirs": np.zeros((SKIN + 1, 3, 1)),
        "J_regressor": np.eye(SKIN, SKIN + 1),
        "weights": weights,
        "joint_regressor_18": np.eye(N_JOINTS, SKIN + 1),
        "kintree_table": np.array([SMPL_PARENTS, range(SKIN)]),
        "f": np.array([[0, 1, 2]]),
    }
    return BodyModel(arrays | changes).double()


def quarter_turns_of_shoulder_and_elbow():
    theta = torch.zeros(1, 24, 3, dtype=torch.float64)
    theta[0, [SHOULDER, ELBOW], 2] = math.pi / 2
    return theta


def assert_vertex(body, vertex, expected_m):
    expected = 1000 * torch.tensor(expected_m, dtype=torch.float64)
    found = body.vertices_BV3_mm[0, vertex]
    torch.testing.assert_close(found, expected, atol=MICROMETRE_IN_MM, rtol=0)


def test_turns_add_up_along_the_arm_and_skin_lies_between_the_parts_that_it_hangs_on():
    body = stick_figure()(quarter_turns_of_shoulder_and_elbow(), torch.zeros(1, 1).double())
    # The upper arm, 0.3 long, points up from the shoulder; the forearm, 0.2, back over it.
    assert_vertex(body, ELBOW, [0.2, 1.7, 0.0])
    assert_vertex(body, WRIST, [0.0, 1.7, 0.0])
    # The upper arm takes the skin to (0.2, 1.8), the forearm to (0.1, 1.7).
    assert_vertex(body, SKIN, [0.15, 1.75, 0.0])
    torch.testing.assert_close(
        body.joints24_B243_mm, body.vertices_BV3_mm[:, :SKIN], atol=MICROMETRE_IN_MM, rtol=0
    )


def test_shape_moves_the_joints_before_they_turn():
    shapedirs = np.zeros((SKIN + 1, 3, 1))
    shapedirs[WRIST, 0] = 0.05
    body = stick_figure(shapedirs=shapedirs)(
        quarter_turns_of_shoulder_and_elbow(), torch.full((1, 1), 2.0).double()
    )
    assert_vertex(body, WRIST, [-0.1, 1.7, 0.0])
    assert_vertex(body, SKIN, [0.15, 1.75, 0.0])


def test_pose_blend_shapes_move_the_skin_at_rest_by_what_rotations_differ_from_the_identity():
    posedirs = np.zeros((SKIN + 1, 3, 207))
    # The elbow's first element is cos 90° − 1 = −1.
    posedirs[SKIN, 2, 9 * (ELBOW - 1)] = 0.01
    body = stick_figure(posedirs=posedirs)(
        quarter_turns_of_shoulder_and_elbow(), torch.zeros(1, 1).double()
    )
    assert_vertex(body, SKIN, [0.15, 1.75, -0.01])
    assert_vertex(body, WRIST, [0.0, 1.7, 0.0])


def plainly(arrays, theta_J3, betas_K):
    """Vertices and joints in metres of one body, a joint and a transform after the other."""
    vertices = arrays["v_template"] + arrays["shapedirs"] @ betas_K
    rest = arrays["J_regressor"] @ vertices
    turns = Rotation.from_rotvec(theta_J3).as_matrix()
    vertices = vertices + arrays["posedirs"] @ (turns[1:] - np.eye(3)).ravel()
    placed = []
    for joint, parent in enumerate(SMPL_PARENTS):
        step = np.eye(4)
        step[:3, :3] = turns[joint]
        step[:3, 3] = rest[joint] - (rest[parent] if joint else 0.0)
        placed.append(placed[parent] @ step if joint else step)
    posed = np.zeros_like(vertices)
    for joint, transform in enumerate(placed):
        moved = (vertices - rest[joint]) @ transform[:3, :3].T + transform[:3, 3]
        posed += arrays["weights"][:, joint, None] * moved
    return posed, np.stack([transform[:3, 3] for transform in placed])


@pytest.mark.parametrize(("precision", "within_mm"), [("float64", 2e-5), ("float32", 2e-3)])
def test_bodies_are_those_of_a_plain_computation(blended_body, held_out, precision, within_mm):
    dtype = getattr(torch, precision)
    theta, betas = held_out(3)
    arrays = {n: np.asarray(np.float32(a), np.float64) for n, a in blended_body.arrays.items()}
    body = BodyModel(arrays).to(dtype)(theta.to(dtype), betas.to(dtype))
    for i in range(3):
        vertices, joints = plainly(arrays, theta[i].double().numpy(), betas[i].double().numpy())
        for found, expected in (
            (body.vertices_BV3_mm[i], vertices),
            (body.joints24_B243_mm[i], joints),
        ):
            assert found.dtype == dtype
            np.testing.assert_allclose(found.numpy(), 1000 * expected, atol=within_mm, rtol=0)


def as_smplx(body):
    """The same body as smplx poses it, in double precision."""
    smplx = pytest.importorskip(
        "smplx", reason="smplx is not installed: its licence allows non-commercial research alone"
    )
    arrays = body.arrays
    no_blends = np.zeros((body.n_vertices, 3, 207), np.float32)
    arrays["posedirs"] = arrays.get("posedirs", no_blends)
    arrays["kintree_table"] = arrays["kintree_table"].astype(np.int64)
    # Its vertex ids are those of SMPL-H's mesh unless others are given. It prints a warning at
    # bodies of 10 coefficients.
    with contextlib.redirect_stdout(io.StringIO()):
        return smplx.SMPL(
            "",
            data_struct=smplx.utils.Struct(**arrays),
            vertex_ids=dict.fromkeys(("nose", "reye", "leye", "rear", "lear"), 0),
            use_hands=False,
            use_feet_keypoints=False,
            num_betas=body.n_betas,
            dtype=torch.float64,
        )


@pytest.mark.parametrize("name", ["lite_body", "full_body", "blended_body"])
def test_bodies_are_those_of_smplx_to_a_micrometre(name, held_out, request):
    body = request.getfixturevalue(name)
    theta, betas = (values.double() for values in held_out(6))
    ours = BodyModel(body.arrays).double()(theta, betas)
    pose = theta.flatten(1)
    theirs = as_smplx(body)(betas=betas, global_orient=pose[:, :3], body_pose=pose[:, 3:])
    for found, expected in (
        (ours.vertices_BV3_mm, theirs.vertices),
        (ours.joints24_B243_mm, theirs.joints[:, :24]),
    ):
        torch.testing.assert_close(found, 1000 * expected, atol=MICROMETRE_IN_MM, rtol=0)
