"""Exported meshes, read back by another library, have their size, place and orientation."""

import numpy as np
import pytest
import torch

from hemlets.body.export import MESH_SUFFIXES, export_mesh
from hemlets.core.errors import ConfigError

trimesh = pytest.importorskip("trimesh", reason="trimesh reads the meshes back")


@pytest.fixture
def mesh(lite_body):
    skin = lite_body(torch.zeros(1, 72), torch.zeros(1, 10)).vertices_BV3_mm[0].numpy()
    return skin, lite_body.faces_F3.numpy()


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_another_library_reads_the_mesh_back_in_metres(tmp_path, mesh, suffix):
    vertices, faces = mesh
    file = tmp_path / f"body{suffix}"
    export_mesh(file, vertices, faces, camera_frame=False)
    read = trimesh.load(file, force="mesh", process=False)
    np.testing.assert_allclose(read.vertices, vertices / 1000, atol=2e-6)
    np.testing.assert_array_equal(read.faces, faces)
    assert read.extents[1] == pytest.approx(1.7, abs=0.1)
    assert read.volume > 0.03, "triangles face outwards"


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_a_body_before_the_camera_stands_upright_in_the_file(tmp_path, mesh, suffix):
    vertices, faces = mesh
    file = tmp_path / f"body{suffix}"
    in_camera = vertices * [1, -1, -1] + [0, 0, 4000]
    export_mesh(file, in_camera, faces)
    read = trimesh.load(file, force="mesh", process=False)
    np.testing.assert_allclose(read.vertices, vertices / 1000 - [0, 0, 4], atol=2e-6)
    assert read.volume > 0.03


def test_another_ending_is_refused(tmp_path, mesh):
    with pytest.raises(ConfigError, match=r"\.fbx"):
        export_mesh(tmp_path / "body.fbx", *mesh)
