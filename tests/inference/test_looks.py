"""Second looks at people whom the network is unsure of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from hemlets.core.skeleton import Joint
from hemlets.data.transforms import Crop, square_crop
from hemlets.inference import Predictor
from hemlets.inference.looks import NetworkAnswer, look_again, upright
from hemlets.inference.types import Flag, PredictionRequest
from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.codecs import VolumeSpec
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.model_folder import InferenceConfig, save_model

VOLUME = VolumeSpec(crop_px=256, cells=32, depth_cells=64)
BOX = (0.0, 0.0, 100.0, 200.0)


def answer(sure: Sequence[float], *, at: float = 16.0) -> NetworkAnswer:
    """Of people as sure as that, their joints within four cells around one place."""
    count = len(sure)
    voxel = torch.full((count, 18, 3), at)
    voxel[:, 0, :2] -= 2
    voxel[:, 1, :2] += 2
    confidence = torch.tensor(list(sure)).float()[:, None].expand(-1, 18)
    rotation = torch.eye(3).expand(count, 24, 3, 3)
    return NetworkAnswer(voxel, rotation, torch.zeros(count, 10), confidence)


def looker(
    asked: list[list[tuple[int, float]]], sureness: Callable[[int, Crop], float]
) -> Callable[[Sequence[int], Sequence[Crop]], NetworkAnswer]:
    """Notes who was looked at, and at which turn."""

    def look(numbers: Sequence[int], crops: Sequence[Crop]) -> NetworkAnswer:
        pairs = list(zip(numbers, crops, strict=True))
        asked.append([(number, round(np.rad2deg(crop.angle_rad))) for number, crop in pairs])
        return answer([sureness(*pair) for pair in pairs])

    return look


def test_who_is_sure_is_looked_at_once() -> None:
    asked: list[list[tuple[int, float]]] = []
    crops, first = [square_crop(BOX, 256)], answer([0.7])
    found = look_again(crops, first, VOLUME, looker(asked, lambda *_: 1.0))
    assert (found, asked) == ((crops, first), [])


def test_who_may_not_be_looked_at_again_is_not() -> None:
    asked: list[list[tuple[int, float]]] = []
    crops, first = [square_crop(BOX, 256)] * 2, answer([0.55, 0.55])
    _, seen = look_again(crops, first, VOLUME, looker(asked, lambda *_: 1.0), allowed=[False, True])
    assert asked == [[(1, 0)]]
    assert seen.confidence_BJ[:, 0].tolist() == pytest.approx([0.55, 1.0])


def test_who_is_half_sure_is_cropped_around_the_joints_but_not_turned() -> None:
    asked: list[list[tuple[int, float]]] = []
    crops = [square_crop(BOX, 256)] * 2
    (same, closer), seen = look_again(
        crops, answer([0.7, 0.55]), VOLUME, looker(asked, lambda *_: 0.6)
    )
    assert asked == [[(1, 0)]]
    assert same == crops[0]
    # 4 of 32 cells would be closer than the smallest crop.
    assert closer.side_px == pytest.approx(0.6 * crops[1].side_px)
    assert closer.centre_px == pytest.approx(crops[1].centre_px)
    assert seen.confidence_BJ[:, 0].tolist() == pytest.approx([0.7, 0.6])


def test_who_is_unsure_is_turned_to_where_the_network_is_surest() -> None:
    asked: list[list[tuple[int, float]]] = []

    def sureness(_: int, crop: Crop) -> float:
        return 0.8 if np.isclose(crop.angle_rad, np.pi) else 0.1

    (crop,), seen = look_again(
        [square_crop(BOX, 256)], answer([0.2]), VOLUME, looker(asked, sureness)
    )
    assert asked == [[(0, 90), (0, 180), (0, -90)], [(0, 180)]]
    assert crop.angle_rad == pytest.approx(np.pi)
    assert seen.confidence_BJ[0, 0] == pytest.approx(0.8)


def test_a_second_look_that_is_less_sure_than_the_first_is_dropped() -> None:
    crops, first = [square_crop(BOX, 256)], answer([0.4], at=20.0)
    found, seen = look_again(crops, first, VOLUME, looker([], lambda *_: 0.39))
    assert found == crops
    assert torch.equal(seen.voxel_BJ3, first.voxel_BJ3)


@pytest.mark.parametrize(("elsewhere", "turns"), [(0.7, True), (0.1, False)])
def test_a_portrait_is_not_turned_for_limbs_outside_of_the_picture(
    elsewhere: float, turns: bool
) -> None:
    """The turned crop is surer of the limbs; only where it is as sure of the rest it counts."""

    def confidences(limbs: float, rest: float) -> NetworkAnswer:
        known = torch.full((1, 18), rest)
        known[:, [joint for joint in Joint if joint.name.endswith(("KNEE", "ANKLE", "HIP"))]] = (
            limbs
        )
        return answer([0.0])._replace(confidence_BJ=known)

    def look(numbers: Sequence[int], crops: Sequence[Crop]) -> NetworkAnswer:
        parts = [confidences(0.7, elsewhere) for _ in numbers]
        return NetworkAnswer(*map(torch.cat, zip(*parts, strict=True)))

    crops, first = [square_crop(BOX, 256)], confidences(0.0, 0.6)
    (crop,), seen = look_again(crops, first, VOLUME, look)
    assert (crop != crops[0]) == turns
    assert torch.equal(seen.confidence_BJ, first.confidence_BJ) != turns


def test_the_root_is_turned_back_by_the_crops_turn() -> None:
    """A crop turned clockwise by a quarter shows a body that is upright in it lying."""
    turned = Crop(centre_px=(0, 0), side_px=1, size_px=1, angle_rad=np.pi / 2)
    root, elbow = upright(answer([1.0]), [turned])[0, [0, 18]]
    # Up in the crop was to the left in the image: the crop's map takes the image's left up.
    up, left = np.array([0.0, -1.0]), np.array([-1.0, 0.0])
    np.testing.assert_allclose(turned.matrix_23[:, :2] @ left, up, atol=1e-9)
    np.testing.assert_allclose(root[:2, :2].numpy() @ up, left, atol=1e-6)
    assert torch.equal(elbow, torch.eye(3))


@pytest.mark.parametrize("second_look", [None, False, True])
def test_the_model_says_whether_to_look_again_and_the_caller_overrules(
    tmp_path: Path, second_look: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    pose = PoseNetworkConfig(
        backbone="movenet_thunder", crop_px=128, volume_cells=16, branch_channels=16,
        fusion_channels=16, keypoints=True, quarter_level=True, refinement_layers=1,
    )  # fmt: skip
    shape = ShapeNetworkConfig(hidden=32, blocks=1)
    save_model(
        tmp_path / "model", HemletsPosh(pose, shape).state_dict(), pose=pose, shape=shape,
        bones=BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14), training={},
        inference=InferenceConfig(second_look=True),
    )  # fmt: skip
    predictor = Predictor.load(tmp_path / "model", second_look=second_look)
    looks: list[int] = []
    infer = predictor._infer

    def counted(crop_B3HW: torch.Tensor) -> NetworkAnswer:
        looks.append(len(crop_B3HW))
        return infer(crop_B3HW)

    monkeypatch.setattr(predictor, "_infer", counted)
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    (estimate,) = predictor.predict([PredictionRequest(image_HW3=image, box_xyxy=(9, 9, 90, 95))])
    # Noise is nobody, of whom nothing is sure.
    assert looks == ([1] if second_look is False else [1, 3, 1])
    assert Flag.NO_SECOND_LOOK not in estimate.flags
    looks.clear()
    request = PredictionRequest(image_HW3=image, box_xyxy=(9, 9, 90, 95), second_look=False)
    flags = [e.flags for e in predictor.predict([request] * 3)]
    assert looks == [3]
    assert [Flag.NO_SECOND_LOOK in each for each in flags] == [second_look is not False] * 3
    assert np.isfinite(estimate.joints3d_mm).all()


def test_second_looks_are_at_no_more_crops_at_a_time_than_the_first() -> None:
    asked: list[list[tuple[int, float]]] = []
    people = 20
    crops, seen = look_again(
        [square_crop(BOX, 256)] * people,
        answer([0.2] * people),
        VOLUME,
        looker(asked, lambda number, crop: 0.3 + number / 100 + (crop.angle_rad > 3) / 2),
    )
    assert [len(pairs) for pairs in asked] == [20, 20, 20, 20]
    assert [number for pairs in asked[:3] for number, _ in pairs] == sorted([*range(people)] * 3)
    assert all(np.isclose(crop.angle_rad, np.pi) for crop in crops)
    assert seen.confidence_BJ[:, 0].tolist() == pytest.approx(
        [0.8 + number / 100 for number in range(people)]
    )


def test_rounding_errors_of_the_first_look_do_not_move_the_second() -> None:
    crops = []
    for error in (0.0, 1e-4):
        first = answer([0.55], at=16.02)
        first.voxel_BJ3[:, 2:, :2] += torch.linspace(-9, 9, 16)[None, :, None] + error
        (crop,), _ = look_again([square_crop(BOX, 256)], first, VOLUME, looker([], lambda *_: 0.6))
        crops.append(crop)
    assert crops[0] == crops[1]
    assert crops[0] != square_crop(BOX, 256)
