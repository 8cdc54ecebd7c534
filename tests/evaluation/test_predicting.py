"""A split of a data version becomes a predictions file, at either distance of the pelvis."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from hemlets.cli import main
from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import Annotations
from hemlets.evaluation import Predictions
from hemlets.evaluation.predicting import at_root_depth, predict_split, without_distortion
from hemlets.evaluation.protocols.oracle_inputs import oracle_inputs
from hemlets.inference.champion import STARTER
from hemlets.inference.predictor import Predictor
from hemlets.inference.types import BodyEstimate, Camera
from hemlets.models.codecs.bones import BoneLengths, part_lengths
from hemlets.models.codecs.decode import metric_joints

from .layouts import annotations_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predicting") / "data"
    sizes = SplitSizes(train=2, validation=2, gate=0, test=5)
    build_open_data(OpenDataConfig(samples=sizes, image_px=128, supersampling=1), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def rows(data: Path) -> Annotations:
    return Annotations.read(data / "annotations.parquet").split("test")


def predicted(data: Path, out: Path, *options: str) -> Predictions:
    arguments = ["benchmark", "predict", str(data), "--model", str(STARTER), "--out", str(out)]
    assert main([*arguments, "--quiet", *options]) == 0
    return Predictions.read(out)


def test_the_distance_comes_from_the_bones_unless_the_truth_is_asked_for(
    data: Path, rows: Annotations, tmp_path: Path
) -> None:
    bones = predicted(data, tmp_path / "bones.parquet")
    truth = predicted(data, tmp_path / "truth.parquet", "--root-depth", "truth")
    assert list(bones.sample_id) == list(truth.sample_id) == list(rows.sample_id)
    assert bones.info.depth_source == "bone-length-prior"
    assert truth.info.depth_source == "ground-truth-root"
    true_mm = rows.joints3d_mm[:, Joint.PELVIS, 2]
    np.testing.assert_allclose(truth.root_mm[:, 2], true_mm, rtol=1e-5)
    assert (np.abs(bones.root_mm[:, 2] - true_mm) > 1.0).any()
    # The image and the relative depths are the network's, whatever the distance.
    np.testing.assert_array_equal(truth.joints2d_px, bones.joints2d_px)
    np.testing.assert_allclose(truth.joints3d_mm[..., 2], bones.joints3d_mm[..., 2], atol=1e-2)
    np.testing.assert_array_equal(truth.theta, bones.theta)


def test_the_figures_of_the_true_distance_say_so_in_their_names(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted(data, tmp_path / "truth.parquet", "--root-depth", "truth")
    code = main(
        ["benchmark", "score", str(tmp_path / "truth.parquet"), "--annotations",
         str(data / "annotations.parquet"), "--protocol", "open", "--out", str(tmp_path / "out"),
         "--resamples", "100"]
    )  # fmt: skip
    assert code == 0
    stored = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert stored["metrics"]
    assert all("/depth:ground-truth-root/" in metric["name"] for metric in stored["metrics"])
    assert "pelvis' true depth was given" in capsys.readouterr().out


def test_moved_to_its_own_distance_an_estimate_stays_where_it_is(
    data: Path, rows: Annotations, tmp_path: Path
) -> None:
    found = predicted(data, tmp_path / "bones.parquet")
    for row in range(len(found)):
        estimate = estimate_of(found, rows, row)
        moved = at_root_depth(estimate, float(found.root_mm[row, 2]))
        np.testing.assert_allclose(moved.root_mm, estimate.root_mm, atol=0.05)
        np.testing.assert_allclose(moved.joints3d_mm, estimate.joints3d_mm, atol=0.05)


def estimate_of(found: Predictions, rows: Annotations, row: int) -> BodyEstimate:
    from hemlets.inference.types import Camera

    fx, fy, cx, cy = rows.camera[row].tolist()
    left, top, right, bottom = found.box_xyxy[row].tolist()
    return BodyEstimate(
        joints3d_mm=found.joints3d_mm[row],
        root_mm=found.root_mm[row],
        joints2d_px=found.joints2d_px[row],
        confidence=found.confidence[row],
        theta=found.theta[row],
        betas=found.betas[row],
        box_xyxy=(left, top, right, bottom),
        camera=Camera(fx=fx, fy=fy, cx=cx, cy=cy),
    )


def test_the_true_distance_is_refused_where_a_row_knows_none(data: Path, rows: Annotations) -> None:
    columns = {name: rows.column(name) for name in rows.schema.names}
    columns["valid3d"] = columns["valid3d"].copy()
    columns["valid3d"][3, Joint.PELVIS] = False
    with pytest.raises(DataError) as raised:
        predict_split(
            Predictor.load(STARTER), Annotations.from_columns(columns), data / "shards",
            data_version="d", code_version="c", root_depth="truth",
        )  # fmt: skip
    assert raised.value.where is not None
    assert str(rows.sample_id[3]) in raised.value.where


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--split", "tset"], "there is no split 'tset'"),
        (["--split", "gate"], "the split has no rows"),
        (["--root-depth", "guess"], "guess"),
    ],
)
def test_what_can_t_be_predicted_is_named(
    data: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["benchmark", "predict", str(data), "--model", str(STARTER), *options])
    assert code != 0
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "field", "other"), [("pose", "theta", "betas"), ("shape", "betas", "theta")]
)
def test_the_true_pose_or_shape_is_put_in_and_the_file_says_so(
    data: Path, rows: Annotations, tmp_path: Path, what: str, field: str, other: str
) -> None:
    plain = predicted(data, tmp_path / "plain.parquet")
    found = predicted(data, tmp_path / "oracle.parquet", "--put-in", what)
    assert found.info.depth_source == f"bone-length-prior.true-{what}"
    assert f"The true {what}" in " ".join(oracle_inputs(found.info))
    np.testing.assert_array_equal(getattr(found, field), getattr(rows, field))
    np.testing.assert_array_equal(getattr(found, other), getattr(plain, other))
    np.testing.assert_array_equal(found.joints3d_mm, plain.joints3d_mm)


def test_a_row_without_a_body_has_none_to_put_in(data: Path, rows: Annotations) -> None:
    kept = {name: rows.column(name) for name in rows.table.column_names}
    bare = Annotations.from_columns(kept | {"smpl_valid": np.zeros(len(rows), bool)})
    with pytest.raises(DataError, match="5 samples have no true body"):
        predict_split(
            Predictor.load(STARTER), bare, data / "shards", data_version="d", code_version="c",
            put_in="pose",
        )  # fmt: skip


def test_the_flip_test_is_a_choice_that_the_figures_names_state(data: Path, tmp_path: Path) -> None:
    alone = predicted(data, tmp_path / "alone.parquet", "--no-flip-test")
    both = predicted(data, tmp_path / "both.parquet", "--flip-test")
    assert (alone.info.flip_test, both.info.flip_test) == (False, True)
    assert np.abs(alone.joints3d_mm - both.joints3d_mm).max() > 1.0


def test_refined_bodies_are_of_a_version_of_their_own(data: Path, tmp_path: Path) -> None:
    plain = predicted(data, tmp_path / "plain.parquet")
    refined = predicted(data, tmp_path / "refined.parquet", "--refine")
    assert refined.info.model_version == f"{plain.info.model_version}+smplify"
    assert np.abs(refined.theta - plain.theta).max() > 1e-3


def test_the_rays_of_a_distorted_lens_are_found_by_undoing_it() -> None:
    rng = np.random.default_rng(0)
    joints = rng.normal(0, 250, (18, 3)) + np.array([900, 0, 4000])
    camera = np.array([1145.0, 1144.0, 514.0, 501.0])
    # About that of Human3.6M's camera 54138969, in OpenCV's order.
    lens = np.array([-0.2071, 0.2475, -0.00142, -0.000976, -0.00307])
    matrix = np.array([[camera[0], 0, camera[2]], [0, camera[1], camera[3]], [0, 0, 1]])
    pixels = cv2.projectPoints(joints, np.zeros(3), np.zeros(3), matrix, lens)[0][:, 0]
    lengths = part_lengths(joints[None])[0]
    bones = BoneLengths(mean_mm=tuple(lengths), spread_mm=(1.0,) * 14)
    relative = joints - joints[Joint.PELVIS]
    rows = annotations_of("human36m", [("S9", "Posing")], each=1)
    kept = {name: rows.column(name) for name in rows.table.column_names}
    rows = Annotations.from_columns(kept | {"camera": camera[None], "distortion": lens[None]})
    straight, root = metric_joints(pixels[None], relative[None, :, 2], camera[None], bones)
    wrong = np.linalg.norm(straight[0] - relative, axis=1)
    seen = BodyEstimate(
        joints3d_mm=straight[0].astype(np.float32), root_mm=root[0].astype(np.float32),
        joints2d_px=pixels.astype(np.float32), confidence=np.ones(18, np.float32),
        theta=np.zeros((24, 3), np.float32), betas=np.zeros(10, np.float32),
        box_xyxy=(0, 0, 1000, 1000), model_version="m",
        camera=Camera(fx=1145.0, fy=1144.0, cx=514.0, cy=501.0),
    )  # fmt: skip
    (found,) = without_distortion([seen], rows, bones)
    right = np.linalg.norm(found.joints3d_mm - relative, axis=1)
    assert wrong.max() > 1.0
    assert right.max() < 0.05
    np.testing.assert_array_equal(found.joints2d_px, seen.joints2d_px)
    (same,) = without_distortion([seen], annotations_of("x", [("a", "b")], each=1), bones)
    assert same is seen
