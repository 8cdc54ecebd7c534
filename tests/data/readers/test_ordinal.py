"""The ordinal release, in files written after its README."""

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import PARTS, Joint
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.maps2d import MPII
from hemlets.data.readers.ordinal import DATASET

FOREARM = next(number for number, part in enumerate(PARTS) if part.name == "left_forearm")


def nearer_wrist(half, order):
    if half == "mpii":
        wrist, elbow = MPII.targets.index(Joint.LEFT_WRIST), MPII.targets.index(Joint.LEFT_ELBOW)
        order[1, wrist, elbow], order[1, elbow, wrist] = -1, 1
    return order


def test_both_halves_are_read_with_their_own_joints(ordinal_mat, person_px):
    lsp, mpii = DATASET.read(ordinal_mat())
    for rows in (lsp, mpii):
        for joint in np.flatnonzero(rows.columns["valid2d"][0]):
            np.testing.assert_allclose(
                rows.columns["joints2d_px"][0, joint], person_px[Joint(joint)]
            )
    assert (lsp.columns["valid2d"][0].sum(), mpii.columns["valid2d"][0].sum()) == (14, 16)


def test_a_wrist_that_is_nearer_makes_the_forearm_forward(ordinal_mat):
    _, rows = DATASET.read(ordinal_mat(nearer_wrist))
    assert rows.columns["relations"][:, FOREARM].tolist() == [0, 1, 0]
    assert rows.columns["relations_valid"][:, FOREARM].tolist() == [False, True, False]
    assert rows.columns["relations_source"] == ["", "ordinal", ""]


def test_an_image_of_lsp_is_the_same_clip_in_both_datasets(ordinal_mat, lsp_mat):
    lsp, _ = DATASET.read(ordinal_mat())
    assert lsp.columns["clip"][0] == "lsp/im0001"


def test_images_with_names_of_another_scheme_are_named(ordinal_mat):
    folder = ordinal_mat()
    for path in (folder / "mpii_upis1h" / "images").iterdir():
        path.rename(path.with_name(f"photo-{path.name}"))
    with pytest.raises(DataError, match="no image has a name that is known") as caught:
        list(DATASET.read(folder, ReadOptions()))
    assert "00001_full.jpg" in str(caught.value)
