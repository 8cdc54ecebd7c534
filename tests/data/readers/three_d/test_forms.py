"""Every form without a real sample: written synthetically after its document, and read back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hemlets.core.skeleton import Joint, depth_relations
from hemlets.data.readers import amass, human36m, humaneva, mpi_inf_3dhp, spin_npz, threedpw, up3d
from hemlets.data.readers.contract import ReadOptions, SourceRows
from hemlets.data.readers.maps3d import SPIN_24
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.table import FIELDS, Annotations

LIMBS = [
    Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE, Joint.LEFT_KNEE, Joint.LEFT_ANKLE,
    Joint.LEFT_ELBOW, Joint.LEFT_WRIST, Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST,
]  # fmt: skip


def column(rows: list[SourceRows], name: str) -> Any:
    return np.concatenate([np.asarray(part.columns[name]) for part in rows])


def test_human36m_official_gives_both_frames_of_reference(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    written.human36m(tmp_path)
    (rows,) = written.read_all(human36m.DATASET, tmp_path)
    body = written.standing_body()
    assert np.allclose(rows.columns["joints3d_mm"], body, atol=1e-6)
    assert np.allclose(rows.columns["joints2d_px"][:, LIMBS], written.pixels(body, 0.5)[:, LIMBS])
    assert np.asarray(rows.columns["valid3d"]).all()
    assert rows.columns["clip"][0] == "S1_Walking 1"
    assert (rows.columns["camera_id"][0], rows.columns["split"][0]) == ("54138969", "train")
    assert str(rows.images[3]) == "S1/Videos/Walking 1.54138969.mp4#3"
    relations, _ = depth_relations(body)
    assert np.array_equal(rows.columns["relations"], relations)
    assert set(rows.columns["relations_source"]) == {"3d"}


def test_human36m_world_positions_are_brought_to_the_camera(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    file = written.human36m(tmp_path)
    mono = file.parents[1] / "D3_Positions_mono" / file.name
    mono.rename(tmp_path / "aside.cdf")
    world = file.parents[1] / "D3_Positions" / "Walking 1.cdf"
    world.parent.mkdir()
    (tmp_path / "aside.cdf").rename(world)
    (rows,) = written.read_all(human36m.DATASET, tmp_path)
    assert np.allclose(rows.columns["joints3d_mm"], written.standing_body(), atol=1e-6)


@pytest.mark.parametrize(("subject", "step", "split"), [("S1", 5, "train"), ("S9", 64, "test")])
def test_human36m_takes_the_protocols_frames(
    written: SimpleNamespace, tmp_path: Path, subject: str, step: int, split: str
) -> None:
    body = written.standing_body(130)
    written.human36m(tmp_path, subject, joints3d=body, joints2d=written.pixels(body))
    (rows,) = written.read_all(human36m.DATASET, tmp_path, frame_step=None)
    assert rows.columns["frame"].tolist() == list(range(0, 130, step))
    assert set(rows.columns["split"]) == {split}


def test_human36m_extracted_frames_are_named_from_one(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    written.human36m(tmp_path)
    (tmp_path / "S1/Images/Walking 1.54138969").mkdir(parents=True)
    (rows,) = written.read_all(human36m.DATASET, tmp_path)
    assert str(rows.images[0]) == "S1/Images/Walking 1.54138969/000001.jpg"


def test_human36m_leaves_out_the_corrupt_video_only(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    for camera in ("54138969", "55011271"):
        written.human36m(tmp_path, "S11", "Directions", camera)
    (rows,) = written.read_all(human36m.DATASET, tmp_path)
    assert set(rows.columns["camera_id"]) == {"55011271"}


@pytest.mark.parametrize(("choice", "sequences"), [("keep", 2), ("exclude", 1)])
def test_human36m_drifting_sequences_are_a_choice(
    written: SimpleNamespace, tmp_path: Path, choice: str, sequences: int
) -> None:
    for action in ("Greeting", "Greeting 1"):
        written.human36m(tmp_path, "S9", action)
    rows = written.read_all(human36m.DATASET, tmp_path, settings={"drifting": choice})
    assert len(rows) == sequences
    written.human36m_json(tmp_path / "json")
    json_rows = written.read_all(human36m.DATASET, tmp_path / "json", settings={"drifting": choice})
    assert len(json_rows) == sequences - 1


def test_human36m_json_projects_what_it_has_in_3d(written: SimpleNamespace, tmp_path: Path) -> None:
    written.human36m_json(tmp_path)
    (rows,) = written.read_all(human36m.DATASET, tmp_path)
    body = written.standing_body()
    assert np.allclose(rows.columns["joints3d_mm"], body)
    assert np.allclose(rows.columns["joints2d_px"], written.pixels(body, 0.5))
    assert rows.columns["box_xyxy"][0].tolist() == [300, 200, 700, 800]
    assert rows.columns["clip"][0] == "S9_Greeting-2"


def test_one_performance_is_one_clip_across_cameras(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    written.mpi_train(tmp_path)
    rows = written.read_all(mpi_inf_3dhp.DATASET, tmp_path)
    assert len(rows) == 8
    assert {part.columns["clip"][0] for part in rows} == {"S1_Seq1"}
    assert len({part.columns["camera_id"][0] for part in rows}) == 8
    assert len(set(column(rows, "sample_id"))) == 8 * written.FRAMES


def test_3dhp_training_lands_on_its_2d(written: SimpleNamespace, tmp_path: Path) -> None:
    written.mpi_train(tmp_path)
    rows = written.read_all(mpi_inf_3dhp.DATASET, tmp_path, settings={"cameras": "3"})
    assert np.allclose(column(rows, "joints3d_mm"), written.standing_body())
    assert str(rows[0].images[1]) == "S1/Seq1/imageSequence/video_3.avi#1"
    assert column(rows, "camera")[0].tolist() == [1100, 1100, 500, 500]


@pytest.mark.parametrize(("wanted", "factor"), [("univ", 1.1), ("metric", 1.0)])
def test_3dhp_scores_use_the_universal_body(
    written: SimpleNamespace, tmp_path: Path, wanted: str, factor: float
) -> None:
    written.mpi_test(tmp_path)
    rows = written.read_all(mpi_inf_3dhp.DATASET, tmp_path, settings={"test_3d": wanted})
    valid = np.arange(written.FRAMES) != 2
    assert np.allclose(column(rows, "joints3d_mm"), written.standing_body()[valid] * factor)
    assert np.allclose(column(rows, "camera")[0], [1100, 1100, 500, 500], atol=1e-3)
    assert set(column(rows, "action")) == {"Sit On Chair"}
    assert column(rows, "frame").tolist() == np.flatnonzero(valid).tolist()
    assert str(rows[0].images[0]).endswith("TS1/imageSequence/img_000001.jpg")


def test_humaneva_knows_no_head_top_and_skips_frames_without_capture(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    written.humaneva(tmp_path)
    rows = written.read_all(humaneva.DATASET, tmp_path)
    valid = column(rows, "valid3d")
    unknown = [Joint.SPINE, Joint.NECK, Joint.NOSE, Joint.HEAD_TOP]
    assert not valid[:, unknown].any()
    assert np.delete(valid, unknown, 1).all()
    assert 4 + 5 not in column(rows, "frame")
    assert len(rows) == 3
    assert set(column(rows, "split")) == {"validation"}
    # Frame 5 of the capture is the video's 5 + 82 - 1.
    assert str(rows[0].images[0]) == "S1/Image_Data/Walking_1_(C1).avi#86"


def test_3dpw_is_seen_by_its_moving_camera(written: SimpleNamespace, tmp_path: Path) -> None:
    written.threedpw(tmp_path)
    (rows,) = written.read_all(threedpw.DATASET, tmp_path)
    expected = written.standing_body()[1:] + np.array([0, 0, 1000.0])
    joints = np.asarray(rows.columns["joints3d_mm"])
    assert np.allclose(joints[:, LIMBS], expected[:, LIMBS])
    assert rows.columns["valid2d"][0].nonzero()[0].tolist() == [
        Joint.RIGHT_SHOULDER,
        Joint.RIGHT_ELBOW,
    ]
    assert str(rows.images[0]) == "imageFiles/downtown_walk_00/image_00001.jpg"
    assert np.asarray(rows.columns["transl_valid"]).all()
    # The rest pelvis lies 0.2 m below the origin; rotation leaves it where it is.
    pelvis = np.asarray(rows.columns["transl_mm"]) + np.array([0, -200.0, 0])
    assert np.allclose(pelvis[:, 2], 5500, atol=1e-3)
    assert (rows.columns["gender"][0], rows.columns["split"][0]) == ("male", "validation")


def test_3dpw_turns_the_body_with_the_camera(written: SimpleNamespace, tmp_path: Path) -> None:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec([0.0, 0.0, 0.3]).as_matrix()
    poses = np.tile(np.eye(4), (written.FRAMES, 1, 1))
    poses[:, :3, :3] = turn
    written.threedpw(tmp_path, cam_poses=poses)
    (rows,) = written.read_all(threedpw.DATASET, tmp_path)
    theta = np.asarray(rows.columns["theta"])
    assert np.allclose(theta[:, 0], [0, 0, 0.3])
    assert not theta[:, 1:].any()


def test_up3d_has_the_fit_and_lsps_joints(written: SimpleNamespace, tmp_path: Path) -> None:
    written.up3d(tmp_path)
    rows = written.read_all(up3d.DATASET, tmp_path)
    assert column(rows, "split").tolist() == ["train", "train", "test"]
    valid = column(rows, "valid2d")
    assert not valid[:, [Joint.PELVIS, Joint.SPINE, Joint.NOSE, Joint.LEFT_HIP]].any()
    assert column(rows, "transl_mm")[0].tolist() == [0, 200, 9000]
    assert column(rows, "camera")[0].tolist() == [900, 900, 150, 200]
    assert column(rows, "smpl_valid").all()
    assert "joints3d_mm" not in rows[0].columns


def test_up3ds_body_rendered_on_white_is_its_mask_where_there_are_no_labels(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    from PIL import Image

    written.up3d(tmp_path)
    for name in ("00000_render_light", "00001_render_light", "00001_segmentation"):
        white = name.endswith("light")
        picture = np.full((400, 300, 3), 255 if white else 0, np.uint8)
        picture[100:300, 50:200] = 120 if white else 1
        picture[200:300, 50:200] = 90 if white else 2
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    rows = written.read_all(up3d.DATASET, tmp_path)
    assert column(rows, "box_xyxy")[:2].tolist() == [[50, 100, 200, 300]] * 2
    masks = {str(mask) for part in rows for mask in part.masks}
    assert masks == {"00000_render_light.png", "00001_segmentation.png"}


def test_up3d_translation_is_unknown_where_the_camera_is_turned(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    written.up3d(tmp_path, rt=np.array([0.0, 0.1, 0.0]))
    rows = written.read_all(up3d.DATASET, tmp_path)
    assert "transl_valid" not in rows[0].columns


def test_spin_files_without_a_camera_frame_keep_their_2d_only(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    with_root = np.load(written.spin(tmp_path / "aside" / "x.npz"))["S"]
    relative = with_root.copy()
    relative[..., :3] -= relative[:, :1, :3]
    written.spin(tmp_path / "set_train.npz", S=relative)
    (tmp_path / "cameras.pkl").unlink()
    rows = written.read_all(spin_npz.DATASET, tmp_path, settings={"joints": "human36m"})
    assert column(rows, "valid2d").all()
    assert all("joints3d_mm" not in part.columns for part in rows)


def test_amass_motion_stands_upright_at_its_own_rate(
    written: SimpleNamespace, tmp_path: Path
) -> None:
    from scipy.spatial.transform import Rotation

    clip = amass.read_motion(written.amass(tmp_path))
    assert (clip.fps, len(clip), clip.split) == (120.0, written.FRAMES, "train")
    up = Rotation.from_rotvec(clip.theta_F72[0, :3]).apply([0, 1.0, 0])
    assert np.allclose(up, [0, 1, 0], atol=1e-6)
    assert clip.translation_F3_m[0, 1] == pytest.approx(1.23, abs=0.05)
    assert amass.read_motion(written.amass(tmp_path, "SSM_synced")).split == "test"


@pytest.mark.parametrize(
    ("dataset", "writer"),
    [
        (human36m.DATASET, "human36m"), (mpi_inf_3dhp.DATASET, "mpi_train"),
        (humaneva.DATASET, "humaneva"), (threedpw.DATASET, "threedpw"), (up3d.DATASET, "up3d"),
    ],
)  # fmt: skip
def test_rows_fit_the_annotation_table(
    written: SimpleNamespace, tmp_path: Path, dataset: Any, writer: str
) -> None:
    getattr(written, writer)(tmp_path)
    rows = next(dataset.read(tmp_path))
    columns = dict(rows.columns)
    for field in FIELDS:
        if field.name not in columns and field.default is None:
            text = field.dtype in ("string", "binary")
            empty = b"" if field.name == "mask" else ""
            columns[field.name] = (
                [empty] * len(rows) if text else np.zeros((len(rows), *field.shape))
            )
    table = Annotations.from_columns(columns)
    assert len(table) == len(rows)
    assert np.isfinite(table.joints2d_px).all()


def test_spin_files_name_images_without_their_folders_and_several_people_of_one(
    tmp_path: Path, written: SimpleNamespace
) -> None:
    with np.load(written.spin(tmp_path / "aside" / "x.npz")) as fields:
        names = fields["imgname"]
    image = tmp_path / "deep" / "folder" / "two_people_7.jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"")
    written.spin(tmp_path / "set_train.npz", imgname=np.full(len(names), image.name))
    rows = written.read_all(spin_npz.DATASET, tmp_path, settings={"joints": "human36m"})
    images = [str(image) for part in rows for image in part.images]
    assert images == ["deep/folder/two_people_7.jpg"] * len(names)
    assert len(set(column(rows, "sample_id"))) == len(names) > 1
    assert set(column(rows, "clip")) == {"deep_folder"}


def test_spin_files_may_have_other_joints_in_2d_than_in_3d(
    tmp_path: Path, written: SimpleNamespace
) -> None:
    joints, one = written.standing_body(), np.ones((written.FRAMES, 24, 1))
    pixels = written.spread(SPIN_24, written.pixels(joints))
    metres = written.spread(SPIN_24, joints) / 1000
    for changes in (
        {"part": np.concatenate([pixels, one], 2)},
        {"S": np.concatenate([metres, one], 2)},
    ):
        written.spin(tmp_path / "set_train.npz", **changes)
        rows = written.read_all(spin_npz.DATASET, tmp_path, settings={"joints": "human36m"})
        known = column(rows, "valid3d")[0]
        assert known.sum() >= 17
        for name, wanted in (("joints2d_px", written.pixels(joints)), ("joints3d_mm", joints)):
            assert np.allclose(column(rows, name)[:, known], wanted[:, known])


@pytest.mark.parametrize("name", ["train/{}_1.jpg", "train/{}.jpg", "train/{}_5034987654.jpg",
                                  "train/{}_50349876540000000000000.jpg"])  # fmt: skip
def test_spin_rows_of_one_folder_have_names_of_their_own(
    tmp_path: Path, written: SimpleNamespace, name: str
) -> None:
    names = np.array([name.format(letter) for letter in "abcdefghijkl"])
    written.spin(tmp_path / "set_train.npz", imgname=names)
    rows = written.read_all(spin_npz.DATASET, tmp_path, settings={"joints": "human36m"})
    assert len(set(column(rows, "sample_id"))) == len(names)
    assert column(rows, "frame").max() < 2**31


def test_spin_rows_of_two_images_with_one_number_keep_the_names_of_the_first(
    tmp_path: Path, written: SimpleNamespace
) -> None:
    names = ["walk/a_1.jpg"] * 2 + ["walk/b_1.jpg"] * 2 + ["walk/a_2.jpg"]
    others = [f"run/{number}.jpg" for number in range(written.FRAMES - len(names))]
    written.spin(tmp_path / "set_train.npz", imgname=np.array(names + others))
    rows = written.read_all(spin_npz.DATASET, tmp_path, settings={"joints": "human36m"})
    found = [name for name in column(rows, "sample_id").tolist() if "walk" in name]
    expected = ("000001", "1_000001", "b_1_000001", "b_1_1_000001", "000002")
    assert sorted(found) == sorted(f"spin_npz_walk_{name}" for name in expected)


def test_spin_rows_whose_image_could_be_one_of_two_are_left_out(
    tmp_path: Path, written: SimpleNamespace
) -> None:
    with np.load(written.spin(tmp_path / "aside" / "x.npz")) as fields:
        names = fields["imgname"].astype(object)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same_1.jpg").write_bytes(b"")
    names[0] = "same_1.jpg"
    written.spin(tmp_path / "set_train.npz", imgname=names.astype(str))
    quarantine = Quarantine()
    options = ReadOptions(settings={"joints": "human36m"})
    kept = sum(len(rows) for rows in spin_npz.DATASET.read(tmp_path, options, quarantine))
    assert kept == len(names) - 1
    (item,) = quarantine.items
    assert (item.row, item.field) == (0, "imgname")
    assert "a/same_1.jpg, b/same_1.jpg" in item.what
