"""2s-, 3s- and 5s-HEM against a plain loop that follows the paper's words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from hemlets.core.skeleton import FLIP_JOINTS, FLIP_PARTS, PARTS, depth_relations
from hemlets.models.codecs import (
    States,
    encode_heatmaps,
    encode_triplets,
    known_layers,
    layers,
    steepness,
)

SIZE = 12
VARIANTS: list[States] = [2, 3, 5]


def _poses(count: int = 8) -> np.ndarray[Any, Any]:
    # Depth is drawn wider than the plane, so that every range of tilt occurs.
    return np.random.default_rng(3).normal(0, (250, 250, 400), (count, 18, 3))


def _relations(poses: np.ndarray[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    relation, _ = depth_relations(poses)
    steep = steepness(poses, np.ones(poses.shape[:-1], bool))
    return torch.from_numpy(relation).float(), torch.from_numpy(steep).float()


def _places(tilt_deg: float, states: States) -> tuple[int, int]:
    """Layer of the parent and of the child, from −2 to 2, by the angle alone."""
    if states == 5:
        edges = [-60, -30, 30, 60]
        return 0, sum(tilt_deg > edge for edge in edges) - 2
    side = 0 if abs(tilt_deg) <= 30 else int(math.copysign(1, tilt_deg))
    return (0, side) if states == 3 else (-side, side)


@pytest.mark.parametrize("states", VARIANTS)
def test_layers_are_those_of_the_parts_angles(states: States) -> None:
    poses = _poses()
    points = torch.rand(len(poses), 18, 2, generator=torch.Generator().manual_seed(0)) * SIZE
    heatmap = encode_heatmaps(points, SIZE, 1.5)
    found = encode_triplets(heatmap, *_relations(poses), states)
    assert found.shape == (len(poses), 14, layers(states), SIZE, SIZE)
    used = set()
    for b, pose in enumerate(poses):
        for k, part in enumerate(PARTS):
            bone = pose[part.parent] - pose[part.child]
            tilt_deg = math.degrees(math.asin(bone[2] / np.linalg.norm(bone)))
            expected = torch.zeros(layers(states), SIZE, SIZE)
            for place, joint in zip(_places(tilt_deg, states), (part.parent, part.child),
                                    strict=True):  # fmt: skip
                at = place + layers(states) // 2
                expected[at] = torch.maximum(expected[at], heatmap[b, joint])
                used.add(at)
            assert torch.equal(found[b, k], expected), (part.name, tilt_deg)
    assert used == set(range(layers(states)))


@pytest.mark.parametrize("states", VARIANTS)
def test_mirroring_commutes_with_encoding_exactly(states: States) -> None:
    generator = torch.Generator().manual_seed(5)
    # Sixteenths are exact in float32, so that mirrored distances are equal to the bit.
    points = torch.randint(0, 16 * SIZE, (8, 18, 2), generator=generator) / 16
    mirrored = points[:, list(FLIP_JOINTS)].clone()
    mirrored[..., 0] = SIZE - mirrored[..., 0]
    relation, steep = _relations(_poses())
    parts = list(FLIP_PARTS)
    before = encode_triplets(encode_heatmaps(points, SIZE, 0.5), relation, steep, states)
    after = encode_triplets(
        encode_heatmaps(mirrored, SIZE, 0.5), relation[:, parts], steep[:, parts], states
    )
    assert torch.equal(after, before[:, parts].flip(-1))


@pytest.mark.parametrize("states", VARIANTS)
def test_an_unknown_part_is_masked_in_every_layer(states: States) -> None:
    known = torch.ones(1, 14)
    known[0, 4] = 0
    mask = known_layers(torch.zeros(1, 14), known, torch.full((1, 14), -1.0), states)
    assert mask.shape == (1, 14, layers(states))
    assert not mask[0, 4].any()
    assert mask[0, 5].all()


@pytest.mark.parametrize("states", [2, 3])
def test_a_relation_tells_all_that_two_and_three_states_ask(states: States) -> None:
    relation = torch.tensor([[-1.0, 0.0, 1.0]])
    unknown = torch.full((1, 3), -1.0)
    assert known_layers(relation, torch.ones(1, 3), unknown, states).all()


@pytest.mark.parametrize(
    ("relation", "mask"),
    [(-1, [0, 0, 1, 1, 1]), (0, [1, 1, 1, 1, 1]), (1, [1, 1, 1, 0, 0])],
)
def test_of_five_states_a_relation_leaves_open_the_two_on_its_side(
    relation: int, mask: list[int]
) -> None:
    relations, unknown = torch.full((1, 14), float(relation)), torch.full((1, 14), -1.0)
    found = known_layers(relations, torch.ones(1, 14), unknown, 5)
    assert found[0, 3].tolist() == mask
    known = known_layers(relations, torch.ones(1, 14), torch.ones(1, 14), 5)
    assert known.all()


def test_what_five_states_keep_of_a_relation_agrees_with_the_truth() -> None:
    relation, steep = _relations(_poses())
    heatmap = encode_heatmaps(torch.rand(8, 18, 2) * SIZE, SIZE, 1.5)
    unknown = torch.full_like(steep, -1.0)
    mask = known_layers(relation, torch.ones_like(relation), unknown, 5)[..., None, None]
    truth = encode_triplets(heatmap, relation, steep, 5)
    assert torch.equal(truth * mask, encode_triplets(heatmap, relation, unknown, 5) * mask)


def test_steepness_is_unknown_where_a_joint_is() -> None:
    poses, valid = _poses(1), np.ones((1, 18), bool)
    valid[0, PARTS[6].child] = False
    found = steepness(poses, valid)[0]
    touched = [k for k, part in enumerate(PARTS) if PARTS[6].child in (part.parent, part.child)]
    assert [k for k in range(14) if found[k] == -1] == touched


def test_five_states_without_steepness_are_a_mistake() -> None:
    with pytest.raises(TypeError, match="steep_BK"):
        encode_triplets(torch.zeros(1, 18, 4, 4), torch.zeros(1, 14), None, 5)


@pytest.mark.parametrize("states", VARIANTS)
def test_turning_and_scaling_a_sample_moves_its_layers_alike(states: States) -> None:
    # Depth is not touched by either, so each layer's centroid moves as its joint does.
    size, angle, factor = 64, 0.5, 1.2
    poses = _poses(2)
    relation, steep = _relations(poses)
    points = torch.rand(2, 18, 2, generator=torch.Generator().manual_seed(8)) * 16 + 24
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = (points - size / 2) @ turn.T * factor + size / 2

    def centroids(at: torch.Tensor) -> torch.Tensor:
        layers_BKLHW = encode_triplets(encode_heatmaps(at, size, 2.0), relation, steep, states)
        # Where two joints share a layer the maximum has no single place.
        centres = torch.arange(size) + 0.5
        mass = layers_BKLHW.sum((-1, -2)).clamp(min=1e-6)
        x = (layers_BKLHW.sum(-2) * centres).sum(-1) / mass
        y = (layers_BKLHW.sum(-1) * centres).sum(-1) / mass
        return torch.stack([x, y], -1)

    alone = (relation != 0)[..., None] & (
        encode_triplets(encode_heatmaps(points, size, 2.0), relation, steep, states).amax((-1, -2))
        > 0.5
    )
    before = (centroids(points)[alone] - size / 2) @ turn.T * factor + size / 2
    assert len(before) > 10
    torch.testing.assert_close(centroids(moved)[alone], before, atol=0.05, rtol=0)
