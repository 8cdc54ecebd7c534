"""Annotated points in space and in the image speak of the same places."""

from __future__ import annotations

import numpy as np

from hemlets.data.synthetic.people import RenderedPerson


def test_joints_in_space_project_onto_the_joints_in_the_image(
    people: list[RenderedPerson],
) -> None:
    for person in people:
        focal_x, focal_y, centre_x, centre_y = person.row["camera"]
        x, y, z = person.row["joints3d_mm"].T
        expected = np.stack([focal_x * x / z + centre_x, focal_y * y / z + centre_y], -1)
        assert np.abs(expected - person.row["joints2d_px"]).max() < 1e-2
