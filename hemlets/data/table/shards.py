"""Image shards: Arrow files of JPEG bytes with random access through a memory map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from hemlets.core.errors import DataError
from hemlets.core.files import atomic_path

_SCHEMA = pa.schema([("sample_id", pa.string()), ("jpeg", pa.binary())])


class ShardWriter:
    """Writes a shard atomically."""

    @staticmethod
    def write(path: Path, sample_ids: Sequence[str], jpegs: Sequence[bytes]) -> None:
        """Write one shard; row i holds image i."""
        batch = pa.record_batch([pa.array(sample_ids), pa.array(jpegs, pa.binary())], _SCHEMA)
        with (
            atomic_path(path) as scratch,
            pa.OSFile(str(scratch), "wb") as sink,
            pa.ipc.new_file(sink, _SCHEMA) as writer,
        ):
            writer.write_batch(batch)


class ShardReader:
    """Reads images of a data version by shard name and row; maps each shard once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._columns: dict[str, tuple[pa.StringArray, pa.BinaryArray]] = {}

    def _open(self, shard: str) -> tuple[pa.StringArray, pa.BinaryArray]:
        path = self.folder / shard
        if path.parent != self.folder or "\0" in shard:
            raise DataError("a shard name leads out of its folder", where=shard)
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
            if batch.schema != _SCHEMA or any(column.null_count for column in batch.columns):
                raise pa.ArrowInvalid(f"it has columns {batch.schema.names}")
            # Damaged offsets would lead out of the memory map.
            batch.validate(full=True)
            return batch.column("sample_id"), batch.column("jpeg")
        except FileNotFoundError as error:
            raise DataError.missing("the image shard", path) from error
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            raise DataError.damaged(
                f"the image shard can't be read: {error}",
                path,
                remedy="run ingest again, or check out the data version again",
            ) from error

    def jpeg(self, shard: str, row: int, sample_id: str | None = None) -> bytes:
        """Return the stored bytes of one image.

        Raises:
            DataError: There is no such shard or row, or the row holds another sample.
        """
        if shard not in self._columns:
            self._columns[shard] = self._open(shard)
        ids, images = self._columns[shard]
        if not 0 <= row < len(images):
            raise DataError(
                f"row {row} is not in the shard",
                where=self.folder / shard,
                expected=f"one of its {len(ids)} rows, from 0",
            )
        if sample_id is not None and ids[row].as_py() != sample_id:
            raise DataError(
                f"row {row} holds sample {ids[row].as_py()}",
                where=self.folder / shard,
                expected=sample_id,
            )
        return bytes(images[row].as_buffer())

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "_columns": {}}
