import math

import numpy as np
import pytest
import torch

from hemlets.assets.clips import load_clips
from hemlets.body import BodyModel, mirror_theta, read_body_arrays
from hemlets.core.errors import AssetError, InputError
from hemlets.core.skeleton import FLIP_JOINTS, MIRROR_SMPL_JOINTS, SMPL_JOINTS, SMPL_PARENTS, Joint

MIRROR_X = torch.tensor((-1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def lite():
    return BodyModel.load()


@pytest.fixture(scope="module")
def full():
    return BodyModel.load(resolution="full")


@pytest.fixture(scope="module", params=["lite", "full"])
def model(request, lite, full):
    return lite if request.param == "lite" else full


def at_rest(model, betas=None):
    return model(torch.zeros(1, 72), torch.zeros(1, 10) if betas is None else betas)


def real_poses(n, seed=0):
    theta = np.concatenate([clip.theta_F72 for clip in load_clips()])
    chosen = np.random.default_rng(seed).choice(len(theta), n, replace=False)
    generator = torch.Generator().manual_seed(seed)
    return torch.tensor(theta[chosen]), torch.randn(n, 10, generator=generator)


def turned(joint, rotation_vector):
    theta = torch.zeros(1, 24, 3)
    theta[0, SMPL_JOINTS.index(joint)] = torch.tensor(rotation_vector)
    return theta.reshape(1, 72)


def test_sizes_are_the_meshes_own(lite, full):
    assert (lite.n_vertices, full.n_vertices) == (1229, 13718)
    body = full(torch.zeros(2, 72), torch.zeros(1, 10))
    assert body.vertices_BV3_mm.shape == (2, 13718, 3)
    assert body.joints24_B243_mm.shape == (2, 24, 3)
    assert body.joints18_B183_mm.shape == (2, 18, 3)
    assert int(full.faces_F3.max()) == 13717


def test_the_mean_body_stands_with_its_pelvis_at_the_origin(model):
    body = at_rest(model)
    assert body.joints24_B243_mm[0, 0].abs().max() < 0.01
    height_mm = np.ptp(body.vertices_BV3_mm[0, :, 1].numpy())
    assert 1600 < height_mm < 1800


def test_rest_joints_are_where_a_person_has_them(model):
    joint = at_rest(model).joints18_B183_mm[0]
    for side, sign in (("LEFT", 1), ("RIGHT", -1)):
        hip, knee, ankle = (joint[Joint[f"{side}_{n}"]] for n in ("HIP", "KNEE", "ANKLE"))
        shoulder, elbow, wrist = (
            joint[Joint[f"{side}_{n}"]] for n in ("SHOULDER", "ELBOW", "WRIST")
        )
        assert sign * hip[0] > 80
        assert hip[1] > knee[1] + 300 > ankle[1] + 600
        assert sign * wrist[0] > sign * elbow[0] > sign * shoulder[0] > 120
        assert abs(wrist[1] - shoulder[1]) < 20
    heights = [
        joint[j][1] for j in (Joint.PELVIS, Joint.SPINE, Joint.THORAX, Joint.NECK, Joint.NOSE)
    ]
    assert heights == sorted(heights)
    assert joint[Joint.HEAD_TOP][1] > joint[Joint.NOSE][1] + 100
    assert joint[Joint.NOSE][2] > joint[Joint.HEAD_TOP][2] + 80


def test_pelvis_and_thorax_are_the_middles_of_hips_and_shoulders(model):
    joint = model(*real_poses(4)).joints18_B183_mm
    hips = (joint[:, Joint.LEFT_HIP] + joint[:, Joint.RIGHT_HIP]) / 2
    shoulders = (joint[:, Joint.LEFT_SHOULDER] + joint[:, Joint.RIGHT_SHOULDER]) / 2
    torch.testing.assert_close(joint[:, Joint.PELVIS], hips, atol=1e-3, rtol=0)
    torch.testing.assert_close(joint[:, Joint.THORAX], shoulders, atol=1e-3, rtol=0)


def test_bending_the_left_elbow_by_a_right_angle_points_the_forearm_forward(model):
    rest = at_rest(model).joints24_B243_mm[0]
    bent = model(turned("left_elbow", (0.0, -math.pi / 2, 0.0)), torch.zeros(1, 10))
    elbow, wrist = SMPL_JOINTS.index("left_elbow"), SMPL_JOINTS.index("left_wrist")
    forearm_mm = rest[wrist, 0] - rest[elbow, 0]
    expected = rest[elbow] + torch.tensor((0.0, 0.0, 1.0)) * forearm_mm
    torch.testing.assert_close(bent.joints24_B243_mm[0, wrist], expected, atol=1.5, rtol=0)
    wrist18 = bent.joints18_B183_mm[0, Joint.LEFT_WRIST]
    torch.testing.assert_close(wrist18, expected, atol=5, rtol=0)


def test_the_root_turns_the_body_about_its_kinematic_pelvis(lite):
    betas = torch.full((1, 10), 0.7)
    rest, moved = at_rest(lite, betas), lite(turned("pelvis", (0.0, math.pi / 2, 0.0)), betas)
    pelvis = rest.joints24_B243_mm[:, :1]
    x, y, z = (rest.vertices_BV3_mm - pelvis).unbind(-1)
    expected = torch.stack((z, y, -x), dim=-1) + pelvis
    torch.testing.assert_close(moved.vertices_BV3_mm, expected, atol=1e-2, rtol=0)


def read_body_arrays_of(model):
    return {
        "v_template": model.v_template_V3.numpy(),
        "shapedirs": model.shapedirs_V3K.numpy(),
        "J_regressor": model.J_regressor_JV.numpy(),
        "weights": model.weights_VJ.numpy(),
        "joint_regressor_18": model.joint_regressor_NV.numpy(),
        "kintree_table": np.array([SMPL_PARENTS, range(24)]),
        "f": model.faces_F3.numpy(),
        "face_vertex_ids": np.arange(5),
    }


def test_rotation_matrices_and_axis_angles_give_the_same_body(lite):
    theta, betas = real_poses(3)
    matrices = torch.matrix_exp(skew(theta.reshape(3, 24, 3)))
    torch.testing.assert_close(
        lite(theta, betas).vertices_BV3_mm, lite(matrices, betas).vertices_BV3_mm, atol=0.1, rtol=0
    )


def skew(vectors):
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1)
    return rows.unflatten(-1, (3, 3))


@pytest.mark.parametrize("form", ["axis-angle", "matrices"])
def test_the_mirrored_pose_with_the_same_shape_is_the_mirrored_body(model, form):
    theta, betas = real_poses(5)
    pose = theta if form == "axis-angle" else torch.matrix_exp(skew(theta.reshape(5, 24, 3)))
    body, mirrored = model(pose, betas), model(mirror_theta(pose), betas)
    swapped = mirrored.vertices_BV3_mm[:, model.mirror_vertices] * MIRROR_X
    torch.testing.assert_close(swapped, body.vertices_BV3_mm, atol=5e-3, rtol=0)
    joints18 = mirrored.joints18_B183_mm[:, list(FLIP_JOINTS)] * MIRROR_X
    torch.testing.assert_close(joints18, body.joints18_B183_mm, atol=5e-3, rtol=0)
    joints24 = mirrored.joints24_B243_mm[:, list(MIRROR_SMPL_JOINTS)] * MIRROR_X
    torch.testing.assert_close(joints24, body.joints24_B243_mm, atol=5e-3, rtol=0)


def test_mirroring_twice_gives_the_pose_back():
    theta, _ = real_poses(5)
    assert torch.equal(mirror_theta(mirror_theta(theta)), theta)


def test_the_arrays_are_symmetric_to_the_bit(model):
    mirror = model.mirror_vertices
    assert torch.equal(mirror[mirror], torch.arange(model.n_vertices))
    assert torch.equal(model.v_template_V3[mirror] * MIRROR_X, model.v_template_V3)
    assert torch.equal(model.shapedirs_V3K[mirror] * MIRROR_X[:, None], model.shapedirs_V3K)
    assert torch.equal(model.weights_VJ[mirror][:, list(MIRROR_SMPL_JOINTS)], model.weights_VJ)
    faces = {frozenset(face) for face in model.faces_F3.tolist()}
    assert faces == {frozenset(face) for face in mirror[model.faces_F3].tolist()}


def test_both_resolutions_are_the_same_person(lite, full):
    theta, betas = real_poses(32)
    coarse, fine = lite(theta, betas), full(theta, betas)
    for one, other in (
        (coarse.joints18_B183_mm, fine.joints18_B183_mm),
        (coarse.joints24_B243_mm, fine.joints24_B243_mm),
    ):
        gap_mm = (one - other).norm(dim=-1)
        assert gap_mm.mean() < 3
        assert gap_mm.max() < 15


def test_regressed_joints_stay_at_the_joints_when_the_body_bends(model):
    theta, betas = real_poses(64, seed=1)
    body = model(theta, betas)
    for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
        regressed = body.joints18_B183_mm[:, Joint[f"LEFT_{name.upper()}"]]
        kinematic = body.joints24_B243_mm[:, SMPL_JOINTS.index(f"left_{name}")]
        assert (regressed - kinematic).norm(dim=-1).mean() < 9, name


def test_regressor_rows_are_convex(model):
    for regressor in (model.joint_regressor_NV, model.J_regressor_JV):
        assert regressor.min() >= 0
        torch.testing.assert_close(regressor.sum(1), torch.ones(len(regressor)), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        model.weights_VJ.sum(1), torch.ones(model.n_vertices), atol=1e-6, rtol=0
    )


def test_the_first_shape_coefficient_makes_the_body_taller(model):
    betas = torch.zeros(3, 10)
    betas[:, 0] = torch.tensor((-2.0, 0.0, 2.0))
    heights = model(torch.zeros(3, 72), betas).vertices_BV3_mm[:, :, 1]
    short, middle, tall = (heights.amax(1) - heights.amin(1)).tolist()
    assert short + 100 < middle < tall - 100


def test_a_body_does_not_depend_on_its_batch(lite):
    theta, betas = real_poses(8)
    batch, alone = lite(theta, betas), lite(theta[3:4], betas[3:4])
    torch.testing.assert_close(batch.vertices_BV3_mm[3:4], alone.vertices_BV3_mm, atol=5e-3, rtol=0)


def test_gradients_reach_pose_and_shape_even_at_rest(lite):
    theta, betas = torch.zeros(2, 72, requires_grad=True), torch.zeros(2, 10, requires_grad=True)
    lite(theta, betas).joints18_B183_mm.square().sum().backward()
    for gradient in (theta.grad, betas.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


def test_the_model_works_in_double_precision(lite):
    theta, betas = real_poses(2)
    precise = BodyModel.load().double()(theta.double(), betas.double()).vertices_BV3_mm
    torch.testing.assert_close(
        precise.float(), lite(theta, betas).vertices_BV3_mm, atol=1e-2, rtol=0
    )


def test_a_pose_of_another_shape_is_refused(lite):
    with pytest.raises(ValueError, match=r"expected \(B, 72\)"):
        lite(torch.zeros(1, 69), torch.zeros(1, 10))


def test_a_shape_with_another_number_of_coefficients_is_refused(lite):
    with pytest.raises(InputError, match="300 coefficients"):
        lite(torch.zeros(1, 72), torch.zeros(1, 300))


def test_a_body_file_without_an_array_names_it(tmp_path, lite):
    arrays = read_body_arrays_of(lite)
    del arrays["weights"]
    np.savez(tmp_path / "body.npz", **arrays)
    with pytest.raises(AssetError, match="lacks weights"):
        BodyModel.load(tmp_path / "body.npz")


def test_a_body_file_with_python_objects_is_refused(tmp_path):
    np.savez(tmp_path / "body.npz", v_template=np.array([{"any": "object"}], dtype=object))
    with pytest.raises(AssetError, match="can't be read"):
        read_body_arrays(tmp_path / "body.npz")


def test_an_unknown_mesh_needs_its_own_joint_regressor(lite):
    arrays = read_body_arrays_of(lite)
    del arrays["joint_regressor_18"]
    with pytest.raises(AssetError, match="joint_regressor_18"):
        BodyModel(arrays)


def test_a_file_of_smpls_own_mesh_gets_its_18_joints_from_its_kinematic_ones(lite):
    arrays = read_body_arrays_of(lite)
    padding = 6890 - lite.n_vertices
    for name in ("v_template", "shapedirs", "weights"):
        widths = [(0, padding)] + [(0, 0)] * (arrays[name].ndim - 1)
        arrays[name] = np.pad(arrays[name], widths)
    arrays["weights"][-padding:, 0] = 1
    arrays["J_regressor"] = np.pad(arrays["J_regressor"], [(0, 0), (0, padding)])
    del arrays["joint_regressor_18"]
    body = at_rest(BodyModel(arrays))
    knee18 = body.joints18_B183_mm[0, Joint.LEFT_KNEE]
    knee24 = body.joints24_B243_mm[0, SMPL_JOINTS.index("left_knee")]
    torch.testing.assert_close(knee18, knee24, atol=1e-2, rtol=0)


def test_the_body_adds_nothing_to_a_networks_weights(lite):
    assert not lite.state_dict()
    assert not list(lite.parameters())
