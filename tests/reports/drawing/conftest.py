from collections.abc import Callable

import numpy as np
import pytest

from hemlets.body import BodyModel
from hemlets.core.skeleton import Joint
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, RenderedPerson, Studio
from hemlets.inference import BodyEstimate, Camera


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="session")
def people(body: BodyModel) -> list[RenderedPerson]:
    """Rendered people with nothing in front of them, so that their mask is their whole body."""
    config = OpenDataConfig(image_px=256, occluder_probability=0.0)
    studio = Studio(config, MotionLibrary.bundled(), body)
    return [studio.person("test", index) for index in range(12)]


@pytest.fixture(scope="session")
def truth_of() -> Callable[[RenderedPerson], BodyEstimate]:
    """A rendered person's truth in the form of a prediction."""

    def build(person: RenderedPerson) -> BodyEstimate:
        row = person.row
        root = row["joints3d_mm"][Joint.PELVIS]
        fx, fy, cx, cy = (float(value) for value in row["camera"])
        left, top, right, bottom = (float(value) for value in row["box_xyxy"])
        return BodyEstimate(
            joints3d_mm=row["joints3d_mm"] - root,
            root_mm=root,
            joints2d_px=row["joints2d_px"],
            confidence=np.ones(18, np.float32),
            theta=row["theta"],
            betas=row["betas"],
            box_xyxy=(left, top, right, bottom),
            camera=Camera(fx=fx, fy=fy, cx=cx, cy=cy),
        )

    return build
