"""Pixels as the networks take them."""

import pytest
import torch

from hemlets.data.transforms import normalise


def test_normalised_pixels_are_those_of_imagenet() -> None:
    image = torch.tensor([[[[124, 116, 104]]]], dtype=torch.uint8)
    x = normalise(image)
    assert x.shape == (1, 3, 1, 1)
    expected = [
        (124 / 255 - 0.485) / 0.229,
        (116 / 255 - 0.456) / 0.224,
        (104 / 255 - 0.406) / 0.225,
    ]
    assert x.flatten().tolist() == pytest.approx(expected, abs=1e-6)
