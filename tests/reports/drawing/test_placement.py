from collections.abc import Callable

import numpy as np

from hemlets.body import BodyModel
from hemlets.body.placement import PlacedBody, align_to_image
from hemlets.core.skeleton import Joint
from hemlets.data.synthetic import RenderedPerson
from hemlets.inference import BodyEstimate
from hemlets.reports.drawing import place_body


def test_the_pelvis_of_the_18_joints_lies_at_the_root(body: BodyModel) -> None:
    rng = np.random.default_rng(0)
    root = np.array([120.0, -340.0, 4200.0])

    placed = place_body(body, rng.normal(0, 0.4, (24, 3)), rng.normal(size=10), root)

    assert np.abs(placed.joints_J3_mm[Joint.PELVIS] - root).max() < 1e-2


def test_a_rendered_person_is_put_back_where_they_were(
    people: list[RenderedPerson],
    body: BodyModel,
    truth_of: Callable[[RenderedPerson], BodyEstimate],
) -> None:
    for person in people:
        truth = truth_of(person)

        placed = place_body(body, truth.theta, truth.betas, truth.root_mm)

        assert np.abs(placed.transl_mm - person.row["transl_mm"]).max() < 0.01
        assert np.abs(placed.joints_J3_mm - person.row["joints3d_mm"]).max() < 0.01


def _project(joints_J3: np.ndarray, camera: tuple[float, float, float, float]) -> np.ndarray:
    fx, fy, cx, cy = camera
    return joints_J3[:, :2] / joints_J3[:, 2:] * (fx, fy) + (cx, cy)


CAMERA = (900.0, 905.0, 310.0, 250.0)


def _standing(body: BodyModel, root: tuple[float, float, float]) -> PlacedBody:
    theta = np.random.default_rng(3).normal(0, 0.3, (24, 3))
    theta[0] = (np.pi, 0, 0)
    return place_body(body, theta, np.zeros(10), np.array(root))


def test_a_body_is_moved_to_where_its_joints_are_seen(body: BodyModel) -> None:
    there = _standing(body, (250.0, -120.0, 4_300.0))
    elsewhere = _standing(body, (0.0, 0.0, 3_000.0))

    moved = align_to_image(elsewhere, _project(there.joints_J3_mm, CAMERA), CAMERA)

    np.testing.assert_allclose(moved.joints_J3_mm, there.joints_J3_mm, atol=1.0)
    np.testing.assert_allclose(moved.vertices_V3_mm, there.vertices_V3_mm, atol=1.0)
    np.testing.assert_allclose(moved.transl_mm, there.transl_mm, atol=1.0)


def test_unknown_joints_and_one_far_off_change_little(body: BodyModel) -> None:
    there = _standing(body, (250.0, -120.0, 4_300.0))
    seen = _project(there.joints_J3_mm, CAMERA)
    seen[[1, 5, 9]] = np.nan
    seen[13] += 300.0

    moved = align_to_image(_standing(body, (0.0, 0.0, 3_000.0)), seen, CAMERA)

    assert np.abs(moved.joints_J3_mm - there.joints_J3_mm).max() < 60.0


LEGS = [j for j in Joint if j.name.endswith(("HIP", "KNEE", "ANKLE"))]


def test_legs_that_the_picture_cuts_off_do_not_move_the_body(body: BodyModel) -> None:
    there = _standing(body, (0.0, 0.0, 2_000.0))
    seen = _project(there.joints_J3_mm, CAMERA)
    bottom = round(float(np.delete(seen[:, 1], LEGS).max())) + 1
    # A network presses what it cannot see against the picture's border, from outside.
    seen[LEGS, 1] = bottom + 5

    elsewhere = _standing(body, (0.0, 0.0, 3_000.0))
    cut = align_to_image(elsewhere, seen, CAMERA, size=(620, bottom))
    blind = align_to_image(elsewhere, seen, CAMERA)

    off, off_blind = (float(np.abs(m.transl_mm - there.transl_mm).max()) for m in (cut, blind))
    assert off < 15.0
    assert off_blind > 2 * off


def test_joints_that_the_network_is_not_sure_of_count_little(body: BodyModel) -> None:
    there = _standing(body, (0.0, 0.0, 2_000.0))
    seen = _project(there.joints_J3_mm, CAMERA)
    seen[LEGS, 1] -= 120.0
    sure = np.where(np.isin(np.arange(18), LEGS), 0.1, 0.9)

    elsewhere = _standing(body, (0.0, 0.0, 3_000.0))
    moved = align_to_image(elsewhere, seen, CAMERA, confidence=sure)

    assert np.abs(moved.transl_mm - there.transl_mm).max() < 30.0


def test_a_body_stays_where_too_few_joints_are_known_or_no_place_fits(body: BodyModel) -> None:
    placed = _standing(body, (0.0, 0.0, 3_000.0))
    few = np.full((18, 2), np.nan)
    few[:2] = 100.0
    scattered = np.random.default_rng(0).uniform(-1e6, 1e6, (18, 2))

    assert align_to_image(placed, few, CAMERA) is placed
    assert align_to_image(placed, scattered, CAMERA) is placed
