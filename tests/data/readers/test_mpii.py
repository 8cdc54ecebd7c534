"""MPII in both of its forms."""

from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.mpii import DATASET, read
from hemlets.data.readers.quarantine import Quarantine


def test_json_joints_land_where_they_were_annotated(mpii_json, person_px):
    (rows,) = DATASET.read(mpii_json())
    for joint, place in person_px.items():
        if joint is not Joint.NOSE:
            np.testing.assert_allclose(rows.columns["joints2d_px"][:, joint], [place] * 3)


def test_spine_and_nose_are_not_made_up(mpii_json):
    (rows,) = DATASET.read(mpii_json())
    missing = {JOINTS[joint] for joint in np.flatnonzero(~rows.columns["valid2d"][0])}
    assert missing == {"spine", "nose"}


def test_matlab_form_and_json_give_the_same_joints(mpii_json, mpii_mat):
    (from_json,) = DATASET.read(mpii_json())
    (from_mat,) = DATASET.read(mpii_mat())
    for name in ("joints2d_px", "valid2d", "box_xyxy"):
        np.testing.assert_array_equal(from_mat.columns[name][0], from_json.columns[name][0])


def test_matlab_form_tells_hidden_joints_and_takes_empty_flags_as_seen(mpii_mat):
    (rows,) = DATASET.read(mpii_mat())
    first, second, third = rows.columns["visible"]
    assert not first[Joint.RIGHT_ANKLE]
    assert first[Joint.LEFT_ANKLE]
    assert second[Joint.RIGHT_ANKLE]
    assert {JOINTS[joint] for joint in np.flatnonzero(third)} == {"neck", "head_top"}


def test_matlab_form_leaves_out_the_withheld_test_people_and_empty_images(mpii_mat):
    (rows,) = DATASET.read(mpii_mat())
    assert list(rows.columns["sample_id"]) == [
        "mpii/000000001/0", "mpii/000000001/1", "mpii/000000002/0",
    ]  # fmt: skip


def test_images_of_one_video_are_one_clip(mpii_mat):
    (rows,) = DATASET.read(mpii_mat())
    assert set(rows.columns["clip"]) == {"mpii/video-7"}


def test_reference_of_pckh_is_six_tenths_of_the_head_rectangles_diagonal(mpii_mat):
    (rows,) = DATASET.read(mpii_mat())
    np.testing.assert_allclose(rows.columns["head_px"], 0.6 * np.hypot(30, 40))


def test_action_is_the_activitys_name(mpii_mat):
    (rows,) = DATASET.read(mpii_mat())
    assert set(rows.columns["action"]) == {"curling"}


def test_scale_box_is_200_pixels_a_unit_around_the_middle(mpii_json):
    (rows,) = DATASET.read(mpii_json(), ReadOptions(settings={"box": "scale"}))
    np.testing.assert_allclose(rows.columns["box_xyxy"][0], [10, 20, 190, 200])
    assert rows.columns["box_source"][0] == "annotated"


def test_joint_box_holds_every_joint(mpii_json):
    (rows,) = DATASET.read(mpii_json())
    left, top, right, bottom = rows.columns["box_xyxy"][0]
    joints = rows.columns["joints2d_px"][0][rows.columns["valid2d"][0]]
    assert (joints > [left, top]).all()
    assert (joints < [right, bottom]).all()


def test_joints_that_were_not_annotated_are_invalid(mpii_json):
    def change(rows):
        rows[0]["joints"][0], rows[0]["joints_vis"][0] = [-1.0, -1.0], 0

    (rows,) = DATASET.read(mpii_json(change))
    assert not rows.columns["valid2d"][0, Joint.RIGHT_ANKLE]
    assert rows.columns["joints2d_px"][0, Joint.RIGHT_ANKLE].tolist() == [0, 0]


@pytest.mark.parametrize("name", ["valid", "val", "mpii_validation"])
def test_the_file_of_validation_people_gives_that_split(mpii_json, name):
    (rows,) = DATASET.read(mpii_json(name=name))
    assert set(rows.columns["split"]) == {"validation"}


def test_an_image_may_be_named_with_its_folder(mpii_json):
    def change(people):
        people[0]["image"] = "images/" + people[0]["image"]

    (rows,) = DATASET.read(mpii_json(change))
    assert rows.images[0].path == "images/000000001.jpg"


def test_a_file_of_two_splits_is_refused_with_both(mpii_json):
    with pytest.raises(DataError, match="train and validation"):
        list(DATASET.read(mpii_json(name="train_val")))


def test_an_unknown_setting_is_refused(mpii_json):
    with pytest.raises(ConfigError, match="frame_rate"):
        list(DATASET.read(mpii_json(), ReadOptions(settings={"frame_rate": "2"})))


def test_real_people_who_face_the_camera_have_their_right_at_the_images_left(samples: Path):
    quarantine = Quarantine()
    (rows,) = read(samples / "mpii", ReadOptions(), quarantine)
    assert len(rows) == 3
    assert not quarantine.items
    # Their faces are seen in these two images; the third person turns his back.
    facing = ["mpii/005808361/0", "mpii/004645041/0"]
    for sample, joints in zip(rows.columns["sample_id"], rows.columns["joints2d_px"], strict=True):
        right_is_left = joints[Joint.RIGHT_SHOULDER, 0] < joints[Joint.LEFT_SHOULDER, 0]
        assert right_is_left == (sample in facing)
