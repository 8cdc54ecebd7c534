"""COCO keypoints."""

from pathlib import Path

import numpy as np

from hemlets.core.skeleton import JOINTS, Joint
from hemlets.data.readers.coco import DATASET, read
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.quarantine import Quarantine

NOT_IN_COCO = {"pelvis", "thorax", "neck", "spine", "head_top"}


def test_keypoints_land_where_they_were_annotated(coco_json, person_px):
    (rows,) = DATASET.read(coco_json())
    for joint in np.flatnonzero(rows.columns["valid2d"][0]):
        np.testing.assert_allclose(rows.columns["joints2d_px"][0, joint], person_px[Joint(joint)])


def test_joints_that_coco_lacks_are_not_made_up_from_their_neighbours(coco_json):
    (rows,) = DATASET.read(coco_json())
    assert {JOINTS[joint] for joint in np.flatnonzero(~rows.columns["valid2d"][0])} == NOT_IN_COCO
    assert not rows.columns["joints2d_px"][0, Joint.PELVIS].any()


def test_the_three_values_of_v_are_told_apart(coco_json):
    def change(content):
        keypoints = content["annotations"][0]["keypoints"]
        keypoints[0:3] = [0, 0, 0]
        keypoints[17] = 1

    (rows,) = DATASET.read(coco_json(change))
    valid, seen = rows.columns["valid2d"][0], rows.columns["visible"][0]
    assert not valid[Joint.NOSE]
    assert valid[Joint.LEFT_SHOULDER]
    assert not seen[Joint.LEFT_SHOULDER]
    assert seen[Joint.RIGHT_SHOULDER]


def test_boxes_are_turned_from_width_and_height_to_corners(coco_json):
    (rows,) = DATASET.read(coco_json())
    np.testing.assert_allclose(rows.columns["box_xyxy"][0], [60, 15, 140, 210])
    assert (rows.columns["image_width"][0], rows.columns["image_height"][0]) == (200, 220)


def test_crowds_and_people_without_keypoints_are_left_out_without_a_word(coco_json):
    def change(content):
        content["annotations"][1].update(num_keypoints=0, keypoints=[0] * 51)

    quarantine = Quarantine()
    (rows,) = read(coco_json(change), ReadOptions(), quarantine)
    assert list(rows.columns["sample_id"]) == ["coco/11", "coco/13"]
    assert not quarantine.items


def test_the_file_named_val_is_the_test_split(coco_json):
    folder = coco_json(name="val2017")
    (rows,) = DATASET.read(folder)
    assert set(rows.columns["split"]) == {"test"}
    assert not list(DATASET.read(folder, ReadOptions(splits=frozenset({"train"}))))


def test_a_real_skier_whose_face_is_seen_has_her_right_at_the_images_left(samples: Path):
    quarantine = Quarantine()
    (rows,) = read(samples / "coco", ReadOptions(), quarantine)
    assert not quarantine.items
    row = list(rows.columns["sample_id"]).index("coco/442619")
    joints = rows.columns["joints2d_px"][row]
    # The annotation's own eyes say that she looks at the camera: right eye 360, left eye 374.
    for right, left in (
        (Joint.RIGHT_SHOULDER, Joint.LEFT_SHOULDER),
        (Joint.RIGHT_WRIST, Joint.LEFT_WRIST),
        (Joint.RIGHT_HIP, Joint.LEFT_HIP),
        (Joint.RIGHT_KNEE, Joint.LEFT_KNEE),
    ):
        assert joints[right, 0] < joints[left, 0]


def test_real_people_stand_within_their_boxes(samples: Path):
    (rows,) = read(samples / "coco", ReadOptions(), Quarantine())
    box, seen = rows.columns["box_xyxy"], rows.columns["visible"]
    joints = rows.columns["joints2d_px"]
    inside = (joints >= box[:, None, :2] - 2) & (joints <= box[:, None, 2:] + 2)
    assert inside.all(-1)[seen].all()
