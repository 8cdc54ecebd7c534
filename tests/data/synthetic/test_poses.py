"""Poses are captured motion with every joint alive, within what a body can do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hemlets.body.limits import limit_pose
from hemlets.core.errors import DataError
from hemlets.core.skeleton import SMPL_JOINTS
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig
from hemlets.data.synthetic.poses import Pose, _raise_collars, draw_pose
from hemlets.data.table import SPLITS

J = {name: index for index, name in enumerate(SMPL_JOINTS)}


def draw(library: MotionLibrary, split: str, n: int = 300, **settings: float) -> list[Pose]:
    config = OpenDataConfig(**settings)
    return [draw_pose(np.random.default_rng([5, i]), library, split, config) for i in range(n)]


def test_no_clip_and_no_mixture_with_one_crosses_splits(library: MotionLibrary) -> None:
    seen: dict[str, set[str]] = {}
    families: dict[str, set[str]] = {}
    for split in SPLITS:
        poses = draw(library, split)
        seen[split] = {clip for pose in poses for clip in pose.clip.split("+")}
        families[split] = {name for pose in poses for name in pose.family.split("+")}
        assert seen[split] == {clip.name for clip in library.of_split(split)}
    for kinds in (seen, families):
        names = [name for split in SPLITS for name in kinds[split]]
        assert len(names) == len(set(names))


def test_a_family_in_two_splits_is_refused(library: MotionLibrary) -> None:
    clip = library.of_split("train")[0]
    stray = dataclasses.replace(clip, name="stray", split="test")
    with pytest.raises(DataError, match=r"in (train and in test|test and in train)"):
        MotionLibrary([*library.clips, stray])


def test_a_split_without_motion_is_named() -> None:
    with pytest.raises(DataError, match="no motion clip"):
        draw(MotionLibrary([]), "gate", 1)


def test_mixtures_name_both_clips(library: MotionLibrary) -> None:
    mixed = draw(library, "train", mixture_probability=1.0)
    plain = draw(library, "train", mixture_probability=0.0)
    assert any("+" in pose.clip for pose in mixed)
    assert not any("+" in pose.clip for pose in plain)


@pytest.mark.parametrize("split", SPLITS)
def test_all_24_joints_move(library: MotionLibrary, split: str) -> None:
    theta = np.stack([pose.theta_J3 for pose in draw(library, split)])
    assert (theta.std(0).max(-1) > 0.07).all()


def test_no_clip_is_drowned_by_longer_ones(library: MotionLibrary) -> None:
    poses = draw(library, "train", 1000, mixture_probability=0.0)
    counts = {clip.name: 0 for clip in library.of_split("train")}
    for pose in poses:
        counts[pose.clip] += 1
    assert min(counts.values()) > 8
    assert max(counts.values()) < 250


def test_knees_and_elbows_never_bend_backwards(library: MotionLibrary) -> None:
    wild = draw(library, "train", pose_noise=3.0, free_limb_probability=0.5)
    theta = np.stack([pose.theta_J3 for pose in wild])
    assert theta[:, [J["left_knee"], J["right_knee"]], 0].min() >= -0.021
    assert theta[:, J["left_elbow"], 1].max() <= 0.021
    assert theta[:, J["right_elbow"], 1].min() >= -0.021


def test_ranges_are_mirror_images_of_each_other() -> None:
    theta = np.random.default_rng(0).normal(0.0, 3.0, (200, 24, 3))
    sides = [J[name.replace("left_", "right_")] for name in SMPL_JOINTS if "left_" in name]
    lefts = [J[name] for name in SMPL_JOINTS if "left_" in name]
    mirrored = theta.copy()
    mirrored[:, lefts] = theta[:, sides] * (1, -1, -1)
    mirrored[:, sides] = theta[:, lefts] * (1, -1, -1)
    clamped, clamped_mirror = limit_pose(theta), limit_pose(mirrored)
    assert np.allclose(clamped_mirror[:, lefts], clamped[:, sides] * (1, -1, -1))


def test_collars_carry_a_raised_arm_and_leave_it_where_it_was() -> None:
    theta = np.zeros((24, 3))
    theta[J["left_shoulder"]] = 0.0, 0.0, 1.2
    before = Rotation.from_rotvec(theta[J["left_shoulder"]])
    _raise_collars(theta)
    collar = Rotation.from_rotvec(theta[J["left_collar"]])
    shoulder = Rotation.from_rotvec(theta[J["left_shoulder"]])
    assert theta[J["left_collar"], 2] > 0.3
    assert (collar * shoulder * before.inv()).magnitude() == pytest.approx(0.0, abs=1e-9)


def test_splits_that_measure_hold_captured_arms_only(library: MotionLibrary) -> None:
    always = draw(library, "test", 20, free_limb_probability=1.0)
    never = draw(library, "test", 20, free_limb_probability=0.0)
    for left, right in zip(always, never, strict=True):
        assert np.array_equal(left.theta_J3, right.theta_J3)
