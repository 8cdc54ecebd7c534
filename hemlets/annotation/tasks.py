"""Tasks for annotators: people of a data version, of photographs, or of a prediction log.

A task is found by its position, so that a list of 100,000 costs a page no more than one of ten.
Frames with 3D truth are mixed in unseen, one in 13 as in section 5.2: a task shows nothing of
where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from hemlets.annotation.pictures import open_pictures
from hemlets.annotation.questions import MODES, Mode
from hemlets.annotation.store import PREPARED, AnswerStore, FoundPerson
from hemlets.core.arrays import Array, Bool, Image
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import sha256_file
from hemlets.data.table import Annotations, ShardReader, encode_jpeg
from hemlets.data.versions.writer import SHARDS, TABLE

GOLD_EVERY: Final = 13
"""One frame with 3D truth per this many tasks, as in section 5.2 (1,000 of 13,000)."""

SPLITS: Final = ("train", "validation")
"""Splits that are labelled: the gate and the test judge models and are never touched."""

SCREEN_PX: Final = 1600
"""Longest side of an image that is sent to a page."""

_GOLD: Final = "gold/"
_SEED: Final = 5_013
_COLUMNS: Final = (
    "sample_id", "split", "shard", "shard_row", "image_hash", "image_width", "image_height",
    "box_xyxy", "joints2d_px", "valid2d", "joints3d_mm", "valid3d", "subject", "clip",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A person to be labelled.

    Attributes:
        name: Name of the sample; never sent to a page.
        width: Of the image, pixels.
        height: Of the image, pixels.
        box_xyxy: The person's box, pixels.
        joints_J2: Pixels.
        valid_J: Joints that have a place.
        image_key: Changes when the image does.
        found: Whether somebody was found; False for a photograph with a skeleton to be placed.
    """

    name: str
    width: int
    height: int
    box_xyxy: tuple[float, float, float, float]
    joints_J2: Array
    valid_J: Bool
    image_key: str
    found: bool = True

    def asked(self, mode: Mode) -> list[str]:
        """Return the names of questions whose joints both have a position."""
        return [q.name for q in MODES[mode] if self.valid_J[q.parent] and self.valid_J[q.child]]


def read_table(folder: Path) -> Annotations:
    """Read the columns of a data version's table that labelling needs.

    Raises:
        DataError: There is no such table, or it is damaged.
    """
    return Annotations.read(folder / TABLE, _COLUMNS)


class VersionTasks:
    """People of a data version, in its order or a queue's.

    Args:
        folder: The data version.
        gold: A data version with 3D truth that is mixed in. Without one, rows of ``folder`` that
            have 3D are mixed into those that have none.
        queue: Names of the samples to label, in order; all when omitted.
        every: One gold frame in so many tasks; 0 for none.

    Raises:
        ConfigError: No row can be labelled.
        DataError: A data version can't be read.
    """

    growing: bool = False
    """Whether more tasks may come."""

    def __init__(
        self,
        folder: Path,
        *,
        gold: Path | None = None,
        queue: Sequence[str] | None = None,
        every: int = GOLD_EVERY,
    ) -> None:
        self.source = f"version {sha256_file(folder / TABLE)}"
        self.tables = [read_table(folder)]
        self._readers = [ShardReader(folder / SHARDS)]
        usable = _usable(self.tables[0])
        truth = np.asarray(self.tables[0].valid3d.any(1))
        if gold is not None and gold.resolve() != folder.resolve():
            self.tables.append(read_table(gold))
            self._readers.append(ShardReader(gold / SHARDS))
            golden = np.flatnonzero(_usable(self.tables[1]) & self.tables[1].valid3d.any(1))
            plain, number = np.flatnonzero(usable), 1
        else:
            mixed = bool((usable & truth).any() and (usable & ~truth).any())
            golden = np.flatnonzero(usable & truth & mixed)
            plain, number = np.flatnonzero(usable & ~truth if mixed else usable), 0
        if queue is not None:
            plain = _queued(self.tables[0], set(plain.tolist()), queue)
        if not len(plain):
            raise ConfigError(
                "no row can be labelled",
                where=folder / TABLE,
                expected=f"people with 2D joints in the splits {' and '.join(SPLITS)}",
                remedy="name a data version of photographs, or another queue",
            )
        golden = np.random.default_rng(_SEED).permutation(golden)
        self._refs = _mix(plain, golden if every else golden[:0], number, every)

    def __len__(self) -> int:
        return len(self._refs)

    def task(self, position: int) -> Task:
        """Return the task at a position."""
        number, row = map(int, self._refs[position])
        return self._at(number, row)

    def names(self, start: int, end: int) -> list[str]:
        """Return task names at the positions ``start`` to ``end``, exclusive."""
        return [self._name(number, row) for number, row in self._refs[start:end].tolist()]

    def _name(self, number: int, row: int) -> str:
        return (_GOLD if number else "") + str(self.tables[number].sample_id[row])

    def named(self, names: Iterable[str]) -> dict[str, Task]:
        """Return tasks of the data version by name, without mixed-in frames."""
        rows = self.tables[0].row_of
        return {name: self._at(0, rows[name]) for name in names if name in rows}

    def _at(self, number: int, row: int) -> Task:
        table = self.tables[number]
        return Task(
            name=self._name(number, row),
            width=int(table.image_width[row]),
            height=int(table.image_height[row]),
            box_xyxy=tuple(map(float, table.box_xyxy[row])),  # type: ignore[arg-type]
            joints_J2=table.joints2d_px[row],
            valid_J=table.valid2d[row],
            image_key=str(table.image_hash[row])[:24],
        )

    def image(self, position: int) -> bytes:
        """Return the image as JPEG, at most `SCREEN_PX` long.

        Raises:
            DataError: The shard is not there any more.
        """
        number, row = map(int, self._refs[position])
        table = self.tables[number]
        data = self._readers[number].jpeg(
            str(table.shard[row]), int(table.shard_row[row]), str(table.sample_id[row])
        )
        return _for_screen(data, max(int(table.image_width[row]), int(table.image_height[row])))

    def asked(self, names: Iterable[str], mode: Mode) -> dict[str, list[str]]:
        """Return questions by task, mixed-in frames included."""
        found = {}
        for name in names:
            number = int(name.startswith(_GOLD) and len(self.tables) > 1)
            row = self.tables[number].row_of.get(name.removeprefix(_GOLD) if number else name)
            if row is not None:
                found[name] = self._at(number, row).asked(mode)
        return found

    def truth(self) -> dict[str, Array]:
        """Return joints (18, 3) by task with 3D truth, millimetres, NaN where unknown."""
        found = {}
        for number, table in enumerate(self.tables):
            known = np.flatnonzero(table.valid3d.any(1))
            joints = np.where(table.valid3d[..., None], table.joints3d_mm, np.nan)
            for row in known:
                found[self._name(number, int(row))] = joints[row]
        return found


class PhotoTasks:
    """People of photographs or of a prediction log, in the order in which the model found them.

    Args:
        folder: The photographs, or the log.
        store: Gets the people from `hemlets.annotation.prepare`.
        queue: Names of the tasks to label, in order; all when omitted.

    Raises:
        ConfigError: No name of the queue is known.
    """

    def __init__(
        self, folder: Path, store: AnswerStore, *, queue: Sequence[str] | None = None
    ) -> None:
        self.source = photo_source(folder)
        self.pictures = open_pictures(folder)
        self._store = store
        self._image = lru_cache(maxsize=48)(self._read)
        self._queued: list[tuple[int, str]] | None = None
        if queue is not None:
            places = {person.task: person.position for person in store.people()}
            self._queued = [(places[name], name) for name in queue if name in places]
            if not self._queued:
                raise ConfigError(
                    "nobody of the queue was found in these pictures",
                    where=folder,
                    remedy=f"choose again: hemlets annotate next {folder}",
                )

    def __len__(self) -> int:
        return self._store.count_people() if self._queued is None else len(self._queued)

    @property
    def growing(self) -> bool:
        """Whether the model still looks for people."""
        return self._queued is None and self._store.metadata(PREPARED) != "yes"

    def names(self, start: int, end: int) -> list[str]:
        """Return task names at the positions ``start`` to ``end``, exclusive."""
        if self._queued is None:
            return self._store.people_between(start, end)
        return [name for _, name in self._queued[start:end]]

    def _person(self, position: int) -> FoundPerson:
        place = position if self._queued is None else self._queued[position][0]
        found = self._store.person(place)
        if found is None:
            raise DataError.missing("the person", f"position {position}")
        return found

    def task(self, position: int) -> Task:
        """Return the task at a position."""
        return self._task(self._person(position))

    def named(self, names: Iterable[str]) -> dict[str, Task]:
        """Return tasks by name."""
        wanted = set(names)
        return {p.task: self._task(p) for p in self._store.people() if p.task in wanted}

    def asked(self, names: Iterable[str], mode: Mode) -> dict[str, list[str]]:
        """Return questions by task."""
        return {name: task.asked(mode) for name, task in self.named(names).items()}

    def truth(self) -> dict[str, Array]:
        """Return nothing: photographs have no 3D truth."""
        return {}

    def _task(self, person: FoundPerson) -> Task:
        content = person.content
        joints = np.array(content["joints"], np.float32)
        return Task(
            name=person.task,
            width=content["width"],
            height=content["height"],
            box_xyxy=tuple(content["box"]),
            joints_J2=joints,
            valid_J=np.ones(len(joints), bool),
            image_key=content["hash"][:24],
            found=content["found"],
        )

    def image(self, position: int) -> bytes:
        """Return the photograph as JPEG.

        Raises:
            InputError: It is not there any more, or is no image.
        """
        return self._image(self._person(position).photo)

    def photo(self, name: str) -> bytes:
        """Return the photograph of a task as JPEG.

        Raises:
            InputError: It is not there any more.
        """
        return self._image(name.removeprefix("photos/").rpartition("/")[0])

    def _read(self, photo: str) -> bytes:
        return encode_jpeg(shrunk(self.pictures.image(photo), SCREEN_PX))


Tasks = VersionTasks | PhotoTasks
"""Tasks of one source; those of photographs may grow while the model looks for people."""


def photo_source(folder: Path) -> str:
    """Name of a folder of pictures in a log of answers."""
    return f"photos {folder.resolve()}"


def shrunk(image_HW3: Image, longest: int) -> Image:
    """Shrink an image to a longer side of at most ``longest`` pixels."""
    import cv2

    height, width = image_HW3.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image_HW3
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA), np.uint8)


@lru_cache(maxsize=48)
def _for_screen(data: bytes, longest: int) -> bytes:
    if longest <= SCREEN_PX:
        return data
    from hemlets.data.table import decode_image

    return encode_jpeg(shrunk(decode_image(data), SCREEN_PX))


def _usable(table: Annotations) -> Bool:
    return np.asarray(
        np.isin(table.column("split").astype(str), SPLITS) & (table.valid2d.sum(1) >= 2)
    )


def _queued(table: Annotations, usable: set[int], queue: Iterable[str]) -> Array:
    """Return the rows of a queue's samples; unknown and unusable ones are left out."""
    rows = (table.row_of.get(name) for name in queue)
    return np.array([row for row in rows if row in usable], np.int64)


def _mix(plain: Array, golden: Array, number: int, every: int) -> Array:
    """(N, 2) table number and row: ``plain`` with one of ``golden`` at a random place a block."""
    rng = np.random.default_rng(_SEED + 1)
    refs: list[tuple[int, int]] = []
    waiting = list(map(int, golden))[::-1]
    block = max(every - 1, 1)
    for start in range(0, len(plain), block):
        rows = [(0, int(row)) for row in plain[start : start + block]]
        if waiting:
            rows.insert(int(rng.integers(0, len(rows) + 1)), (number, waiting.pop()))
        refs += rows
    return np.array(refs, np.int64)
