import json
import math
import shutil

import numpy as np
import pytest
import torch

from hemlets import assets
from hemlets.assets import ASSETS_FOLDER, asset_path, verify_assets, write_manifest
from hemlets.assets.clips import SPLITS, load_clips
from hemlets.assets.rebuild.motion import retarget
from hemlets.assets.rebuild.regressors import PosedBody, fit_rest_point
from hemlets.assets.rebuild.rest_pose import aim, side_sign
from hemlets.body import BodyModel
from hemlets.core.errors import AssetError
from hemlets.core.skeleton import SMPL_JOINTS

FRAMES = {
    "backflip": 29, "cartwheel": 164, "crawl": 177, "dance_a": 98, "dance_b": 153,
    "getup_facedown": 183, "getup_faceup": 227, "jump": 107, "kick": 47, "punch": 65,
    "roll": 121, "run": 25, "spin": 107, "spinkick": 78, "walk": 39,
    "walker_turn_left0": 38, "walker_turn_left1": 38, "walker_turn_right0": 38,
    "walker_turn_right1": 38, "walker_walk_forward": 38,
}  # fmt: skip


@pytest.fixture(scope="module")
def body():
    return BodyModel.load()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "body").mkdir()
    shutil.copy(ASSETS_FOLDER / "body/open_body_lite.npz", tmp_path / "body")
    write_manifest(["body/open_body_lite.npz"], tmp_path)
    return tmp_path


def joints(body, theta_F72):
    theta = torch.tensor(np.asarray(theta_F72, dtype=np.float32))
    positions = body(theta, torch.zeros(1, 10)).joints24_B243_mm.numpy()
    return {name: positions[:, i] for i, name in enumerate(SMPL_JOINTS)}


def test_the_bundled_files_match_their_manifest():
    checked = verify_assets()
    assert {"body/open_body.npz", "body/open_body_lite.npz", "motions/motions.npz"} <= set(checked)


def test_the_files_are_small_enough_to_ship():
    assert asset_path("body/open_body.npz").stat().st_size < 2.5e6
    assert asset_path("body/open_body_lite.npz").stat().st_size < 0.5e6


def test_a_damaged_file_is_named_with_both_hashes_and_a_remedy(folder):
    file = folder / "body/open_body_lite.npz"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(AssetError) as caught:
        verify_assets(folder)
    recorded = json.loads((folder / "manifest.json").read_text())["body/open_body_lite.npz"]
    assert "open_body_lite.npz is damaged" in caught.value.what
    assert recorded in str(caught.value.expected)
    assert recorded not in caught.value.what
    assert "reinstall" in str(caught.value.remedy)


def test_a_missing_file_is_named(folder):
    (folder / "body/open_body_lite.npz").unlink()
    with pytest.raises(AssetError, match="is missing"):
        verify_assets(folder)


def test_an_unknown_asset_is_refused_with_the_known_ones():
    with pytest.raises(AssetError, match=r"body/open_body\.npz"):
        asset_path("body/of_evidence.npz")


def test_a_manifest_that_is_no_json_is_refused(folder):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(AssetError, match="can't be read"):
        verify_assets(folder)


def test_a_file_is_verified_before_its_path_is_given(folder, monkeypatch):
    monkeypatch.setattr(assets, "ASSETS_FOLDER", folder)
    (folder / "body/open_body_lite.npz").write_bytes(b"")
    with pytest.raises(AssetError, match="damaged"):
        asset_path("body/open_body_lite.npz")


def test_all_frames_of_the_source_are_there():
    assert {clip.name: len(clip) for clip in load_clips()} == FRAMES
    assert sum(FRAMES.values()) == 1810


def test_clips_are_finite_typed_and_read_only():
    for clip in load_clips():
        assert clip.theta_F72.shape == (len(clip), 72)
        assert clip.translation_F3_m.shape == (len(clip), 3)
        assert clip.theta_F72.dtype == clip.translation_F3_m.dtype == np.float32
        assert np.isfinite(clip.theta_F72).all()
        assert 15 < clip.fps < 61
        with pytest.raises(ValueError, match="read-only"):
            clip.theta_F72[0] = 0


def test_no_family_crosses_splits_and_train_has_most_frames():
    split_of: dict[str, set[str]] = {}
    frames = dict.fromkeys(SPLITS, 0)
    for clip in load_clips():
        split_of.setdefault(clip.family, set()).add(clip.split)
        frames[clip.split] += len(clip)
    assert all(len(splits) == 1 for splits in split_of.values())
    assert frames["train"] >= 0.65 * sum(frames.values())
    assert min(frames.values()) > 100


# Validation is a single clip of jumps, which steers curves alone; its arms move less.
@pytest.mark.parametrize(
    ("split", "least_deg"), [("train", 15), ("validation", 12), ("gate", 15), ("test", 15)]
)
def test_every_split_moves_the_limbs(split, least_deg):
    theta = np.concatenate([clip.theta_F72 for clip in load_clips(split)]).reshape(-1, 24, 3)
    for name in ("left_hip", "right_hip", "left_knee", "left_shoulder", "right_shoulder"):
        spread = np.rad2deg(theta[:, SMPL_JOINTS.index(name)].std(axis=0)).max()
        assert spread > least_deg, name


@pytest.mark.parametrize("name", ["walk", "run", "walker_walk_forward"])
def test_walkers_go_where_they_look(body, name):
    clip = next(clip for clip in load_clips("train") if clip.name == name)
    travel = clip.translation_F3_m[-1] - clip.translation_F3_m[0]
    assert travel[2] > 1
    assert abs(travel[0]) < 0.2
    at = joints(body, clip.theta_F72)
    toes = (at["left_foot"] - at["left_ankle"] + at["right_foot"] - at["right_ankle"])[:, 2]
    assert (toes > 0).mean() > 0.9
    assert (at["left_hip"][:, 0] > at["right_hip"][:, 0]).all()
    assert (at["left_shoulder"][:, 0] > at["right_shoulder"][:, 0]).all()


@pytest.mark.parametrize("name", ["turn_left", "turn_right"])
def test_walkers_turn_to_the_side_of_their_name(name):
    for clip in load_clips("train"):
        if name in clip.name:
            sideways = clip.translation_F3_m[-1, 0] - clip.translation_F3_m[0, 0]
            assert sideways > 0.1 if name == "turn_left" else sideways < -0.1


@pytest.mark.parametrize("clip", load_clips(), ids=lambda clip: clip.name)
def test_knees_bend_backwards_in_every_clip(body, clip):
    at = joints(body, clip.theta_F72)
    leftward = at["left_hip"] - at["right_hip"]
    for side in ("left", "right"):
        thigh = at[f"{side}_knee"] - at[f"{side}_hip"]
        shin = at[f"{side}_ankle"] - at[f"{side}_knee"]
        # A shin behind the thigh's line turns about the leftward axis by the right-hand rule.
        bend = np.cross(thigh, shin)
        sine = np.linalg.norm(bend, axis=1) / np.linalg.norm(thigh, axis=1)
        sine /= np.linalg.norm(shin, axis=1)
        bent = sine > math.sin(math.radians(35))
        if bent.any():
            assert (np.einsum("fc,fc->f", bend, leftward)[bent] > 0).mean() > 0.9


@pytest.mark.parametrize("name", ["walk", "run"])
def test_elbows_bend_forward(body, name):
    clip = next(clip for clip in load_clips("train") if clip.name == name)
    at = joints(body, clip.theta_F72)
    for side in ("left", "right"):
        upper = at[f"{side}_elbow"] - at[f"{side}_shoulder"]
        fore = at[f"{side}_wrist"] - at[f"{side}_elbow"]
        assert (np.cross(upper, fore)[:, 0] < 0).mean() > 0.95


def still_frame(**angles):
    """One frame of DeepMimic's form at rest, with some hinges turned."""
    frame = [1 / 60, 1.0, 0.9, 2.0]
    frame += [1, 0, 0, 0] * 3  # root, chest, neck
    for side in ("right", "left"):
        frame += [1, 0, 0, 0, angles.get(f"{side}_knee", 0.0), 1, 0, 0, 0]  # leg
        frame += [1, 0, 0, 0, angles.get(f"{side}_elbow", 0.0)]  # arm
    return json.dumps({"Frames": [frame, frame]}).encode()


def test_the_sources_rest_becomes_a_figure_with_hanging_arms_and_straight_legs(body):
    clip = retarget("rest", still_frame(), source="rest.txt")
    at = {name: value[0] for name, value in joints(body, clip.theta_F72).items()}
    for upper, lower in (
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
        ("hip", "knee"),
        ("knee", "ankle"),
    ):
        for side in ("left", "right"):
            limb = at[f"{side}_{lower}"] - at[f"{side}_{upper}"]
            assert limb[1] < -0.995 * np.linalg.norm(limb)
    assert at["left_shoulder"][0] > 0 > at["right_shoulder"][0]
    # Front stays front, the source's right becomes −x, and height stays height.
    np.testing.assert_allclose(clip.translation_F3_m[0], (-2.0, 0.9, 1.0), atol=1e-6)
    assert clip.fps == 60


def test_hinges_of_the_source_bend_elbows_forward_and_knees_back(body):
    right_angle = math.pi / 2
    clip = retarget(
        "bent", still_frame(left_elbow=right_angle, right_knee=-right_angle), source="bent.txt"
    )
    at = {name: value[0] for name, value in joints(body, clip.theta_F72).items()}
    forearm, shin = at["left_wrist"] - at["left_elbow"], at["right_ankle"] - at["right_knee"]
    assert forearm[2] > 0.99 * np.linalg.norm(forearm)
    assert shin[2] < -0.99 * np.linalg.norm(shin)
    straight = at["right_wrist"] - at["right_elbow"]
    assert straight[1] < -0.99 * np.linalg.norm(straight)


def test_aim_takes_one_direction_to_the_other_on_either_side():
    turn = aim((0.0, -1.0, 0.0), (1.0, 0.0, 0.0))
    np.testing.assert_allclose(turn.apply((1.0, 0.0, 0.0)), (0.0, -1.0, 0.0), atol=1e-12)
    mirrored = aim((1.0, 0.0, 0.0), (-0.5, -0.5, 0.0), sign=-1.0)
    np.testing.assert_allclose(
        mirrored.apply((-math.sqrt(0.5), -math.sqrt(0.5), 0.0)), (-1.0, 0.0, 0.0), atol=1e-12
    )


def test_side_signs_follow_the_joints_names():
    signs = {name: side_sign(i) for i, name in enumerate(SMPL_JOINTS)}
    assert all(sign == 1 for name, sign in signs.items() if name.startswith("left_"))
    assert all(sign == -1 for name, sign in signs.items() if name.startswith("right_"))


def test_a_fitted_point_is_a_convex_combination_that_follows_the_shape(body):
    template = body.v_template_V3.double().numpy()
    directions = body.shapedirs_V3K.double().numpy()
    knee = SMPL_JOINTS.index("left_knee")
    around = np.flatnonzero(body.weights_VJ[:, knee].numpy() > 0.4)[:10]
    target = np.concatenate([template[None], np.moveaxis(directions, 2, 0)])[:, around].mean(axis=1)
    posed = PosedBody(
        v_template_V3=template,
        shapedirs_V3K=directions,
        weights_VJ=body.weights_VJ.double().numpy(),
        joints_JK3=np.zeros((24, 11, 3)),
        mirror_V=body.mirror_vertices.numpy(),
    )
    weights = fit_rest_point(posed, knee, target)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    shapes = np.concatenate([template[None], np.moveaxis(directions, 2, 0)])
    np.testing.assert_allclose(np.einsum("v,kvc->kc", weights, shapes), target, atol=1e-3)
