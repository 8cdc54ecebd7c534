import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hemlets.body import BodyModel
from hemlets.cli import main
from hemlets.core.errors import InputError
from hemlets.core.files import sha256_file
from hemlets.core.workspace import Workspace
from hemlets.inference import BodyEstimate, Camera, PredictionRequest, Predictor
from hemlets.inference.champion import Champion, cache_champion
from hemlets.inference.images import read_photo
from hemlets.models.codecs.bones import BoneLengths
from hemlets.reports.drawing import place_body

BONES = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)

BOX = ("--box", "20,10,140,150")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], model_folder: Path) -> Run:
    """Predict with the test's model, on some photos, in the current folder."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["predict", *map(str, arguments), "--model", str(model_folder)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def read_all(name: str) -> dict:
    return json.loads(Path("predictions", f"{name}.json").read_text())


def read(name: str) -> dict:
    [person] = read_all(name)["people"]
    return person


def test_it_writes_joints_and_body_as_json_and_a_picture(run: Run, photo: Path) -> None:
    code, out, err = run(photo, *BOX)

    assert (code, err) == (0, "")
    assert sorted(p.name for p in Path("predictions").iterdir()) == [
        "photo.json",
        "photo.overlay.png",
    ]
    assert cv2.imread("predictions/photo.overlay.png").shape[0] == 512
    assert "photo.jpg" in out
    assert "predictions/photo.json" in out


def test_the_json_is_the_predictors_estimate_with_the_photos_name_and_size(
    run: Run, photo: Path, model_folder: Path
) -> None:
    run(photo, *BOX, "--camera", "300,310,80,75")

    value = read("photo")
    request = PredictionRequest(
        image_HW3=read_photo(photo),
        box_xyxy=(20.0, 10.0, 140.0, 150.0),
        camera=Camera(fx=300.0, fy=310.0, cx=80.0, cy=75.0),
    )
    expected = Predictor.load(model_folder).predict([request])[0]
    found = BodyEstimate.from_json(value)
    assert found.joints3d_mm == pytest.approx(expected.joints3d_mm, abs=1e-3)
    assert found.theta == pytest.approx(expected.theta, abs=1e-5)
    assert found.camera == expected.camera
    assert found.model_version == expected.model_version
    image = {"name": "photo.jpg", "width": 160, "height": 160}
    assert read_all("photo")["image"] == image


def test_the_translation_puts_the_bodys_pelvis_at_the_root(run: Run, photo: Path) -> None:
    run(photo, *BOX)

    value = read("photo")
    estimate = BodyEstimate.from_json(value)
    placed = place_body(BodyModel.load(), estimate.theta, estimate.betas, estimate.root_mm)
    assert value["transl_mm"] == pytest.approx(placed.transl_mm, abs=0.02)


def test_what_was_assumed_is_said_and_flagged(run: Run, photo: Path) -> None:
    _, out, _ = run(photo, *BOX)

    assert "field of view of 25°" in out
    assert read("photo")["flags"] == ["default-field-of-view"]


def test_nothing_is_assumed_where_box_and_camera_are_given(run: Run, photo: Path) -> None:
    _, out, _ = run(photo, *BOX, "--camera", "300,300,80,80")

    assert "note:" not in out
    assert read("photo")["flags"] == []


def test_the_camera_of_an_earlier_prediction_can_be_given(run: Run, photo: Path) -> None:
    run(photo, *BOX, "--out", "first", "--camera", "300,300,80,80")
    run(photo, *BOX, "--camera", "first/photo.json")

    assert read("photo")["camera_px"]["fx"] == 300.0


def test_json_goes_to_standard_output_and_nothing_else_does(
    run: Run, photo: Path, another: Path
) -> None:
    code, out, err = run(photo, another, "--json")

    assert code == 0
    names = [json.loads(line)["image"]["name"] for line in out.splitlines()]
    assert names == ["photo.jpg", "another.jpg"]
    assert "model: " in err


def test_quiet_prints_nothing(run: Run, photo: Path) -> None:
    assert run(photo, "--quiet") == (0, "", "")


def test_brackets_and_colons_of_a_name_are_printed_as_they_are(run: Run, photo: Path) -> None:
    _, out, _ = run(photo.rename(photo.with_name("a[b]:100:.jpg")), *BOX, "--no-picture")

    assert "\na[b]:100:.jpg " in out


def test_no_picture_is_drawn_where_none_is_wanted(run: Run, photo: Path) -> None:
    run(photo, "--no-picture")

    assert [p.name for p in Path("predictions").iterdir()] == ["photo.json"]


def test_photos_of_the_same_name_do_not_overwrite_each_other(
    run: Run, photo: Path, another: Path, tmp_path: Path
) -> None:
    twin = tmp_path / "twin" / "photo.jpg"
    twin.parent.mkdir()
    twin.write_bytes(another.read_bytes())

    run(photo, twin, "--no-picture")

    assert read_all("photo")["image"]["width"] == 160
    assert read_all("photo-2")["image"]["width"] == 120


def test_a_photo_that_fails_is_named_and_the_others_are_predicted(
    run: Run, photo: Path, another: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:900])

    code, out, err = run(broken, tmp_path / "lost.jpg", photo, another, "--no-picture")

    assert code == 1
    assert "broken.jpg" in err
    assert "lost.jpg" in err
    assert "2 of 4 photos could not be predicted" in err
    assert "another.jpg" in out
    assert sorted(p.stem for p in Path("predictions").iterdir()) == ["another", "photo"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "does not exist"),
        (b"", "has no bytes"),
        (b"text", "not an image"),
        (b"GIF89a....", "a GIF can't be read"),
    ],
)
def test_an_unreadable_photo_is_named(
    run: Run, tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "odd.jpg"
    if content is not None:
        path.write_bytes(content)

    code, out, err = run(path)

    assert (code, out) == (1, "")
    assert told in err
    assert f"where: {path}" in err
    assert not Path("predictions").exists()


def test_a_folder_is_no_photo(run: Run, tmp_path: Path) -> None:
    code, _, err = run(tmp_path)

    assert code == 1
    assert "this is a folder, not a photo" in err
    assert f"where: {tmp_path}" in err
    assert f"{tmp_path}/*.jpg" in err


@pytest.mark.parametrize("box", ["500,10,600,150", "20,10,20.5,10.5"])
def test_a_box_that_does_not_fit_the_photo_is_refused_with_the_photos_name(
    run: Run, photo: Path, box: str
) -> None:
    code, _, err = run(photo, "--box", box)

    assert code == 1
    assert f"{photo}: box" in err


def test_one_box_for_several_photos_is_refused(run: Run, photo: Path, another: Path) -> None:
    code, _, err = run(photo, another, "--box", "20,10,140,150")

    assert code == 2
    assert "2 photos" in err


def test_people_are_predicted_in_the_order_of_their_boxes(run: Run, photo: Path) -> None:
    code, out, _ = run(photo, "--box", "60,10,150,150", *BOX, "--no-picture", "--mesh", "ply")

    assert code == 0
    boxes = [person["box_xyxy_px"] for person in read_all("photo")["people"]]
    assert boxes == [[60, 10, 150, 150], [20, 10, 140, 150]]
    assert {"photo.person0.ply", "photo.person1.ply"} < {
        p.name for p in Path("predictions").iterdir()
    }
    assert "photo.jpg person 1" in out


def test_everybody_is_found_and_drawn_in_one_picture_and_one_page(
    run: Run, two_people: Path
) -> None:
    code, _, _ = run(two_people, "--page")

    assert code == 0
    first, second = read_all("two_people")["people"]
    area = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first["box_xyxy_px"], second["box_xyxy_px"])]
    assert area[0] > area[1]
    assert first["box_xyxy_px"][2] < 115 < second["box_xyxy_px"][0] + 10
    assert all(0.3 < person["detection_score"] <= 1 for person in (first, second))
    drawn = cv2.imread("predictions/two_people.overlay.png")
    plain = cv2.resize(cv2.imread(str(two_people)), drawn.shape[1::-1])
    changed = (np.abs(drawn.astype(int) - plain).max(-1) > 60).any(0)
    assert changed[: drawn.shape[1] // 2].any()
    assert changed[drawn.shape[1] // 2 :].any()
    content = Path("predictions/two_people.html").read_text()
    assert content.count('"vertices"') == 2


def test_a_photo_of_nobody_is_an_empty_list(run: Run, another: Path) -> None:
    code, out, err = run(another, "--page")

    assert (code, err) == (0, "")
    assert read_all("another")["people"] == []
    assert "nobody was found" in out
    assert sorted(p.name for p in Path("predictions").iterdir()) == [
        "another.json",
        "another.overlay.png",
    ]


def test_a_file_in_place_of_the_output_folder_is_refused(run: Run, photo: Path) -> None:
    Path("taken").write_text("")

    code, _, err = run(photo, "--out", "taken")

    assert code == 2
    assert "taken" in err


def test_a_photo_is_turned_upright_before_it_is_predicted(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100)).save(path, exif=exif)

    run(path, "--no-picture")

    assert read_all("turned")["image"] == {"name": "turned.jpg", "width": 100, "height": 200}


def test_the_champion_is_used_and_named_where_no_model_is_given(
    photo: Path, model_folder: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "mlflow").mkdir(parents=True)
    (workspace / "mlflow" / "mlflow.db").touch()
    champion = Champion(
        version="7",
        folder=model_folder,
        card_sha256=sha256_file(model_folder / "model.json"),
        archive=model_folder / "not needed",
        archive_sha256="",
    )
    cache_champion(Workspace(home=workspace), champion)

    code = main(["predict", str(photo), *BOX])

    assert code == 0
    assert "champion, version 7" in capsys.readouterr().out


def test_damaged_weights_are_refused_by_name(
    photo: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "model.json").write_bytes((model_folder / "model.json").read_bytes())
    (damaged / "model.safetensors").write_bytes(b"0" * 100)

    code = main(["predict", str(photo), "--model", str(damaged)])

    assert code == 1
    assert "model.safetensors" in capsys.readouterr().err


def test_a_model_without_heatmaps_has_no_confidence_and_its_json_no_nan(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
    from hemlets.models.model_folder import save_model

    pose = PoseNetworkConfig(
        crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=16, intermediate="none"
    )
    shape = ShapeNetworkConfig(hidden=32, blocks=0)
    folder = tmp_path / "baseline"
    save_model(
        folder,
        HemletsPosh(pose, shape).state_dict(),
        pose=pose,
        shape=shape,
        bones=BONES,
        training={},
    )

    code = main(["predict", str(photo), *BOX, "--model", str(folder)])

    assert code == 0
    assert read("photo")["confidence"] == [None] * 18
    assert np.isnan(BodyEstimate.from_json(read("photo")).confidence).all()


def test_a_file_larger_than_any_photo_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as stream:
        stream.truncate(300_000_000)

    with pytest.raises(InputError, match="300 MB"):
        read_photo(path)


def test_real_photos_are_predicted(run: Run, samples: Path) -> None:
    photos = sorted(samples.glob("coco/*.jpg"))
    if not photos:
        pytest.skip(f"no photos in {samples / 'coco'}")

    code, _, err = run(*photos)

    assert (code, err) == (0, "")
    for photo in photos:
        people = read_all(photo.stem)["people"]
        assert people
        assert all(np.isfinite(person["joints3d_mm"]).all() for person in people)
        assert cv2.imread(f"predictions/{photo.stem}.overlay.png") is not None


@pytest.mark.parametrize(("threshold", "somebody"), [(1.0, False), (0.0, True)])
def test_a_result_of_probably_nobody_is_kept_and_says_so(
    photo: Path,
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    threshold: float,
    somebody: bool,
) -> None:
    from hemlets.models.codecs import PERSON_STATISTIC
    from hemlets.models.model_folder import PersonThreshold, load_model, save_model

    model, card = load_model(model_folder)
    folder = tmp_path / "asked"
    known = PersonThreshold.measured(threshold, [0.9], [0.1], statistic=PERSON_STATISTIC)
    save_model(
        folder,
        model.state_dict(),
        pose=card.pose,
        shape=card.shape,
        bones=card.bones,
        person=known,
        training={},
    )

    code = main(["predict", str(photo), "--model", str(folder), *BOX, "--page"])

    out = capsys.readouterr().out
    assert code == 0
    assert read("photo")["person"] is somebody
    assert len(read("photo")["joints3d_mm"]) == 18
    assert ("there is probably no person in the box" in out) is not somebody
    page = Path("predictions/photo.html").read_text()
    assert f"A person: {'yes' if somebody else 'probably not'} (confidence 0." in page
