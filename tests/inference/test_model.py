"""The public face: photographs in any form in, everybody out."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Pil

import hemlets
from hemlets.body import BodyModel
from hemlets.core.errors import ConfigError, InputError, WorkspaceError
from hemlets.inference import Camera
from hemlets.inference.images import Image, read_photo, several, to_photo
from hemlets.inference.model import Model, SomeImagesError
from hemlets.inference.people import Detection
from hemlets.inference.predictor import Predictor
from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.model_folder import InferenceConfig, load_model, save_model

TWO = (30.0, 20.0, 90.0, 140.0), (100.0, 10.0, 180.0, 150.0)


class FixedDetector:
    """Finds two people in everything that isn't black."""

    def detect(self, image_HW3: Image) -> list[Detection]:
        if not image_HW3.any():
            return []
        return [Detection(box_xyxy=box, score=0.9 - 0.1 * i) for i, box in enumerate(TWO)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    pose = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=16)
    shape = ShapeNetworkConfig(hidden=32, blocks=0)
    place = tmp_path_factory.mktemp("model") / "small"
    bones = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)
    state = HemletsPosh(pose, shape).state_dict()
    save_model(place, state, pose=pose, shape=shape, bones=bones, training={})
    return place


@pytest.fixture(scope="module")
def model(folder: Path) -> hemlets.Model:
    loaded = hemlets.load(folder, device="cpu")
    return hemlets.Model(loaded.predictor, loaded.body, detector=FixedDetector())


@pytest.fixture
def image() -> Image:
    return np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)


@pytest.fixture
def photos(tmp_path: Path, image: Image) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    for name in ("b.png", "a.JPG"):
        Pil.fromarray(image).save(place / name)
    (place / "notes.txt").write_text("no photo")
    return place


def test_a_person_has_what_the_face_promises(model: hemlets.Model, image: Image) -> None:
    people = model(image)
    assert len(people) == 2
    assert [p.box_xyxy for p in people] == list(TWO)
    for person in people:
        values = (
            person.joints2d_px, person.joints3d_mm, person.pelvis_mm,
            person.theta, person.betas, person.joint_confidence,
        )  # fmt: skip
        shapes = [np.shape(value) for value in values]
        assert shapes == [(18, 2), (18, 3), (3,), (24, 3), (10,), (18,)]
        assert person.vertices_mm.shape == (person.body.vertices_V3_mm.shape[0], 3)
        assert np.isfinite(person.vertices_mm).all()
        assert 0 <= person.confidence <= 1
        np.testing.assert_allclose(person.joints3d_mm[0], 0, atol=1e-3)
    # The skin stands where the pelvis is.
    middle = people[0].vertices_mm.mean(0)
    assert np.linalg.norm(middle - people[0].pelvis_mm) < 500


def test_boxes_are_predicted_in_their_order_and_nobody_is_looked_for(
    model: hemlets.Model, image: Image
) -> None:
    people = model(image, boxes=np.array(TWO[::-1]), camera=(300, 310, 100, 80))
    assert [p.box_xyxy for p in people] == list(TWO[::-1])
    assert people.camera == Camera(fx=300, fy=310, cx=100, cy=80)
    assert people[0].estimate.flags == ()
    assert len(model(image, boxes=[])) == 0


def test_the_same_photo_in_any_form_gives_the_same_people(
    model: hemlets.Model, image: Image, photos: Path
) -> None:
    expected = model(image).to_json()["people"]
    data = (photos / "b.png").read_bytes()
    with (photos / "b.png").open("rb") as file:
        sources = photos / "b.png", str(photos / "b.png"), Pil.fromarray(image), data, file
        for source in (*sources, io.BytesIO(data)):
            assert model(source).to_json()["people"] == expected
    assert model(photos / "b.png").name == "b.png"


def test_a_list_gives_a_list_and_a_folder_or_generator_one_at_a_time(
    model: hemlets.Model, image: Image, photos: Path
) -> None:
    assert [len(people) for people in model([image, photos / "b.png"])] == [2, 2]
    assert isinstance(model([image]), list)
    assert [people.name for people in model(photos)] == ["a.JPG", "b.png"]
    taken = []

    def frames() -> Iterator[Image]:
        for number in range(3):
            taken.append(number)
            yield image

    results = model(frames())
    assert taken == []
    assert len(next(results)) == 2
    assert taken == [0]


def test_a_pil_photo_is_turned_upright(model: hemlets.Model, tmp_path: Path) -> None:
    exif = Pil.Exif()
    exif[0x0112] = 6
    Pil.new("RGB", (200, 100)).save(tmp_path / "turned.jpg", exif=exif)
    with Pil.open(tmp_path / "turned.jpg") as turned:
        assert model(turned).image_HW3.shape == (200, 100, 3)


def test_nobody_is_an_empty_result_that_can_be_drawn_and_written(
    model: hemlets.Model, tmp_path: Path
) -> None:
    people = model(np.zeros((60, 80, 3), np.uint8))
    assert not people
    assert people.to_json()["people"] == []
    assert people.plot().shape[2] == 3
    files = people.save(tmp_path, "nobody", page=True)
    assert [file.name for file in files] == ["nobody.json", "nobody.overlay.png"]


def test_results_are_drawn_and_written_with_everybody(
    model: hemlets.Model, image: Image, tmp_path: Path
) -> None:
    people = model(image)
    files = people.save(tmp_path / "out", page=True, mesh_suffix=".ply")
    assert {f.name for f in files} == {
        "image.json", "image.overlay.png", "image.html", "image.person0.ply", "image.person1.ply",
    }  # fmt: skip
    assert json.loads(files[0].read_text()) == json.loads(people.json_line())
    drawn = cv2.imread(str(tmp_path / "out" / "image.overlay.png"))[..., ::-1]
    np.testing.assert_array_equal(drawn, people.plot())


@pytest.mark.parametrize("source", ["a\0b.jpg", "x" * 5000], ids=["null byte", "long"])
def test_a_path_that_no_file_can_have_is_refused(model: hemlets.Model, source: str) -> None:
    with pytest.raises(InputError, match="can't be read"):
        model(source)


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        (np.zeros((9, 9), np.uint8), "np.repeat(image[..., None], 3, 2)"),
        (np.zeros((9, 9, 1), np.uint8), "np.repeat(image, 3, 2)"),
        (np.zeros((9, 9, 4), np.uint8), "image[..., :3]"),
        (np.zeros((3, 9, 9), np.uint8), "image.transpose(1, 2, 0)"),
        (np.zeros((2, 9, 9, 3), np.uint8), "list(images)"),
        (np.full((9, 9, 3), 0.5), "(255 * image).round().astype(np.uint8)"),
        (np.full((9, 9, 3), 127.0, np.float32), "image.round().astype(np.uint8)"),
        (np.zeros((9, 9, 3), np.uint16), "(image // 257).astype(np.uint8)"),
        (np.zeros((9, 9, 3), np.int64), "image.astype(np.uint8)"),
        (torch.zeros(3, 9, 9), "image.transpose(1, 2, 0)"),
        (np.zeros((0, 9, 3), np.uint8), "has pixels"),
    ],
    ids=str,
)
def test_an_array_of_another_form_is_refused_with_what_turns_it_into_an_image(
    model: hemlets.Model, source: object, remedy: str
) -> None:
    with pytest.raises(InputError, match="RGB") as raised:
        model(source)  # type: ignore[call-overload]
    assert remedy in str(raised.value.remedy)


@pytest.mark.parametrize("device", ["xyz", "cuda:99"])
def test_a_device_that_the_machine_lacks_is_named(folder: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=f"the device '{device}' can't be used"):
        hemlets.load(folder, device=device)


def test_paths_in_an_array_are_wanted_as_a_list(model: hemlets.Model) -> None:
    with pytest.raises(InputError, match=r"list\(images\)"):
        model(np.array(["a.jpg", "b.jpg"]))


def test_the_path_in_a_files_address_is_named(model: hemlets.Model) -> None:
    with pytest.raises(InputError, match=r"give its path, /none/a\.jpg"):
        model("file:///none/a.jpg")


@pytest.mark.parametrize("source", [5, None, {"image": "a.jpg"}], ids=str)
def test_what_is_no_image_is_refused(model: hemlets.Model, source: object) -> None:
    with pytest.raises(InputError, match="an image of type"):
        model(source)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        (None, "imread gives None"),
        ("photos/*.jpg", "patterns are not expanded"),
        (Pil.new("RGB", (0, 0)), "an image that has pixels"),
    ],
)
def test_what_users_of_other_libraries_pass_is_answered_with_what_to_pass(
    model: hemlets.Model, source: object, remedy: str
) -> None:
    with pytest.raises(InputError) as raised:
        model(source)  # type: ignore[call-overload]
    assert remedy in str(raised.value.remedy)


def test_a_tilde_is_the_home_folder_for_photos_folders_and_models(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(photos))
    assert to_photo("~/a.JPG").name == "a.JPG"
    shown = several("~")
    assert shown is not None
    assert len(list(shown)) == 2
    monkeypatch.setenv("HOME", str(folder.parent))
    assert hemlets.load(f"~/{folder.name}", device="cpu").predictor.version


def test_boxes_are_taken_from_a_table(model: hemlets.Model, image: Image) -> None:
    table = pd.DataFrame(list(TWO), columns=["left", "top", "right", "bottom"])
    assert [person.box_xyxy for person in model(image, boxes=table)] == list(TWO)


def test_boxes_of_several_images_are_answered_with_one_call_each(
    model: hemlets.Model, image: Image
) -> None:
    with pytest.raises(InputError, match="call once for each"):
        model([image, image], boxes=[[TWO[0]], [TWO[1]]])  # type: ignore[call-overload]


def test_results_into_a_file_name_the_file(
    model: hemlets.Model, image: Image, photos: Path
) -> None:
    with pytest.raises(WorkspaceError, match="there is a file of its name"):
        model(image).save(photos / "a.JPG")


def test_an_address_is_no_file_and_its_password_is_not_shown(model: hemlets.Model) -> None:
    with pytest.raises(InputError, match=r"an address[\s\S]*download the photo") as raised:
        model("https://ann:secret@example.org/a.jpg")
    assert "secret" not in str(raised.value)


def test_a_file_opened_as_text_is_refused(model: hemlets.Model, photos: Path) -> None:
    with (photos / "notes.txt").open() as file, pytest.raises(InputError, match='mode "rb"'):
        model(file)  # type: ignore[call-overload]


def test_pil_images_of_other_modes_become_rgb_as_their_files_do(tmp_path: Path) -> None:
    grey = np.arange(240, dtype=np.uint16).reshape(12, 20)
    alpha = Pil.fromarray(np.dstack([grey] * 3 + [255 * (grey > 120)]).astype(np.uint8), "RGBA")
    palette = Pil.fromarray(grey.astype(np.uint8)).convert("P")
    palette.info["transparency"] = 7
    for image in (Pil.fromarray(257 * grey), alpha, palette, alpha.convert("LA")):
        image.save(tmp_path / "a.png")
        expected = read_photo(tmp_path / "a.png")
        np.testing.assert_array_equal(to_photo(image).image_HW3, expected)
    assert (to_photo(alpha).image_HW3[0] == 255).all(), "what is transparent is white"


def test_pil_images_whose_pixels_are_not_known_are_refused(tmp_path: Path) -> None:
    for mode in ("F", "I"):
        with pytest.raises(InputError, match="black and white are not known"):
            to_photo(Pil.new(mode, (8, 8)))
    with pytest.raises(InputError, match="too large"):
        to_photo(Pil.new("1", (8_000, 8_000)))
    Pil.effect_noise((64, 64), 90).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:2_000])
    with Pil.open(tmp_path / "cut.png") as cut, pytest.raises(InputError, match="cut or damaged"):
        to_photo(cut)


def test_a_device_without_end_is_too_large_and_a_pipe_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file has 200 MB"):
        read_photo(Path("/dev/zero"))
    Pil.effect_noise((64, 48), 90).save(tmp_path / "a.png")
    reading, writing = os.pipe()
    os.write(writing, (tmp_path / "a.png").read_bytes())
    os.close(writing)
    try:
        assert read_photo(Path(f"/dev/fd/{reading}")).shape == (48, 64, 3)
    finally:
        os.close(reading)


def test_one_bad_image_of_a_list_is_named_and_the_others_are_not_lost(
    model: hemlets.Model, image: Image
) -> None:
    with pytest.raises(SomeImagesError, match="1 of 3 images") as raised:
        model([image, b"no image", image])
    assert [None if r is None else len(r) for r in raised.value.results] == [2, None, 2]
    assert list(raised.value.errors) == [1]
    assert "image 1" in str(raised.value.where)


def test_bad_photos_of_a_folder_are_left_out_with_a_warning(
    model: hemlets.Model, photos: Path
) -> None:
    (photos / "c.jpg").write_bytes(b"")
    (photos / "d.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    with pytest.warns(UserWarning, match="left out") as warned:
        assert [people.name for people in model(photos)] == ["a.JPG", "b.png"]
    assert [Path(str(w.message).split(":")[0]).name for w in warned] == ["c.jpg", "d.heic"]
    for name in ("a.JPG", "b.png"):
        (photos / name).unlink()
    with pytest.warns(UserWarning, match="left out"), pytest.raises(InputError, match="no bytes"):
        list(model(photos))


def test_after_a_bad_image_of_a_generator_the_next_ones_follow(
    model: hemlets.Model, image: Image
) -> None:
    results = model(each for each in (image, image[..., 0], image))
    assert len(next(results)) == 2
    with pytest.raises(InputError, match="image 1: image"):
        next(results)
    assert [len(people) for people in results] == [2]


def test_boxes_for_several_images_are_refused(model: hemlets.Model, image: Image) -> None:
    with pytest.raises(InputError, match="several images"):
        model([image], boxes=[TWO[0]])  # type: ignore[call-overload]


def test_a_folder_without_photos_is_refused(model: hemlets.Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photos"):
        model(str(tmp_path))


@pytest.mark.parametrize(
    ("boxes", "where"), [([(500, 0, 600, 9)], "box"), ([TWO[0], (9, 9, 10, 10)], "person 1: box")]
)
def test_a_box_that_does_not_fit_is_named(
    model: hemlets.Model, image: Image, boxes: list[tuple[float, ...]], where: str
) -> None:
    with pytest.raises(InputError) as caught:
        model(image, boxes=boxes)
    assert caught.value.where == where


def test_a_fast_model_does_without_the_flip_test_in_bfloat16_and_says_so(
    folder: Path, tmp_path: Path, image: Image
) -> None:
    weights, card = load_model(folder)
    flipped = tmp_path / "flipped"
    save_model(
        flipped,
        weights.state_dict(),
        pose=card.pose,
        shape=card.shape,
        bones=card.bones,
        inference=InferenceConfig(flip_test=True),
        training={},
    )
    box = [TWO[0]]
    exact, fast, plain = (
        model(image, boxes=box)
        for model in (
            hemlets.load(flipped, device="cpu"),
            hemlets.load(flipped, device="cpu", fast=True),
            Model(Predictor.load(folder, precision="bfloat16"), BodyModel.load()),
        )
    )
    np.testing.assert_allclose(fast[0].joints3d_mm, plain[0].joints3d_mm, atol=1e-3)
    unlike = np.abs(exact[0].joints3d_mm - plain[0].joints3d_mm).max()
    assert unlike > 0.1 * np.abs(plain[0].joints3d_mm).max()
    assert exact.model_version != fast.model_version


def test_importing_hemlets_brings_neither_torch_nor_opencv() -> None:
    code = "import sys, hemlets; print([m for m in ('torch', 'cv2', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
