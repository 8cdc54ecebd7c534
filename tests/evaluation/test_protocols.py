from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import Joint
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS
from hemlets.evaluation.metrics.measures import pck2d_pct
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.near_duplicates import difference_hash, near_pairs
from hemlets.evaluation.paper import compare_cells, paper_tables
from hemlets.evaluation.protocols import load_protocol, plain_word, protocol_names


@pytest.mark.parametrize("name", protocol_names())
def test_every_protocol_names_its_source_and_is_called_as_its_file(name):
    protocol = load_protocol(name)
    assert protocol.name == name
    assert len(protocol.document) > 80


def test_tables_1_to_8_each_have_a_protocol():
    names = set(protocol_names())
    assert [table.number for table in paper_tables()] == list(range(1, 9))
    assert all(table.protocols and set(table.protocols) <= names for table in paper_tables())


def test_every_own_cell_of_the_paper_is_of_a_protocol_that_measures_it():
    for table in paper_tables():
        for cell in table.cells:
            assert cell.protocol in table.protocols
            assert any(m.key == cell.key for m in load_protocol(cell.protocol).measures)


def test_joint_sets_have_the_size_that_they_are_called_by():
    for name, joints in JOINT_SETS.items():
        assert len(set(joints)) == int(name.partition("j")[0])
    assert Joint.THORAX not in JOINT_SETS["17j"]
    assert {Joint.PELVIS, Joint.THORAX} == set(JOINT_SETS["16j"]) - set(JOINT_SETS["14j"])


def test_takes_of_an_action_are_the_same_action_but_subjects_keep_their_number():
    assert plain_word("Sitting Down 1") == plain_word("SittingDown") == "sittingdown"
    assert plain_word("S1") != plain_word("S11")


def test_a_protocol_file_of_ones_own_is_checked(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\ntitle = "t"\ndocument = "d"\nbox = "b"\ndepth = "d"\n'
                    'flip_test = false\n[[measures]]\nkey = "mpjpe"\n')  # fmt: skip
    with pytest.raises(ConfigError, match=r"measures\.0\.key"):
        load_protocol(file)


P1_NAME = MetricName(
    key="mpjpe_mm", split="human36m-p1.every64", over="17j", root="pelvis", align="none",
    box="ground-truth", depth="bone-length-prior", flip="yes",
)  # fmt: skip


@pytest.mark.parametrize("field", ["over", "root", "align", "box", "depth", "flip"])
def test_a_cell_of_the_paper_stands_apart_if_any_part_of_the_protocol_differs(field):
    from dataclasses import replace

    same, apart = compare_cells("human36m-p1", (P1_NAME,))
    assert same
    assert not apart
    same, apart = compare_cells("human36m-p1", (replace(P1_NAME, **{field: "other"}),))
    assert not same
    assert all("ours other" in cell.why for cell in apart)


def test_pckh_by_hand_counts_the_threshold_itself():
    true = np.zeros((1, 4, 2))
    predicted = np.array([[[0, 0], [5, 0], [5.01, 0], [0, 50]]])
    found = pck2d_pct(predicted, true, np.ones((1, 4), bool), reference_px=[10], share=0.5)
    assert found == pytest.approx([50])


def test_a_sample_without_a_head_length_has_no_pckh():
    poses, known = np.zeros((1, 4, 2)), np.ones((1, 4), bool)
    assert np.isnan(pck2d_pct(poses, poses, known, reference_px=[0], share=0.5)).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1), st.floats(0, 1), st.floats(0.1, 10))
def test_pck_grows_with_its_threshold_and_does_not_depend_on_the_unit(seed, low, more, scale):
    rng = np.random.default_rng(seed)
    true, error = rng.normal(0, 50, (5, 14, 2)), rng.normal(0, 10, (5, 14, 2))
    known, head = rng.random((5, 14)) < 0.9, rng.uniform(10, 30, 5)

    def pck(share: float, factor: float = 1.0) -> np.ndarray:
        return pck2d_pct(
            factor * (true + error), factor * true, known, reference_px=factor * head, share=share
        )

    assert (np.nan_to_num(pck(low + more)) >= np.nan_to_num(pck(low))).all()
    np.testing.assert_allclose(pck(low, scale), pck(low), atol=100 / 14)


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 255, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)


def test_a_reencoded_smaller_or_brighter_image_is_nearly_the_same_and_another_is_not():
    import cv2

    from hemlets.data.table import decode_image, encode_jpeg

    image = picture(0)
    changed = [
        decode_image(encode_jpeg(image, quality=60)),
        cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA),
        np.clip(image.astype(int) * 0.9 + 12, 0, 255).astype(np.uint8),
        picture(1),
    ]
    pairs = near_pairs(
        np.stack([difference_hash(image)]), np.stack([difference_hash(i) for i in changed])
    )
    assert pairs.tolist() == [[0, 0], [0, 1], [0, 2]]
