"""Bodies that tests share, on one thread: small tensors only wait for more."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from hemlets.assets.clips import load_clips
from hemlets.body import BodyModel


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def lite_body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="session")
def full_body() -> BodyModel:
    return BodyModel.load(resolution="full")


@pytest.fixture(scope="session")
def blended_body(lite_body) -> BodyModel:
    """The lite body with pose blend shapes of SMPL's size, which the open body lacks."""
    arrays = lite_body.arrays
    size = np.random.default_rng(0).normal(size=(lite_body.n_vertices, 3, 207), scale=1e-3)
    return BodyModel(arrays | {"posedirs": size.astype(np.float32)})


@pytest.fixture(scope="session")
def held_out():
    """θ (n, 24, 3) of held-out motion and random β (n, 10)."""

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        theta = np.concatenate([clip.theta_F72 for clip in load_clips("test")])
        rng = np.random.default_rng(0)
        chosen = theta[rng.choice(len(theta), n, replace=False)].reshape(n, 24, 3)
        return torch.tensor(chosen), torch.tensor(rng.standard_normal((n, 10)), dtype=torch.float32)

    return draw
