from __future__ import annotations

import pytest

from hemlets.body.model import BodyModel
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, RenderedPerson, Studio


@pytest.fixture(scope="session")
def library() -> MotionLibrary:
    return MotionLibrary.bundled()


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return BodyModel.load(resolution="lite")


@pytest.fixture(scope="session")
def config() -> OpenDataConfig:
    return OpenDataConfig(image_px=96)


@pytest.fixture(scope="session")
def people(config: OpenDataConfig, library: MotionLibrary, body: BodyModel) -> list[RenderedPerson]:
    studio = Studio(config, library, body)
    return [studio.person("train", index) for index in range(192)]
