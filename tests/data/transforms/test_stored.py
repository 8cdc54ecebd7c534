"""Crops from stored bytes: what the whole image would have given, for less."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hemlets.core.errors import InputError
from hemlets.data.table import decode_image, encode_jpeg
from hemlets.data.transforms import Crop
from hemlets.data.transforms.stored import decode_reduced, extract_stored


def photo(height: int, width: int):
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 12.0), np.uint8)


@pytest.mark.parametrize("shrink", [0.7, 1.0, 1.9])
def test_a_crop_that_does_not_shrink_by_two_is_the_same_to_the_bit(shrink) -> None:
    data = encode_jpeg(photo(301, 433))
    crop = Crop(centre_px=(210.3, 140.8), side_px=128 * shrink, size_px=128, angle_rad=0.4)
    assert np.array_equal(extract_stored(data, crop, where="x"), crop.extract(decode_image(data)))


@pytest.mark.parametrize(("shrink", "factor"), [(2.0, 2), (3.7, 2), (4.2, 4), (9.0, 8)])
def test_a_crop_that_shrinks_is_decoded_smaller_and_lies_where_it_did(shrink, factor) -> None:
    image = np.zeros((1013, 1187, 3), np.uint8)
    middle = np.array([611.3, 487.9])
    radius = 9.0 * shrink
    ys, xs = np.mgrid[:1013, :1187] + 0.5
    image[:] = (255 * np.exp(-((xs - middle[0]) ** 2 + (ys - middle[1]) ** 2) / (2 * radius**2)))[
        ..., None
    ]
    data = encode_jpeg(image, quality=98)
    assert decode_reduced(data, shrink, where="x")[1] == factor
    crop = Crop(centre_px=(600.0, 500.0), side_px=96 * shrink, size_px=96)
    found = extract_stored(data, crop, where="x").mean(-1)
    found = np.where(found > 20, found, 0)
    y, x = np.mgrid[:96, :96] + 0.5
    centre = np.array([(x * found).sum(), (y * found).sum()]) / found.sum()
    assert centre == pytest.approx(crop.to_crop(middle), abs=0.1)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", encode_jpeg(photo(90, 90))[:-900]])
def test_damaged_bytes_are_named(data) -> None:
    with pytest.raises(InputError, match="sample-7"):
        decode_reduced(data, 2.0, where="sample-7")
