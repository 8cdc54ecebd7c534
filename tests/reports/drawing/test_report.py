from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from hemlets.body import BodyModel
from hemlets.data.synthetic import RenderedPerson
from hemlets.inference import BodyEstimate
from hemlets.reports.drawing import place_body, prediction_picture

TruthOf = Callable[[RenderedPerson], BodyEstimate]


def test_the_picture_shows_the_photo_enlarged_and_the_side_view_beside_it(
    people: list[RenderedPerson], body: BodyModel, truth_of: TruthOf
) -> None:
    truth = truth_of(people[0])
    placed = place_body(body, truth.theta, truth.betas, truth.root_mm)

    picture = prediction_picture(people[0].image, truth, placed)

    assert picture.shape[0] == 512
    assert picture.shape[1] > 512
    assert (picture[:, 512:] != picture[-1, -1]).any()


def test_limbs_outside_of_the_photo_are_faint_from_the_side(
    people: list[RenderedPerson], body: BodyModel, truth_of: TruthOf
) -> None:
    truth = truth_of(people[0])
    placed = place_body(body, truth.theta, truth.betas, truth.root_mm)
    inside = np.clip(truth.joints2d_px, 0, 200)
    sides = [
        prediction_picture(
            people[0].image, replace(truth, joints2d_px=np.asarray(joints, np.float32)), placed
        )[:, 512:].astype(int)
        for joints in (inside, inside + 1000)
    ]
    # Bones are saturated colours; the body and the paper are not.
    vivid = [int((np.ptp(side, axis=-1) > 150).sum()) for side in sides]
    assert vivid[1] < 0.2 * vivid[0]


def test_of_a_square_photo_the_picture_is_twice_as_wide_as_high(
    people: list[RenderedPerson], body: BodyModel, truth_of: TruthOf
) -> None:
    # Contact sheets have tiles of that shape: any other would be stretched in them.
    truth = truth_of(people[0])
    placed = place_body(body, truth.theta, truth.betas, truth.root_mm)

    height, width, _ = prediction_picture(people[0].image, truth, placed).shape

    assert width == 2 * height


def test_a_large_photo_is_shown_at_a_size_for_looking_at(
    people: list[RenderedPerson], body: BodyModel, truth_of: TruthOf
) -> None:
    truth = truth_of(people[0])
    placed = place_body(body, truth.theta, truth.betas, truth.root_mm)

    picture = prediction_picture(np.zeros((4000, 3000, 3), np.uint8), truth, placed)

    assert picture.shape[0] == 1600


def test_the_enlarged_photos_mesh_still_sits_on_the_person(
    people: list[RenderedPerson], body: BodyModel, truth_of: TruthOf
) -> None:
    person = people[3]
    truth = replace(truth_of(person), joints2d_px=np.full((18, 2), np.nan, np.float32))
    placed = place_body(body, truth.theta, truth.betas, truth.root_mm)
    black = np.zeros_like(person.image)

    picture = prediction_picture(black, truth, placed)[:, :512]

    stored = cv2.imdecode(np.frombuffer(person.row["mask"], np.uint8), cv2.IMREAD_GRAYSCALE)
    stored = cv2.resize(stored, (512, 512), interpolation=cv2.INTER_LINEAR) > 127
    # Of what is drawn on black, the box is grey and the body blueish.
    drawn = picture[..., 2].astype(int) - picture[..., 0] > 8
    assert (drawn & stored).sum() / (drawn | stored).sum() > 0.95


@pytest.mark.parametrize("root_mm", [(0.0, 0.0, 100_000.0), (0.0, 0.0, 300.0), (9e4, 0.0, 500.0)])
def test_a_body_that_is_predicted_in_an_odd_place_is_still_drawn(
    people: list[RenderedPerson],
    body: BodyModel,
    truth_of: TruthOf,
    root_mm: tuple[float, float, float],
) -> None:
    truth = replace(truth_of(people[0]), root_mm=np.array(root_mm, np.float32))
    placed = place_body(body, truth.theta, truth.betas, truth.root_mm)

    picture = prediction_picture(people[0].image, truth, placed)

    assert picture.dtype == np.uint8
