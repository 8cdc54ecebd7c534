"""Everybody in a photograph: who is found, where, and what is bounded."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pil

from hemlets.core.skeleton import Joint
from hemlets.data.table import decode_image
from hemlets.inference import detector as module
from hemlets.inference.detector import MultiPoseDetector
from hemlets.inference.people import Detection, Image

PICTURE = Path(__file__).parents[1] / "models/golden/two_people.png"
HALVES = ((0, 0, 110, 128), (112, 20, 224, 128))
"""Where the two people of the picture are: left, top, right, bottom."""


@pytest.fixture(scope="module")
def detector() -> MultiPoseDetector:
    return MultiPoseDetector.load()


@pytest.fixture(scope="module")
def picture() -> Image:
    return np.asarray(Pil.open(PICTURE).convert("RGB"))


@pytest.fixture(scope="module")
def portrait(picture: Image) -> Image:
    """One person, 109 × 128."""
    return picture[:, :109]


def _lies_in(found: Detection, place: tuple[float, ...], slack: float = 4) -> bool:
    assert found.box_xyxy is not None
    left, top, right, bottom = found.box_xyxy
    middle = (left + right) / 2, (top + bottom) / 2
    inside = left > place[0] - slack and right < place[2] + slack
    return inside and top > place[1] - slack and bottom < place[3] + slack and (
        abs(middle[0] - (place[0] + place[2]) / 2) < 0.2 * (place[2] - place[0])
    )  # fmt: skip


def test_both_people_are_found_the_largest_first(
    detector: MultiPoseDetector, picture: Image
) -> None:
    found = detector.detect(picture)
    assert len(found) == 2
    assert all(_lies_in(f, place) for f, place in zip(found, HALVES, strict=True))
    assert all(0.3 < f.score <= 1 for f in found)


def test_keypoints_become_the_joints_that_they_are(
    detector: MultiPoseDetector, picture: Image
) -> None:
    left = detector.detect(picture)[0]
    assert left.joints2d_px is not None
    nose, right_shoulder, left_shoulder, thorax = left.joints2d_px[
        [Joint.NOSE, Joint.RIGHT_SHOULDER, Joint.LEFT_SHOULDER, Joint.THORAX]
    ]
    # She faces the camera, so that her right is on the image's left.
    assert right_shoulder[0] < nose[0] < left_shoulder[0]
    assert nose[1] < right_shoulder[1]
    np.testing.assert_allclose(thorax, (right_shoulder + left_shoulder) / 2, atol=1e-4)


def test_joints_out_of_the_picture_are_named_as_missing(
    detector: MultiPoseDetector, picture: Image
) -> None:
    found = detector.detect(picture)[0]
    assert {"right_ankle", "left_ankle", "right_knee"} <= set(found.missing)
    assert found.joints2d_px is not None
    assert np.isnan(found.joints2d_px[Joint.RIGHT_ANKLE]).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((120, 160, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8),
        np.full((1, 1, 3), 255, np.uint8),
        np.full((3, 900, 3), 128, np.uint8),
    ],
    ids=["black", "noise", "one pixel", "a line"],
)
def test_nobody_is_an_empty_list(detector: MultiPoseDetector, image: Image) -> None:
    assert detector.detect(image) == []


def test_a_drawn_figure_is_no_error(detector: MultiPoseDetector) -> None:
    image = np.full((400, 300, 3), 255, np.uint8)
    cv2.circle(image, (150, 80), 40, (0, 0, 0), 4)
    bones = (((150, 120), (150, 250)), ((150, 150), (80, 210)), ((150, 150), (220, 210)),
             ((150, 250), (100, 370)), ((150, 250), (200, 370)))  # fmt: skip
    for start, end in bones:
        cv2.line(image, start, end, (0, 0, 0), 4)
    for found in detector.detect(image):
        assert found.box_xyxy is not None
        assert 0 <= found.box_xyxy[0] < found.box_xyxy[2] <= 300


def test_the_same_image_gives_the_same_people(detector: MultiPoseDetector, picture: Image) -> None:
    one, other = detector.detect(picture), detector.detect(picture.copy())
    assert [f.box_xyxy for f in one] == [f.box_xyxy for f in other]
    assert [f.score for f in one] == [f.score for f in other]


@pytest.mark.parametrize("scale", [0.32, 4.0])
def test_size_does_not_matter(detector: MultiPoseDetector, picture: Image, scale: float) -> None:
    """The smaller one is 41 px high."""
    scaled = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = detector.detect(scaled)
    assert len(found) == 2
    places = [tuple(scale * value for value in place) for place in HALVES]
    assert all(_lies_in(f, p, slack=6 * scale) for f, p in zip(found, places, strict=True))


def test_somebody_small_in_a_large_image_is_found(
    detector: MultiPoseDetector, portrait: Image
) -> None:
    image = np.full((1200, 1600, 3), 120, np.uint8)
    image[700:828, 1300:1409] = portrait
    (found,) = detector.detect(image)
    assert _lies_in(found, (1300, 700, 1409, 828), slack=8)


def test_a_crowd_is_not_cut_off_at_six(detector: MultiPoseDetector, portrait: Image) -> None:
    row = np.concatenate([portrait] * 6, 1)
    found = detector.detect(np.concatenate([row] * 4, 0))
    assert 20 <= len(found) <= 24


def test_of_a_crowd_of_sixty_nearly_everybody_is_found_once(
    detector: MultiPoseDetector, portrait: Image
) -> None:
    row = np.concatenate([portrait] * 10, 1)
    found = detector.detect(np.concatenate([row] * 6, 0))
    assert 48 <= len(found) <= 60


def test_in_a_picture_of_40_pixels_nobody_need_be_found_and_nobody_lies_outside(
    detector: MultiPoseDetector, portrait: Image
) -> None:
    found = detector.detect(cv2.resize(portrait, (34, 40), interpolation=cv2.INTER_AREA))
    assert all(_lies_in(person, (0, 0, 34, 40)) for person in found)
    assert len(found) <= 1


def test_one_look_sees_a_wide_picture_in_a_canvas_of_its_own_shape(
    picture: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvas, shapes = module._canvas, []

    def noted(part_HW3: Image, side: int, *, tight: bool) -> tuple[Image, np.ndarray]:
        result = canvas(part_HW3, side, tight=tight)
        shapes.append(result[0].shape)
        return result

    monkeypatch.setattr(module, "_canvas", noted)
    wide = cv2.copyMakeBorder(picture, 0, 0, 0, 4, cv2.BORDER_REPLICATE)
    found = MultiPoseDetector.load(thorough=False).detect(cv2.resize(wide, (910, 512)))
    assert len(found) == 2
    assert shapes == [(288, 512, 3)]


def test_a_panorama_of_20000_pixels_is_seen_in_bounded_windows(
    detector: MultiPoseDetector, portrait: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.full((600, 20_000, 3), 120, np.uint8)
    large = cv2.resize(portrait, None, fx=4, fy=4)
    image[50:562, 15_000:15_436] = large
    sides: list[int] = []
    canvas = module._canvas

    def counted(part_HW3: Image, side: int, *, tight: bool) -> tuple[Image, np.ndarray]:
        sides.append(side)
        return canvas(part_HW3, side, tight=tight)

    monkeypatch.setattr(module, "_canvas", counted)
    (found,) = detector.detect(image)
    assert _lies_in(found, (15_000, 50, 15_436, 562), slack=20)
    assert len(sides) <= 2 * 32 + 64
    assert set(sides) <= {256, 512}


def test_a_photo_on_its_head_is_found_by_exif_and_without(
    detector: MultiPoseDetector, portrait: Image
) -> None:
    exif = Pil.Exif()
    exif[0x0112] = 3  # turned by 180°
    file = io.BytesIO()
    Pil.fromarray(portrait[::-1, ::-1]).save(file, "JPEG", quality=95, exif=exif)
    (upright,) = detector.detect(decode_image(file.getvalue()))
    assert _lies_in(upright, (0, 0, 109, 128))
    (turned,) = detector.detect(np.ascontiguousarray(portrait[::-1, ::-1]))
    assert turned.box_xyxy is not None
    assert turned.joints2d_px is not None
    nose = turned.joints2d_px[Joint.NOSE]
    expected = detector.detect(portrait)[0].joints2d_px
    assert expected is not None
    np.testing.assert_allclose(nose, (109, 128) - expected[Joint.NOSE], atol=8)
