"""Joints corrected together, and the marginals that the correction reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import Joint
from hemlets.models.codecs import expectation, marginals
from hemlets.models.codecs.volume import marginals_under, spreads
from hemlets.models.pose import PoseNetwork, PoseNetworkConfig
from hemlets.models.refinement import (
    CONTEXT_CHANNELS,
    CropContext,
    Evidence,
    JointRefinement,
)
from hemlets.training.config import LossConfig
from hemlets.training.objectives import PoseObjective


@pytest.fixture(params=[None, 4], ids=["joints", "context"])
def refinement(request: pytest.FixtureRequest) -> JointRefinement:
    torch.manual_seed(0)
    return JointRefinement(2, 8, 12, (32, 32, 64), request.param)


def evidence(context_side: int | None, **changes: Tensor) -> Evidence:
    """Evidence of two bodies."""
    torch.manual_seed(1)
    voxel = 30 * torch.rand(2, 18, 3)
    known = Evidence(
        voxel, torch.rand(2, 18, 64), torch.rand(2, 18, 3), voxel + 1, None,
        torch.randn(2, 8, 32, 32), torch.randn(2, 12),
    )  # fmt: skip
    if context_side is not None:
        known = known._replace(
            context_BCHW=torch.randn(2, CONTEXT_CHANNELS, context_side, context_side),
            keypoints_BK3=torch.rand(2, 17, 3),
            lowest_BJ=torch.zeros(2, 18),
        )
    return known._replace(**changes)


@torch.no_grad()
def refined(refinement: JointRefinement, **changes: Tensor) -> tuple[Tensor, Tensor]:
    """Joints of two bodies before and after."""
    given = evidence(refinement.context_side, **changes)
    return given.voxel_BJ3, refinement(given)


def test_it_changes_nothing_before_it_has_learnt(refinement: JointRefinement) -> None:
    before, after = refined(refinement)
    assert torch.equal(before, after)


def test_a_joint_whose_keypoint_is_sure_moves_in_depth_alone(refinement: JointRefinement) -> None:
    nn.init.normal_(refinement.correction.bias, 5.0)
    score = torch.full((2, 18), torch.nan)
    score[:, Joint.LEFT_WRIST] = 1.0
    changes = {"score_BJ": score}
    if refinement.context_side is not None:
        changes["lowest_BJ"] = score.nan_to_num(0.0)
    before, after = refined(refinement, **changes)
    moved = (after - before).abs()
    assert not moved[:, Joint.LEFT_WRIST, :2].any()
    assert moved[:, Joint.LEFT_WRIST, 2].min() > 1
    assert moved[:, Joint.HEAD_TOP, :2].min() > 1


def test_each_joint_depends_on_the_others(refinement: JointRefinement) -> None:
    nn.init.normal_(refinement.correction.weight)
    given = evidence(refinement.context_side)
    given.voxel_BJ3.requires_grad_()
    refinement(given)[0, Joint.LEFT_KNEE].sum().backward()
    assert given.voxel_BJ3.grad is not None
    assert (given.voxel_BJ3.grad[0].abs().sum(-1) > 0).all()


def test_with_context_each_place_of_the_crop_counts_and_where_it_is() -> None:
    torch.manual_seed(0)
    refinement = JointRefinement(2, 8, 12, (32, 32, 64), 4)
    nn.init.normal_(refinement.correction.weight)
    given = evidence(4)
    assert given.context_BCHW is not None
    given.context_BCHW.requires_grad_()
    found = refinement(given)
    found[0].sum().backward()
    assert given.context_BCHW.grad is not None
    assert (given.context_BCHW.grad[0].abs().sum(0) > 0).all()
    assert not given.context_BCHW.grad[1].any()
    moved = refined(refinement, context_BCHW=given.context_BCHW.detach().flip(-1))[1]
    assert (moved - found).abs().max() > 1e-3


def test_with_context_a_neck_between_sure_shoulders_keeps_its_place_in_the_image() -> None:
    torch.manual_seed(0)
    refinement = JointRefinement(2, 8, 12, (32, 32, 64), 4)
    nn.init.normal_(refinement.correction.bias, 5.0)
    score = torch.full((2, 18), torch.nan)
    lowest = torch.zeros(2, 18)
    lowest[:, Joint.NECK] = 0.8
    before, after = refined(refinement, score_BJ=score, lowest_BJ=lowest)
    moved = (after - before).abs()[..., :2]
    assert moved[:, Joint.NECK].max() < 0.001
    assert moved[:, Joint.LEFT_WRIST].min() > 1


def test_an_unsure_keypoint_says_nothing_of_its_position() -> None:
    torch.manual_seed(0)
    refinement = JointRefinement(2, 8, 12, (32, 32, 64), 4)
    nn.init.normal_(refinement.correction.weight)
    keypoints = torch.full((2, 17, 3), 0.05)
    moved = keypoints.clone()
    moved[..., :2] += 0.5
    results = [refined(refinement, keypoints_BK3=points)[1] for points in (keypoints, moved)]
    assert torch.equal(*results)
    for points in (keypoints, moved):
        points[..., 2] = 0.5
    results = [refined(refinement, keypoints_BK3=points)[1] for points in (keypoints, moved)]
    assert not torch.allclose(*results)


def test_context_is_every_level_at_its_place() -> None:
    torch.manual_seed(0)
    context = CropContext((3, 5, 7))
    levels = [torch.randn(1, 3, 8, 8), torch.randn(1, 5, 4, 4), torch.randn(1, 7, 2, 2)]
    before = context(levels)
    assert before.shape == (1, CONTEXT_CHANNELS, 2, 2)
    for number, last in enumerate((7, 3, 1)):
        changed = [level.clone() for level in levels]
        changed[number][..., last, last] += 1
        moved = (context(changed) - before).abs().sum(1)[0] > 1e-4
        assert moved.tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_pass_gives_both_marginals(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(2, 3, 6, 4, 5)).to(dtype).requires_grad_()
    evidence = 2 * torch.randn(2, 3, 4, 5)
    alone, both = marginals_under(logits, evidence)
    torch.testing.assert_close(alone, marginals(logits))
    torch.testing.assert_close(both, marginals(logits.float() + evidence[:, :, None]))
    assert not any(p.requires_grad for p in both)
    (alone[0] ** 2).sum().backward()
    gradient, logits.grad = logits.grad, None
    (marginals(logits)[0] ** 2).sum().backward()
    torch.testing.assert_close(gradient, logits.grad)
    for mine, theirs in zip(*marginals_under(logits, None), strict=True):
        assert torch.equal(mine, theirs)


def test_spreads_are_standard_deviations_in_voxels_of_the_whole_axis() -> None:
    p = torch.tensor([[[0.5, 0.0, 0.0, 0.5]]])
    assert spreads((p, p, p)).flatten().tolist() == [1.5] * 3
    assert spreads((p, p, p), (4, 8, 2)).flatten().tolist() == [1.5, 3.0, 0.75]


def network(**changes: object) -> PoseNetwork:
    torch.manual_seed(0)
    config = PoseNetworkConfig.from_mapping(
        {"backbone": "movenet_thunder", "crop_px": 128, "volume_cells": 16, "branch_channels": 16,
         "fusion_channels": 16, "keypoints": True, "lateral": True, **changes}
    )  # fmt: skip
    return PoseNetwork(config)


@pytest.mark.parametrize("context", [False, True])
def test_the_refinements_error_teaches_the_refinement_alone(context: bool) -> None:
    net = network(refinement_layers=1, refinement_context=context)
    nn.init.normal_(net.refinement.correction.weight)  # type: ignore[union-attr, arg-type]
    output = net(torch.randn(2, 3, 128, 128))
    alone, final = net.decode_both(output)
    torch.testing.assert_close(final.voxel_BJ3, net.decode(output).voxel_BJ3)
    torch.testing.assert_close(
        alone.voxel_BJ3, expectation(marginals(output.volume_BJDHW), net.config.volume.shape_xyz)
    )
    final.voxel_BJ3.sum().backward()
    taught = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert taught == {"refinement"} | ({"context"} if context else set())


def test_context_works_on_crops_of_another_size() -> None:
    net = network(refinement_layers=1, refinement_context=True).eval()
    with torch.no_grad():
        assert net.decode(net(torch.randn(1, 3, 96, 96))).voxel_BJ3.isfinite().all()


@pytest.mark.parametrize("changes", [{"refinement_layers": 0}, {"keypoints": False}])
def test_context_without_what_it_needs_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="refinement_context needs"):
        network(**{"refinement_layers": 1, "refinement_context": True, **changes})


def test_a_network_with_a_refinement_has_its_loss_beside_the_others() -> None:
    from hemlets.training.batches import Batch

    net = network(refinement_layers=1)
    zeros = torch.zeros
    ones = torch.ones(2, 18)
    batch = Batch(
        torch.randint(0, 255, (2, 128, 128, 3), dtype=torch.uint8), 8 + zeros(2, 18, 3), ones,
        ones, zeros(2, 14), zeros(2, 14), zeros(2, 14), zeros(2, 24, 3, 3), zeros(2, 10), zeros(2),
        zeros(2),
    )  # fmt: skip
    terms = PoseObjective(net, LossConfig(alpha=0.0, marginal=0.0))(batch)
    torch.testing.assert_close(terms["total"], terms["joints"] + terms["refined"])
    normalised = LossConfig(alpha=0.0, marginal=0.0, joint_units="normalised")
    fewer = PoseObjective(net, normalised)(batch)
    for name in ("joints", "refined"):
        torch.testing.assert_close(fewer[name] * net.config.volume_cells, terms[name])
    assert "refined" not in PoseObjective(network(), LossConfig())(batch)


def test_the_quarter_level_widens_the_finest_level_by_the_pooled_pyramid() -> None:
    plain, wide = network().eval(), network(quarter_level=True).eval()
    wide.backbone.load_state_dict(plain.backbone.state_dict())
    with torch.no_grad():
        image = torch.randn(1, 3, 128, 128)
        narrow, fine = (net.encode(image).levels[0] for net in (plain, wide))
        quarter = plain.backbone(image)[0]
    assert torch.equal(fine[:, : narrow.shape[1]], narrow)
    pooled = nn.functional.avg_pool2d(quarter[:, 40:64], 2)
    assert torch.equal(fine[:, narrow.shape[1] :], pooled)
    assert wide.level_channels == (fine.shape[1], *plain.level_channels[1:])


@pytest.mark.parametrize("changes", [{"backbone": "resnet18", "keypoints": False},
                                     {"volume_cells": 32}])  # fmt: skip
def test_a_quarter_level_that_is_not_there_or_in_already_is_refused(
    changes: dict[str, object],
) -> None:
    with pytest.raises(ConfigError, match="quarter_level needs"):
        network(quarter_level=True, **changes)
