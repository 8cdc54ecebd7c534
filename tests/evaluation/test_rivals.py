"""Other networks' answers about crops, in the joints and pixels of hemlets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import Joint
from hemlets.evaluation import rivals
from hemlets.evaluation.photos import LIMBS, PhotoPerson, share_right, sure_figures
from hemlets.evaluation.rivals import mediapipe_answers
from hemlets.reports.photos_page import write_photos_page

WORKER = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[1])
names = json.loads((folder / "crops.json").read_text())
points = [[k / 33, 0.5, 0.9] for k in range(33)]
world = [[0.1 * k, 0.2, 0.3] for k in range(33)]
people = [{"took_ms": [20.0, 30.0], "image": points, "world": world}]
people += [{"took_ms": [10.0, 10.0], "image": None, "world": None}] * (len(names) - 1)
(folder / "answer.json").write_text(json.dumps({"version": "0", "people": people}))
"""


@pytest.fixture
def person(tmp_path: Path) -> PhotoPerson:
    Image.new("RGB", (240, 240), (90, 90, 90)).save(tmp_path / "x.png")
    valid = np.zeros(18, bool)
    valid[list(LIMBS)] = True
    return PhotoPerson(
        name="lspet/x", dataset="lspet", image=tmp_path / "x.png", number=251,
        box_xyxy=(20.0, 20.0, 220.0, 220.0), joints2d_px=np.full((18, 2), 100.0), valid2d=valid,
        joints3d_mm=np.zeros((18, 3)), valid3d=np.zeros(18, bool), camera=None,
    )  # fmt: skip


def test_landmarks_become_joints_of_the_photograph_and_whoever_is_missed_is_nan(
    person: PhotoPerson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mediapipe_worker.py").write_text(WORKER)
    monkeypatch.setattr(rivals, "__file__", str(tmp_path / "rivals.py"))
    answers = mediapipe_answers(Path(sys.executable), "heavy", [person, person])
    # The crop is 1.2 boxes wide: from 0 to 240.
    left_shoulder = answers.joints2d_px[0][Joint.LEFT_SHOULDER]
    np.testing.assert_allclose(left_shoulder, (240 * 11 / 33, 120))
    np.testing.assert_allclose(answers.joints3d_mm[0][Joint.LEFT_SHOULDER], (1100, 200, 300))
    assert np.isnan(answers.joints2d_px[0][Joint.SPINE]).all()
    assert np.isnan(answers.joints2d_px[1]).all()
    figures = answers.figures([person, person])
    assert figures["missed_in_crop"].value == 1
    # The torso has no length, so that no joint can be right or wrong.
    assert "lspet_pck_torso_pct" not in figures
    assert (figures["crop_wall_ms"].value, figures["crop_busy_ms"].value) == (15.0, 20.0)
    rows = [{"figure": "missed_in_crop", "value": "1.0", "model": answers.name}]
    write_photos_page(tmp_path / "page.html", [person, person], [answers], rows)
    html = (tmp_path / "page.html").read_text()
    assert "mediapipe 0 heavy" in html
    assert html.count("<figure>") == 2


def test_an_environment_without_mediapipe_is_named(person: PhotoPerson) -> None:
    with pytest.raises(ConfigError, match="MediaPipe can't run") as error:
        mediapipe_answers(Path(sys.executable), "full", [person])
    assert "infra/rivals.sh" in str(error.value)


def _with_torso(person: PhotoPerson) -> PhotoPerson:
    joints = person.joints2d_px
    joints[Joint.LEFT_SHOULDER], joints[Joint.RIGHT_HIP] = (100, 0), (0, 100)
    joints[Joint.RIGHT_SHOULDER], joints[Joint.LEFT_HIP] = (0, 0), (100, 100)
    return person


def test_a_confidence_is_held_against_what_is_right(person: PhotoPerson) -> None:
    person = _with_torso(person)
    found = person.joints2d_px.copy()
    found[Joint.LEFT_KNEE] += 500
    found[Joint.RIGHT_KNEE] += 500
    sure = np.full(18, 0.9)
    sure[Joint.LEFT_KNEE] = 0.1
    figures = sure_figures([person], [found], [sure])
    assert figures["joints_sure_pct"].value == pytest.approx(100 * 11 / 12)
    assert figures["sure_joints_right_pct"].value == pytest.approx(100 * 10 / 11)
    assert share_right(person, found) == pytest.approx(10 / 12)


def test_the_worker_imports_nothing_of_hemlets() -> None:
    text = Path(rivals.__file__).with_name("mediapipe_worker.py").read_text()
    assert not [
        line for line in text.splitlines() if line.startswith(("from hemlets", "import hem"))
    ]
