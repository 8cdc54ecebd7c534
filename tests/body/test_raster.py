"""The rasteriser draws where the camera projects."""

from __future__ import annotations

import numpy as np
import pytest

from hemlets.body.raster import FAR_MM, Rasteriser, Rectangle, SquareCamera

SIDE = 128


def sphere(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere (V, 3) and its triangles (F, 3), counter-clockwise from outside."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, 2 * n, endpoint=False), indexing="ij"
    )
    vertices = np.stack(
        [np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], -1
    ).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(n - 1), np.arange(2 * n), indexing="ij")
    a, b = row * 2 * n + column, row * 2 * n + (column + 1) % (2 * n)
    c, d = a + 2 * n, b + 2 * n
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3)
    return vertices, faces


def drawn_centroid(camera: SquareCamera, centre_mm: np.ndarray, *, scale: int) -> np.ndarray:
    vertices, faces = sphere()
    radius_mm = 6.0 * centre_mm[2] / camera.focal_px
    mesh = centre_mm + radius_mm * vertices
    where = Rectangle.around(camera.project(mesh), SIDE)
    layer = Rasteriser(faces).draw(camera, where, mesh, (np.full_like(mesh, 0.5),), scale=scale)
    rows, columns = np.nonzero(layer.depth_HW_mm < FAR_MM)
    return np.array(
        [where.left + (columns.mean() + 0.5) / scale, where.top + (rows.mean() + 0.5) / scale]
    )


@pytest.mark.parametrize("centre_px", [(64.0, 64.0), (-40.0, 90.0), (171.5, 12.25)])
@pytest.mark.parametrize("scale", [2, 4])
def test_a_small_sphere_is_drawn_where_its_centre_projects(
    centre_px: tuple[float, float], scale: int
) -> None:
    camera = SquareCamera(focal_px=410.0, centre_px=centre_px)
    rng = np.random.default_rng(3)
    offsets = []
    for _ in range(40):
        place, depth = rng.uniform(15, SIDE - 15, 2), rng.uniform(2500, 7000)
        ray = np.array([*(place - centre_px) / camera.focal_px, 1.0])
        assert camera.project(depth * ray) == pytest.approx(place)
        offsets.append(drawn_centroid(camera, depth * ray, scale=scale) - place)
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.03
    assert np.abs(offsets).max() < (0.1 if scale == 4 else 0.2)


def test_depth_is_read_in_millimetres_along_the_camera_axis() -> None:
    camera = SquareCamera(focal_px=300.0, centre_px=(30.0, 100.0))
    centre = np.array([200.0, -150.0, 4000.0])
    vertices, faces = sphere()
    mesh = centre + 100.0 * vertices
    where = Rectangle.around(camera.project(mesh), SIDE)
    layer = Rasteriser(faces).draw(camera, where, mesh, (mesh * 0,), scale=2)
    front, elsewhere = layer.depth_at(np.stack([camera.project(centre), [127.0, 127.0]]))
    assert front == pytest.approx(3900.0, abs=8.0)
    assert elsewhere == FAR_MM
