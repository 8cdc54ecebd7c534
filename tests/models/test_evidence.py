"""What the encoder's keypoints say of joints in the image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import Joint
from hemlets.models.codecs import VolumeSpec
from hemlets.models.evidence import KeypointEvidence
from hemlets.models.pose import (
    PoseNetwork,
    PoseNetworkConfig,
    PoseOutput,
    decode,
    joint_confidence,
)

MAPS = torch.zeros(1, 1, 32, 32)
LEFT_HIP, RIGHT_HIP, LEFT_WRIST = 11, 12, 9
VOLUME = VolumeSpec(crop_px=256, cells=32, depth_cells=64)


def keypoints(**places: tuple[float, float, float]) -> Tensor:
    """All in the middle with a score of 0, but for those that are named."""
    found = torch.tensor([0.5, 0.5, 0.0]).repeat(1, 17, 1)
    numbers = {"left_hip": LEFT_HIP, "right_hip": RIGHT_HIP, "left_wrist": LEFT_WRIST}
    for name, place in places.items():
        found[0, numbers[name]] = torch.tensor(place)
    return found


def decoded(volume_JDHW: Tensor, evidence: Tensor | None) -> Tensor:
    output = PoseOutput(volume_JDHW[None], None, None, torch.zeros(1, 1), evidence)
    return decode(output, VOLUME).voxel_BJ3[0]


def test_a_sure_keypoint_puts_the_joint_there_where_the_volume_has_no_opinion() -> None:
    evidence = KeypointEvidence()(keypoints(left_wrist=(0.31, 0.72, 0.9)), MAPS)[0]
    x, y, z = decoded(torch.zeros(18, 64, 32, 32), evidence)[Joint.LEFT_WRIST].tolist()
    # A tenth of the probability says nothing, and its mean is the middle.
    assert x / 32 == pytest.approx(0.9 * 0.31 + 0.1 * 0.5, abs=2e-3)
    assert y / 32 == pytest.approx(0.9 * 0.72 + 0.1 * 0.5, abs=2e-3)
    assert z == pytest.approx(32.0, abs=1e-3)


def test_depth_is_what_the_volume_says_at_the_keypoint() -> None:
    volume = torch.zeros(18, 64, 32, 32)
    volume[:, 10, :, :16] = 40.0
    volume[:, 50, :, 16:] = 40.0
    for x, cell in ((0.2, 10.5), (0.8, 50.5)):
        evidence = KeypointEvidence()(keypoints(left_wrist=(x, 0.5, 1.0)), MAPS)[0]
        assert decoded(volume, evidence)[Joint.LEFT_WRIST, 2] == pytest.approx(cell, abs=0.5)


def test_a_volume_that_is_surer_than_the_keypoint_wins() -> None:
    volume = torch.zeros(18, 64, 32, 32)
    volume[:, :, 4, 28] = 30.0
    evidence = KeypointEvidence()(keypoints(left_wrist=(0.2, 0.8, 0.5)), MAPS)[0]
    found = decoded(volume, evidence)[Joint.LEFT_WRIST, :2]
    torch.testing.assert_close(found, torch.tensor([28.5, 4.5]), atol=0.05, rtol=0)


def test_a_score_of_nothing_leaves_the_volume_alone() -> None:
    evidence, _ = KeypointEvidence()(keypoints(left_wrist=(0.2, 0.8, 0.9)), MAPS)
    speaking = evidence.flatten(2).amax(-1)[0] > 1e-6
    assert speaking.nonzero().flatten().tolist() == [Joint.LEFT_WRIST]


def test_the_pelvis_lies_between_the_hips_and_is_as_sure_as_the_less_sure_one() -> None:
    hips = keypoints(left_hip=(0.6, 0.5, 0.9), right_hip=(0.4, 0.4, 0.3))
    evidence, score = KeypointEvidence()(hips, MAPS)
    assert score[0, Joint.PELVIS] == pytest.approx(0.3)
    peak = evidence[0, Joint.PELVIS].flatten().argmax().item()
    assert divmod(peak, 32) in {(14, 15), (14, 16)}
    assert evidence[0, Joint.PELVIS].max() < evidence[0, Joint.LEFT_HIP].max()


def test_between_two_people_the_neck_is_that_of_the_shoulders_and_the_nose() -> None:
    """The volume sees a neck at both; the keypoints tell whose."""
    found = keypoints()
    for name, place in ((0, (0.25, 0.2)), (5, (0.35, 0.4)), (6, (0.15, 0.4))):
        found[0, name] = torch.tensor([*place, 0.8])
    volume = torch.zeros(18, 64, 32, 32)
    volume[:, :, 10, 8] = volume[:, :, 10, 24] = 10.0
    evidence, score = KeypointEvidence()(found, MAPS)
    x, y = decoded(volume, evidence)[Joint.NECK, :2].tolist()
    assert (x, y) == pytest.approx((8.5, 10.5), abs=0.5)
    assert score[0, [Joint.SPINE, Joint.NECK, Joint.HEAD_TOP]].isnan().all()


def test_the_volume_is_taught_without_the_keypoints() -> None:
    torch.manual_seed(0)
    config = PoseNetworkConfig(
        backbone="movenet_thunder", crop_px=128, volume_cells=16, depth_cells=32, keypoints=True
    )
    network = PoseNetwork(config).eval()
    with torch.no_grad():
        output = network(torch.randn(1, 3, 128, 128))
    assert output.volume_BJDHW.shape == (1, 18, 32, 16, 16)
    assert output.evidence_BJHW is not None
    alone = decode(output._replace(evidence_BJHW=None), config.volume).voxel_BJ3
    assert torch.equal(network.decode_alone(output).voxel_BJ3, alone)
    both = decode(output._replace(evidence_BJHW=3 * torch.randn(1, 18, 16, 16)), config.volume)
    assert not torch.allclose(both.voxel_BJ3, alone)


def test_backbones_without_keypoints_are_refused() -> None:
    with pytest.raises(ConfigError, match="resnet18 gives no keypoints"):
        PoseNetworkConfig.from_mapping({"keypoints": True})


def test_depth_has_cells_of_its_own() -> None:
    assert VOLUME.shape_xyz == (32, 32, 64)
    assert VOLUME.cell_mm == 31.25
    voxels = VOLUME.to_voxels(torch.tensor([[[128.0, 64.0]]]), torch.tensor([[250.0]]))
    assert voxels.flatten().tolist() == [16.0, 8.0, 40.0]
    crop_px, depth_mm = VOLUME.from_voxels(voxels)
    assert crop_px.flatten().tolist() == [128.0, 64.0]
    assert depth_mm.item() == 250.0


def test_a_joints_confidence_is_its_keypoints_score_and_else_its_heatmaps_peak() -> None:
    _, score = KeypointEvidence()(keypoints(left_wrist=(0.2, 0.8, 0.9)), MAPS)
    heatmap = torch.full((1, 18, 32, 32), 0.1)
    heatmap[0, :, 3, 3] = 0.4
    output = PoseOutput(torch.zeros(1, 18, 64, 32, 32), heatmap, None, torch.zeros(1, 1))
    assert joint_confidence(output) == pytest.approx(torch.full((1, 18), 0.4))
    found = joint_confidence(output._replace(score_BJ=score))
    assert found is not None
    assert found[0, Joint.LEFT_WRIST] == pytest.approx(0.9)
    assert found[0, Joint.HEAD_TOP] == pytest.approx(0.4)
    assert found[0, Joint.RIGHT_ANKLE] == 0
    assert joint_confidence(output._replace(heatmap_BJHW=None)).isnan().all()


def test_a_joint_is_as_sure_as_the_least_sure_keypoint_that_it_is_expected_by() -> None:
    hips = keypoints(left_hip=(0.6, 0.5, 0.9), right_hip=(0.4, 0.4, 0.3))
    lowest = KeypointEvidence().lowest_scores(hips)[0]
    assert lowest[Joint.PELVIS] == pytest.approx(0.3)
    assert lowest[Joint.LEFT_HIP] == pytest.approx(0.9)
    assert lowest[Joint.SPINE] == lowest[Joint.NECK] == 0
