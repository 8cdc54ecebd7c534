"""Rendered people without end, for training that never sees an image twice unless it wants to.

The stream is a sequence of windows of people; training shows each `StreamConfig.reuse` times, as
so many epochs, before the next one comes. Who is where depends on the seed alone, so any number
of workers, and a run that goes on in the middle, sees the same people. Scenes without a person are
not streamed: few are needed, and a data version has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from hemlets.annotations import Annotations
from hemlets.config import Config
from hemlets.crew import Crew
from hemlets.errors import DataError
from hemlets.synthetic.config import OpenDataConfig
from hemlets.synthetic.people import BLOCK, Studio

__all__ = ["RenderStream", "StreamConfig", "StreamWindow"]

_SHARD: Final = "stream"

Indices = npt.NDArray[np.integer[Any]]


class StreamConfig(Config):
    """What is streamed.

    Attributes:
        data: How people are rendered; its numbers of samples don't matter here.
        split: Whose motion they show.
        window: People that a batch is drawn from, in whole blocks of 64.
        reuse: Times that each person is shown, with another augmentation each time. Rendering
            costs more than augmenting, so that 2–4 feed a fast accelerator from few cores.
        ahead: Blocks that may be rendered before they are wanted: what bounds the memory.
    """

    data: OpenDataConfig = OpenDataConfig()
    split: str = "train"
    window: Annotated[int, Field(ge=BLOCK)] = 2048
    reuse: Annotated[int, Field(ge=1, le=100)] = 1
    ahead: Annotated[int, Field(ge=0, le=10_000)] = 16

    @model_validator(mode="after")
    def _whole_blocks(self) -> Self:
        if self.window % BLOCK:
            raise ValueError(f"window = {self.window} is not a multiple of {BLOCK}")
        return self


@dataclass(frozen=True, kw_only=True)
class StreamWindow:
    """Some people of a window; the samples of a table with their images in memory.

    Attributes:
        number: Of the window.
        slots: Place of each row's person in the window.
        annotations: One row a person.
        jpegs: Their images.
    """

    number: int
    slots: Indices
    annotations: Annotations
    jpegs: tuple[bytes, ...]

    def jpeg(self, shard: str, row: int, sample_id: str | None = None) -> bytes:
        """The bytes of one image, as a shard's reader gives them.

        Raises:
            DataError: The window has no such row.
        """
        if shard != _SHARD or not 0 <= row < len(self.jpegs):
            raise DataError(f"the window has no row {row}", where=shard)
        if sample_id is not None and self.annotations.sample_id[row] != sample_id:
            raise DataError(f"row {row} holds another sample", where=shard, expected=sample_id)
        return self.jpegs[row]


@dataclass(frozen=True)
class _Block:
    """People of one posing block that are to be rendered: their indices, rising."""

    number: int
    indices: tuple[int, ...]


_Rendered = list[tuple[dict[str, Any], bytes]]


class RenderStream:
    """Renders windows in worker processes, a bounded number of blocks ahead.

    Use it as a context: the workers end with it, and with this process. Open it in a thread
    that outlives it.

    Args:
        config: What is streamed.
        workers: Processes; 0 renders in this one when a window is asked for.
    """

    def __init__(self, config: StreamConfig, *, workers: int = 1) -> None:
        self.config, self._workers = config, workers
        self._crew: Crew[_Block, _Rendered] | None = None
        self._render: Callable[[_Block], _Rendered] | None = None

    def __enter__(self) -> Self:
        if self._workers:
            prepare = partial(_renderer, self.config)
            self._crew = Crew(prepare, self._workers, what="render worker").__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def windows(
        self, start: int = 0, wanted: Callable[[int], Indices] | None = None
    ) -> Iterator[StreamWindow]:
        """Windows from a number on, without end. One iteration at a time.

        Args:
            start: Number of the first.
            wanted: Slots of a window that are needed, by its number; all when omitted. One of
                several processes renders its share alone.

        Raises:
            WorkspaceError: A worker died.
        """
        while self._crew is not None and self._crew.open_tasks:
            self._crew.answer()  # Of an iteration that was left.
        blocks_a_window = self.config.window // BLOCK
        given = start * blocks_a_window
        done: dict[int, _Rendered] = {}

        def slots_of(window: int) -> Indices:
            if wanted is None:
                return np.arange(self.config.window)
            return np.unique(wanted(window))

        window = start
        while True:
            stop = (window + 1) * blocks_a_window
            # No more than this is rendered before the window after it is asked for.
            while given < stop + (self.config.ahead if self._crew else 0):
                self._give(self._block(given, slots_of(given // blocks_a_window)), done)
                given += 1
            numbers = range(window * blocks_a_window, stop)
            while self._crew is not None and any(number not in done for number in numbers):
                block, rendered = self._crew.answer()
                done[block.number] = rendered
            people = [person for number in numbers for person in done.pop(number)]
            yield _window(window, slots_of(window), people)
            window += 1

    def _block(self, number: int, slots: Indices) -> _Block:
        window, place = divmod(number, self.config.window // BLOCK)
        inside = slots[(slots >= place * BLOCK) & (slots < (place + 1) * BLOCK)]
        first = window * self.config.window
        return _Block(number, tuple(int(first + slot) for slot in inside))

    def _give(self, block: _Block, done: dict[int, _Rendered]) -> None:
        if self._crew is not None:
            self._crew.give(block)
            return
        if self._render is None:
            self._render = _renderer(self.config)
        done[block.number] = self._render(block)


def _window(number: int, slots: Indices, people: _Rendered) -> StreamWindow:
    rows = [row | {"shard": _SHARD, "shard_row": i} for i, (row, _) in enumerate(people)]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return StreamWindow(
        number=number,
        slots=slots,
        annotations=Annotations.from_columns(columns),
        jpegs=tuple(jpeg for _, jpeg in people),
    )


def _renderer(config: StreamConfig) -> Callable[[_Block], _Rendered]:
    from hemlets.body.model import BodyModel
    from hemlets.synthetic.poses import MotionLibrary

    studio = Studio(config.data, MotionLibrary.bundled(), BodyModel.load(resolution="lite"))

    def render(block: _Block) -> _Rendered:
        people = [studio.person(config.split, index) for index in block.indices]
        return [(person.row, person.jpeg) for person in people]

    return render
