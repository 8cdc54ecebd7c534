from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.reports.drawing import side_view
from hemlets.reports.pictures import (
    BAR_MM,
    contact_sheet,
    legend,
    pick_samples,
    prediction_tile,
)


def test_samples_are_picked_from_best_to_worst():
    errors = [5.0, 1.0, np.nan, 3.0, 4.0, 2.0]
    assert pick_samples(errors, 3).tolist() == [1, 3, 0]
    assert pick_samples(errors, 99).tolist() == [1, 5, 3, 4, 0]
    assert pick_samples([np.nan], 3).tolist() == []


def test_a_sheet_has_a_tile_a_sample_and_a_legend(predictions, annotations):
    names = annotations.sample_id[:5].tolist()
    images = {name: np.full((200, 256, 3), 90, np.uint8) for name in names}
    sheet = contact_sheet(images, predictions, annotations, columns=2, size=128)
    assert sheet.shape == (3 * 128 + 24, 2 * 256, 3)
    assert sheet.dtype == np.uint8


def test_a_sample_that_is_not_there_is_named(predictions, annotations):
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(DataError, match="nobody"):
        contact_sheet({"nobody": image}, predictions, annotations)
    with pytest.raises(DataError, match="no image"):
        contact_sheet({"a": image}, predictions, annotations, sample_ids=["b"])
    with pytest.raises(DataError, match="no samples"):
        contact_sheet({}, predictions, annotations)


def bar_px(side: np.ndarray) -> int:
    """Length of the longest white line at a side view's foot."""
    return int((side[-12:] == 255).all(-1).sum(1).max()) - 1


@pytest.mark.parametrize("size", [256, 400])
def test_the_bar_of_a_side_view_is_as_long_as_what_is_so_long_in_it(predictions, annotations, size):
    name = str(annotations.sample_id[0])
    tile = prediction_tile(np.zeros((90, 90, 3), np.uint8), predictions, annotations, name,
                           size=size)  # fmt: skip
    pose = np.zeros((18, 3))
    pose[Joint.RIGHT_WRIST] = 0, 0, BAR_MM
    drawn = side_view(pose, None, size=size)
    row = drawn[size // 2]
    orange = np.flatnonzero((row[:, 0] > 200) & (row[:, 2] < 60))
    assert bar_px(tile[:, size:]) == pytest.approx(orange.max() - size // 2, abs=4)


def test_a_long_name_is_written_whole_over_several_lines(predictions, annotations):
    image = np.zeros((90, 90, 3), np.uint8)

    def ink(name: str) -> int:
        columns = {key: annotations.column(key) for key in annotations.table.column_names}
        ids = np.array([name, *annotations.sample_id[1:]], object)
        truth = type(annotations).from_columns(columns | {"sample_id": ids})
        named = dataclasses.replace(predictions, sample_id=ids)
        tile = prediction_tile(image, named, truth, name)
        return int((tile[:60, 256:] > 200).all(-1).sum())

    assert ink("a" * 90) > 2.5 * ink("a" * 30) - ink("a")


def test_the_legend_shows_all_six_colours_of_limbs():
    picture = legend().reshape(-1, 3).astype(int)
    strong = ((240, 110, 20), (0, 140, 255), (250, 215, 50))
    pale = ((255, 205, 165), (165, 215, 255), (255, 255, 255))
    for colour in (*strong, *pale):
        assert (abs(picture - colour).max(-1) < 30).sum() > 20, colour
