"""From a dataset's folder to a data version: shards of people, a table of rows, and its story.

A data version is ``shards/``, ``annotations.parquet``, ``quarantine.jsonl`` (the rows that were
left out, and why) and, last, ``version.json``. Its bytes depend on the dataset and the settings
alone, not on the number of workers nor on interruptions: rows are staged first, then shards are
stored one by one, and a shard whose rows are written is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from hemlets.core.code_hash import code_hash
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
from hemlets.core.worker_pool import work_through
from hemlets.data.readers.contract import Dataset, ReadOptions, require_layout
from hemlets.data.readers.quarantine import Quarantine, Quarantined
from hemlets.data.table import Annotations
from hemlets.data.versions.ingest_config import IngestConfig
from hemlets.data.versions.ingest_images import (
    ShardJob,
    quarantine_file,
    rows_file,
    write_quarantine,
)
from hemlets.data.versions.ingest_rows import StagedShard, read_staged, stage_rows

__all__ = ["INGEST_VERSION", "IngestResult", "Progress", "ingest"]

INGEST_VERSION: Final = 1
"""Counts up when the same dataset and settings give other images or rows than before."""

_STORING: Final = ("hemlets.data.versions.ingest_rows", "hemlets.data.versions.ingest_images")
_UNFINISHED: Final = ".unfinished"
_MEDIA: Final = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg"),
)
_ROW_GROUP: Final = 16_384

Progress = Callable[[str, int, int], None]
"""Called with what is counted (``rows`` or ``images``), how many are done, and how many there
are in all, 0 where that is not known yet."""


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """What an ingest has made.

    Attributes:
        folder: The data version.
        samples: Rows by split.
        refused: Reasons with the number of rows, the most frequent first.
    """

    folder: Path
    samples: dict[str, int]
    refused: dict[str, int]


def ingest(
    dataset: Dataset,
    root: Path,
    folder: Path,
    config: IngestConfig | None = None,
    *,
    options: ReadOptions | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> IngestResult:
    """Make a data version of a dataset, or finish one that was interrupted.

    A row that can't be used is left out and named in ``quarantine.jsonl``; the others are none
    the worse for it.

    Args:
        dataset: What is read.
        root: The dataset's folder.
        folder: Gets the data version.
        config: How people are cut out and shared out over splits.
        options: For the dataset's reader.
        workers: Processes. 1 works in this one.
        progress: See `Progress`.

    Raises:
        DataError: The folder isn't the dataset, nothing in it can be used, or the data version
            holds something else.
        WorkspaceError: The disk is too small, another process writes into the folder, or a
            worker died.
    """
    config, options = config or IngestConfig(), options or ReadOptions()
    require_layout(dataset, root)
    recipe = _recipe(dataset, root, config, options)
    told = progress or _silent
    # Beside the folder, so that a data version holds data only.
    with lock(folder.with_name(f".{folder.name}.lock"), f"an ingest into {folder}"):
        _claim(folder, recipe)
        if not _is_whole(folder):
            _build(dataset, root, folder, config, options, recipe, workers, told)
        shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
        remove_leftovers(folder)
    return _result(folder)


def _build(
    dataset: Dataset,
    root: Path,
    folder: Path,
    config: IngestConfig,
    options: ReadOptions,
    recipe: dict[str, Any],
    workers: int,
    progress: Progress,
) -> None:
    staging = folder / _UNFINISHED
    shards = _plan(dataset, root, staging, config, options, progress)
    if config.images == "store":
        _store_images(ShardJob(root=root, folder=folder, staging=staging, config=config), shards,
                      workers, progress)  # fmt: skip
    if not (folder / "version.json").exists():
        _finish(folder, shards, config, recipe)


def _store_images(
    job: ShardJob, shards: list[StagedShard], workers: int, progress: Progress
) -> None:
    missing = [shard for shard in shards if not _is_done(job, shard)]
    require_free_space(job.folder, _expected_bytes(job.config, missing))
    total = sum(shard.rows for shard in shards)
    done = total - sum(shard.rows for shard in missing)
    progress("images", done, total)
    for shard, _ in work_through(job, missing, workers, what="ingest worker"):
        done += shard.rows
        progress("images", done, total)


def _plan(
    dataset: Dataset,
    root: Path,
    staging: Path,
    config: IngestConfig,
    options: ReadOptions,
    progress: Progress,
) -> list[StagedShard]:
    """The staged shards; the rows are read once, however often an ingest is interrupted."""
    path = staging / "plan.json"
    if not path.exists():
        quarantine = Quarantine()
        shards = stage_rows(
            dataset, root, staging, config, options, quarantine,
            lambda rows: progress("rows", rows, 0),
        )  # fmt: skip
        items = [_below(root, item) for item in quarantine.items]
        write_quarantine(staging / "rows.quarantine.jsonl", items)
        write_json(path, [asdict(shard) for shard in shards])
    return [StagedShard(**values) for values in read_json(path)]


def _below(root: Path, item: Quarantined) -> Quarantined:
    """The same without the folder's own place, which is no part of the data."""
    here = f"{root}{os.sep}"
    return replace(item, file=item.file.removeprefix(here), what=item.what.replace(here, ""))


def _recipe(
    dataset: Dataset, root: Path, config: IngestConfig, options: ReadOptions
) -> dict[str, Any]:
    """Everything that decides the bytes."""
    code = code_hash(dataset.reader.split(":")[0], *_STORING)
    return {
        "kind": "ingested",
        "ingest": INGEST_VERSION,
        "dataset": dataset.name,
        "reader": {"name": dataset.reader, "code": code},
        "config": config.model_dump(mode="json"),
        "options": {
            "splits": sorted(options.splits),
            "frame_step": options.frame_step,
            "settings": dict(sorted(options.settings.items())),
        },
        "files": _fingerprint(root),
    }


def _fingerprint(root: Path) -> dict[str, Any]:
    """What the folder holds: annotations by content, images and videos by name and size.

    Hashing a terabyte of videos before anything is done would take hours.
    """
    lines: list[str] = []
    size = 0
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith(".") or not path.is_file():
                continue
            bytes_here = path.stat().st_size
            is_media = path.suffix.lower() in _MEDIA
            told = str(bytes_here) if is_media else sha256_file(path)
            lines.append(f"{path.relative_to(root).as_posix()}\0{told}\n")
            size += bytes_here
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape"))
    return {"count": len(lines), "bytes": size, "sha256": digest.hexdigest()}


def _claim(folder: Path, recipe: dict[str, Any]) -> None:
    """Note what the folder will hold, or make sure that it is the same as before."""
    started, finished = folder / _UNFINISHED / "recipe.json", folder / "version.json"
    for path in (finished, started):
        if path.exists():
            found = read_json(path)
            known = found if isinstance(found, dict) else {}
            other = [name for name, value in recipe.items() if known.get(name) != value]
            if other:
                raise DataError(
                    f"the folder holds data of another origin: {', '.join(other)} differ",
                    where=path,
                    expected=f"{recipe['dataset']}, recipe {content_hash(recipe)[:12]}",
                    remedy="choose another folder, or make this one anew (--anew)",
                )
            return
    write_json(started, recipe)


def _is_whole(folder: Path) -> bool:
    path = folder / "version.json"
    if not path.exists():
        return False
    shards = read_json(path)["shards"]
    return all((folder / "shards" / name).exists() for name in shards)


def _is_done(job: ShardJob, shard: StagedShard) -> bool:
    rows = rows_file(job.staging, shard)
    stored = (job.folder / "shards" / shard.name).exists()
    if not rows.exists():
        # A finished version keeps the rows of all its shards in its table.
        return stored and (job.folder / "version.json").exists()
    return stored or pq.read_metadata(rows).num_rows == 0


def _expected_bytes(config: IngestConfig, shards: list[StagedShard]) -> int:
    """A generous guess: photos at this quality take about 0.35 bytes a pixel."""
    side = config.crop_px * config.margin / 1.2
    sample = int(0.35 * side**2) + 4_000
    return sum(shard.rows for shard in shards) * sample + 50_000_000


def _finish(
    folder: Path, shards: list[StagedShard], config: IngestConfig, recipe: dict[str, Any]
) -> None:
    staging = folder / _UNFINISHED
    counts: Counter[str] = Counter()

    def parts() -> Iterator[pa.Table]:
        for shard in shards:
            if config.images == "store":
                table = Annotations.read(rows_file(staging, shard)).table
            else:
                table = read_staged(staging, shard)[0].table
            counts[shard.split] += len(table)
            yield table

    path = folder / "annotations.parquet"
    _write_table(path, parts())
    _join_quarantines(folder, shards)
    if not sum(counts.values()):
        path.unlink()
        told = "; ".join(f"{n:,} × {reason}" for reason, n in list(_reasons(folder).items())[:3])
        shutil.rmtree(staging)
        raise DataError(
            f"no row of the dataset is left: {told}",
            where=folder / "quarantine.jsonl",
            remedy="mend what is named there, then run ingest again",
        )
    stored = [shard.name for shard in shards if (folder / "shards" / shard.name).exists()]
    write_json(
        folder / "version.json",
        recipe
        | {
            "samples": {split: count for split, count in counts.items() if count},
            "annotations": sha256_file(path),
            "quarantine": sha256_file(folder / "quarantine.jsonl"),
            "shards": {name: sha256_file(folder / "shards" / name) for name in stored},
        },
    )


def _write_table(path: Path, parts: Iterator[pa.Table]) -> None:
    """Write a table that needn't fit into memory, in row groups of one size."""
    with (
        atomic_path(path) as scratch,
        pq.ParquetWriter(scratch, Annotations.schema, compression="zstd") as writer,
    ):
        waiting: list[pa.Table] = []
        for part in parts:
            waiting.append(part)
            while sum(map(len, waiting)) >= _ROW_GROUP:
                joined = pa.concat_tables(waiting).combine_chunks()
                writer.write_table(joined.slice(0, _ROW_GROUP), row_group_size=_ROW_GROUP)
                waiting = [joined.slice(_ROW_GROUP)]
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())


def _join_quarantines(folder: Path, shards: list[StagedShard]) -> None:
    staging = folder / _UNFINISHED
    files = [staging / "rows.quarantine.jsonl", *(quarantine_file(staging, s) for s in shards)]
    with atomic_path(folder / "quarantine.jsonl") as scratch, scratch.open("wb") as sink:
        for file in files:
            if file.exists():
                sink.write(file.read_bytes())


def _result(folder: Path) -> IngestResult:
    return IngestResult(
        folder=folder,
        samples=dict(read_json(folder / "version.json")["samples"]),
        refused=_reasons(folder),
    )


def _reasons(folder: Path) -> dict[str, int]:
    reasons: Counter[str] = Counter()
    with (folder / "quarantine.jsonl").open(encoding="utf-8") as stream:
        for line in stream:
            reasons[json.loads(line)["what"].split(" (sample ")[0]] += 1
    return dict(reasons.most_common())


def _silent(_what: str, _done: int, _total: int) -> None: ...
