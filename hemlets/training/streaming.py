"""Train on people and empty scenes that are rendered during the training."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from hemlets.core.arrays import Integers
from hemlets.data.synthetic.stream import RenderStream, StreamWindow
from hemlets.data.transforms import AugmentationConfig
from hemlets.models.codecs import VolumeSpec
from hemlets.training.batches import Batch, Samples
from hemlets.training.config import StageJob


class StreamSamples:
    """A stream as numbered samples; a window lasts `StreamConfig.reuse` epochs.

    A sample depends on (seed, epoch, index) alone, so a resumed `Loader` repeats the same samples.
    Epochs must rise; going back renders a window again.

    Args:
        stream: The open stream; the caller closes it.
        volume: Voxel grid of the targets.
        seed: Seed of the augmentation.
        augmentation: None disables augmentation.
        wanted: This process's indices of a window, by the window's number; all by default.
    """

    def __init__(
        self,
        stream: RenderStream,
        volume: VolumeSpec,
        *,
        seed: int,
        augmentation: AugmentationConfig | None,
        wanted: Callable[[int], Integers] | None = None,
    ) -> None:
        self.volume = volume
        self._stream, self._wanted = stream, wanted
        self._seed, self._augmentation = seed, augmentation
        self._windows: Iterator[StreamWindow] | None = None
        self._window: StreamWindow | None = None
        self._samples: Samples | None = None

    def __len__(self) -> int:
        return self._stream.config.size

    def batch(self, indices: Integers, epoch: int) -> Batch:
        """Make the batch of some indices in an epoch."""
        window, samples = self._at(epoch // self._stream.config.reuse)
        return samples.batch(np.searchsorted(window.slots, indices), epoch)

    def _at(self, number: int) -> tuple[StreamWindow, Samples]:
        window, samples = self._window, self._samples
        if window is None or samples is None or window.number != number:
            follows = window is not None and number == window.number + 1
            if self._windows is None or not follows:
                self._windows = self._stream.windows(number, self._wanted)
            window = next(self._windows)
            samples = Samples(
                window.annotations,
                window,
                self.volume,
                seed=self._seed,
                augmentation=self._augmentation,
                keys=window.slots,
            )
            self._window, self._samples = window, samples
        return window, samples


def open_stream(job: StageJob, *, scenes: bool) -> RenderStream | None:
    """Return the unopened stream of a job's stage; None if it learns from stored rows.

    Args:
        job: The stage's job.
        scenes: Whether the stage learns from scenes without a person.
    """
    if job.stream is None or job.stage == "shape":
        return None
    config = job.stream
    if not scenes:
        data = config.data.model_copy(update={"background_share": 0.0})
        config = config.model_copy(update={"data": data})
    return RenderStream(config, workers=job.render_workers)


def stream_samples(
    stream: RenderStream, job: StageJob, *, rank: int, world_size: int
) -> StreamSamples:
    """Return a job's samples; this process renders only its own share."""
    training, config = job.training, stream.config

    def wanted(window: int) -> Integers:
        return share_of_rank(
            window, size=config.size, reuse=config.reuse, batch_size=training.batch_size,
            seed=training.seed, rank=rank, world_size=world_size,
        )  # fmt: skip

    return StreamSamples(
        stream, job.pose.volume, seed=training.seed, augmentation=job.augmentation, wanted=wanted
    )


def share_of_rank(
    window: int, *, size: int, reuse: int, batch_size: int, seed: int, rank: int, world_size: int
) -> Integers:
    """Compute the indices of a window that one rank's `Loader` uses."""
    used = size // batch_size * batch_size
    shares = []
    for epoch in range(window * reuse, (window + 1) * reuse):
        order = np.random.default_rng((seed, epoch)).permutation(size)[:used]
        shares.append(order.reshape(-1, batch_size)[:, rank::world_size].reshape(-1))
    return np.unique(np.concatenate(shares))
