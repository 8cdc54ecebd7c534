"""Masks as datasets ship them: labels, silhouettes, bodies rendered on white."""

from __future__ import annotations

import numpy as np

from hemlets.data.masks import as_mask, has_parts
from hemlets.data.table import decode_image
from hemlets.data.versions.ingest_images import _cut_mask
from hemlets.data.versions.ingest_window import Window


def test_part_labels_stay_and_255_among_them_is_to_be_ignored() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4], mask[4:6], mask[6] = 1, 6, 255
    for image in (mask, np.repeat(mask[..., None], 3, -1)):
        np.testing.assert_array_equal(as_mask(image), mask)
        assert has_parts(as_mask(image))


def test_part_labels_with_ignored_corners_are_no_body_on_white() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4], mask[4:6], mask[[0, -1]] = 1, 6, 255
    np.testing.assert_array_equal(as_mask(mask), mask)


def test_a_silhouette_of_any_value_is_the_person() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5] = 1
    np.testing.assert_array_equal(as_mask(mask), mask * 255)
    assert not has_parts(as_mask(mask * 255))


def test_a_body_rendered_on_white_is_all_that_is_not_white() -> None:
    image = np.full((9, 9, 3), 255, np.uint8)
    image[3:6, 3:6] = 200, 180, 255
    image[4, 4] = 0
    person = np.zeros((9, 9), np.uint8)
    person[3:6, 3:6] = 255
    np.testing.assert_array_equal(as_mask(image), person)
    np.testing.assert_array_equal(as_mask(image[..., :1].repeat(3, -1)), person)


def test_part_labels_survive_the_cut_and_the_shrinking_of_ingest() -> None:
    mask = np.zeros((90, 60), np.uint8)
    mask[30:60, 10:30], mask[30:60, 30:50] = 2, 5
    image = np.zeros((90, 60, 3), np.uint8)
    window = Window(left=0, top=30, right=60, bottom=90, scale=1 / 3)
    stored = decode_image(_cut_mask(mask, image, window), where="mask")[..., 0]
    assert stored.shape == (20, 20)
    # Between 2 and 5 lies no 3, though pixels are averaged there.
    assert set(np.unique(stored)) == {0, 2, 5}
    assert (stored[:10, 4:9] == 2).all()
    assert (stored[:10, 11:16] == 5).all()
