"""People rendered with motion of one's own: AMASS files of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemlets.cli import main
from hemlets.core.errors import ConfigError, DataError
from hemlets.data.readers import amass
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.synthetic.motions import read_motions
from hemlets.data.table import Annotations
from hemlets.data.versions.combine import Part, combine

FRAMES = 36
CONFIG = OpenDataConfig(
    samples=SplitSizes(train=40, validation=2, gate=2, test=2), image_px=64, background_share=0.0
)


def motion(path: Path, **own: Any) -> None:
    """A raised left arm that sinks, at 120 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    poses = np.zeros((FRAMES, 156))
    poses[:, 0] = np.pi / 2
    poses[:, 3 * 16 + 2] = np.linspace(1.0, -1.0, FRAMES)
    fields = {
        "poses": poses, "trans": np.zeros((FRAMES, 3)), "mocap_framerate": np.array(120.0),
    } | own  # fmt: skip
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})


def test_frames_are_thinned_since_neighbours_are_the_same_pose(tmp_path):
    motion(tmp_path / "CMU/01/a_poses.npz")
    (clip,) = read_motions("mine", tmp_path, Quarantine()).clips
    assert len(clip) == FRAMES // 12
    assert clip.fps == 10.0
    np.testing.assert_allclose(clip.theta_F72[:, 3 * 16 + 2], np.linspace(1, -1, FRAMES)[::12])


def test_a_clip_is_named_by_subset_and_subject_wherever_the_folder_lies(tmp_path, monkeypatch):
    for place in ("here", "there"):
        motion(tmp_path / place / "CMU/01/a_poses.npz")
        motion(tmp_path / place / "SFU/02/b_poses.npz")
    monkeypatch.chdir(tmp_path / "here")
    found = [read_motions("mine", folder, Quarantine()) for folder in (Path(), tmp_path / "there")]
    assert [(clip.name, clip.split) for clip in found[0].clips] == [
        ("amass/CMU/01/a_poses", "train"), ("amass/SFU/02/b_poses", "validation"),
    ]  # fmt: skip
    assert found[0].recipe == found[1].recipe


def test_people_move_so_beside_the_bundled_clips_and_can_be_combined_with_others(tmp_path):
    motion(tmp_path / "set/CMU/01/a_poses.npz")
    motions = read_motions("mine", tmp_path / "set", Quarantine())
    build_open_data(CONFIG, tmp_path / "mine", motions=motions)
    build_open_data(CONFIG, tmp_path / "open")
    table = Annotations.read(tmp_path / "mine" / "annotations.parquet")
    clips = {name for row in table.clip for name in row.split("+")}
    assert "amass/CMU/01/a_poses" in clips
    assert any(not name.startswith("amass/") for name in clips)
    assert all(name.startswith("mine-") for name in table.sample_id)
    version = json.loads((tmp_path / "mine/version.json").read_text())
    assert version["motions"] == motions.recipe
    parts = [Part(name=name, folder=tmp_path / name) for name in ("open", "mine")]
    combine(parts, tmp_path / "both")
    assert len(Annotations.read(tmp_path / "both/annotations.parquet")) == 2 * 46


def test_other_motions_are_another_data_version(tmp_path):
    motion(tmp_path / "one/CMU/01/a_poses.npz")
    motion(tmp_path / "two/CMU/01/a_poses.npz", trans=np.ones((FRAMES, 3)))
    motion(tmp_path / "two/CMU/01/b_poses.npz")
    small = CONFIG.model_copy(update={"samples": SplitSizes(train=2, validation=0, gate=0, test=0)})
    one, two = (read_motions("mine", tmp_path / name, Quarantine()) for name in ("one", "two"))
    build_open_data(small, tmp_path / "data", motions=one)
    with pytest.raises(DataError, match="motions differ"):
        build_open_data(small, tmp_path / "data", motions=two)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({"trans": None}, "lacks trans"),
        ({"poses": np.zeros((FRAMES, 50))}, "50 values"),
        ({"poses": None, "trans": None, "smpl_poses": np.zeros((9, 72))}, "it holds: .*smpl_poses"),
        ({"trans": np.full((FRAMES, 3), 1500.0)}, "divide the positions by 1000"),
        ({"trans": np.full((FRAMES, 3), 92.0)}, "by 100 if centimetres"),
        ({"poses": np.zeros((FRAMES, 198))}, "convert rotation matrices"),
        ({"poses": np.zeros((FRAMES, 156)), "trans": np.full((FRAMES, 3), 0.9)}, "along y"),
        ({"mocap_framerate": np.array(-1.0)}, "frame rate is -1"),
        ({"poses": np.full((FRAMES, 156), np.nan)}, "not finite"),
    ],
)
def test_a_file_that_can_t_be_used_is_named_and_the_others_are_read(tmp_path, damage, reason):
    motion(tmp_path / "CMU/01/bad_poses.npz", **damage)
    with pytest.raises(DataError, match=reason):
        read_motions("mine", tmp_path, Quarantine())
    motion(tmp_path / "CMU/01/good_poses.npz")
    quarantine = Quarantine()
    assert len(read_motions("mine", tmp_path, quarantine).clips) == 1
    (item,) = quarantine.items
    assert item.file.endswith("bad_poses.npz")


def test_joints_of_three_values_each_are_the_same_motion(tmp_path):
    motion(tmp_path / "CMU/01/a_poses.npz")
    with np.load(tmp_path / "CMU/01/a_poses.npz") as stored:
        motion(tmp_path / "CMU/01/b_poses.npz", poses=stored["poses"].reshape(FRAMES, 52, 3))
    one, other = read_motions("mine", tmp_path, Quarantine()).clips
    np.testing.assert_array_equal(one.theta_F72, other.theta_F72)


def test_two_files_of_one_motion_are_refused_with_the_name(tmp_path):
    for folder in ("x", "y"):
        motion(tmp_path / folder / "CMU/01/a_poses.npz")
    quarantine = Quarantine()
    assert len(read_motions("mine", tmp_path, quarantine).clips) == 1
    assert "another file gives the motion amass/CMU/01/a_poses" in quarantine.items[0].what


def test_ingest_of_motions_names_the_command_that_takes_them(tmp_path):
    motion(tmp_path / "my set/CMU/01/a_poses.npz")
    with pytest.raises(ConfigError, match="without images") as raised:
        list(amass.read(tmp_path / "my set", ReadOptions(), Quarantine()))
    remedy = str(raised.value.remedy)
    assert remedy.endswith(f"hemlets data render amass --motions '{tmp_path}/my set'")


def test_the_command_renders_people_with_a_folder_of_motions(tmp_path, capsys):
    motion(tmp_path / "set/CMU/01/a_poses.npz")
    motion(tmp_path / "set/CMU/01/b_poses.npz", trans=None)
    out = tmp_path / "out"
    command = ["data", "render", "amass", "--motions", str(tmp_path / "set"), "--out", str(out)]
    sizes = [f"samples.{split}=2" for split in ("train", "validation", "gate", "test")]
    options = [text for size in [*sizes, "image_px=64"] for text in ("--set", size)]
    assert main([*command, *options, "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "1 motions beside the bundled ones" in printed
    assert "b_poses.npz" in printed
    assert "lacks trans" in printed
    assert len(Annotations.read(out / "annotations.parquet")) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mine",), "--motions FOLDER"),
        (("open-benchmark-1", "--set", "seed=3"), "open-benchmark-1 is fixed"),
        (("mine", "--motions", "nowhere"), "the folder does not exist"),
        (("mine", "--motions", "a_poses.npz"), "give its folder: --motions ."),
        (("a/b", "--motions", "."), "can't be the name"),
        (("mine", "--motions", ".", "--set", "sample.train=3"), "unknown key 'sample'"),
        (("mine", "--motions", "."), "no motion that can be used"),
    ],
)
def test_mistakes_are_refused_with_what_would_be_right(
    tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_poses.npz").touch()
    assert main(["data", "render", *arguments]) in (1, 2)
    assert message in capsys.readouterr().err
