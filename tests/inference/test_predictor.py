"""The predictor: images and boxes in, estimates out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import roma
import torch
from torch import Tensor

from hemlets.assets import asset_path
from hemlets.body import BodyModel
from hemlets.body.follow import turn_onto
from hemlets.body.posed_joints import PosedJoints
from hemlets.core.errors import AssetError, InputError
from hemlets.core.skeleton import Joint
from hemlets.inference import BodyEstimate, Camera, Flag, PredictionRequest, Predictor
from hemlets.inference.body_joints import with_depth_of_body
from hemlets.inference.predictor import DEFAULT_FOV_DEG, answer_of, default_camera, read_out
from hemlets.models import HemletsPosh, PoseNetworkConfig, PoshOutput, ShapeNetworkConfig
from hemlets.models.codecs import PERSON_STATISTIC
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.model_folder import PersonThreshold, load_model, save_model

BONES = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)

SHAPE = ShapeNetworkConfig(hidden=32, blocks=1)
CAMERA = Camera(fx=300.0, fy=300.0, cx=60.0, cy=50.0)


def _save(folder: Path, intermediate: str = "hemlets") -> None:
    torch.manual_seed(0)
    pose = PoseNetworkConfig.from_mapping(
        {"crop_px": 64, "volume_cells": 16, "branch_channels": 16, "fusion_channels": 32,
         "intermediate": intermediate}
    )  # fmt: skip
    state = HemletsPosh(pose, SHAPE).state_dict()
    save_model(folder, state, pose=pose, shape=SHAPE, bones=BONES, training={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model of random weights."""
    path = tmp_path_factory.mktemp("model") / "model"
    _save(path)
    return path


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor.load(folder)


@pytest.fixture(scope="module")
def image() -> npt.NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)


def test_an_estimate_has_every_part_and_names_its_model(
    predictor: Predictor, image: npt.NDArray[np.uint8]
) -> None:
    request = PredictionRequest(image_HW3=image, box_xyxy=(10, 10, 90, 95), camera=CAMERA)
    (estimate,) = predictor.predict([request])
    assert estimate.joints3d_mm.shape == (18, 3)
    assert not estimate.joints3d_mm[0].any()
    assert estimate.theta.shape == (24, 3)
    assert estimate.betas.shape == (10,)
    assert ((estimate.confidence >= 0) & (estimate.confidence <= 1)).all()
    assert estimate.flags == ()
    assert estimate.model_version == predictor.version


def test_joints_and_bodies_correct_each_other_where_the_card_says_so(
    folder: Path,
    predictor: Predictor,
    image: npt.NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bodies turn onto the network's joints, joints take depth from the network's body."""
    # Random weights are sure of nothing.
    monkeypatch.setattr("hemlets.body.follow.SURE", 0.01)
    request = PredictionRequest(image_HW3=image, box_xyxy=(40, 10, 119, 95), camera=CAMERA)
    following = Predictor.load(folder, follow_joints=True)
    assert following.version != predictor.version
    (plain,), (turned,) = predictor.predict([request]), following.predict([request])
    np.testing.assert_array_equal(turned.betas, plain.betas)
    np.testing.assert_array_equal(turned.confidence, plain.confidence)
    rotation = roma.rotvec_to_rotmat(torch.from_numpy(plain.theta))[None]
    posed = 1000 * PosedJoints(BodyModel.load())(rotation, torch.from_numpy(plain.betas)[None])
    given = (rotation.numpy(), posed.numpy(), plain.joints3d_mm[None], plain.confidence[None])
    expected = turn_onto(*(value.astype(np.float64) for value in given))
    np.testing.assert_allclose(turned.theta, expected[0], atol=1e-4)
    assert np.abs(turned.theta - plain.theta).max() > 0.01
    combined = with_depth_of_body(
        *(
            value[None].astype(np.float64)
            for value in (plain.joints3d_mm, plain.root_mm, posed[0].numpy())
        )
    )
    for value, of_both in zip((turned.joints3d_mm, turned.root_mm), combined, strict=True):
        np.testing.assert_allclose(value, of_both[0], atol=0.1)
    np.testing.assert_array_equal(turned.joints2d_px, plain.joints2d_px)
    assert np.abs(turned.joints3d_mm - plain.joints3d_mm).max() > 10


def test_a_head_top_that_is_moved_is_moved_in_the_image_too(
    folder: Path, image: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = PredictionRequest(image_HW3=image, box_xyxy=(40, 10, 119, 95), camera=CAMERA)
    following = Predictor.load(folder, follow_joints=True)
    (before,) = following.predict([request])
    # No head is short enough to be believed.
    monkeypatch.setattr("hemlets.inference.body_joints.HEAD_LENGTHS", (0.0, 1e-6))
    (after,) = following.predict([request])
    at = after.joints3d_mm + after.root_mm
    seen = at[:, :2] / at[:, 2:] * (CAMERA.fx, CAMERA.fy) + (CAMERA.cx, CAMERA.cy)
    np.testing.assert_allclose(after.joints2d_px, seen, atol=0.01)
    away = np.linalg.norm(after.joints2d_px - before.joints2d_px, axis=-1)
    assert np.flatnonzero(away > 0.1).tolist() == [Joint.HEAD_TOP]


def test_a_body_that_does_not_come_with_hemlets_is_asked_for(
    folder: Path, image: npt.NDArray[np.uint8]
) -> None:
    model, card = load_model(folder)
    foreign = card.model_copy(update={"body": "smpl-neutral", "follow_joints": True})
    with pytest.raises(AssetError, match="'smpl-neutral'"):
        Predictor(model, foreign).predict([PredictionRequest(image_HW3=image)])
    given = Predictor(model, foreign, body=asset_path("body/open_body_lite.npz"))
    bundled = Predictor(model, card.model_copy(update={"follow_joints": True}))
    (one,), (other,) = (
        each.predict([PredictionRequest(image_HW3=image)]) for each in (given, bundled)
    )
    np.testing.assert_array_equal(one.theta, other.theta)


def test_joints_in_3d_project_onto_joints_in_2d(
    predictor: Predictor, image: npt.NDArray[np.uint8]
) -> None:
    (estimate,) = predictor.predict(
        [PredictionRequest(image_HW3=image, box_xyxy=(10, 10, 90, 95), camera=CAMERA)]
    )
    joints = estimate.joints3d_mm + estimate.root_mm
    points = joints[:, :2] / joints[:, 2:] * 300 + [60, 50]
    np.testing.assert_allclose(points, estimate.joints2d_px, atol=0.01)


def test_what_is_not_given_is_assumed_and_flagged(
    predictor: Predictor, image: npt.NDArray[np.uint8]
) -> None:
    (estimate,) = predictor.predict([PredictionRequest(image_HW3=image)])
    assert set(estimate.flags) == {Flag.WHOLE_IMAGE_BOX, Flag.DEFAULT_FIELD_OF_VIEW}
    assert estimate.box_xyxy == (0, 0, 120, 100)
    assert estimate.camera == default_camera(120, 100)


def test_the_default_camera_has_the_stated_field_of_view() -> None:
    camera = default_camera(640, 480)
    assert np.rad2deg(2 * np.arctan(320 / camera.fx)) == pytest.approx(DEFAULT_FOV_DEG)
    assert (camera.cx, camera.cy) == (320, 240)


def test_a_batch_gives_what_single_requests_give(
    predictor: Predictor, image: npt.NDArray[np.uint8]
) -> None:
    requests = [
        PredictionRequest(image_HW3=image, box_xyxy=(x, 5, x + 60, 90), camera=CAMERA)
        for x in range(0, 50, 7)
    ]
    for alone, together in zip(
        [predictor.predict([r])[0] for r in requests],
        predictor.predict(requests, batch_size=3),
        strict=True,
    ):
        np.testing.assert_allclose(alone.joints3d_mm, together.joints3d_mm, atol=0.5)
        np.testing.assert_allclose(alone.theta, together.theta, atol=1e-3)


@pytest.mark.parametrize(("threads", "sizes"), [(1, [2, 2, 1]), (2, [4, 1]), (3, [5])])
def test_a_cpu_predicts_few_crops_at_a_time(
    predictor: Predictor, threads: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    crops = torch.randn(5, 3, 64, 64)
    seen: list[int] = []

    def network(crop_B3HW: Tensor) -> PoshOutput:
        seen.append(len(crop_B3HW))
        return predictor.outputs(crop_B3HW)

    with torch.inference_mode():
        whole = read_out(predictor.outputs(crops))
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        answer = answer_of(network, crops)
    assert seen == sizes
    for ours, theirs in zip(answer, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_no_requests_give_no_estimates(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_an_estimate_survives_its_json(predictor: Predictor, image: npt.NDArray[np.uint8]) -> None:
    (estimate,) = predictor.predict([PredictionRequest(image_HW3=image)])
    again = BodyEstimate.from_json(json.loads(json.dumps(estimate.to_json())))
    assert again.to_json() == estimate.to_json()


def test_a_network_without_heatmaps_has_null_confidence_in_valid_json(
    tmp_path: Path, image: npt.NDArray[np.uint8]
) -> None:
    _save(tmp_path / "model", intermediate="none")
    (estimate,) = Predictor.load(tmp_path / "model").predict([PredictionRequest(image_HW3=image)])
    text = json.dumps(estimate.to_json(), allow_nan=False)
    assert json.loads(text)["confidence"] == [None] * 18
    assert np.isnan(BodyEstimate.from_json(json.loads(text)).confidence).all()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((10, 10, 10, 50), "not a box"),
        ((10, 10, float("nan"), 50), "not a box"),
        ((-50, -50, -10, -10), "shows nothing of the image"),
        ((120, 0, 150, 50), "shows nothing of the image"),
        ((10, 10, 11, 12), "can't hold a person"),
        ((-1e6, -1e6, 1e6, 1e6), "times as large as the image"),
        ((10, 10, 50), "not a box"),
    ],
)
def test_a_box_that_can_not_be_used_is_refused_with_its_position(
    predictor: Predictor, image: npt.NDArray[np.uint8], box: Any, message: str
) -> None:
    requests = [
        PredictionRequest(image_HW3=image),
        PredictionRequest(image_HW3=image, box_xyxy=box),
    ]
    with pytest.raises(InputError, match=rf"{message}[\s\S]*request 1: box"):
        predictor.predict(requests)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32),
     np.zeros((0, 9, 3), np.uint8)],
)  # fmt: skip
def test_an_image_of_another_form_is_refused(predictor: Predictor, pixels: Any) -> None:
    with pytest.raises(InputError, match=r"request 0[\s\S]*uint8"):
        predictor.predict([PredictionRequest(image_HW3=pixels)])


@pytest.mark.parametrize("focal", [0.0, -1.0, float("nan"), float("inf")])
def test_a_camera_that_can_not_be_is_refused(focal: Any) -> None:
    with pytest.raises(InputError, match="camera"):
        Camera(fx=focal, fy=300.0, cx=0.0, cy=0.0)


@pytest.mark.parametrize(
    ("threshold", "statistic", "expected"),
    [
        (0.0, PERSON_STATISTIC, True),
        (1.0, PERSON_STATISTIC, False),
        (0.5, "another-statistic", None),
        (None, "", None),
    ],
)
def test_the_models_threshold_says_whether_there_is_a_person(
    folder: Path,
    image: npt.NDArray[np.uint8],
    threshold: float | None,
    statistic: str,
    expected: bool | None,
) -> None:
    person = None if threshold is None else PersonThreshold.measured(
        threshold, [0.9], [0.1], statistic=statistic
    )  # fmt: skip
    model, card = load_model(folder)
    asked = Predictor(model, card.model_copy(update={"person": person}))
    (estimate,) = asked.predict([PredictionRequest(image_HW3=image)])
    assert estimate.person is expected
    value = json.loads(json.dumps(estimate.to_json()))
    assert value["person"] is expected
    assert 0 <= value["person_confidence"] <= 1
    again = BodyEstimate.from_json(value)
    assert (again.person, again.person_confidence) == (expected, value["person_confidence"])


def test_a_body_faces_the_ray_on_which_its_crop_lies(
    predictor: Predictor, image: npt.NDArray[np.uint8]
) -> None:
    box = (10.0, 10.0, 90.0, 95.0)
    ahead = Camera(fx=300.0, fy=300.0, cx=50.0, cy=52.5)
    beside = Camera(fx=300.0, fy=300.0, cx=-100.0, cy=52.5)
    seen, turned = predictor.predict(
        [PredictionRequest(image_HW3=image, box_xyxy=box, camera=c) for c in (ahead, beside)]
    )
    np.testing.assert_allclose(turned.theta[1:], seen.theta[1:], atol=1e-5)
    roots = roma.rotvec_to_rotmat(torch.from_numpy(np.stack([seen.theta[0], turned.theta[0]])))
    turn = roma.rotmat_to_rotvec(roots[1] @ roots[0].T)
    # To the right of the optical axis, about the axis that points down.
    np.testing.assert_allclose(turn.numpy(), [0.0, np.arctan(150 / 300), 0.0], atol=1e-4)
