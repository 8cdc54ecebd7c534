"""Real rows with SMPL labels go through the body; where it differs, it is told why."""

import os
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from scipy.io import loadmat

from hemlets.body.export import export_mesh
from hemlets.body.smplify import Smplify
from hemlets.body.targets import FitTargets
from hemlets.core.skeleton import SMPL_JOINTS, SMPL_PARENTS

SAMPLES = Path(os.environ["HEMLETS_SAMPLES"])
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample data are not here")


def aligned(points, target):
    """Points (T, N, 3) laid on the target by rotation and translation, frame by frame."""
    points, target = (p - p.mean(1, keepdims=True) for p in (points, target))
    covariance = torch.from_numpy(np.einsum("tni,tnj->tij", target, points))
    rotation = roma.special_procrustes(covariance).numpy()
    return np.einsum("tij,tnj->tni", rotation, points), target


def chained(offset_J3, world_TJ33):
    """Joints of a skeleton of some bones, from each joint's rotation against the world."""
    at = np.zeros((len(world_TJ33), 24, 3))
    for joint in range(1, 24):
        parent = SMPL_PARENTS[joint]
        at[:, joint] = at[:, parent] + world_TJ33[:, parent] @ offset_J3[joint]
    return at


@pytest.fixture(scope="module")
def surreal(full_body):
    """SURREAL's θ, β and 24 joints (T, 24, 3), and the open body's of β = 0 with that θ."""
    clip = loadmat(SAMPLES / "surreal/01_01_c0001_info.mat")
    theta = torch.from_numpy(clip["pose"].T.astype(np.float32)).view(-1, 24, 3)
    betas = torch.from_numpy(clip["shape"].T.astype(np.float32))
    truth = clip["joints3D"].transpose(2, 1, 0) * 1000.0
    return theta, betas, truth, posed(full_body, theta, torch.zeros(1, 10))


def posed(body, theta, betas):
    with torch.inference_mode():
        return body(theta, betas).joints24_B243_mm.double().numpy()


def pelvis_aligned(points, target):
    """Points (T, 24, 3) turned frame by frame as the target, both with the pelvis at 0."""
    points, target = (p - p[:, :1] for p in (points, target))
    covariance = torch.from_numpy(np.einsum("tni,tnj->tij", target, points))
    rotation = roma.special_procrustes(covariance).numpy()
    return np.einsum("tij,tnj->tni", rotation, points), target


def mean_gap(pair):
    """Mean distance of the joints below the pelvis."""
    return np.linalg.norm(pair[0] - pair[1], axis=-1)[:, 1:].mean()


def bones_of(points, names):
    """Vectors (T, n, 3) from the joint above to each of these."""
    joints = [SMPL_JOINTS.index(name) for name in names]
    return points[:, joints] - points[:, [SMPL_PARENTS[joint] for joint in joints]]


LIMBS = [f"{side}_{joint}" for side in ("left", "right")
         for joint in ("knee", "ankle", "elbow", "wrist")]  # fmt: skip


def test_surreals_limbs_point_as_its_pose_says_and_are_longer_than_the_open_bodys(surreal):
    *_, truth, ours = surreal
    found, wanted = (bones_of(p, LIMBS) for p in pelvis_aligned(ours, truth))
    lengths = [np.linalg.norm(bone, axis=-1) for bone in (found, wanted)]
    cosine = np.einsum("tni,tni->tn", found, wanted) / lengths[0] / lengths[1]
    degrees = np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean(0)
    assert degrees.max() < 10
    assert degrees.mean() < 6
    ratio = (lengths[1] / lengths[0]).mean(0)
    assert ((ratio > 1.03) & (ratio < 1.27)).all()


def test_the_betas_of_another_bodys_space_make_it_worse_not_better(surreal, full_body):
    # β belongs to the body it was made for; the open body has a shape space of its own.
    theta, betas, truth, ours = surreal
    its_own = posed(full_body, theta, betas)
    assert 95 < mean_gap(pelvis_aligned(ours, truth)) < 115
    assert mean_gap(pelvis_aligned(its_own, truth)) > 130


def test_surreals_joints_follow_from_its_pose_but_for_the_bodys_bones(surreal):
    theta, _, truth, ours = surreal
    other_body = np.linalg.norm(np.subtract(*aligned(ours, truth)), axis=-1).mean()

    world = np.zeros((len(theta), 24, 3, 3))
    local = roma.rotvec_to_rotmat(theta.double()).numpy()
    world[:, 0] = local[:, 0]
    for joint in range(1, 24):
        world[:, joint] = world[:, SMPL_PARENTS[joint]] @ local[:, joint]
    # The bones that SURREAL's body has, found from its joints and our chain's rotations.
    bones, now = np.zeros((24, 3)), ours
    for _ in range(20):
        turned, middle = aligned(truth, now)
        del middle
        for joint in range(1, 24):
            parent = SMPL_PARENTS[joint]
            bone = turned[:, joint] - turned[:, parent]
            bones[joint] = np.einsum("tji,tj->ti", world[:, parent], bone).mean(0)
        now = chained(bones, world)
    same_bones = np.linalg.norm(np.subtract(*aligned(now, truth)), axis=-1).mean()

    assert same_bones < 2, "the chain turns as SURREAL's does"
    assert 60 < other_body < 130, "and the rest is another body's bones"


def test_human36ms_and_moshs_rows_pose_to_a_person_that_can_be_exported(tmp_path, lite_body):
    with np.load(SAMPLES / "human36m/h36m.npz") as rows, np.load(SAMPLES / "mosh/mosh.npz") as more:
        pose = np.concatenate([rows["pose"], more["pose"]]).astype(np.float32)
        shape = np.concatenate([rows["shape"], more["shape"]]).astype(np.float32)
    posed = lite_body(torch.from_numpy(pose), torch.from_numpy(shape))
    extent = posed.vertices_BV3_mm.amax(1) - posed.vertices_BV3_mm.amin(1)
    assert torch.isfinite(posed.vertices_BV3_mm).all()
    assert (extent.amax(1) > 800).all()
    assert (extent.amax(1) < 2600).all()
    export_mesh(tmp_path / "row.glb", posed.vertices_BV3_mm[0].numpy(), lite_body.faces_F3.numpy())
    assert (tmp_path / "row.glb").stat().st_size > 10_000


def test_a_body_is_fitted_to_joints_of_real_people(lite_body):
    with np.load(SAMPLES / "human36m/h36m_body3d.npz") as rows:
        joints17 = rows["S"][:, :17, :3] * 1000.0
    joints = np.concatenate([joints17, joints17[:, [11, 14]].mean(1, keepdims=True)], 1)
    fit = Smplify(lite_body).fit(FitTargets(joints_BN3_mm=torch.from_numpy(joints)))
    gap = (fit.joints_BN3_mm - torch.from_numpy(joints)).norm(dim=-1)
    # Other people's joints are not where this body has them, but near.
    assert gap.mean() < 35
