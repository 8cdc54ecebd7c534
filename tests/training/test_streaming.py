"""Training on the endless stream: the same batches for any workers, processes and resumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hemlets.data.synthetic import OpenDataConfig
from hemlets.data.synthetic.people import BLOCK
from hemlets.data.synthetic.stream import RenderStream, StreamConfig
from hemlets.data.transforms import AugmentationConfig
from hemlets.models.codecs import VolumeSpec
from hemlets.models.model_folder import load_model
from hemlets.training.batches import Batch, Loader
from hemlets.training.engine import train
from hemlets.training.reporting import Rows
from hemlets.training.streaming import StreamSamples, share_of_rank

VOLUME = VolumeSpec(crop_px=64, cells=16)
STREAM = StreamConfig(data=OpenDataConfig(image_px=64, seed=3), window=BLOCK, reuse=2, ahead=1)
EPOCH = 3
BATCH = STREAM.size // EPOCH


def batches(start: int, stop: int, *, workers: int = 0, rank: int = 0, world: int = 1):
    def wanted(window: int):
        return share_of_rank(
            window, size=STREAM.size, reuse=2, batch_size=BATCH, seed=7, rank=rank, world_size=world
        )

    with RenderStream(STREAM, workers=workers) as stream:
        samples = StreamSamples(
            stream, VOLUME, seed=1, augmentation=AugmentationConfig(), wanted=wanted
        )
        loader = Loader(samples, batch_size=BATCH, seed=7, rank=rank, world_size=world)
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


@pytest.mark.slow
def test_workers_do_not_change_a_batch(undisturbed) -> None:
    assert same(batches(0, 12, workers=2), undisturbed)


def test_a_run_goes_on_in_the_middle_as_if_undisturbed(undisturbed) -> None:
    assert same(batches(6, 12), undisturbed[6:])


def test_two_processes_share_the_batches_of_one(undisturbed) -> None:
    first, second = (batches(0, 12, rank=rank, world=2) for rank in (0, 1))
    for whole, a, b in zip(undisturbed, first, second, strict=True):
        assert torch.equal(whole.image_BHW3[0::2], a.image_BHW3)
        assert torch.equal(whole.image_BHW3[1::2], b.image_BHW3)


def test_an_epoch_shows_all_people_and_all_scenes_without_one(undisturbed) -> None:
    assert EPOCH * BATCH == BLOCK + 2
    for epoch in (undisturbed[:EPOCH], undisturbed[2 * EPOCH : 3 * EPOCH]):
        absent = torch.cat([batch.absent_B for batch in epoch])
        known = torch.cat([batch.known2d_BJ for batch in epoch])
        assert absent.sum() == STREAM.scenes == 2
        assert torch.equal(known.any(1), absent == 0)


def test_a_person_is_shown_twice_with_another_augmentation_and_then_never_again(
    undisturbed,
) -> None:
    betas = [batch.betas_BS[batch.absent_B == 0].numpy() for batch in undisturbed]
    first, again, later = (
        {row.tobytes() for batch in betas[i : i + EPOCH] for row in batch}
        for i in (0, EPOCH, 2 * EPOCH)
    )
    assert len(first) == BLOCK
    assert first == again
    assert not first & later
    pixels = [
        {b.tobytes() for batch in undisturbed[i : i + EPOCH] for b in batch.image_BHW3.numpy()}
        for i in (0, EPOCH)
    ]
    assert not pixels[0] & pixels[1]


def streamed(job_for, out, *, steps: int = 4, supervision: str = "both", **stream):
    """A job of ``steps`` steps of 22 samples, three of which are an epoch."""
    return job_for(
        out,
        training={"steps": steps, "batch_size": BATCH, "checkpoint_every": 2, "validate_every": 99},
        losses={"supervision": supervision},
        stream=(STREAM.model_dump() | stream),
        render_workers=0,
    )


@pytest.mark.slow
def test_a_stage_trains_on_the_stream_and_resumes_to_the_same_bits(job_for, tmp_path) -> None:
    def stop(row) -> None:
        if row["step"] == 3:
            raise KeyboardInterrupt

    broken, whole = (streamed(job_for, tmp_path / name) for name in ("broken", "whole"))
    with pytest.raises(KeyboardInterrupt):
        train(broken, reporter=Rows(stop))
    train(broken)
    train(whole)
    a, b = (load_file(job.out / "model/model.safetensors") for job in (broken, whole))
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    families = load_model(whole.out / "model")[1].training["families"]
    assert {"standing", "acrobatics"} < set(families), "the stream's motion counts as seen"


def test_another_stream_is_another_run_and_another_number_of_workers_is_not(
    job_for, tmp_path
) -> None:
    job = streamed(job_for, tmp_path, steps=1)
    train(job)
    finished = (tmp_path / "finished.json").stat().st_mtime_ns
    train(job.model_copy(update={"render_workers": 1}))
    assert (tmp_path / "finished.json").stat().st_mtime_ns == finished
    train(streamed(job_for, tmp_path, steps=1, reuse=1))
    assert (tmp_path / "finished.json").stat().st_mtime_ns != finished


@pytest.mark.parametrize(("supervision", "scenes"), [("both", 2), ("none", 0)])
def test_scenes_are_streamed_where_heatmaps_learn_from_them(
    job_for, tmp_path, monkeypatch, supervision, scenes
) -> None:
    seen = []
    batch = StreamSamples.batch

    def noted(self, indices, epoch):
        seen.append((len(self), batch(self, indices, epoch)))
        return seen[-1][1]

    monkeypatch.setattr(StreamSamples, "batch", noted)
    job = streamed(job_for, tmp_path, steps=3, supervision=supervision)
    train(job.model_copy(update={"training": job.training.model_copy(update={"batch_size": 16})}))
    assert {size for size, _ in seen} == {BLOCK + scenes}


def test_a_share_is_a_share() -> None:
    share = share_of_rank(
        3, size=1024, reuse=1, batch_size=64, seed=0, rank=1, world_size=4
    )  # fmt: skip
    assert len(share) == 256
    assert np.all(np.diff(share) > 0)
