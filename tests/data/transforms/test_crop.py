"""Crops: one similarity, held by coordinates and pixels alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from hemlets.core.errors import InputError
from hemlets.core.skeleton import FLIP_JOINTS, FLIP_PARTS
from hemlets.data.transforms import AugmentationConfig, Crop, draw_augmentation, square_crop
from hemlets.data.transforms.crop import CONTEXT
from hemlets.models.codecs import encode_heatmaps, encode_triplets

CROPS = st.builds(
    Crop,
    centre_px=st.tuples(st.floats(20, 400), st.floats(20, 400)),
    side_px=st.floats(30, 900),
    size_px=st.sampled_from([64, 128]),
    angle_rad=st.floats(-np.pi, np.pi),
    flip=st.booleans(),
)


def _dot(image_px: int, at: npt.NDArray[Any], radius: float) -> npt.NDArray[Any]:
    """A bright blob of continuous centre, pixel centres at +0.5."""
    centres = np.arange(image_px) + 0.5
    distance = (centres[None] - at[0]) ** 2 + (centres[:, None] - at[1]) ** 2
    blob = 255 * np.exp(-distance / (2 * radius**2))
    return np.repeat(blob.round().astype(np.uint8)[..., None], 3, 2)


def _centroid(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    weight = image[..., 0].astype(float)
    centres = np.arange(len(image)) + 0.5
    x, y = (weight.sum(0) * centres).sum(), (weight.sum(1) * centres).sum()
    return np.array([x, y], float) / float(weight.sum())


@settings(deadline=None)
@given(crop=CROPS, points=st.lists(st.tuples(*[st.floats(-500, 900)] * 2), min_size=1))
def test_to_image_undoes_to_crop(crop: Crop, points: Any) -> None:
    there = crop.to_crop(np.array(points))
    np.testing.assert_allclose(crop.to_image(there), points, atol=1e-7)


def test_the_middle_stays_and_a_positive_angle_turns_clockwise_as_seen() -> None:
    crop = Crop(centre_px=(50, 40), side_px=100, size_px=200, angle_rad=np.pi / 2)
    np.testing.assert_allclose(crop.to_crop(np.array([50.0, 40.0])), [100, 100])
    np.testing.assert_allclose(crop.to_crop(np.array([60.0, 40.0])), [100, 120], atol=1e-9)


def test_a_flip_mirrors_after_the_turn() -> None:
    turned = Crop(centre_px=(50, 40), side_px=100, size_px=100, angle_rad=0.3)
    flipped = Crop(centre_px=(50, 40), side_px=100, size_px=100, angle_rad=0.3, flip=True)
    points = np.array([[10.0, 20.0], [70.0, 60.0]])
    expected = turned.to_crop(points) * [-1, 1] + [100, 0]
    np.testing.assert_allclose(flipped.to_crop(points), expected)


@pytest.mark.parametrize("seed", range(24))
def test_a_bright_dot_lands_where_to_crop_says(seed: int) -> None:
    # A confusion of pixel centres with corners is off by half a pixel: ten times the tolerance.
    rng = np.random.default_rng(seed)
    shrink = [rng.uniform(0.6, 2.0), rng.uniform(2.01, 2.99), rng.uniform(3, 9)][seed % 3]
    size = 96
    image_px = int(size * shrink * 1.3) + int(rng.integers(0, 7))
    crop = Crop(
        centre_px=(image_px / 2 + rng.uniform(-9, 9), image_px / 2 + rng.uniform(-9, 9)),
        side_px=size * shrink,
        size_px=size,
        angle_rad=rng.uniform(-np.pi, np.pi),
        flip=bool(rng.integers(2)),
    )
    at = crop.to_image(rng.uniform(30, 66, 2))
    found = _centroid(crop.extract(_dot(image_px, at, radius=3 * shrink)))
    np.testing.assert_allclose(found, crop.to_crop(at), atol=0.05)


def test_an_unturned_crop_of_its_own_size_is_the_image_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    crop = Crop(centre_px=(32, 32), side_px=64, size_px=64)
    assert np.array_equal(crop.extract(image), image)


def test_what_lies_outside_the_image_is_black() -> None:
    crop = Crop(centre_px=(0, 0), side_px=64, size_px=64)
    pixels = crop.extract(np.full((64, 64, 3), 200, np.uint8))
    assert not pixels[:31, :31].any()
    assert (pixels[33:, 33:] == 200).all()


def test_shrinking_averages_fine_patterns_away() -> None:
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 200
    crop = Crop(centre_px=(400, 400), side_px=800, size_px=100)
    assert np.abs(crop.extract(stripes).astype(int) - 100).max() <= 1


@pytest.mark.parametrize("shape", [(1, 5000, 3), (5000, 1, 3), (3, 40_000, 3), (1, 1, 3)])
def test_images_of_odd_shape_can_be_cropped(shape: Any) -> None:
    crop = square_crop((0, 0, shape[1], shape[0]), 64)
    assert crop.extract(np.full(shape, 9, np.uint8)).shape == (64, 64, 3)


def test_square_crop_surrounds_the_box_with_context() -> None:
    crop = square_crop((10, 20, 50, 120), 128)
    assert crop.centre_px == (30, 70)
    assert crop.side_px == pytest.approx(CONTEXT * 100)


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 9), (5, 0, 4, 9), (0, 9, 5, 2), (0, 0, np.nan, 5), (0, 0, np.inf, 5)]
)
def test_a_box_without_area_is_refused(box: Any) -> None:
    with pytest.raises(InputError, match="has no area"):
        square_crop(box, 64)


@pytest.mark.parametrize("seed", range(6))
def test_moving_a_sample_then_encoding_equals_encoding_then_moving(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = 64
    plain = square_crop((100, 80, 220, 300), 256)
    draw = draw_augmentation(AugmentationConfig(), (seed, 0, 1))
    moved = Crop(
        centre_px=plain.centre_px,
        side_px=plain.side_px / draw.scale,
        size_px=256,
        angle_rad=draw.angle_rad,
        flip=draw.flip,
    )
    points = plain.to_image(rng.uniform(80, 176, (18, 2)))

    def encode(crop: Crop) -> npt.NDArray[Any]:
        cells = torch.from_numpy(crop.to_crop(points))[None] * size / 256
        return encode_heatmaps(cells, size, 2.0)[0].numpy()

    # Each cell of the moved map looks up where it came from, by spline and in plain NumPy.
    grid = np.stack(np.meshgrid(*[np.arange(size) + 0.5] * 2), -1) * 256 / size
    source = plain.to_crop(moved.to_image(grid)) * size / 256 - 0.5
    for before, after in zip(encode(plain), encode(moved), strict=True):
        carried = map_coordinates(before, [source[..., 1], source[..., 0]], order=3)
        carried = np.repeat(np.clip(carried, 0, None)[..., None], 3, 2)
        there = _centroid(np.repeat(after[..., None], 3, 2))
        np.testing.assert_allclose(_centroid(carried), there, atol=0.05)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_flipping_commutes_with_encoding_exactly(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    size = 16
    # Sixteenths are exact in float32, so that mirrored distances are equal to the bit.
    points = torch.randint(0, 16 * size, (2, 18, 2), generator=generator) / 16
    relation = torch.randint(-1, 2, (2, 14), generator=generator)
    mirrored = points[:, list(FLIP_JOINTS)].clone()
    mirrored[..., 0] = size - mirrored[..., 0]
    heatmap, flipped = encode_heatmaps(points, size, 0.5), encode_heatmaps(mirrored, size, 0.5)
    assert torch.equal(flipped, heatmap[:, list(FLIP_JOINTS)].flip(-1))
    triplet = encode_triplets(heatmap, relation)
    expected = triplet[:, list(FLIP_PARTS)].flip(-1)
    assert torch.equal(encode_triplets(flipped, relation[:, list(FLIP_PARTS)]), expected)
