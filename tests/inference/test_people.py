"""Several people of one image, from boxes, OpenPose and detectors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hemlets.core.boxes import box_iou
from hemlets.core.errors import InputError
from hemlets.core.skeleton import Joint
from hemlets.inference import BodyEstimate, Camera, Flag
from hemlets.inference.openpose import read_openpose
from hemlets.inference.people import Detection, predict_people
from hemlets.inference.tracks import Tracker

SAMPLES = Path(os.environ["HEMLETS_SAMPLES"])
IMAGE = np.zeros((200, 300, 3), np.uint8)


class Echo:
    """Answers with the box that was asked for, and counts its batches."""

    def __init__(self):
        self.calls = []

    def predict(self, requests, *, batch_size=32):
        self.calls.append(len(requests))
        return [estimate_at(r.box_xyxy or (0, 0, 300, 200)) for r in requests]


def estimate_at(box):
    return BodyEstimate(
        joints3d_mm=np.zeros((18, 3), np.float32),
        root_mm=np.array([0, 0, 4000], np.float32),
        joints2d_px=np.zeros((18, 2), np.float32),
        confidence=np.ones(18, np.float32),
        theta=np.zeros((24, 3), np.float32),
        betas=np.zeros(10, np.float32),
        box_xyxy=box,
        camera=Camera(fx=300, fy=300, cx=150, cy=100),
    )


def keypoints(missing=(), count=25, shift=0.0, scale=1.0):
    """OpenPose's numbers of a person 200 px high."""
    points = np.zeros((count, 3))
    points[:, 0] = 100 + shift + np.linspace(-20, 20, count)
    points[:, 1] = np.linspace(50, 250, count)
    points[:, 2] = 0.8
    points[:, :2] *= scale
    points[list(missing)] = 0
    return points.ravel().tolist()


def written(tmp_path, *people):
    file = tmp_path / "frame_keypoints.json"
    entries = [{"pose_keypoints_2d": p} if isinstance(p, list) else p for p in people]
    file.write_text(json.dumps({"people": entries}))
    return file


def test_all_people_of_an_image_go_through_one_batch():
    predictor = Echo()
    boxes = [(0, 0, 50, 100), (100, 20, 160, 180), (200, 0, 290, 199)]
    estimates = predict_people(predictor, IMAGE, [Detection(box_xyxy=box) for box in boxes])
    assert predictor.calls == [3]
    assert [e.box_xyxy for e in estimates] == boxes


def test_nobody_in_an_image_is_no_prediction():
    assert predict_people(Echo(), IMAGE, []) == []


@pytest.mark.parametrize("box", [(10, 10, 10, 50), (0, 0, float("nan"), 5), (5, 9, 1, 20)])
def test_a_degenerate_box_is_refused(box):
    with pytest.raises(InputError, match="no area"):
        Detection(box_xyxy=box)


def test_openposes_joints_become_the_projects(tmp_path):
    (person,) = read_openpose(written(tmp_path, keypoints())).people
    points = np.array(keypoints()).reshape(-1, 3)
    np.testing.assert_allclose(person.joints2d_px[Joint.LEFT_KNEE], points[13, :2], atol=1e-4)
    np.testing.assert_allclose(person.joints2d_px[Joint.THORAX], points[1, :2], atol=1e-4)
    assert person.missing == ()
    assert np.isnan(person.joints2d_px[Joint.HEAD_TOP]).all()
    left, top, right, bottom = person.box_xyxy
    assert left < 80 < 120 < right
    assert top < 50 < 250 < bottom


def test_the_older_form_of_18_keypoints_gives_the_pelvis_from_the_hips(tmp_path):
    (person,) = read_openpose(written(tmp_path, keypoints(count=18))).people
    points = np.array(keypoints(count=18)).reshape(-1, 3)
    np.testing.assert_allclose(
        person.joints2d_px[Joint.PELVIS], (points[8, :2] + points[11, :2]) / 2, atol=1e-4
    )


def test_missing_joints_are_named_and_the_prediction_is_flagged(tmp_path):
    file = written(tmp_path, keypoints(missing=(3, 4)))
    found = read_openpose(file).people
    assert found[0].missing == ("right_elbow", "right_wrist")
    (estimate,) = predict_people(Echo(), IMAGE, found)
    assert Flag.MISSING_JOINTS in estimate.flags
    assert BodyEstimate.from_json(estimate.to_json()).flags == estimate.flags


def test_a_person_without_enough_keypoints_for_a_box_is_counted_not_invented(tmp_path):
    file = written(tmp_path, keypoints(missing=range(3, 25)), keypoints())
    result = read_openpose(file)
    assert (len(result.people), len(result.left_out)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "not JSON"),
        ('{"persons": []}', "no list of people"),
        ("[1]", "no list of people"),
    ],
)
def test_what_openpose_did_not_write_is_refused(tmp_path, text, message):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_openpose(file)


@pytest.mark.skipif(not (SAMPLES / "openpose").is_dir(), reason="the sample data are not here")
def test_a_file_that_openpose_really_wrote_is_read():
    (person,) = read_openpose(SAMPLES / "openpose/im1010_openpose.json").people
    given = json.loads((SAMPLES / "openpose/im1010_bbox.json").read_text())["bbox"]
    # The sample's box was drawn from the same keypoints.
    box = (given[0], given[1], given[0] + given[2], given[1] + given[3])
    assert box_iou(person.box_xyxy, box) > 0.6
    assert person.missing == ("right_elbow", "right_wrist")


def at(x, y=0.0):
    return Detection(box_xyxy=(x, y, x + 40, y + 100))


def test_two_people_keep_their_numbers_whatever_the_order():
    tracker = Tracker()
    assert tracker.assign(0, [at(0), at(200)]) == [0, 1]
    assert tracker.assign(1, [at(195), at(6)]) == [1, 0]
    assert tracker.assign(2, [at(12), at(190)]) == [0, 1]


def test_somebody_hidden_for_a_moment_is_the_same_and_for_long_is_new():
    tracker = Tracker(max_gap=3)
    tracker.assign(0, [at(0)])
    assert tracker.assign(4, [at(3)]) == [0]
    assert tracker.assign(9, [at(3)]) == [1]


def test_somebody_elsewhere_is_new():
    tracker = Tracker()
    tracker.assign(0, [at(0)])
    assert tracker.assign(1, [at(500)]) == [1]


def test_crossing_people_are_told_apart_by_their_joints(tmp_path):
    """Both boxes are the same when they cross; the joints are not."""
    tracker = Tracker()
    box = (0.0, 0.0, 100.0, 200.0)
    high, low = np.zeros((18, 2), np.float32), np.full((18, 2), 40, np.float32)
    one, other = (Detection(box_xyxy=box, joints2d_px=j) for j in (high, low))
    assert tracker.assign(0, [one, other]) == [0, 1]
    assert tracker.assign(1, [other, one]) == [1, 0]


def _keypoint_list(points) -> dict:
    return {"pose_keypoints_2d": points}


UNUSABLE = {
    "two numbers": (_keypoint_list([1, 2]), "no list of x, y, confidence"),
    "one keypoint": (_keypoint_list([1, 2, 3]), "1 keypoints"),
    "no body": (_keypoint_list([]), "only face or hands"),
    "no keypoints": ({}, "no list of x, y, confidence"),
    "no person": (7, "no list of x, y, confidence"),
    "text": (_keypoint_list(["x", "y", "z"] * 25), "no list of x, y, confidence"),
    "NaN": (_keypoint_list([float("nan")] * 75), "not finite"),
    "outside": (keypoints(shift=5000.0), "outside the image of 640×480"),
    "one place": (_keypoint_list([9, 9, 1] * 25), "at one place"),
    "unsure": (_keypoint_list([9, 9, 0.01] * 25), "fewer than 4 keypoints"),
    "percent": (_keypoint_list([9, 9, 87] * 25), "divide percentages by 100"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_person_who_cannot_be_used_is_left_out_with_the_reason_and_the_others_stay(
    tmp_path, case
):
    entry, reason = UNUSABLE[case]
    file = written(tmp_path, keypoints(), entry)
    found = read_openpose(file, size=(640, 480))
    assert len(found.people) == 1
    (told,) = found.left_out
    assert told.startswith("people[1]: ")
    assert reason in told


def test_normalised_coordinates_are_refused_where_the_image_is_not_known(tmp_path):
    file = written(tmp_path, keypoints(scale=1 / 640))
    with pytest.raises(InputError, match="normalised") as caught:
        read_openpose(file)
    assert "--keypoint_scale 0" in caught.value.remedy


def test_fractions_of_the_image_become_its_pixels(tmp_path):
    (expected,) = read_openpose(written(tmp_path, keypoints())).people
    (person,) = read_openpose(written(tmp_path, keypoints(scale=1 / 640)), size=(640, 640)).people
    np.testing.assert_allclose(person.joints2d_px, expected.joints2d_px, atol=1e-3)
    np.testing.assert_allclose(person.box_xyxy, expected.box_xyxy, atol=1e-3)


def test_coordinates_from_minus_1_to_1_are_refused_although_the_image_is_known(tmp_path):
    values = np.array(keypoints(scale=1 / 640)).reshape(-1, 3)
    values[:, :2] = 2 * values[:, :2] - 1
    file = written(tmp_path, values.ravel().tolist())
    with pytest.raises(InputError, match="from -1 to 1"):
        read_openpose(file, size=(640, 640))


def coco_17() -> np.ndarray:
    """The same person as `keypoints` has, in COCO's order."""
    points = np.array(keypoints()).reshape(-1, 3)
    order = [0, 0, 0, 0, 0, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11]
    return points[order]


def _other_form(form: str) -> object:
    flat, points = keypoints(), coco_17()
    x, y, score = points.T.tolist()
    return {
        "OpenPose 1.0": {"version": 1.0, "people": [{"pose_keypoints": flat}]},
        "AlphaPose cmu": {"a.jpg": {"version": "v0.3", "bodies": [{"joints": flat}]}},
        "MMPose": [[{"keypoints": points[:, :2].tolist(), "keypoint_scores": score}]],
        "Ultralytics": [{"name": "person", "keypoints": {"x": x, "y": y, "visible": score}}],
        "a bad entry first": [None, {"keypoints": points.ravel().tolist()}],
    }[form]


@pytest.mark.parametrize(
    "form", ["OpenPose 1.0", "AlphaPose cmu", "MMPose", "Ultralytics", "a bad entry first"]
)
def test_the_same_person_is_read_from_the_forms_of_other_programs(tmp_path, form):
    (expected,) = read_openpose(written(tmp_path, keypoints())).people
    file = tmp_path / "people.json"
    file.write_text(json.dumps(_other_form(form)))
    (person,) = read_openpose(file, size=(640, 480)).people
    for joint in (Joint.LEFT_WRIST, Joint.RIGHT_ANKLE, Joint.LEFT_KNEE):
        np.testing.assert_allclose(person.joints2d_px[joint], expected.joints2d_px[joint])


@pytest.mark.parametrize("content", [[], {"pose_landmarks": []}, {"landmarks": None}])
def test_an_image_without_people_is_no_fault_of_the_file(tmp_path, content):
    file = tmp_path / "people.json"
    file.write_text(json.dumps(content))
    assert not read_openpose(file, size=(640, 480)).people


@pytest.mark.parametrize("more", [0, 9, 116, 119])
def test_alphaposes_people_of_one_image_are_read(tmp_path, more):
    (expected,) = read_openpose(written(tmp_path, keypoints())).people
    points = np.concatenate([coco_17(), np.zeros((more, 3))])
    file = tmp_path / "alphapose.json"
    entry = {"image_id": "a.jpg", "category_id": 1, "keypoints": points.ravel().tolist()}
    file.write_text(json.dumps([{**entry, "score": 2.9}]))
    (person,) = read_openpose(file, size=(640, 480)).people
    for joint in (Joint.LEFT_WRIST, Joint.RIGHT_ANKLE, Joint.RIGHT_HIP, Joint.LEFT_KNEE):
        np.testing.assert_allclose(
            person.joints2d_px[joint], expected.joints2d_px[joint], atol=1e-4
        )
    shoulders = person.joints2d_px[[Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]].mean(0)
    np.testing.assert_allclose(person.joints2d_px[Joint.THORAX], shoulders)


def test_alphaposes_file_of_several_images_is_refused_with_two_of_them(tmp_path):
    file = tmp_path / "alphapose-results.json"
    entries = [{"image_id": name, "keypoints": [0] * 51} for name in ("a.jpg", "b.jpg")]
    file.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"a\.jpg and b\.jpg"):
        read_openpose(file, size=(640, 480))


def test_mediapipes_landmarks_in_pixels_are_not_multiplied_by_the_images_size(tmp_path):
    file = tmp_path / "mediapipe.json"
    marks = [{"x": 100 + 5 * i, "y": 80 + 7 * i, "visibility": None} for i in range(33)]
    file.write_text(json.dumps(marks))
    (person,) = read_openpose(file, size=(640, 480)).people
    np.testing.assert_allclose(person.joints2d_px[Joint.LEFT_KNEE], (225, 255))


@pytest.mark.parametrize("named", [True, False])
def test_mediapipes_world_landmarks_are_refused_as_metres(tmp_path, named):
    points = np.random.default_rng(0).normal(0, 0.4, (33, 2))
    points[[23, 24]] = (0.1, 0.01), (-0.1, -0.01)
    marks = [{"x": x, "y": y, "z": 0.0, "visibility": 0.9} for x, y in points.tolist()]
    file = tmp_path / "mediapipe.json"
    file.write_text(json.dumps({"pose_world_landmarks": marks} if named else marks))
    if named:
        with pytest.raises(InputError) as caught:
            read_openpose(file, size=(640, 480))
        remedy = str(caught.value.remedy)
    else:
        (remedy,) = read_openpose(file, size=(640, 480)).left_out
    assert "metres around the hips" in remedy
    assert "write pose_landmarks" in remedy


@pytest.mark.parametrize("form", ["alone", "people", "landmarks", "pose_landmarks"])
def test_mediapipes_landmarks_are_fractions_of_the_image(tmp_path, form):
    points = np.array(keypoints()).reshape(-1, 3)
    marks = [{"x": 0.1, "y": 0.1, "z": 0.0, "visibility": 0.0} for _ in range(33)]
    for ours, theirs in ((0, 0), (5, 11), (2, 12), (12, 23), (9, 24), (13, 25), (10, 26)):
        x, y, _ = points[ours]
        marks[theirs] = {"x": x / 640, "y": y / 480, "z": -0.1}
    content = {"alone": marks, "people": [marks], "landmarks": {"landmarks": marks},
               "pose_landmarks": {"pose_landmarks": [marks]}}[form]  # fmt: skip
    file = tmp_path / "mediapipe.json"
    file.write_text(json.dumps(content))
    (person,) = read_openpose(file, size=(640, 480)).people
    np.testing.assert_allclose(person.joints2d_px[Joint.LEFT_KNEE], points[13, :2], atol=1e-3)
    assert "left_ankle" in person.missing
    with pytest.raises(InputError, match="normalised"):
        read_openpose(file)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    file = written(tmp_path, keypoints())
    file.write_text("\ufeff" + file.read_text(), encoding="utf-8")
    assert len(read_openpose(file).people) == 1
