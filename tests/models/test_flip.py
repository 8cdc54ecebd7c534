"""The flip test: a mirrored crop has the mirrored answer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hemlets.body import mirror_theta
from hemlets.core.skeleton import FLIP_JOINTS
from hemlets.models import HemletsPosh, PoseNetworkConfig, PoshOutput, ShapeNetworkConfig
from hemlets.models.flip_tta import flip_tta
from hemlets.models.pose import joint_confidence
from hemlets.models.posh import body_from

POSE = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=32)


@pytest.fixture(scope="module")
def model() -> HemletsPosh:
    torch.manual_seed(0)
    return HemletsPosh(POSE, ShapeNetworkConfig(hidden=32, blocks=1)).eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def _answers(model: HemletsPosh, image: Tensor) -> tuple[PoshOutput, PoshOutput]:
    return flip_tta(model, image), flip_tta(model, image.flip(-1))


def test_a_mirrored_crop_has_the_mirrored_answer(model: HemletsPosh, image: Tensor) -> None:
    plain, mirrored = _answers(model, image)
    joints = mirrored.decoded.voxel_BJ3[:, list(FLIP_JOINTS)].clone()
    joints[..., 0] = POSE.volume_cells - joints[..., 0]
    torch.testing.assert_close(plain.decoded.voxel_BJ3, joints, atol=1e-4, rtol=0)
    assert plain.pose.heatmap_BJHW is not None
    assert mirrored.pose.heatmap_BJHW is not None
    heatmaps = mirrored.pose.heatmap_BJHW[:, list(FLIP_JOINTS)].flip(-1)
    torch.testing.assert_close(plain.pose.heatmap_BJHW, heatmaps, atol=1e-5, rtol=0)
    rotation = mirror_theta(mirrored.shape.rotation_BR33)
    torch.testing.assert_close(plain.shape.rotation_BR33, rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(plain.shape.betas_BS, mirrored.shape.betas_BS, atol=1e-5, rtol=0)


def test_one_look_alone_does_not_have_it(model: HemletsPosh, image: Tensor) -> None:
    with torch.inference_mode():
        one, other = model(image), model(image.flip(-1))
    joints = other.decoded.voxel_BJ3[:, list(FLIP_JOINTS)].clone()
    joints[..., 0] = POSE.volume_cells - joints[..., 0]
    assert (one.decoded.voxel_BJ3 - joints).abs().max() > 1e-3


def test_the_average_lies_between_both_looks(model: HemletsPosh, image: Tensor) -> None:
    plain, _ = _answers(model, image)
    with torch.inference_mode():
        one, other = model(image), model(image.flip(-1))
    depth = other.decoded.voxel_BJ3[:, list(FLIP_JOINTS), 2]
    torch.testing.assert_close(
        plain.decoded.voxel_BJ3[..., 2], (one.decoded.voxel_BJ3[..., 2] + depth) / 2,
        atol=1e-4, rtol=0,
    )  # fmt: skip
    eye = torch.eye(3).expand(2, 24, 3, 3)
    rotation = plain.shape.rotation_BR33
    torch.testing.assert_close(rotation @ rotation.mT, eye, atol=1e-4, rtol=0)


def test_what_crop_and_mirror_image_gave_is_kept(model: HemletsPosh, image: Tensor) -> None:
    plain, _ = _answers(model, image)
    assert plain.passes_BHJ4 is not None
    with torch.inference_mode():
        for number, (out, mirrored) in enumerate(
            [(model(image), False), (model(image.flip(-1)), True)]
        ):
            joints, confidence = out.decoded.voxel_BJ3, joint_confidence(out.pose)
            if mirrored:
                joints, confidence = joints[:, list(FLIP_JOINTS)], confidence[:, list(FLIP_JOINTS)]
                joints = joints * torch.tensor([-1.0, 1, 1]) + torch.tensor(
                    [float(POSE.volume_cells), 0, 0]
                )
            seen = plain.passes_BHJ4[:, number]
            torch.testing.assert_close(seen[..., :3], joints, atol=1e-4, rtol=0)
            torch.testing.assert_close(seen[..., 3], confidence, atol=1e-5, rtol=0)


def test_the_body_is_that_of_the_averaged_joints(model: HemletsPosh, image: Tensor) -> None:
    plain, _ = _answers(model, image)
    with torch.inference_mode():
        features = model(image).pose.feature_BC, model(image.flip(-1)).pose.feature_BC
        seen = plain.decoded.voxel_BJ3
        back = seen[:, list(FLIP_JOINTS)] * torch.tensor([-1.0, 1, 1])
        back = back + torch.tensor([float(POSE.volume_cells), 0, 0])
        one, other = (
            body_from(joints, feature, model.shape, model.volume)
            for joints, feature in zip((seen, back), features, strict=True)
        )
    torch.testing.assert_close(
        plain.shape.betas_BS, (one.betas_BS + other.betas_BS) / 2, atol=1e-5, rtol=0
    )
