"""Write a data version: claim its folder, write its shards and table, mark it as finished.

A data version is ``shards/``, ``annotations.parquet`` and, last, ``version.json``. Until then
``.unfinished/`` holds the recipe and the rows of each finished shard. A shard is finished when its
rows are written, so a resumed writer continues with the other shards. The bytes depend on the
recipe alone, not on the number of workers or on interruptions.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hemlets.core.errors import DataError
from hemlets.core.files import (
    atomic_path,
    content_hash,
    lock,
    read_json,
    remove_leftovers,
    require_free_space,
    sha256_file,
    write_json,
)
from hemlets.core.worker_pool import map_unordered
from hemlets.data.table import Annotations, ShardWriter

TABLE: Final = "annotations.parquet"
SHARDS: Final = "shards"
VERSION: Final = "version.json"
STAGING: Final = ".unfinished"
_RECIPE: Final = "recipe.json"

_SHARD_END: Final = b"ARROW1"
_TABLE_END: Final = b"PAR1"
_ROW_GROUP: Final = 16_384
_TABLE_BYTES: Final = 50_000_000

Progress = Callable[[int, int], None]
"""Called with the number of stored images and the total."""


class Shard(Protocol):
    """A shard to write: its file name and, by ``len()``, its largest number of images."""

    @property
    def name(self) -> str:
        """File name below ``shards/``."""
        ...

    def __len__(self) -> int: ...


AnyShard = TypeVar("AnyShard", bound=Shard)


class VersionWriter:
    """Writes one data version, or finishes an interrupted one.

    Use it as a context manager: entering locks and claims the folder; leaving without an error
    removes the scratch files.

    Args:
        folder: Gets the data version.
        recipe: Everything that the bytes depend on; becomes part of ``version.json``.
        purpose: Name of the operation, for the message of a second writer.
        remedy: Remedy for a folder that holds another data version.

    Raises:
        DataError: The folder holds another data version.
        WorkspaceError: Another process writes into the folder, or it can't be written.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Mapping[str, Any],
        *,
        purpose: str,
        remedy: str = "choose another folder, or delete this one",
    ) -> None:
        self.folder = folder
        self.staging = folder / STAGING
        self._recipe, self._purpose, self._remedy = recipe, purpose, remedy
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            # Outside the folder, so that a data version holds data only.
            path = self.folder.with_name(f".{self.folder.name}.lock")
            held.enter_context(lock(path, f"{self._purpose} {self.folder}"))
            self._claim()
            self._held = held.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._held:
            if kind is None:
                shutil.rmtree(self.staging, ignore_errors=True)
                remove_leftovers(self.folder)
            elif [path.name for path in self.folder.rglob("*")] == [STAGING, _RECIPE]:
                # Nothing was written but the claim.
                shutil.rmtree(self.folder)

    @property
    def is_finished(self) -> bool:
        """Return whether the table is complete; shards may be missing."""
        return (self.folder / VERSION).exists() and _ends_with(self.folder / TABLE, _TABLE_END)

    @property
    def is_whole(self) -> bool:
        """Return whether the version is finished and has all of its shards."""
        if not self.is_finished:
            return False
        shards = read_json(self.folder / VERSION)["shards"]
        return all(map(self._is_stored, shards))

    def store(
        self,
        prepare: Callable[[], Callable[[AnyShard], None]],
        shards: Sequence[AnyShard],
        *,
        image_bytes: int,
        workers: int,
        what: str,
        progress: Progress,
    ) -> None:
        """Write the unfinished shards.

        Args:
            prepare: Makes a worker, which writes a shard by `store_shard`.
            shards: All shards of the version.
            image_bytes: Generous estimate of an image with its row.
            workers: Processes. 1 works in this process.
            what: Name of a worker in messages.
            progress: See `Progress`.

        Raises:
            WorkspaceError: The disk is too small, or a worker died.
        """
        missing = [shard for shard in shards if not self._is_done(shard)]
        require_free_space(self.folder, sum(map(len, missing)) * image_bytes + _TABLE_BYTES)
        total = sum(map(len, shards))
        done = total - sum(map(len, missing))
        progress(done, total)
        for shard, _ in map_unordered(prepare, missing, workers, what=what):
            done += len(shard)
            progress(done, total)

    def write_table(self, parts: Iterable[pa.Table]) -> dict[str, int]:
        """Write the table from parts, which need not fit into memory together.

        Returns:
            Rows by split, without empty splits.
        """
        counts: Counter[str] = Counter()
        waiting: list[pa.Table] = []
        tables = iter(parts)
        first = next(tables, Annotations.schema.empty_table())
        # The file also holds the schema's metadata, so another schema gives other bytes.
        with (
            atomic_path(self.folder / TABLE) as scratch,
            pq.ParquetWriter(scratch, first.schema, compression="zstd") as writer,
        ):
            for part in chain([first], tables):
                for count in pc.value_counts(part.column("split")).to_pylist():
                    counts[count["values"]] += count["counts"]
                waiting.append(part)
                while sum(map(len, waiting)) >= _ROW_GROUP:
                    joined = pa.concat_tables(waiting).combine_chunks()
                    writer.write_table(joined.slice(0, _ROW_GROUP), row_group_size=_ROW_GROUP)
                    waiting = [joined.slice(_ROW_GROUP)]
            if sum(map(len, waiting)):
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
        return dict(counts)

    def finish(
        self,
        samples: Mapping[str, int],
        shards: Iterable[str],
        *,
        hashes: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        """Mark the version as finished.

        Args:
            samples: Rows by split, from `write_table`.
            shards: File names of the stored shards.
            hashes: Known SHA-256 of shards.
            more: Further entries of ``version.json``.
        """
        known = hashes or {}
        contents = {
            name: known.get(name) or sha256_file(self.folder / SHARDS / name) for name in shards
        }
        write_json(
            self.folder / VERSION,
            {
                **self._recipe,
                **more,
                "samples": dict(samples),
                "annotations": sha256_file(self.folder / TABLE),
                "shards": contents,
            },
        )

    def discard(self) -> None:
        """Remove table and scratch files of a version without rows."""
        (self.folder / TABLE).unlink(missing_ok=True)
        shutil.rmtree(self.staging, ignore_errors=True)

    def _claim(self) -> None:
        """Record the recipe, or require that the folder has the same recipe."""
        started = self.staging / _RECIPE
        path = next((path for path in (self.folder / VERSION, started) if path.exists()), None)
        if path is None:
            write_json(started, dict(self._recipe))
            return
        try:
            found = read_json(path)
        except DataError as error:
            raise DataError.damaged(error.what, path, remedy=self._remedy) from error
        known = found if isinstance(found, dict) else {}
        other = [name for name, value in self._recipe.items() if known.get(name) != value]
        if other:
            raise DataError(
                f"the folder holds another data version: {', '.join(other)} differ",
                where=path,
                expected=f"the recipe {content_hash(dict(self._recipe))[:12]}",
                remedy=self._remedy,
            )

    def _is_stored(self, name: str) -> bool:
        return is_whole_shard(self.folder / SHARDS / name)

    def _is_done(self, shard: Shard) -> bool:
        rows = rows_file(self.staging, shard)
        stored = self._is_stored(shard.name)
        if not rows.exists():
            # The table of a finished version has the rows of all shards.
            return stored and self.is_finished
        if not _ends_with(rows, _TABLE_END):
            return False
        return stored or pq.read_metadata(rows).num_rows == 0


def is_whole_shard(path: Path) -> bool:
    """Return whether a shard exists and ends as a shard does."""
    return _ends_with(path, _SHARD_END)


def _ends_with(path: Path, mark: bytes) -> bool:
    """Return whether a file ends with a mark: a full disk or a power cut truncates files."""
    try:
        with path.open("rb") as stream:
            stream.seek(-len(mark), os.SEEK_END)
            return stream.read() == mark
    except OSError:
        return False


def rows_file(staging: Path, shard: Shard) -> Path:
    """Return the file of a stored shard's rows before the table is written."""
    return staging / f"{shard.name}.parquet"


def store_shard(
    folder: Path, staging: Path, shard: Shard, rows: Annotations, jpegs: Sequence[bytes]
) -> None:
    """Write a shard's images and, last, its rows, which mark it as finished.

    A shard without rows gets no file of images.
    """
    if len(rows):
        ShardWriter.write(folder / SHARDS / shard.name, list(map(str, rows.sample_id)), jpegs)
    rows.write(rows_file(staging, shard))
