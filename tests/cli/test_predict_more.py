"""``hemlets predict`` with people from OpenPose, refinement, meshes and the 3D page."""

import json
from pathlib import Path

import numpy as np
import pytest

from hemlets.cli import main

trimesh = pytest.importorskip("trimesh", reason="trimesh reads the meshes back")


@pytest.fixture
def run(capsys, model_folder):
    def call(*arguments):
        code = main(["predict", *map(str, arguments), "--model", str(model_folder)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


BOX = ("--box", "20,10,140,150")


def read(name, person=0):
    return json.loads(Path("predictions", f"{name}.json").read_text())["people"][person]


@pytest.fixture
def openpose_file(tmp_path):
    def keypoints(left, missing=()):
        points = np.ones((25, 3))
        points[:, 0] = left + np.linspace(0, 40, 25)
        points[:, 1] = np.linspace(10, 140, 25)
        points[list(missing)] = 0
        return {"pose_keypoints_2d": points.ravel().tolist()}

    file = tmp_path / "photo_keypoints.json"
    file.write_text(json.dumps({"people": [keypoints(10), keypoints(90, missing=(4,))]}))
    return file


def test_everybody_in_openposes_file_is_predicted(run, photo, openpose_file):
    code, out, _ = run(photo, "--openpose", openpose_file, "--no-picture")
    assert code == 0
    assert "missing-joints" not in read("photo", 0)["flags"]
    assert "missing-joints" in read("photo", 1)["flags"]
    assert "not all joints were found" in out


def test_openposes_file_and_a_box_exclude_each_other(run, photo, openpose_file):
    code, _, err = run(photo, "--openpose", openpose_file, "--box", "0,0,50,50")
    assert code == 2
    assert "--openpose" in err


def test_a_photo_in_which_openpose_found_nobody_is_an_error(run, photo, tmp_path):
    (tmp_path / "none.json").write_text('{"people": []}')
    code, _, err = run(photo, "--openpose", tmp_path / "none.json")
    assert code == 1
    assert "found nobody" in err


def test_refined_joints_are_those_of_the_body_that_is_written(run, photo):
    run(photo, *BOX, "--no-picture")
    plain = read("photo")
    run(photo, *BOX, "--refine", "--mesh", "ply", "--no-picture")
    refined = read("photo")
    assert refined["theta_rad"] != plain["theta_rad"]
    mesh = trimesh.load("predictions/photo.ply", process=False)
    middle = mesh.vertices.mean(0) * [1000, -1000, -1000]
    assert np.linalg.norm(middle - refined["root_mm"]) < 500


def test_a_page_to_turn_the_body_is_written_on_request(run, photo):
    code, out, _ = run(photo, *BOX, "--page", "--no-picture")
    assert code == 0
    assert "photo.html" in out
    assert "webgl2" in Path("predictions/photo.html").read_text()


def test_a_mesh_format_that_is_not_written_is_refused_before_predicting(run, photo):
    code, _, err = run(photo, "--mesh", "fbx")
    assert code == 2
    assert "glb, obj, ply" in err
    assert not Path("predictions").exists()
