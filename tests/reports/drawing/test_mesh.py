from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from hemlets.body import BodyModel
from hemlets.data.synthetic import RenderedPerson
from hemlets.inference import BodyEstimate, Camera
from hemlets.reports.drawing import overlay, place_body, render_mesh, second_view, turn_to_side

SIZE = (320, 240)
CAMERA = Camera(fx=400.0, fy=400.0, cx=160.0, cy=120.0)

Array = npt.NDArray[np.float64]
Faces = npt.NDArray[np.int64]


def sphere(centre_mm: tuple[float, float, float], radius_mm: float) -> tuple[Array, Faces]:
    """Vertices, and faces which are counter-clockwise from outside."""
    rings, sectors = 24, 48
    tilt, turn = np.meshgrid(
        np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, sectors), indexing="ij"
    )
    points = np.stack([np.sin(tilt) * np.cos(turn), np.cos(tilt), np.sin(tilt) * np.sin(turn)], -1)
    index = np.arange(rings * sectors).reshape(rings, sectors)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1), np.stack([a, d, c], -1)]).reshape(-1, 3)
    return points.reshape(-1, 3) * radius_mm + centre_mm, faces


def centroid(mask: npt.NDArray[np.float32]) -> Array:
    rows, columns = np.indices(mask.shape) + 0.5
    return np.array([(columns * mask).sum(), (rows * mask).sum()]) / mask.sum()


@pytest.mark.parametrize("centre_mm", [(0, 0, 3000), (700, -420, 3000), (-333, 250, 2500)])
@pytest.mark.parametrize(
    "camera",
    [
        CAMERA,
        Camera(fx=400.0, fy=400.0, cx=151.3, cy=128.7),
        Camera(fx=440.0, fy=360.0, cx=160.0, cy=120.0),
    ],
)
def test_a_small_sphere_lands_on_its_projected_centre_within_a_tenth_of_a_pixel(
    centre_mm: tuple[float, float, float], camera: Camera
) -> None:
    vertices, faces = sphere(centre_mm, 60.0)

    found = centroid(render_mesh(vertices, faces, camera, SIZE).mask)

    x, y, z = centre_mm
    expected = np.array([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy])
    assert np.abs(found - expected).max() < 0.1


def test_a_spheres_area_is_that_of_its_projection() -> None:
    vertices, faces = sphere((0, 0, 3000), 300.0)

    area = render_mesh(vertices, faces, CAMERA, SIZE).mask.sum()

    # A sphere's outline is a cone a little wider than its radius over its distance.
    radius_px = 400.0 * 300.0 / np.sqrt(3000.0**2 - 300.0**2)
    assert area == pytest.approx(np.pi * radius_px**2, rel=0.01)


def test_depth_is_that_of_the_nearest_surface() -> None:
    vertices, faces = sphere((0, 0, 3000), 300.0)

    depth = render_mesh(vertices, faces, CAMERA, SIZE).depth_mm

    assert depth[120, 160] == pytest.approx(2700.0, abs=3.0)
    assert np.isinf(depth[0, 0])


def test_coverage_is_that_of_a_plain_test_of_every_sample() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        corners_px = rng.uniform([0, 0], SIZE, (3, 2))
        depth_mm = rng.uniform(2000, 4000, 3)
        plane = (corners_px - [CAMERA.cx, CAMERA.cy]) / [CAMERA.fx, CAMERA.fy]
        vertices = np.concatenate([plane, np.ones((3, 1))], 1) * depth_mm[:, None]

        normal = np.cross(vertices[1] - vertices[0], vertices[2] - vertices[0])
        face = [0, 1, 2] if normal @ vertices[0] < 0 else [0, 2, 1]

        mask = render_mesh(vertices, np.array([face]), CAMERA, SIZE).mask

        rows, columns = (np.indices((2 * SIZE[1], 2 * SIZE[0])) + 0.5) / 2
        sides = []
        for start, end in zip(corners_px, np.roll(corners_px, -1, 0), strict=True):
            along = end - start
            sides.append(along[0] * (rows - start[1]) - along[1] * (columns - start[0]) > 0)
        inside = np.all(sides, 0) | ~np.any(sides, 0)
        expected = inside.reshape(SIZE[1], 2, SIZE[0], 2).mean((1, 3))
        # A sample right on an edge may fall on either side of it.
        assert np.abs(mask - expected).max() <= 0.26
        assert np.abs(mask - expected).mean() < 1e-4


def test_a_rendered_persons_true_body_covers_their_mask(
    people: list[RenderedPerson],
    body: BodyModel,
    truth_of: Callable[[RenderedPerson], BodyEstimate],
) -> None:
    for person in people:
        truth = truth_of(person)
        placed = place_body(body, truth.theta, truth.betas, truth.root_mm)
        height, width = person.image.shape[:2]

        drawn = render_mesh(placed.vertices_V3_mm, placed.faces_F3, truth.camera, (width, height))

        stored = cv2.imdecode(np.frombuffer(person.row["mask"], np.uint8), cv2.IMREAD_GRAYSCALE) > 0
        ours = drawn.mask > 0.5
        overlap = (ours & stored).sum() / (ours | stored).sum()
        assert overlap > 0.95, person.row["sample_id"]


def test_the_full_mesh_covers_the_same_person(
    people: list[RenderedPerson], truth_of: Callable[[RenderedPerson], BodyEstimate]
) -> None:
    truth = truth_of(people[3])
    full = BodyModel.load(resolution="full")
    placed = place_body(full, truth.theta, truth.betas, truth.root_mm)

    ours = render_mesh(placed.vertices_V3_mm, placed.faces_F3, truth.camera, (256, 256)).mask > 0.5

    mask = np.frombuffer(people[3].row["mask"], np.uint8)
    stored = cv2.imdecode(mask, cv2.IMREAD_GRAYSCALE) > 0
    assert (ours & stored).sum() / (ours | stored).sum() > 0.93


def test_the_side_towards_the_lights_is_brighter() -> None:
    vertices, faces = sphere((0, 0, 3000), 600.0)

    rgb = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    shaded = overlay(rgb, render_mesh(vertices, faces, CAMERA, SIZE), alpha=1.0)

    assert shaded[80, 120].sum() > 1.3 * shaded[170, 215].sum()


def test_an_overlay_is_a_mixture_in_proportion_to_alpha_and_leaves_its_input_alone() -> None:
    image = np.full((SIZE[1], SIZE[0], 3), 100, np.uint8)
    mesh = render_mesh(*sphere((0, 0, 3000), 300.0), CAMERA, SIZE)

    nothing, half, whole = (overlay(image, mesh, alpha=a) for a in (0.0, 0.5, 1.0))

    assert (image == 100).all()
    assert (nothing == 100).all()
    solid = mesh.mask == 1.0
    mixed = (whole[solid].astype(float) + 100.0) / 2
    assert np.abs(half[solid] - mixed).max() <= 1.0
    assert (whole[mesh.mask == 0.0] == 100).all()


@pytest.mark.parametrize("centre_mm", [(0, 0, -3000), (50_000, 0, 3000), (0, 0, 105)])
def test_a_mesh_out_of_sight_changes_nothing(centre_mm: tuple[float, float, float]) -> None:
    image = np.full((SIZE[1], SIZE[0], 3), 100, np.uint8)
    mesh = render_mesh(*sphere(centre_mm, 1.0), CAMERA, SIZE)

    assert mesh.mask.sum() == 0
    assert np.isinf(mesh.depth_mm).all()
    assert (overlay(image, mesh) == image).all()


def test_skin_is_not_seen_from_within() -> None:
    vertices, faces = sphere((0, 0, 3000), 300.0)
    opened = faces[vertices[faces].mean(1)[:, 2] > 3000.0]

    assert render_mesh(*sphere((0, 0, 0), 500.0), CAMERA, SIZE).mask.sum() == 0
    assert render_mesh(vertices, opened, CAMERA, SIZE).mask.sum() == 0


def test_a_mesh_that_reaches_behind_the_camera_is_drawn_as_far_as_it_lies_before_it() -> None:
    vertices, faces = sphere((0, 0, 0), 1.0)
    long_rod = vertices * [100.0, 100.0, 3000.0] + [300.0, 200.0, 2000.0]

    mesh = render_mesh(long_rod, faces, CAMERA, SIZE)

    assert 0.005 < mesh.mask.mean() < 0.5
    assert mesh.depth_mm.min() > 100.0


def test_an_image_of_another_size_is_refused() -> None:
    mesh = render_mesh(*sphere((0, 0, 3000), 300.0), CAMERA, SIZE)

    with pytest.raises(ValueError, match="320, 240"):
        overlay(np.zeros((100, 100, 3), np.uint8), mesh)


class TestSideView:
    def test_what_is_farther_goes_to_the_right_and_heights_stay(self) -> None:
        pivot = np.array([10.0, 20.0, 3000.0])

        x, y, _ = turn_to_side(pivot + np.array([0.0, -50.0, 100.0]), pivot) - pivot

        assert (x, y) == pytest.approx((100.0, -50.0))

    def test_it_is_a_turn_and_no_mirror_image(self) -> None:
        axes = turn_to_side(np.eye(3), np.zeros(3))

        assert np.linalg.det(axes) == pytest.approx(1.0)
        assert axes @ axes.T == pytest.approx(np.eye(3))

    def test_four_quarter_turns_lead_back(self) -> None:
        points = np.random.default_rng(0).normal(size=(5, 3))
        pivot = np.array([1.0, 2.0, 3.0])

        turned = points
        for _ in range(4):
            turned = turn_to_side(turned, pivot)

        assert turned == pytest.approx(points)

    def test_a_long_thing_along_the_view_looks_long_from_the_side(self) -> None:
        vertices, faces = sphere((0, 0, 0), 100.0)
        stretched = vertices * [1.0, 1.0, 5.0] + [0.0, 0.0, 4000.0]
        pivot = np.array([0.0, 0.0, 4000.0])

        front = render_mesh(stretched, faces, CAMERA, SIZE).mask
        side = second_view(stretched, faces, CAMERA, SIZE, pivot).mask

        assert np.ptp(np.flatnonzero(side.any(0))) > 3.5 * np.ptp(np.flatnonzero(front.any(0)))
