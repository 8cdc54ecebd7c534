"""Endless rendered people for training without repeated images.

The stream is a sequence of windows; training shows each for `StreamConfig.reuse` epochs. A window
holds people and then scenes without a person, in the proportion of a data version. Every sample
depends on the seed alone, not on the number of workers or on the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Annotated, Any, Final, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from hemlets.core.arrays import Integers
from hemlets.core.config import Config
from hemlets.core.errors import DataError
from hemlets.core.worker_pool import WorkerPool
from hemlets.data.synthetic.config import OpenDataConfig
from hemlets.data.synthetic.people import BLOCK, Studio
from hemlets.data.table import BACKGROUND_SPLITS, Annotations

_SHARD: Final = "stream"


class StreamSettings(Config):
    """Windows of a stream.

    Attributes:
        window: People per window, in whole blocks of 64; scenes without a person are added:
            ``data.background_share`` of this number.
        reuse: Epochs per window, each with another augmentation. Rendering is slower than
            augmenting: 2–4 feed a fast accelerator from few cores.
        ahead: Blocks that may be rendered in advance; bounds the memory.
    """

    window: Annotated[int, Field(ge=BLOCK)] = 2048
    reuse: Annotated[int, Field(ge=1, le=100)] = 1
    ahead: Annotated[int, Field(ge=0, le=10_000)] = 16

    @model_validator(mode="after")
    def _whole_blocks(self) -> Self:
        if self.window % BLOCK:
            raise ValueError(f"window = {self.window} is not a multiple of {BLOCK}")
        return self


class StreamConfig(StreamSettings):
    """Content of a stream.

    Attributes:
        data: Rendering of people and scenes; its numbers of samples are not used.
        split: Split of the motion.
    """

    data: OpenDataConfig = OpenDataConfig()
    split: str = "train"

    @property
    def scenes(self) -> int:
        """Scenes without a person in a window."""
        has_scenes = self._background in BACKGROUND_SPLITS
        return round(self.data.background_share * self.window) if has_scenes else 0

    @property
    def size(self) -> int:
        """Samples in a window: people and then scenes."""
        return self.window + self.scenes

    @property
    def blocks(self) -> int:
        """Blocks in a window; none has both people and scenes."""
        return self.window // BLOCK + math.ceil(self.scenes / BLOCK)

    def block(self, number: int, slots: Integers) -> Block:
        """Return the block for some slots of a window."""
        window, place = divmod(number, self.blocks)
        of_scenes = place >= self.window // BLOCK
        first, count = (self.window, self.scenes) if of_scenes else (0, self.window)
        # People fill whole blocks, so that scenes begin with a block of their own.
        start = place * BLOCK
        stop = min(start + BLOCK, first + count)
        inside = slots[(slots >= start) & (slots < stop)] - first
        return Block(
            number,
            self._background if of_scenes else self.split,
            tuple(int(self._first(of_scenes) + window * count + index) for index in inside),
        )

    def _first(self, of_scenes: bool) -> int:
        return self.data.start(self._background if of_scenes else self.split)

    @property
    def _background(self) -> str:
        return f"{self.split}-background"


class Block(NamedTuple):
    """Samples of a split that are rendered together, by rising indices."""

    number: int
    split: str
    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class StreamWindow:
    """Samples of a window as table rows, with their images in memory.

    Attributes:
        number: Number of the window.
        slots: Position of each row's sample in the window.
        annotations: One row per sample.
        jpegs: Stored images.
    """

    number: int
    slots: Integers
    annotations: Annotations
    jpegs: tuple[bytes, ...]

    def jpeg(self, shard: str, row: int, sample_id: str | None = None) -> bytes:
        """Return the stored bytes of one image, like a shard reader.

        Raises:
            DataError: The window has no such row.
        """
        if shard != _SHARD or not 0 <= row < len(self.jpegs):
            raise DataError(f"the window has no row {row}", where=shard)
        if sample_id is not None and self.annotations.sample_id[row] != sample_id:
            raise DataError(f"row {row} holds another sample", where=shard, expected=sample_id)
        return self.jpegs[row]


_Rendered = list[tuple[dict[str, Any], bytes]]


class RenderStream:
    """Renders windows in worker processes, a bounded number of blocks in advance.

    Use it as a context manager; the workers end with it and with this process. Open it in a thread
    that outlives it.

    Args:
        config: Content of the stream.
        workers: Processes; 0 renders in this process on request.
    """

    def __init__(self, config: StreamConfig, *, workers: int = 1) -> None:
        self.config, self._workers = config, workers
        self._pool: WorkerPool[Block, _Rendered] | None = None
        self._render: Callable[[Block], _Rendered] | None = None

    def __enter__(self) -> Self:
        if self._workers:
            prepare = partial(_renderer, self.config)
            self._pool = WorkerPool(prepare, self._workers, what="render worker")
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def windows(
        self, start: int = 0, wanted: Callable[[int], Integers] | None = None
    ) -> Iterator[StreamWindow]:
        """Yield windows from a number on, without end. One iteration at a time.

        Args:
            start: Number of the first window.
            wanted: Returns the needed slots of a window, by its number; all by default. A process
                of a group renders its own share only.

        Raises:
            WorkspaceError: A worker died.
        """
        while self._pool is not None and self._pool.pending:
            self._pool.next_result()  # Of an iteration that was left.
        blocks_a_window = self.config.blocks
        given = start * blocks_a_window
        done: dict[int, _Rendered] = {}

        def slots_of(window: int) -> Integers:
            if wanted is None:
                return np.arange(self.config.size)
            return np.unique(wanted(window))

        window = start
        while True:
            stop = (window + 1) * blocks_a_window
            # Bounds the rendering before the next window is requested.
            while given < stop + (self.config.ahead if self._pool else 0):
                slots = slots_of(given // blocks_a_window)
                self._give(self.config.block(given, slots), done)
                given += 1
            numbers = range(window * blocks_a_window, stop)
            while self._pool is not None and any(number not in done for number in numbers):
                block, rendered = self._pool.next_result()
                done[block.number] = rendered
            samples = [sample for number in numbers for sample in done.pop(number)]
            yield _window(window, slots_of(window), samples)
            window += 1

    def _give(self, block: Block, done: dict[int, _Rendered]) -> None:
        if self._pool is not None:
            self._pool.submit(block)
            return
        if self._render is None:
            self._render = _renderer(self.config)
        done[block.number] = self._render(block)


def _window(number: int, slots: Integers, samples: _Rendered) -> StreamWindow:
    rows = [row | {"shard": _SHARD, "shard_row": i} for i, (row, _) in enumerate(samples)]
    # Rows of scenes say less than rows of people.
    tables = []
    for _, part in groupby(rows, lambda row: row["split"]):
        own = list(part)
        tables.append(Annotations.from_columns({k: [row[k] for row in own] for k in own[0]}))
    return StreamWindow(
        number=number,
        slots=slots,
        annotations=Annotations.concatenate(tables),
        jpegs=tuple(jpeg for _, jpeg in samples),
    )


def _renderer(config: StreamConfig) -> Callable[[Block], _Rendered]:
    from hemlets.body.model import BodyModel
    from hemlets.data.synthetic.poses import MotionLibrary

    studio = Studio(config.data, MotionLibrary.bundled(), BodyModel.load(resolution="lite"))

    def render(block: Block) -> _Rendered:
        draw = studio.person if block.split == config.split else studio.scene
        samples = [draw(block.split, index) for index in block.indices]
        return [(sample.row, sample.jpeg) for sample in samples]

    return render
