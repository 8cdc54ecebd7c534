"""Targets against slow, obvious twins; the volume's decoding against the plain softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hemlets.core.skeleton import PARTS
from hemlets.models.codecs import (
    VolumeSpec,
    encode_heatmaps,
    encode_triplets,
    expectation,
    marginals,
)


def _random(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale


def test_heatmaps_equal_a_plain_loop() -> None:
    points = torch.rand(2, 18, 2, generator=torch.Generator().manual_seed(0)) * 20 - 4
    heatmap = encode_heatmaps(points, 12, 1.5)
    for b, j, y, x in np.ndindex(2, 18, 12, 12):
        dx, dy = x + 0.5 - float(points[b, j, 0]), y + 0.5 - float(points[b, j, 1])
        expected = math.exp(-(dx**2 + dy**2) / (2 * 1.5**2))
        assert float(heatmap[b, j, y, x]) == pytest.approx(expected, abs=1e-6)


def test_a_point_at_a_cell_centre_has_a_peak_of_one() -> None:
    heatmap = encode_heatmaps(torch.tensor([[[3.5, 7.5]]]), 12, 2.0)
    assert heatmap[0, 0, 7, 3] == 1.0
    assert heatmap.max() == 1.0


def test_triplets_equal_a_plain_loop() -> None:
    points = torch.rand(3, 18, 2, generator=torch.Generator().manual_seed(2)) * 12
    heatmap = encode_heatmaps(points, 12, 1.5)
    relation = torch.randint(-1, 2, (3, 14), generator=torch.Generator().manual_seed(3))
    triplet = encode_triplets(heatmap, relation)
    assert triplet.shape == (3, 14, 3, 12, 12)
    for b in range(3):
        for k, part in enumerate(PARTS):
            states = {-1: torch.zeros(12, 12), 0: heatmap[b, part.parent], 1: torch.zeros(12, 12)}
            state = int(relation[b, k])
            states[state] = torch.maximum(states[state], heatmap[b, part.child])
            expected = torch.stack([states[-1], states[0], states[1]])
            assert torch.equal(triplet[b, k], expected)


def test_level_joints_that_overlap_take_the_maximum_and_not_the_sum() -> None:
    points = torch.full((1, 18, 2), 6.5)
    triplet = encode_triplets(encode_heatmaps(points, 12, 2.0), torch.zeros(1, 14))
    assert triplet.max() == 1.0


@pytest.mark.parametrize("kind", ["int", "float"])
def test_relations_may_come_as_the_loader_gives_them(kind: str) -> None:
    heatmap = encode_heatmaps(torch.rand(1, 18, 2) * 12, 12, 2.0)
    relation = torch.ones(1, 14, dtype=torch.int8 if kind == "int" else torch.float32)
    triplet = encode_triplets(heatmap, relation)
    assert not triplet[:, :, 0].any()
    assert torch.equal(triplet[:, :, 2], heatmap[:, [part.child for part in PARTS]])


def _plain_marginals(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    p = torch.softmax(logits.flatten(2), -1).view_as(logits)
    return p.sum((2, 3)), p.sum((2, 4)), p.sum((3, 4))


def _layouts(logits: torch.Tensor) -> dict[str, torch.Tensor]:
    b, j, d, h, w = logits.shape
    convolved = logits.reshape(b, j * d, h, w).contiguous(memory_format=torch.channels_last)
    return {
        "contiguous": logits.contiguous(),
        "channels last": torch.unflatten(convolved, 1, (j, d)),
    }


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_marginals_and_their_gradient_equal_the_plain_softmax(layout: str) -> None:
    logits = _layouts(_random(2, 3, 4, 5, 6, scale=3))[layout].detach().requires_grad_()
    plain = logits.detach().clone().requires_grad_()
    found, expected = marginals(logits), _plain_marginals(plain)
    weights = [_random(*p.shape, seed=i) for i, p in enumerate(expected)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-14, rtol=1e-12)
    torch.autograd.backward([(w * p).sum() for w, p in zip(weights, found, strict=True)])
    torch.autograd.backward([(w * p).sum() for w, p in zip(weights, expected, strict=True)])
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, plain.grad, atol=1e-14, rtol=1e-10)


def test_evidence_of_the_image_is_added_at_every_depth_and_leaves_the_gradient_exact() -> None:
    logits = _random(2, 3, 4, 5, 6, scale=3).requires_grad_()
    plain = logits.detach().clone().requires_grad_()
    evidence = _random(2, 3, 5, 6, scale=4, seed=7)
    found = marginals(logits, evidence)
    expected = _plain_marginals(plain + evidence[:, :, None])
    weights = [_random(*p.shape, seed=i) for i, p in enumerate(expected)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-14, rtol=1e-12)
    torch.autograd.backward([(w * p).sum() for w, p in zip(weights, found, strict=True)])
    torch.autograd.backward([(w * p).sum() for w, p in zip(weights, expected, strict=True)])
    torch.testing.assert_close(logits.grad, plain.grad, atol=1e-14, rtol=1e-10)


def soft_argmax(logits: torch.Tensor, cells: int | None = None) -> torch.Tensor:
    return expectation(marginals(logits), cells)


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_the_gradient_passes_gradcheck(layout: str) -> None:
    logits = _layouts(_random(1, 2, 3, 4, 3))[layout].detach().requires_grad_()
    assert torch.autograd.gradcheck(marginals, logits)
    assert torch.autograd.gradcheck(soft_argmax, logits)


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    logits = _random(1, 1, 2, 2, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(soft_argmax(logits)[0, 0, 0], logits, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.backward(gradient.sum())


def test_one_marginal_alone_gives_its_gradient() -> None:
    logits = _random(1, 2, 3, 4, 5).requires_grad_()
    plain = logits.detach().clone().requires_grad_()
    torch.autograd.backward(marginals(logits)[1][..., 2].sum())
    torch.autograd.backward(_plain_marginals(plain)[1][..., 2].sum())
    torch.testing.assert_close(logits.grad, plain.grad)


def test_the_logits_are_left_as_they_are() -> None:
    logits = _random(1, 2, 3, 4, 5)
    before = logits.clone()
    soft_argmax(logits)
    assert torch.equal(logits, before)


def test_soft_argmax_equals_a_plain_loop() -> None:
    logits = _random(1, 2, 3, 4, 5, scale=2)
    for j in range(2):
        weight = {i: math.exp(float(logits[0, j][i])) for i in np.ndindex(3, 4, 5)}
        total = sum(weight.values())
        mean = [sum(w * (i[axis] + 0.5) for i, w in weight.items()) / total for axis in (2, 1, 0)]
        np.testing.assert_allclose(soft_argmax(logits)[0, j], mean, rtol=1e-12)


def test_an_axis_of_fewer_entries_spans_the_same_voxels() -> None:
    logits = _random(2, 3, 8, 4, 4, scale=2)
    fine, coarse = soft_argmax(logits), soft_argmax(logits, 8)
    torch.testing.assert_close(coarse[..., :2], 2 * fine[..., :2])
    torch.testing.assert_close(coarse[..., 2], fine[..., 2])


def test_bfloat16_logits_are_decoded_in_float32() -> None:
    logits = _random(2, 18, 16, 16, 16, scale=5).to(torch.bfloat16).requires_grad_()
    found = soft_argmax(logits)
    assert found.dtype == torch.float32
    exact = expectation(_plain_marginals(logits.detach().double()))
    assert (found - exact).abs().max() < 1e-4
    torch.autograd.backward(found.sum())
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16


def test_extreme_logits_stay_finite() -> None:
    logits = _random(1, 2, 4, 4, 4, scale=1e30).float().requires_grad_()
    torch.autograd.backward(soft_argmax(logits).sum())
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_single_hot_voxel_decodes_to_its_centre() -> None:
    logits = torch.full((1, 1, 8, 8, 8), -100.0)
    logits[0, 0, 6, 2, 5] = 100.0
    assert soft_argmax(logits)[0, 0].tolist() == [5.5, 2.5, 6.5]


def test_voxels_and_crop_coordinates_are_inverse() -> None:
    volume = VolumeSpec(crop_px=256, cells=64)
    points, depth = torch.rand(2, 18, 2) * 256, torch.rand(2, 18) * 2000 - 1000
    back_points, back_depth = volume.from_voxels(volume.to_voxels(points, depth))
    torch.testing.assert_close(back_points, points)
    torch.testing.assert_close(back_depth, depth, atol=1e-3, rtol=0)


def test_the_pelvis_lies_in_the_middle_of_the_volumes_depth() -> None:
    volume = VolumeSpec(crop_px=256, cells=64)
    voxel = volume.to_voxels(torch.tensor([[[128.0, 0.0]]]), torch.zeros(1, 1))
    assert voxel[0, 0].tolist() == [32.0, 0.0, 32.0]
    assert volume.cell_mm == 31.25
    assert volume.cell_px == 4.0
