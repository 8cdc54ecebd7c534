"""LSP and LSPET: the same joints, other axes, and flags of opposite meaning."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.lsp import LSP_DATASET, LSPET_DATASET, read_lsp, read_lspet
from hemlets.data.readers.quarantine import Quarantine

CHAINS = (
    (Joint.RIGHT_HIP, Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE),
    (Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE),
    (Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST),
    (Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST),
)


@pytest.mark.parametrize(("dataset", "extended"), [(LSP_DATASET, False), (LSPET_DATASET, True)])
def test_joints_land_where_they_were_annotated(lsp_mat, person_px, dataset, extended):
    (rows,) = dataset.read(lsp_mat(extended=extended))
    for joint in np.flatnonzero(rows.columns["valid2d"][0]):
        np.testing.assert_allclose(rows.columns["joints2d_px"][0, joint], person_px[Joint(joint)])
    missing = {JOINTS[joint] for joint in np.flatnonzero(~rows.columns["valid2d"][0])}
    assert missing == {"pelvis", "thorax", "spine", "nose"}


def test_a_flag_of_one_means_hidden_in_lsp(lsp_mat):
    def change(joints):
        joints[2, 0, 0] = 1
        return joints

    (rows,) = LSP_DATASET.read(lsp_mat(change))
    assert rows.columns["valid2d"][0, Joint.RIGHT_ANKLE]
    assert rows.columns["visible"][:, Joint.RIGHT_ANKLE].tolist() == [False, True, True]


def test_a_flag_of_zero_means_not_annotated_in_lspet(lsp_mat):
    def change(joints):
        joints[0, :, 0] = (0.0, -26.0, 0.0)
        return joints

    (rows,) = LSPET_DATASET.read(lsp_mat(change, extended=True))
    assert rows.columns["valid2d"][:, Joint.RIGHT_ANKLE].tolist() == [False, True, True]


def test_the_first_thousand_of_lsp_train_and_the_others_test(lsp_mat):
    folder = lsp_mat(people=1002, images=False)
    image = (folder / "images" / "im0001.jpg").read_bytes()
    for number in (1000, 1001):
        (folder / "images" / f"im{number:04d}.jpg").write_bytes(image)
    quarantine = Quarantine()
    rows = [
        (str(sample), str(split))
        for chunk in read_lsp(folder, ReadOptions(), quarantine)
        for sample, split in zip(chunk.columns["sample_id"], chunk.columns["split"], strict=True)
    ]
    assert rows == [("lsp/im0001", "train"), ("lsp/im1000", "train"), ("lsp/im1001", "test")]
    assert len(quarantine.items) == 999


def test_the_form_of_the_other_dataset_is_named(lsp_mat):
    with pytest.raises(DataError, match="this is the form of LSPET") as caught:
        list(LSP_DATASET.read(lsp_mat(extended=True)))
    assert caught.value.remedy == "read the folder as lspet"


def test_real_limbs_are_shortest_in_the_order_in_which_they_are_read(samples: Path):
    joints, valid = _real(samples)
    for chain in CHAINS:
        known = valid[:, chain].all(1)
        lengths = [_length(joints[known], order).sum() for order in itertools.permutations(chain)]
        # A chain and its reverse are as long.
        assert np.argmin(lengths) in (0, len(lengths) - 1)
        assert known.sum() > 100


def test_real_knees_and_elbows_belong_to_their_own_side(samples: Path):
    joints, valid = _real(samples)
    for right, left in (CHAINS[:2], CHAINS[2:]):
        known = valid[:, [*right, *left]].all(1)
        own = _length(joints[known], right) + _length(joints[known], left)
        crossed = _length(joints[known], (right[0], left[1], right[2])) + _length(
            joints[known], (left[0], right[1], left[2])
        )
        assert (own < crossed).mean() > 0.85


def test_real_heads_are_on_necks(samples: Path):
    joints, valid = _real(samples)
    known = valid[:, [Joint.NECK, Joint.HEAD_TOP, Joint.RIGHT_HIP]].all(1)
    head = _length(joints[known], (Joint.NECK, Joint.HEAD_TOP))
    trunk = _length(joints[known], (Joint.NECK, Joint.RIGHT_HIP))
    assert 0.25 < np.median(head / trunk) < 0.75


def test_real_thighs_are_about_as_long_as_shins_and_both_sides_alike(samples: Path):
    joints, valid = _real(samples)
    for right, left in (CHAINS[:2], CHAINS[2:]):
        known = valid[:, [*right, *left]].all(1)
        upper = _length(joints[known], right[:2])
        lower = _length(joints[known], right[1:])
        other = _length(joints[known], left[:2])
        # In the image a bone may vanish, so lengths are summed, not divided one by one.
        assert 0.7 < np.median(upper) / np.median(lower) < 1.4
        assert 0.8 < np.median(upper) / np.median(other) < 1.25


def _real(samples: Path) -> tuple[np.ndarray, np.ndarray]:
    quarantine = Quarantine()
    chunks = list(read_lspet(samples / "lspet", ReadOptions(), quarantine))
    assert sum(map(len, chunks)) == 300
    assert not quarantine.items
    return (
        np.concatenate([chunk.columns["joints2d_px"] for chunk in chunks]),
        np.concatenate([chunk.columns["valid2d"] for chunk in chunks]),
    )


def _length(joints_NJ2: np.ndarray, chain: tuple[Joint, ...]) -> np.ndarray:
    return np.linalg.norm(np.diff(joints_NJ2[:, list(chain)], axis=1), axis=-1).sum(1)


def test_nothing_that_splits_are_made_by_is_shared_by_training_and_test(lsp_mat):
    folder = lsp_mat(people=1001, images=False)
    (folder / "images" / "im1001.jpg").write_bytes((folder / "images" / "im0001.jpg").read_bytes())
    (rows,) = read_lsp(folder, ReadOptions(), Quarantine())
    assert list(rows.columns["split"]) == ["train", "test"]
    for name in ("clip", "family", "subject"):
        assert len(set(rows.columns[name])) == 2


def test_the_png_images_of_hr_lspet_are_read(lsp_mat):
    folder = lsp_mat(extended=True)
    for path in (folder / "images").iterdir():
        path.rename(path.with_suffix(".png"))
    (rows,) = LSPET_DATASET.read(folder)
    assert [str(image) for image in rows.images] == [f"images/im0000{n}.png" for n in (1, 2, 3)]


def test_a_jpeg_goes_before_a_png_of_the_same_number(lsp_mat):
    folder = lsp_mat(extended=True)
    (folder / "images" / "im00002.png").write_bytes(
        (folder / "images" / "im00002.jpg").read_bytes()
    )
    (folder / "images" / "im00003.jpg").rename(folder / "images" / "im00003.png")
    (rows,) = LSPET_DATASET.read(folder)
    assert [image.path[-4:] for image in rows.images] == [".jpg", ".jpg", ".png"]
