"""Videos become tracks without jitter or lag, and motion files that others can read."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch

from hemlets.assets.clips import load_clips
from hemlets.body import BodyModel
from hemlets.core.errors import ConfigError, InputError
from hemlets.core.skeleton import SMPL_JOINTS
from hemlets.data.readers.amass import read_motion
from hemlets.inference import BodyEstimate, Camera
from hemlets.inference.motion_file import Motion, write_motion
from hemlets.inference.openpose_folder import pair_frames
from hemlets.inference.people import Detection
from hemlets.inference.smoothing import (
    SmoothingConfig,
    one_euro,
    smooth_estimates,
)
from hemlets.inference.timing import Timing
from hemlets.inference.video import (
    Follower,
    Seen,
    SmoothWindow,
    Track,
    openpose_finder,
    smooth_track,
    tracks_of,
)
from hemlets.inference.video_source import VideoSource

from ..benchmarks.smoothness import jitter, lag_frames
from ..benchmarks.video_files import write_video
from .bvh import read_bvh

CAMERA = Camera(fx=500, fy=500, cx=160, cy=120)


@pytest.fixture(scope="module")
def body():
    return BodyModel.load()


@pytest.fixture(scope="module")
def true_motion(body):
    """A person who kicks 4 m before the camera, as perfect predictions; 30 frames a second."""
    clip = next(c for c in load_clips("test") if c.name == "kick")
    theta = clip.theta_F72.reshape(len(clip), 24, 3).copy()
    upright = cv2.Rodrigues(np.array([np.pi, 0.0, 0.0]))[0]
    for frame in theta:
        frame[0] = cv2.Rodrigues(upright @ cv2.Rodrigues(frame[0].astype(float))[0])[0][:, 0]
    betas = np.zeros((1, 10), np.float32)
    with torch.inference_mode():
        joints = body(torch.from_numpy(theta), torch.from_numpy(betas)).joints18_B183_mm.numpy()
    path = clip.translation_F3_m * [1000, -1000, -1000] * [1, 0, 1]
    path = path - path[0] + [0, 0, 4000]
    return clip.fps, [
        BodyEstimate(
            joints3d_mm=j - j[0], root_mm=(p).astype(np.float32),
            joints2d_px=np.zeros((18, 2), np.float32), confidence=np.ones(18, np.float32),
            theta=t, betas=betas[0], box_xyxy=(0, 0, 320, 240), camera=CAMERA,
        )
        for j, t, p in zip(joints, theta, path, strict=True)
    ]  # fmt: skip


def noisy(estimates, rng, joint_mm=15.0, turn_rad=0.05):
    return [
        dataclasses.replace(
            e,
            joints3d_mm=e.joints3d_mm + rng.normal(0, joint_mm, (18, 3)).astype(np.float32),
            root_mm=e.root_mm + rng.normal(0, 2 * joint_mm, 3).astype(np.float32),
            theta=e.theta + rng.normal(0, turn_rad, (24, 3)).astype(np.float32),
            betas=e.betas + rng.normal(0, 0.3, 10).astype(np.float32),
        )
        for e in estimates
    ]


def joints_of(estimates):
    return np.stack([e.joints3d_mm for e in estimates])


def test_smoothing_takes_the_jitter_and_leaves_no_lag(true_motion):
    fps, truth = true_motion
    raw = noisy(truth, np.random.default_rng(0))
    calm = smooth_estimates(raw, fps)
    excess = jitter(joints_of(calm)) - jitter(joints_of(truth))
    assert excess < 0.2 * (jitter(joints_of(raw)) - jitter(joints_of(truth)))
    assert abs(lag_frames(joints_of(calm), joints_of(truth))) < 0.25
    error = [np.linalg.norm(joints_of(e) - joints_of(truth), axis=-1).mean() for e in (raw, calm)]
    assert error[1] < 0.85 * error[0]


def test_live_smoothing_knows_nothing_of_what_comes(true_motion):
    fps, truth = true_motion
    raw = noisy(truth, np.random.default_rng(1))
    live = SmoothingConfig(live=True)
    whole = smooth_estimates(raw, fps, live)
    half = smooth_estimates(raw[: len(raw) // 2], fps, live)
    np.testing.assert_allclose(joints_of(whole)[: len(half)], joints_of(half), atol=1e-3)
    assert jitter(joints_of(whole)) < 0.5 * jitter(joints_of(raw))
    assert lag_frames(joints_of(whole), joints_of(truth)) < 2


def test_rotations_are_smoothed_as_rotations(true_motion):
    fps, truth = true_motion[0], list(true_motion[1])
    # A root that turns through π, where rotation vectors jump.
    for index, estimate in enumerate(truth):
        angle = np.pi - 0.5 + index * 1.0 / len(truth)
        turn = np.array([0, (angle + np.pi) % (2 * np.pi) - np.pi, 0], np.float32)
        truth[index] = dataclasses.replace(
            estimate, theta=np.concatenate([turn[None], estimate.theta[1:]])
        )
    calm = smooth_estimates(truth, fps)
    for before, after in zip(truth, calm, strict=True):
        gap = cv2.Rodrigues(before.theta[0].astype(float))[0] @ (
            cv2.Rodrigues(after.theta[0].astype(float))[0].T
        )
        assert np.linalg.norm(cv2.Rodrigues(gap)[0]) < 0.2


def test_what_stands_still_is_not_moved_and_keeps_one_shape(true_motion):
    fps, truth = true_motion
    still = [truth[0]] * 12
    calm = smooth_estimates(still, fps)
    np.testing.assert_allclose(joints_of(calm), joints_of(still), atol=1e-3)
    shapes = {
        e.betas.tobytes() for e in smooth_estimates(noisy(still, np.random.default_rng(2)), fps)
    }
    assert len(shapes) == 1


def test_a_lag_is_measured_to_a_fraction_of_a_frame():
    time = np.arange(120)[:, None, None] / 10
    for shift in (-2.0, 0.0, 1.5):
        found = lag_frames(np.sin(time - shift / 10), np.sin(time))
        assert found == pytest.approx(shift, abs=0.1)


def test_a_single_frame_is_left_alone():
    value = np.ones((1, 2, 3))
    np.testing.assert_array_equal(one_euro(value, 30, cutoff_hz=1, per_speed=0), value)


def test_bvh_poses_to_the_bodys_own_joints(tmp_path, true_motion, body):
    fps, truth = true_motion
    motion = Motion.of(truth, body, fps)
    write_motion(tmp_path / "kick.bvh", motion)
    read = read_bvh(tmp_path / "kick.bvh")
    assert read.fps == pytest.approx(fps, rel=1e-5)
    theta = torch.from_numpy(np.stack([e.theta for e in truth]))
    with torch.inference_mode():
        joints = body(theta, torch.zeros(1, 10)).joints24_B243_mm.numpy()
    joints = (joints + motion.transl_T3_mm[:, None]) * [1, -1, -1] / 10
    order = [read.names.index(name) for name in SMPL_JOINTS]
    np.testing.assert_allclose(read.positions()[:, order], joints, atol=0.01)


def test_the_amass_file_poses_to_the_body_with_z_up(tmp_path, true_motion, body):
    fps, truth = true_motion
    motion = Motion.of(truth, body, fps)
    write_motion(tmp_path / "kick.npz", motion)
    with np.load(tmp_path / "kick.npz", allow_pickle=False) as file:
        assert float(file["mocap_framerate"]) == pytest.approx(fps)
        assert str(file["gender"]) == "neutral"
        poses, trans = torch.from_numpy(file["poses"]).float(), file["trans"]
        betas = torch.from_numpy(file["betas"]).float()[None]
    with torch.inference_mode():
        theirs = body(poses, betas).joints18_B183_mm.numpy() + 1000 * trans[:, None]
    ours = joints_of(truth) + np.stack([e.root_mm for e in truth])[:, None]
    x, y, z = np.moveaxis(ours, -1, 0)
    np.testing.assert_allclose(theirs, np.stack([x, z, -y], -1), atol=1)
    assert theirs[0, 10, 2] > theirs[0, 3, 2] + 1000, "the head is above the ankle"


@pytest.mark.parametrize("verdicts", [(True, False, True), (None, None, None)])
def test_the_amass_file_says_in_which_frames_nobody_is(tmp_path, true_motion, body, verdicts):
    fps, truth = true_motion
    sure = (0.9, 0.2, 0.7)
    estimates = [
        dataclasses.replace(e, confidence=np.full(18, s, np.float32), person=verdict)
        for e, s, verdict in zip(truth, sure, verdicts, strict=False)
    ]
    track = smooth_track(Track(number=0, frames=(0, 1, 2), estimates=tuple(estimates)), fps)
    write_motion(tmp_path / "kick.npz", Motion.of(track.estimates, body, fps))
    with np.load(tmp_path / "kick.npz", allow_pickle=False) as file:
        np.testing.assert_allclose(file["person_confidence"], sure, atol=1e-6)
        assert (file["person"].tolist() if "person" in file else None) == (
            list(verdicts) if verdicts[0] is not None else None
        )
    assert len(read_motion(tmp_path / "kick.npz").theta_F72) == 3, "still a motion for its reader"


def test_motion_in_another_format_is_refused(tmp_path, true_motion, body):
    fps, truth = true_motion
    with pytest.raises(ConfigError, match=r"\.fbx"):
        write_motion(tmp_path / "kick.fbx", Motion.of(truth[:2], body, fps))


class Counter:
    """Predicts nothing, but says which frame it saw: the frame's brightness."""

    def __init__(self, template):
        self.template = template
        self.batches = []

    def predict(self, requests, *, batch_size=32):
        self.batches.append(len(requests))
        return [
            dataclasses.replace(
                self.template,
                root_mm=np.full(3, r.image_HW3.mean(), np.float32),
                box_xyxy=r.box_xyxy or (0, 0, 64, 48),
            )
            for r in requests
        ]


@pytest.fixture
def video(tmp_path):
    frames = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(10)]
    write_video(tmp_path / "grey.mp4", frames, 12.5, (64, 48))
    return VideoSource.open(tmp_path / "grey.mp4")


def test_a_written_video_is_read_back(video):
    assert (video.stated_fps, video.size) == (12.5, (64, 48))
    frames = list(video.frames())
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(10) / 12.5, atol=1e-3)
    means = [frame.image_HW3.mean() for frame in frames]
    np.testing.assert_allclose(means, 20 * np.arange(10), atol=6)


def follow(predictor, images, finder, *, batch=4):
    follower = Follower(predictor, finder)
    people = []
    for start in range(0, len(images), batch):
        people += follower.follow(images[start : start + batch])
    timing = Timing(fps=12.5, source_frames=tuple(range(len(images))), resampled=False)
    return people, tracks_of(people, timing)


def test_each_frame_goes_to_its_persons_track_in_batches(video, true_motion):
    predictor = Counter(true_motion[1][0])
    images = [frame.image_HW3 for frame in video.frames()]
    _, (track,) = follow(predictor, images, lambda *_: [Detection(box_xyxy=None)])
    assert track.frames == tuple(range(10))
    assert predictor.batches == [4, 4, 2]
    brightness = [e.root_mm[0] for e in track.estimates]
    np.testing.assert_allclose(brightness, 20 * np.arange(10), atol=6)


def test_somebody_who_is_gone_for_some_frames_is_smoothed_in_two_runs(video, true_motion):
    def finder(number, frame):
        return [] if 4 <= number <= 6 else [Detection(box_xyxy=(5, 5, 40, 40))]

    predictor = Counter(true_motion[1][0])
    images = [frame.image_HW3 for frame in video.frames()]
    _, (track,) = follow(predictor, images, finder)
    assert [track.frames[run] for run in track.runs()] == [(0, 1, 2, 3), (7, 8, 9)]
    assert smooth_track(track, 12.5).frames == track.frames


def test_at_a_variable_rate_a_track_has_the_frame_that_is_on_screen(true_motion):
    images = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(4)]
    people, _ = follow(Counter(true_motion[1][0]), images, lambda *_: [Detection(box_xyxy=None)])
    timing = Timing(fps=10.0, source_frames=(0, 0, 1, 3), resampled=True)
    (track,) = tracks_of(people, timing)
    assert track.frames == (0, 1, 2, 3)
    assert [e.root_mm[0] for e in track.estimates] == [0, 0, 20, 60]


def test_a_window_shows_every_frame_once_and_as_calm_as_the_whole_track(true_motion):
    rng = np.random.default_rng(0)
    raw = noisy(true_motion[1], rng)
    window, shown, waited = SmoothWindow(30.0, ahead=6), [], []
    for estimate in raw:
        shown += window.add([Seen(3, estimate)])
        waited.append(len(shown))
    shown += window.end()
    assert [[number for number, _ in people] for people in shown] == [[3]] * len(raw)
    assert max(i + 1 - done for i, done in enumerate(waited)) < 12
    calm = joints_of([people[0].estimate for people in shown])
    whole = joints_of(smooth_estimates(raw, 30.0))
    assert jitter(calm) < 0.6 * jitter(joints_of(raw))
    assert np.abs(calm - whole).mean() < 5.0


def test_openposes_folder_gives_each_frame_its_people(tmp_path):
    points = np.stack([np.linspace(5, 30, 25), np.linspace(5, 45, 25), np.ones(25)], -1)
    person = {"pose_keypoints_2d": points.ravel().tolist()}
    folder = tmp_path / "openpose"
    folder.mkdir()
    for number in (0, 2):
        file = folder / f"walk_{number:012d}_keypoints.json"
        file.write_text(json.dumps({"people": [person]}))
    find = openpose_finder(pair_frames(folder, 4).files)
    image = np.zeros((48, 64, 3), np.uint8)
    assert [len(find(frame, image)) for frame in range(4)] == [1, 0, 1, 0]


def test_a_cut_file_of_openposes_folder_takes_no_other_frame_along(tmp_path):
    points = np.stack([np.linspace(5, 30, 25), np.linspace(5, 45, 25), np.ones(25)], -1)
    good = {"pose_keypoints_2d": points.ravel().tolist()}
    nobody = {"pose_keypoints_2d": [float("nan")] * 75}
    texts = json.dumps({"people": [good]}), '{"people": [', json.dumps({"people": [nobody, good]})
    files = {number: tmp_path / f"{number}.json" for number in range(3)}
    for file, text in zip(files.values(), texts, strict=True):
        file.write_text(text)
    left_out = []
    find = openpose_finder(files, left_out)
    image = np.zeros((48, 64, 3), np.uint8)
    assert [len(find(frame, image)) for frame in range(3)] == [1, 0, 1]
    assert [reason.split(":")[0] for reason in left_out] == ["1.json", "2.json"]


def test_an_empty_openpose_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no file of OpenPose"):
        pair_frames(tmp_path, 4)


@pytest.mark.parametrize("content", [None, b"", b"no video at all"])
def test_what_is_no_video_is_refused(tmp_path, content):
    file = tmp_path / "x.mp4"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match="video"):
        VideoSource.open(file)
