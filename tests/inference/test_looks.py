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
from hemlets.models.codecs import PERSON_STATISTIC, VolumeSpec
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.crops import joints_in_images
from hemlets.models.model_folder import InferenceConfig, PersonThreshold, save_model

VOLUME = VolumeSpec(crop_px=256, cells=32, depth_cells=64)
BOX = (0.0, 0.0, 100.0, 200.0)


TURNS = [0, 90, 180, -90]


def places(crop: Crop, image_px: tuple[float, float], depth_mm: float = 0.0) -> torch.Tensor:
    """Voxels (18, 3) of joints that are all at one place of an image."""
    flat = torch.tensor(crop.to_crop(np.array([image_px]))).expand(1, 18, 2)
    return VOLUME.to_voxels(flat, torch.full((1, 18), depth_mm))[0].float()


def saw(voxel_HJ3: torch.Tensor, sure_H: Sequence[float], *, root: float = 0.0) -> NetworkAnswer:
    """One look at one person: what each of its passes gave, as sure as that of every joint."""
    confidence_HJ = torch.tensor(list(sure_H))[:, None].expand(-1, 18)
    passes = torch.cat([voxel_HJ3, confidence_HJ[..., None]], -1)[None]
    turn = torch.tensor(
        [[np.cos(root), -np.sin(root), 0.0], [np.sin(root), np.cos(root), 0.0], [0.0, 0.0, 1.0]]
    )
    rotation = torch.eye(3).repeat(1, 24, 1, 1)
    rotation[:, 0] = turn.float()
    return NetworkAnswer(
        voxel_HJ3.mean(0)[None], rotation, torch.full((1, 10), root), confidence_HJ.mean(0)[None],
        passes,
    )  # fmt: skip


def together(answers: Sequence[NetworkAnswer]) -> NetworkAnswer:
    return NetworkAnswer(*map(torch.cat, zip(*answers, strict=True)))


class Looker:
    """Notes who was looked at and in which crops; answers by a function of person and crop."""

    def __init__(self, see: Callable[[int, Crop], NetworkAnswer]) -> None:
        self.see = see
        self.asked: list[list[tuple[int, Crop]]] = []

    def __call__(self, numbers: Sequence[int], crops: Sequence[Crop]) -> NetworkAnswer:
        pairs = list(zip(numbers, crops, strict=True))
        self.asked.append(pairs)
        return together([self.see(*pair) for pair in pairs])


def turn_of(crop: Crop) -> int:
    return round(float(np.rad2deg(crop.angle_rad)))


def seen_at(
    image_px: tuple[float, float], sure: float, depth_mm: float = 0.0
) -> Callable[[int, Crop], NetworkAnswer]:
    return lambda _, crop: saw(places(crop, image_px, depth_mm)[None], [sure])


def found_in_image(crop: Crop, seen: NetworkAnswer) -> tuple[np.ndarray, np.ndarray]:
    """Places (18, 2) and depths (18,) of one person."""
    found = joints_in_images(seen.voxel_BJ3, VOLUME, [crop])
    return found.image_px_BJ2[0], found.depth_mm_BJ[0]


CROP = square_crop(BOX, 256)
HERE, THERE = (40.0, 60.0), (70.0, 130.0)


def test_who_is_sure_is_looked_at_once() -> None:
    look, first = Looker(seen_at(THERE, 1.0)), saw(places(CROP, HERE)[None], [0.71])
    assert look_again([CROP], first, VOLUME, look) == ([CROP], first)
    assert look.asked == []


def test_who_may_not_be_looked_at_again_is_not() -> None:
    look = Looker(seen_at(HERE, 0.9))
    first = together([saw(places(CROP, HERE)[None], [0.5])] * 2)
    _, seen = look_again([CROP] * 2, first, VOLUME, look, allowed=[False, True])
    assert [number for number, _ in look.asked[0]] == [1] * 4
    assert seen.confidence_BJ[0].tolist() == pytest.approx([0.5] * 18)
    assert (seen.confidence_BJ[1] > 0.8).all()


def test_who_is_unsure_is_looked_at_from_four_sides_and_closer() -> None:
    look = Looker(seen_at(HERE, 0.5))
    sure, first = saw(places(CROP, HERE)[None], [0.71]), saw(places(CROP, HERE)[None], [0.69])
    (same, _), _ = look_again([CROP] * 2, together([sure, first]), VOLUME, look)
    assert same == CROP
    (pairs,) = look.asked
    assert [(number, turn_of(crop)) for number, crop in pairs] == [(1, turn) for turn in TURNS]
    for _, crop in pairs:
        assert crop.side_px == pytest.approx(0.8 * CROP.side_px)
        assert crop.centre_px == CROP.centre_px


def test_a_joint_is_where_most_of_the_confidence_agrees() -> None:
    """Three looks of five, from whatever side, outvote the first; each as sure as the others."""

    def see(_: int, crop: Crop) -> NetworkAnswer:
        return saw(places(crop, HERE if turn_of(crop) == 0 else THERE)[None], [0.5])

    (crop,), seen = look_again([CROP], saw(places(CROP, HERE)[None], [0.5]), VOLUME, Looker(see))
    place, _ = found_in_image(crop, seen)
    # 3 votes for one place, 2 for the other, 76 px from it: 6 standard deviations of agreement.
    np.testing.assert_allclose(place, [THERE] * 18, atol=0.01)
    assert turn_of(crop) in (90, 180, -90)
    np.testing.assert_allclose(seen.confidence_BJ, np.sqrt(0.5 * 3 / 5), atol=1e-3)


def test_a_sure_look_outvotes_four_that_are_much_less_sure() -> None:
    first = saw(places(CROP, HERE)[None], [0.65])
    (crop,), seen = look_again([CROP], first, VOLUME, Looker(seen_at(THERE, 0.4)))
    place, _ = found_in_image(crop, seen)
    np.testing.assert_allclose(place, [HERE] * 18, atol=0.01)
    # Votes are confidence times the eighth power of the mean confidence.
    share = 0.65**9 / (0.65**9 + 4 * 0.4**9)
    np.testing.assert_allclose(seen.confidence_BJ, np.sqrt(0.65 * share), atol=1e-3)


@pytest.mark.parametrize(("sure", "there"), [((0.6, 0.5), HERE), ((0.5, 0.6), THERE)])
def test_crop_and_mirror_image_vote_apart(
    sure: tuple[float, float], there: tuple[float, float]
) -> None:
    """With left and right exchanged in one of them, their mean would be where nothing is."""

    def both(crop: Crop, sure: tuple[float, float]) -> NetworkAnswer:
        return saw(torch.stack([places(crop, HERE), places(crop, THERE)]), sure)

    look = Looker(lambda _, crop: both(crop, sure))
    (crop,), seen = look_again([CROP], both(CROP, sure), VOLUME, look)
    np.testing.assert_allclose(found_in_image(crop, seen)[0], [there] * 18, atol=0.01)


def test_joints_are_decided_one_by_one() -> None:
    """A pass that is right about an arm and wrong about a leg gives the arm alone."""
    elbow, knee = Joint.LEFT_ELBOW, Joint.LEFT_KNEE

    def see(_: int, crop: Crop) -> NetworkAnswer:
        voxel = places(crop, HERE)
        astray = elbow if turn_of(crop) in (0, 90) else knee
        voxel[astray] = places(crop, THERE)[0]
        seen = saw(voxel[None], [0.6])
        seen.passes_BHJ4[:, :, astray, 3] = 0.3
        return seen

    voxel = places(CROP, HERE)
    voxel[Joint.LEFT_WRIST] = places(CROP, THERE)[0]
    (crop,), seen = look_again([CROP], saw(voxel[None], [0.6]), VOLUME, Looker(see))
    np.testing.assert_allclose(found_in_image(crop, seen)[0], [HERE] * 18, atol=0.01)


def test_the_place_is_the_weighted_mean_of_the_passes_around_it() -> None:
    apart_px = 0.05 * CROP.side_px
    beside = (HERE[0] + apart_px, HERE[1])
    first = saw(places(CROP, HERE)[None], [0.55])
    (crop,), seen = look_again([CROP], first, VOLUME, Looker(seen_at(beside, 0.5)))
    votes = np.array([0.55**9, *[0.5**9] * 4])
    for_place = votes * [np.exp(-0.5), 1, 1, 1, 1]
    share = for_place / for_place.sum()
    place, _ = found_in_image(crop, seen)
    np.testing.assert_allclose(place[:, 0], beside[0] - apart_px * share[0], atol=0.01)
    sure = share @ [0.55, 0.5, 0.5, 0.5, 0.5]
    np.testing.assert_allclose(
        seen.confidence_BJ, np.sqrt(sure * for_place.sum() / votes.sum()), atol=1e-4
    )


def test_depth_is_the_mean_over_the_looks_by_their_confidence() -> None:
    first = saw(places(CROP, HERE, 100.0)[None], [0.55])
    (crop,), seen = look_again([CROP], first, VOLUME, Looker(seen_at(HERE, 0.5, -20.0)))
    weight = 0.55**8 / (0.55**8 + 4 * 0.5**8)
    _, depth = found_in_image(crop, seen)
    np.testing.assert_allclose(depth, 100 * weight - 20 * (1 - weight), atol=0.01)


def test_joints_that_no_pass_is_sure_of_are_somewhere_without_confidence() -> None:
    (crop,), seen = look_again(
        [CROP], saw(places(CROP, HERE, 7.0)[None], [0.0]), VOLUME, Looker(seen_at(HERE, 0.0, 7.0))
    )
    place, depth = found_in_image(crop, seen)
    np.testing.assert_allclose(place, [HERE] * 18, atol=0.01)
    np.testing.assert_allclose(depth, 7, atol=0.01)
    assert (seen.confidence_BJ < 0.05).all()


def test_both_passes_of_a_look_count_the_same_for_depth() -> None:
    def both(crop: Crop) -> NetworkAnswer:
        return saw(torch.stack([places(crop, HERE, 90.0), places(crop, HERE, 10.0)]), [0.6, 0.4])

    (crop,), seen = look_again([CROP], both(CROP), VOLUME, Looker(lambda _, crop: both(crop)))
    np.testing.assert_allclose(found_in_image(crop, seen)[1], 50, atol=0.01)


def test_joints_without_confidence_are_found_and_stay_without() -> None:
    """Of a network with keypoints and without heatmaps spine, neck and head top have none."""
    rough = [Joint.SPINE, Joint.NECK, Joint.HEAD_TOP]

    def see(_: int, crop: Crop) -> NetworkAnswer:
        seen = saw(places(crop, HERE)[None], [0.5])
        seen.confidence_BJ[:, rough] = torch.nan
        seen.passes_BHJ4[:, :, rough, 3] = torch.nan
        return seen

    (crop,), seen = look_again([CROP], see(0, CROP), VOLUME, Looker(see))
    place, depth = found_in_image(crop, seen)
    np.testing.assert_allclose(place, [HERE] * 18, atol=0.01)
    assert np.isfinite(depth).all()
    assert seen.confidence_BJ[0].isnan().nonzero()[:, 0].tolist() == sorted(rough)


def test_the_body_is_that_of_the_look_that_agrees_best() -> None:
    """All are as sure; the one from above is in the middle of where the others see the joints."""
    x_px = {0: 32.0, 90: 36.0, 180: 40.0, -90: 44.0}

    def see(_: int, crop: Crop) -> NetworkAnswer:
        turn = turn_of(crop)
        root = 0.3 if turn == 180 else 0.0
        return saw(places(crop, (x_px[turn], 60.0))[None], [0.5], root=root)

    first = saw(places(CROP, (48.0, 60.0))[None], [0.5])
    (crop,), seen = look_again([CROP], first, VOLUME, Looker(see))
    assert turn_of(crop) == 180
    assert seen.betas_BS[0].tolist() == pytest.approx([0.3] * 10)
    assert seen.rotation_BR33[0, 0, 1, 0] == pytest.approx(np.sin(0.3))
    np.testing.assert_allclose(found_in_image(crop, seen)[0], [(40.0, 60.0)] * 18, atol=0.01)


def test_a_portrait_is_not_turned_for_limbs_outside_of_the_picture() -> None:
    """Turned crops guess legs somewhere, each elsewhere, and are less sure of what is there."""
    legs = [joint for joint in Joint if joint.name.endswith(("KNEE", "ANKLE", "HIP"))]

    def see(_: int, crop: Crop) -> NetworkAnswer:
        turn = turn_of(crop)
        seen = saw(places(crop, HERE)[None], [0.7 if turn == 0 else 0.5])
        seen.passes_BHJ4[0, 0, legs, :3] = places(crop, (10.0, 200.0 + turn))[legs]
        for confidence in (seen.confidence_BJ[0], seen.passes_BHJ4[0, 0, :, 3]):
            confidence[legs] = 0.1 if turn == 0 else 0.25
        return seen

    (crop,), seen = look_again([CROP], see(0, CROP), VOLUME, Looker(see))
    assert turn_of(crop) == 0
    place, _ = found_in_image(crop, seen)
    upper = [joint for joint in Joint if joint not in legs]
    np.testing.assert_allclose(place[upper], [HERE] * len(upper), atol=0.01)


def test_the_root_is_turned_back_by_the_crops_turn() -> None:
    """A crop turned clockwise by a quarter shows a body that is upright in it lying."""
    turned = Crop(centre_px=(0, 0), side_px=1, size_px=1, angle_rad=np.pi / 2)
    root, elbow = upright(saw(torch.zeros(1, 18, 3), [1.0]), [turned])[0, [0, 18]]
    # Up in the crop was to the left in the image: the crop's map takes the image's left up.
    up, left = np.array([0.0, -1.0]), np.array([-1.0, 0.0])
    np.testing.assert_allclose(turned.matrix_23[:, :2] @ left, up, atol=1e-9)
    np.testing.assert_allclose(root[:2, :2].numpy() @ up, left, atol=1e-6)
    assert torch.equal(elbow, torch.eye(3))


def test_only_limbs_tell_whether_somebody_is_unsure() -> None:
    ends = ("HIP", "KNEE", "ANKLE", "SHOULDER", "ELBOW", "WRIST")
    limbs = [joint for joint in Joint if joint.name.endswith(ends)]
    first = saw(places(CROP, HERE)[None], [0.0])
    first.confidence_BJ[:, limbs] = 0.71
    look = Looker(seen_at(HERE, 0.5))
    look_again([CROP], first, VOLUME, look)
    assert look.asked == []


def test_turns_add_to_the_crops_own() -> None:
    turned = Crop(centre_px=CROP.centre_px, side_px=CROP.side_px, size_px=256, angle_rad=0.2)
    look = Looker(seen_at(HERE, 0.5))
    look_again([turned], saw(places(turned, HERE)[None], [0.5]), VOLUME, look)
    assert [c.angle_rad for _, c in look.asked[0]] == pytest.approx(
        [0.2, 0.2 + np.pi / 2, 0.2 + np.pi, 0.2 - np.pi / 2]
    )


def test_what_is_not_a_limb_has_no_say_in_a_pass_weight() -> None:
    """The first look is as sure of the limbs as the others and surer of the trunk."""
    trunk = [Joint.PELVIS, Joint.SPINE, Joint.NECK, Joint.NOSE, Joint.HEAD_TOP, Joint.THORAX]
    first = saw(places(CROP, HERE)[None], [0.5])
    first.passes_BHJ4[:, :, trunk, 3] = 1.0

    def see(_: int, crop: Crop) -> NetworkAnswer:
        return saw(places(crop, HERE if turn_of(crop) == 0 else THERE)[None], [0.5])

    (crop,), seen = look_again([CROP], first, VOLUME, Looker(see))
    place, _ = found_in_image(crop, seen)
    np.testing.assert_allclose(place[Joint.LEFT_KNEE], THERE, atol=0.01)
    assert turn_of(crop) != 0


NOISE = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
"""Nobody, of whom nothing is sure."""


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, whose card says that it looks again."""
    torch.manual_seed(0)
    pose = PoseNetworkConfig(
        backbone="movenet_thunder", crop_px=128, volume_cells=16, branch_channels=16,
        fusion_channels=16, keypoints=True, quarter_level=True, refinement_layers=1,
    )  # fmt: skip
    shape = ShapeNetworkConfig(hidden=32, blocks=1)
    folder = tmp_path_factory.mktemp("looks") / "model"
    save_model(
        folder, HemletsPosh(pose, shape).state_dict(), pose=pose, shape=shape,
        bones=BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14), training={},
        inference=InferenceConfig(second_look=True),
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("second_look", [None, False, True])
def test_the_model_says_whether_to_look_again_and_the_caller_overrules(
    small_model: Path, second_look: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.load(small_model, second_look=second_look)
    looks: list[int] = []
    infer = predictor._infer

    def counted(crop_B3HW: torch.Tensor) -> NetworkAnswer:
        looks.append(len(crop_B3HW))
        return infer(crop_B3HW)

    monkeypatch.setattr(predictor, "_infer", counted)
    (estimate,) = predictor.predict([PredictionRequest(image_HW3=NOISE, box_xyxy=(9, 9, 90, 95))])
    assert looks == ([1] if second_look is False else [1, 4])
    assert Flag.NO_SECOND_LOOK not in estimate.flags
    looks.clear()
    request = PredictionRequest(image_HW3=NOISE, box_xyxy=(9, 9, 90, 95), second_look=False)
    flags = [e.flags for e in predictor.predict([request] * 3)]
    assert looks == [3]
    assert [Flag.NO_SECOND_LOOK in each for each in flags] == [second_look is not False] * 3
    assert np.isfinite(estimate.joints3d_mm).all()


@pytest.mark.parametrize(("threshold", "one_look"), [(1.0, 0.0), (0.0, 1.0)])
def test_who_is_looked_at_once_has_another_threshold(
    small_model: Path, threshold: float, one_look: float
) -> None:
    predictor = Predictor.load(small_model)
    person = PersonThreshold(
        statistic=PERSON_STATISTIC, threshold=threshold, missed=0, false_alarms=0, people=1,
        backgrounds=1, one_look=one_look,
    )  # fmt: skip
    predictor.card = predictor.card.model_copy(update={"person": person})
    requests = [
        PredictionRequest(image_HW3=NOISE, box_xyxy=(9, 9, 90, 95), second_look=second_look)
        for second_look in (True, False)
    ]
    again, once = predictor.predict(requests)
    assert (again.person, once.person) == (threshold == 0, one_look == 0)


@pytest.mark.parametrize(("people", "groups"), [(20, [20] * 4), (3, [8, 4])])
def test_second_looks_are_at_as_many_crops_at_a_time_as_the_first_or_eight(
    people: int, groups: list[int]
) -> None:
    def see(number: int, crop: Crop) -> NetworkAnswer:
        return saw(places(crop, (20.0 + number, 60.0))[None], [0.5])

    look = Looker(see)
    first = together([see(number, CROP) for number in range(people)])
    crops, seen = look_again([CROP] * people, first, VOLUME, look)
    assert [len(pairs) for pairs in look.asked] == groups
    asked = [number for pairs in look.asked for number, _ in pairs]
    assert asked == sorted([*range(people)] * 4)
    place = joints_in_images(seen.voxel_BJ3, VOLUME, crops).image_px_BJ2[:, 5]
    np.testing.assert_allclose(place, [(20 + number, 60) for number in range(people)], atol=0.01)
