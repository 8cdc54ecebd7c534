"""Ingest a dataset: read its rows, cut out its people, and write a data version.

Besides the files of `hemlets.data.versions.writer`, an ingested version has ``quarantine.jsonl``:
the excluded rows with reasons. Rows are read once and staged; then shards are written one by one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from hemlets.core.code_hash import code_hash
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import atomic_path, read_json, sha256_file, write_json
from hemlets.data.readers.contract import Dataset, ReadOptions, require_layout
from hemlets.data.readers.quarantine import Quarantine, Quarantined
from hemlets.data.table import Annotations
from hemlets.data.versions.ingest_config import IngestConfig
from hemlets.data.versions.ingest_images import ShardJob, quarantine_file, write_quarantine
from hemlets.data.versions.ingest_rows import StagedShard, read_staged, stage_rows
from hemlets.data.versions.writer import SHARDS, VERSION, VersionWriter, rows_file

INGEST_VERSION: Final = 1
"""Increase it whenever the same dataset and settings give other images or rows."""

QUARANTINE: Final = "quarantine.jsonl"

_STORING: Final = ("hemlets.data.versions.ingest_rows", "hemlets.data.versions.ingest_images")
_MEDIA: Final = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg"),
)
_REASONS_SHOWN: Final = 5

Progress = Callable[[str, int, int], None]
"""Called with the kind of items (``rows`` or ``images``), how many are done, and the total (0 while
unknown).
"""


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """Result of an ingest.

    Attributes:
        folder: The data version.
        samples: Rows by split.
        refused: Damaged rows by reason, the most frequent first.
        skipped: Sound but unusable rows, by reason; empty if the version existed before.
    """

    folder: Path
    samples: dict[str, int]
    refused: dict[str, int]
    skipped: dict[str, int] = field(default_factory=dict)


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
    """Make a data version of a dataset, or resume an interrupted ingest.

    Unusable rows are left out and listed in ``quarantine.jsonl``.

    Args:
        dataset: The dataset.
        root: The dataset's folder.
        folder: Gets the data version.
        config: Crops and splits.
        options: Options of the reader.
        workers: Processes. 1 works in this process.
        progress: See `Progress`.

    Raises:
        ConfigError: The data version's folder is the dataset's.
        DataError: The folder isn't the dataset, nothing in it can be used (the message has the
            reasons), or the data version holds something else.
        WorkspaceError: The disk is too small, another process writes into the folder, or a
            worker died.
    """
    config, options = config or IngestConfig(), options or ReadOptions()
    require_layout(dataset, root)
    if folder.resolve() == root.resolve():
        raise ConfigError(
            "the data version would lie among the dataset's own files", where=folder,
            expected="another folder than the dataset's", remedy="choose one with --out",
        )  # fmt: skip
    recipe = _recipe(dataset, root, config, options, folder)
    report = progress or _silent
    remedy = "choose another folder, or make this one anew (--anew)"
    plan = _Plan(shards=[], skipped={})
    with VersionWriter(folder, recipe, purpose="an ingest into", remedy=remedy) as writer:
        if not writer.is_whole:
            plan = _plan(dataset, root, writer.staging, config, options, report)
            if config.images == "store":
                writer.store(
                    ShardJob(root=root, folder=folder, staging=writer.staging, config=config),
                    plan.shards,
                    image_bytes=_image_bytes(config),
                    workers=workers,
                    what="ingest worker",
                    progress=lambda done, total: report("images", done, total),
                )
            if not writer.is_finished:
                _finish(writer, plan, config, options)
    return IngestResult(
        folder=folder,
        samples=dict(read_json(folder / VERSION)["samples"]),
        refused=_reasons(folder),
        skipped=dict(plan.skipped),
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    shards: list[StagedShard]
    skipped: Mapping[str, int]


def _plan(
    dataset: Dataset,
    root: Path,
    staging: Path,
    config: IngestConfig,
    options: ReadOptions,
    progress: Progress,
) -> _Plan:
    """Return the staged shards; rows are read only once, even if ingest is interrupted."""
    path = staging / "plan.json"
    if (plan := _read_plan(path)) is None:
        quarantine = Quarantine()
        shards = stage_rows(
            dataset, root, staging, config, options, quarantine,
            lambda rows: progress("rows", rows, 0),
        )  # fmt: skip
        items = [_relative(root, item) for item in quarantine.items]
        write_quarantine(staging / "rows.quarantine.jsonl", items)
        plan = _Plan(shards=shards, skipped=dict(quarantine.skipped.most_common()))
        write_json(path, asdict(plan))
    return plan


def _read_plan(path: Path) -> _Plan | None:
    """Read the plan of an interrupted ingest; None if absent or truncated."""
    try:
        values = read_json(path)
    except DataError:
        return None
    shards = [StagedShard(**shard) for shard in values["shards"]]
    return _Plan(shards=shards, skipped=values["skipped"])


def _relative(root: Path, item: Quarantined) -> Quarantined:
    """Make an item's paths relative to the dataset's folder, whose place is not data."""
    here = f"{root}{os.sep}"
    return replace(item, file=item.file.removeprefix(here), what=item.what.replace(here, ""))


def _recipe(
    dataset: Dataset, root: Path, config: IngestConfig, options: ReadOptions, folder: Path
) -> dict[str, Any]:
    """Collect everything that the bytes depend on."""
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
        "files": _fingerprint(root, folder),
    }


def _fingerprint(root: Path, version: Path) -> dict[str, Any]:
    """Identify a folder: annotations by content, images and videos by name and size.

    The data version itself may be inside, where it is left out.

    Hashing a terabyte of videos first would take hours.
    """
    lines: list[str] = []
    size = 0
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and Path(parent, name).resolve() != version.resolve()
        )
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith(".") or not path.is_file():
                continue
            bytes_here = path.stat().st_size
            is_media = path.suffix.lower() in _MEDIA
            identity = str(bytes_here) if is_media else sha256_file(path)
            lines.append(f"{path.relative_to(root).as_posix()}\0{identity}\n")
            size += bytes_here
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape"))
    return {"count": len(lines), "bytes": size, "sha256": digest.hexdigest()}


def _image_bytes(config: IngestConfig) -> int:
    """Estimate an image's bytes generously: photos take about 0.35 per pixel."""
    side = config.crop_px * config.margin / 1.2
    return int(0.35 * side**2) + 4_000


def _finish(writer: VersionWriter, plan: _Plan, config: IngestConfig, options: ReadOptions) -> None:
    folder, staging = writer.folder, writer.staging

    def parts() -> Iterator[pa.Table]:
        for shard in plan.shards:
            if config.images == "store":
                rows = Annotations.read(rows_file(staging, shard))
            else:
                rows = read_staged(staging, shard)[0]
            yield rows.table.cast(Annotations.schema)

    _join_quarantines(folder, staging, plan.shards)
    samples = writer.write_table(parts())
    if not samples:
        writer.discard()
        raise _nothing_left(folder, plan.skipped, options)
    stored = [shard.name for shard in plan.shards if (folder / SHARDS / shard.name).exists()]
    writer.finish(samples, stored, quarantine=sha256_file(folder / QUARANTINE))


def _nothing_left(folder: Path, skipped: Mapping[str, int], options: ReadOptions) -> DataError:
    reasons = Counter(_reasons(folder))
    shown = [f"{count:,} × {reason}" for reason, count in reasons.most_common(_REASONS_SHOWN)]
    shown += [f"{count:,} × {reason}" for reason, count in skipped.items()]
    splits = ", ".join(sorted(options.splits))
    if not reasons:
        (folder / QUARANTINE).unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
    if not shown:
        return DataError(
            f"the dataset has no row in the splits {splits}",
            where=folder,
            remedy="ask for another split with --split, or check that the files are complete",
        )
    first = _first_remedy(folder) if reasons else ""
    return DataError(
        f"no row of the dataset is left: {'; '.join(shown)}",
        where=folder / QUARANTINE if reasons else folder,
        expected=f"at least one usable row in the splits {splits}",
        remedy=f"{first.rstrip('.')}, then run ingest again" if first
        else "annotate some people, or ask for another split with --split",
    )  # fmt: skip


def _first_remedy(folder: Path) -> str:
    """Return the remedy of the first row excluded for the most frequent reason."""
    frequent = next(iter(_reasons(folder)), None)
    for item in _quarantined(folder):
        if frequent in (_reason(item), _without_names(_reason(item))):
            row = "" if item["row"] is None else f"row {item['row']}"
            place = ", ".join(part for part in (item["file"], row, item["field"]) if part)
            return f"{place}: {item['remedy'] or 'repair it'}"
    return ""


def _join_quarantines(folder: Path, staging: Path, shards: list[StagedShard]) -> None:
    files = [staging / "rows.quarantine.jsonl", *(quarantine_file(staging, s) for s in shards)]
    with atomic_path(folder / QUARANTINE) as scratch, scratch.open("wb") as sink:
        for file in files:
            if file.exists():
                sink.write(file.read_bytes())


def _quarantined(folder: Path) -> Iterator[dict[str, Any]]:
    with (folder / QUARANTINE).open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def _reason(item: Mapping[str, Any]) -> str:
    return str(item["what"]).split(" (sample ")[0]


def _without_names(reason: str) -> str:
    return re.sub(r"\S*[/\d]\S*", "…", reason)


def _reasons(folder: Path) -> dict[str, int]:
    """Count excluded rows by reason; reasons that differ in a name or number only are one."""
    alike: dict[str, Counter[str]] = {}
    for reason in map(_reason, _quarantined(folder)):
        alike.setdefault(_without_names(reason), Counter())[reason] += 1
    counts = {next(iter(found)) if len(found) == 1 else reason: found.total()
              for reason, found in alike.items()}  # fmt: skip
    return dict(Counter(counts).most_common())


def _silent(_what: str, _done: int, _total: int) -> None: ...
