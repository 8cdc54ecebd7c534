"""The one form that every entrance's boxes and camera are parsed into."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hemlets.core.errors import InputError
from hemlets.inference import Camera
from hemlets.inference.request import ImageRequest, parse_box, parse_camera, require_overlap

CAMERA = Camera(fx=900.0, fy=910.0, cx=320.0, cy=240.0)
BOX = (1.0, 2.0, 30.0, 40.0)


@pytest.mark.parametrize(
    "box",
    [BOX, [1, 2, 30, 40], "[1, 2, 30, 40]", b"[1.0, 2, 30, 40]", np.array(BOX, np.float32),
     [np.float32(1), np.int64(2), 30, 40]],
)  # fmt: skip
def test_a_box_is_four_numbers_however_they_come(box: Any) -> None:
    assert parse_box(box) == BOX


@pytest.mark.parametrize(
    "camera",
    [CAMERA, (900, 910, 320, 240), np.array([900, 910, 320, 240]), "[900, 910, 320, 240]",
     {"fx": 900, "fy": 910, "cx": 320, "cy": 240},
     '{"fx": 900, "fy": 910, "cx": 320, "cy": 240}',
     np.array([[900, 0, 320], [0, 910, 240], [0, 0, 1.0]]),
     [[900, 0, 320], [0, 910, 240], [0, 0, 1]]],
)  # fmt: skip
def test_a_camera_is_four_numbers_or_their_names(camera: Any) -> None:
    assert parse_camera(camera) == CAMERA


@pytest.mark.parametrize(
    "box",
    [[1, 2, 30], "left", ["1", 2, 30, 40], [True, 2, 30, 40], [float("nan"), 0, 1, 1],
     [30, 2, 1, 40], [1, 2, 1, 40], [0, 0, 10**400, 1], [0, 0, 1e7, 1], {"left": 1}, 3],
)  # fmt: skip
def test_what_is_no_box_is_refused_with_its_place(box: Any) -> None:
    with pytest.raises(InputError) as caught:
        parse_box(box, "row 3, column box")
    assert caught.value.where == "row 3, column box"
    assert "left < right" in str(caught.value.expected)


@pytest.mark.parametrize(
    ("boxes", "remedy"),
    [
        (BOX, "[[left, top, right, bottom]]"),
        ([(*BOX, 0.9)], "such as a score"),
        ([(300, 200, 200, 250)], "x + width, y + height"),
        ([(float("nan"), 0, 1, 1)], "None"),
    ],
)
def test_a_box_of_a_known_other_form_is_refused_with_what_to_do(boxes: Any, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        ImageRequest.parse({"boxes": boxes})
    assert remedy in str(caught.value.remedy)


@pytest.mark.parametrize("focal", [0, -1, 1e-40, 1e7, float("nan")])
def test_a_focal_length_that_no_lens_has_is_named(focal: float) -> None:
    with pytest.raises(InputError) as caught:
        parse_camera((900, focal, 320, 240))
    assert caught.value.where == "camera.fy"


@pytest.mark.parametrize(
    "camera",
    [{"fx": 1}, [1, 2, 3], "north", 5, {"fx": 900, "fy": 900, "cx": 0, "cy": 0, "k1": 0},
     [[900, 5, 320], [0, 910, 240], [0, 0, 1]]],
)  # fmt: skip
def test_what_is_no_camera_is_refused(camera: Any) -> None:
    with pytest.raises(InputError, match=r"not a camera|not JSON"):
        parse_camera(camera)


def test_a_camera_that_gives_a_number_twice_is_refused() -> None:
    with pytest.raises(InputError, match='the key "fx" is repeated'):
        parse_camera('{"fx": 900, "fx": 1000, "fy": 900, "cx": 0, "cy": 0}')


def test_one_box_asks_for_one_person_and_boxes_for_a_list() -> None:
    assert ImageRequest.parse({"box": BOX}) == ImageRequest(boxes=(BOX,), alone=True)
    assert ImageRequest.parse({"boxes": [BOX, BOX]}) == ImageRequest(boxes=(BOX, BOX))


def test_what_a_table_leaves_out_is_left_out() -> None:
    row = {"box": float("nan"), "boxes": None, "camera": None}
    assert ImageRequest.parse(row) == ImageRequest()


def test_both_ways_of_giving_boxes_exclude_each_other() -> None:
    with pytest.raises(InputError, match="both box and boxes"):
        ImageRequest.parse({"box": BOX, "boxes": [BOX]})


def test_the_box_that_is_wrong_is_named_by_its_number() -> None:
    with pytest.raises(InputError) as caught:
        ImageRequest.parse({"boxes": json.dumps([BOX, [1, 2]])}, where="row 3, column")
    assert caught.value.where == "row 3, column boxes[1]"


@pytest.mark.parametrize("count", [0, 3])
def test_the_number_of_boxes_can_be_limited(count: int) -> None:
    assert len(ImageRequest.parse({"boxes": [BOX] * count}).boxes or ()) == count
    with pytest.raises(InputError, match="1 to 2"):
        ImageRequest.parse({"boxes": [BOX] * count}, most=2)


def test_a_misspelt_field_is_not_ignored() -> None:
    with pytest.raises(InputError, match="'bbox'"):
        ImageRequest.parse({"bbox": BOX})


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ((0.1, 0.2, 0.6, 0.9), "looks normalised"),
        ((0.0, 0.0, 1.0, 1.0), "looks normalised"),
        ((-5000.0, -5000.0, 9000.0, 9000.0), "5 times as large"),
        ((0.0, 0.0, 9000.0, 9000.0), "5 times as large"),
        ((700.0, 0.0, 800.0, 100.0), "shows nothing"),
        ((100.0, 100.0, 100.5, 100.5), "shows nothing"),
    ],
)
def test_a_box_in_other_units_or_elsewhere_is_refused_by_what_it_looks_like(
    box: tuple[float, float, float, float], what: str
) -> None:
    with pytest.raises(InputError, match=what):
        require_overlap(box, 640, 480, "box")


def test_a_person_may_reach_far_past_the_image() -> None:
    require_overlap((-600.0, -900.0, 900.0, 1400.0), 640, 480, "box")
    require_overlap((0.0, 0.0, 1.5, 1.5), 10, 10, "box")
