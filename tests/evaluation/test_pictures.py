from __future__ import annotations

import numpy as np
import pytest

from hemlets.errors import DataError
from hemlets.evaluation.pictures import contact_sheet, pick_samples


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
