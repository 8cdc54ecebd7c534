"""Scores on photographs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.skeleton import Joint
from hemlets.evaluation.photos import (
    LIMBS,
    PhotoAnswers,
    PhotoPerson,
    aligned_error_mm,
    hits_of_box,
    hits_of_torso,
    load_photos,
    numbered,
    photo_figures,
)


@pytest.fixture
def person() -> PhotoPerson:
    """Shoulders and hips at the corners of a square of 100 pixels; the box is 400 high."""
    joints = np.zeros((18, 2))
    joints[Joint.LEFT_SHOULDER], joints[Joint.RIGHT_SHOULDER] = (100, 0), (0, 0)
    joints[Joint.LEFT_HIP], joints[Joint.RIGHT_HIP] = (100, 100), (0, 100)
    valid = np.zeros(18, bool)
    valid[list(LIMBS)] = True
    return PhotoPerson(
        name="lspet/im00251", dataset="lspet", image=Path("im00251.jpg"), number=251,
        box_xyxy=(0.0, 0.0, 100.0, 400.0), joints2d_px=joints, valid2d=valid,
        joints3d_mm=np.random.default_rng(0).normal(0, 300, (18, 3)), valid3d=np.ones(18, bool),
        camera=None,
    )  # fmt: skip


def moved(person: PhotoPerson, joint: Joint, by_px: float) -> np.ndarray:
    found = person.joints2d_px.copy()
    found[joint, 0] += by_px
    return found


def test_a_joint_counts_within_a_fifth_of_the_torsos_diagonal(person: PhotoPerson) -> None:
    limit = 0.2 * 100 * np.sqrt(2)
    for by_px, right in ((limit - 0.1, 12), (limit + 0.1, 11)):
        assert hits_of_torso(person, moved(person, Joint.LEFT_KNEE, by_px)).sum() == right


def test_a_joint_counts_within_a_twentieth_of_the_box(person: PhotoPerson) -> None:
    for by_px, right in ((19.9, 12), (20.1, 11)):
        assert hits_of_box(person, moved(person, Joint.LEFT_KNEE, by_px)).sum() == right


def test_joints_that_nobody_annotated_do_not_count(person: PhotoPerson) -> None:
    valid = person.valid2d.copy()
    valid[Joint.LEFT_KNEE] = False
    unknown = replace(person, valid2d=valid)
    assert hits_of_torso(unknown, moved(unknown, Joint.LEFT_KNEE, 999.0)).tolist() == [True] * 11


def test_without_a_torso_no_joint_counts(person: PhotoPerson) -> None:
    valid = person.valid2d.copy()
    valid[[Joint.LEFT_HIP, Joint.RIGHT_HIP]] = False
    assert not len(hits_of_torso(replace(person, valid2d=valid), person.joints2d_px))


def test_the_error_in_space_is_aligned_by_a_similarity(person: PhotoPerson) -> None:
    found = 1.7 * person.joints3d_mm[:, [1, 2, 0]] + 40
    assert aligned_error_mm(person, found) == pytest.approx(0, abs=1e-6)
    found[Joint.LEFT_KNEE] += 100
    error = aligned_error_mm(person, found)
    assert error is not None
    assert error > 1
    assert aligned_error_mm(replace(person, valid3d=np.zeros(18, bool)), found) is None


def test_bodies_are_scored_as_joints_are(person: PhotoPerson) -> None:
    mesh = moved(person, Joint.LEFT_KNEE, 999.0)
    answers = PhotoAnswers(
        name="x", joints2d_px=[person.joints2d_px], joints3d_mm=[person.joints3d_mm],
        confidence=[np.ones(18)], wall_ms=1.0, busy_ms=1.0,
        mesh2d_px=[mesh], mesh3d_mm=[2 * person.joints3d_mm],
    )  # fmt: skip
    figures = answers.figures([person])
    assert figures["lspet_pck_torso_pct"].value == 100
    assert figures["mesh_lspet_pck_torso_pct"].value == pytest.approx(100 * 11 / 12)
    assert figures["mesh_lspet_pa_mpjpe_mm"].value == pytest.approx(0, abs=1e-6)
    bodiless = replace(answers, mesh2d_px=[], mesh3d_mm=[]).figures([person])
    assert not any(name.startswith("mesh_") for name in bodiless)


def test_figures_are_over_joints_and_name_the_people(person: PhotoPerson) -> None:
    other = replace(person, name="lspet/im00252")
    figures = photo_figures(
        [person, other],
        [person.joints2d_px, moved(person, Joint.LEFT_KNEE, 999.0)],
        [person.joints3d_mm] * 2,
    )
    assert figures["lspet_pck_torso_pct"].value == pytest.approx(100 * 23 / 24)
    assert figures["lspet_pck_torso_pct"].people == 2


def test_only_numbered_photographs_of_lspet_are_chosen_by_number(person: PhotoPerson) -> None:
    people = [person, replace(person, number=300), replace(person, dataset="coco", number=0)]
    assert [p.number for p in numbered(people, "260-300")] == [300, 0]
    with pytest.raises(ConfigError, match="no range"):
        numbered(people, "all")


def test_a_folder_of_coco_is_read_and_an_empty_one_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photographs with annotations"):
        load_photos(tmp_path)
    folder = tmp_path / "coco"
    folder.mkdir()
    Image.new("RGB", (64, 48)).save(folder / "000000000007.jpg")
    keypoints = [value for k in range(17) for value in (5 + 2 * k, 4 + 2 * k, 2)]
    content = {
        "images": [{"id": 7, "file_name": "000000000007.jpg", "width": 64, "height": 48}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "num_keypoints": 17,
             "keypoints": keypoints, "bbox": [2, 2, 50, 44], "area": 2200.0}
        ],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    (folder / "person_keypoints.json").write_text(json.dumps(content))
    (found,) = load_photos(tmp_path)
    assert found.dataset == "coco"
    assert found.valid2d[list(LIMBS)].all()
    assert found.image.is_file()


def test_the_samples_of_real_datasets_are_read(samples: Path) -> None:
    people = load_photos(samples)
    counts = {name: sum(p.dataset == name for p in people) for name in ("lspet", "coco", "mpii")}
    assert counts == {"lspet": 300, "coco": 3, "mpii": 3}
    deep = [p for p in people if p.dataset in ("human36m", "mpi_inf_3dhp")]
    assert all(p.valid3d[list(LIMBS)].all() for p in deep)
