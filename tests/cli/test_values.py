from pathlib import Path

import pytest

from hemlets.cli.values import parse_box, parse_camera
from hemlets.core.errors import ConfigError
from hemlets.core.files import write_json
from hemlets.inference import Camera

CAMERA = Camera(fx=1100.0, fy=1090.5, cx=320.0, cy=-4.0)


def test_a_box_is_four_numbers() -> None:
    assert parse_box("10,20.5,30,60") == (10.0, 20.5, 30.0, 60.0)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1;2;3;4", "0,0,nan,5"])
def test_what_is_no_box_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(ConfigError, match="x0,y0,x1,y1") as caught:
        parse_box(text)

    assert caught.value.where == "--box"


def test_a_box_by_width_and_height_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="x,y,width,height"):
        parse_box("300,400,100,200")


def test_a_camera_is_four_numbers() -> None:
    assert parse_camera("1100, 1090.5, 320, -4") == CAMERA


@pytest.mark.parametrize("text", ["1100", "1,2,3", "0,1,1,1", "-5,5,1,1", "inf,1,1,1"])
def test_what_is_no_camera_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="camera"):
        parse_camera(text)


def test_a_camera_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "camera.json"
    write_json(file, {"fx": 1100, "fy": 1090.5, "cx": 320, "cy": -4})

    assert parse_camera(str(file)) == CAMERA


def test_a_camera_comes_from_an_earlier_prediction(tmp_path: Path) -> None:
    file = tmp_path / "photo.json"
    write_json(file, {"camera_px": {"fx": 1100, "fy": 1090.5, "cx": 320, "cy": -4}, "betas": []})

    assert parse_camera(str(file)) == CAMERA


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"fx": 1}', '{"fx":1,"fy":1,"cx":"?","cy":1}', "null"]
)
def test_a_file_without_a_camera_is_refused_by_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "camera.json"
    file.write_text(content)

    with pytest.raises(ConfigError, match=r"camera\.json"):
        parse_camera(str(file))


def test_a_camera_file_that_is_absent_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist[\s\S]*lost\.json"):
        parse_camera(str(tmp_path / "lost.json"))
