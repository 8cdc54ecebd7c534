"""Simulated annotators: what section 5 measured of people, and what it says they never do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import PART_CHILD, PART_PARENT
from hemlets.data.weak_labels import DEFAULT, read_annotators, tilts_deg

JOINTS = np.random.default_rng(0).normal(0, 200, (6000, 18, 3))
KNOWN = np.ones((6000, 18), bool)
TILT = tilts_deg(JOINTS)
NEARER = np.sign(JOINTS[:, PART_PARENT, 2] - JOINTS[:, PART_CHILD, 2])


def _labels(scheme: str, path: Path = DEFAULT) -> tuple[np.ndarray, np.ndarray]:
    annotator = read_annotators(path)[scheme]  # type: ignore[index]
    found = annotator.label(JOINTS, KNOWN, np.random.default_rng(1), scheme=scheme)  # type: ignore[arg-type]
    assert found.source == scheme
    return found.values_NK, found.valid_NK


def test_a_parts_tilt_is_its_angle_against_the_image_plane() -> None:
    joints = np.zeros((1, 18, 3))
    joints[0, PART_CHILD[0]] = 0, 3.0, -3.0
    assert tilts_deg(joints)[0, 0] == pytest.approx(45.0)


def test_fbi_above_thirty_degrees_has_the_papers_errors_and_skips() -> None:
    values, known = _labels("fbi")
    steep = TILT > 30
    assert (values != NEARER)[steep & known].mean() == pytest.approx(0.074, abs=0.004)
    assert 0 < (~known)[steep].mean() < 0.10


def test_fbi_errs_and_skips_more_below_twenty_degrees_than_above_thirty() -> None:
    values, known = _labels("fbi")
    flat, steep = TILT < 20, TILT > 30
    wrong = values != NEARER
    assert wrong[flat & known].mean() > 2 * wrong[steep & known].mean()
    assert (~known)[flat].mean() > 2 * (~known)[steep].mean()


def test_fbi_never_says_level() -> None:
    values, known = _labels("fbi")
    assert set(np.unique(values[known])) == {-1, 1}
    assert not values[~known].any()


def test_ordinal_answers_every_pair_and_says_level_of_near_equal_depths() -> None:
    values, known = _labels("ordinal")
    assert known.all()
    flat = TILT < 5
    assert (values == 0)[flat].mean() == pytest.approx(0.7, abs=0.02)
    steep = TILT > 30
    wrong = (values != NEARER)[steep]
    assert wrong.mean() == pytest.approx(0.15, abs=0.006)
    # Either of the two other answers.
    assert (values == 0)[steep].mean() == pytest.approx(0.075, abs=0.006)


def test_a_part_whose_joint_is_unknown_has_no_label() -> None:
    known = KNOWN.copy()
    known[:, PART_CHILD[6]] = False
    annotator = read_annotators()["ordinal"]
    found = annotator.label(JOINTS, known, np.random.default_rng(1), scheme="ordinal")
    assert not found.valid_NK[:, 6].any()
    assert found.valid_NK[:, 5].all()


def test_measured_rates_take_the_place_of_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "measured.toml"
    path.write_text("[fbi]\ntilt_deg = [0.0, 45.0, 90.0]\nskip = [1.0, 0.0]\nerror = [0.0, 1.0]\n")
    values, known = _labels("fbi", path)
    assert (known == (TILT >= 45)).all()
    assert (values == -NEARER)[known].all()
    assert read_annotators(path)["ordinal"] == read_annotators()["ordinal"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[fbi]\ntilt_deg = [0.0, 90.0]\nskip = [0.1, 0.2]\nerror = [0.1]\n", "1 values each"),
        ("[fbi]\ntilt_deg = [10.0, 90.0]\nskip = [0.1]\nerror = [0.1]\n", "rise from 0 to 90"),
        ("[fbi]\ntilt_deg = [0.0, 90.0]\nskip = [1.1]\nerror = [0.1]\n", "skip.0 = 1.1"),
        ("[fib]\n", "unknown labelling scheme fib"),
    ],
)
def test_a_wrong_rate_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rates.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_annotators(path)
