from collections.abc import Callable

import numpy as np

from hemlets.body import BodyModel
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
