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
from hemlets.skeleton import SMPL_PARENTS

SAMPLES = Path(os.environ.get("HEMLETS_SAMPLES", "../shared/samples"))
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


def test_surreals_joints_follow_from_its_pose_but_for_the_bodys_bones(full_body):
    clip = loadmat(SAMPLES / "surreal/01_01_c0001_info.mat")
    theta = torch.from_numpy(clip["pose"].T.astype(np.float32)).view(-1, 24, 3)
    truth = clip["joints3D"].transpose(2, 1, 0) * 1000.0
    with torch.inference_mode():
        ours = full_body(theta, torch.zeros(1, 10)).joints24_B243_mm.double().numpy()
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
