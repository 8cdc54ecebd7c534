"""Training on the endless stream: the same batches for any workers, processes and resumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hemlets.codecs import VolumeSpec
from hemlets.synthetic import OpenDataConfig
from hemlets.synthetic.people import BLOCK
from hemlets.synthetic.stream import RenderStream, StreamConfig
from hemlets.training.batches import Batch, Loader
from hemlets.training.streaming import StreamSamples, share_of_rank
from hemlets.transforms import AugmentationConfig

VOLUME = VolumeSpec(crop_px=64, cells=16)
STREAM = StreamConfig(data=OpenDataConfig(image_px=64, seed=3), window=BLOCK, reuse=2, ahead=1)


def batches(start: int, stop: int, *, workers: int = 0, rank: int = 0, world: int = 1):
    def wanted(window: int):
        return share_of_rank(
            window, size=BLOCK, reuse=2, batch_size=16, seed=7, rank=rank, world_size=world
        )

    with RenderStream(STREAM, workers=workers) as stream:
        samples = StreamSamples(
            stream, VOLUME, seed=1, augmentation=AugmentationConfig(), wanted=wanted
        )
        loader = Loader(samples, batch_size=16, seed=7, rank=rank, world_size=world)
        return list(loader.batches(start, stop))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@pytest.fixture(scope="module")
def undisturbed() -> list[Batch]:
    return batches(0, 12)


def test_workers_do_not_change_a_batch(undisturbed) -> None:
    assert same(batches(0, 12, workers=2), undisturbed)


def test_a_run_goes_on_in_the_middle_as_if_undisturbed(undisturbed) -> None:
    assert same(batches(6, 12), undisturbed[6:])


def test_two_processes_share_the_batches_of_one(undisturbed) -> None:
    first, second = (batches(0, 12, rank=rank, world=2) for rank in (0, 1))
    for whole, a, b in zip(undisturbed, first, second, strict=True):
        assert torch.equal(whole.image_BHW3[0::2], a.image_BHW3)
        assert torch.equal(whole.image_BHW3[1::2], b.image_BHW3)


def test_a_person_is_shown_twice_with_another_augmentation_and_then_never_again(
    undisturbed,
) -> None:
    betas = [batch.betas_BS.numpy() for batch in undisturbed]
    first, again, later = (
        {row.tobytes() for batch in betas[i : i + 4] for row in batch} for i in (0, 4, 8)
    )
    assert len(first) == BLOCK
    assert first == again
    assert not first & later
    pixels = [{b.tobytes() for batch in undisturbed[i : i + 4] for b in batch.image_BHW3.numpy()}
              for i in (0, 4)]  # fmt: skip
    assert not pixels[0] & pixels[1]


def test_a_share_is_a_share() -> None:
    share = share_of_rank(
        3, size=1024, reuse=1, batch_size=64, seed=0, rank=1, world_size=4
    )  # fmt: skip
    assert len(share) == 256
    assert np.all(np.diff(share) > 0)
