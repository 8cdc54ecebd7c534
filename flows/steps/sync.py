"""Sync: list the profile's sources, ingest changes, and commit them as a data version.

Each source's listing is compared with that of its last sync. If it changed, the files are fetched
and ingested into a new folder, which replaces the current version only when it is complete and the
listing is unchanged. An interrupted sync therefore changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows.sources import STATES, Listing, Source, list_source
from flows.storage import data_versions
from hemlets.core.code_hash import code_hash
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import content_hash, read_json, write_json
from hemlets.core.wording import counted
from hemlets.core.workspace import Workspace
from hemlets.data.remote import fetch_s3, is_s3_url

if TYPE_CHECKING:
    from hemlets.data.table import Annotations
    from hemlets.data.versions.ingest import IngestResult

_TABLE: Final = "annotations.parquet"
_NAMED: Final = 3
_FEW: Final = 500

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Synced:
    """State of a source in the workspace after a sync.

    Attributes:
        name: Name of the source.
        place: Folder or ``s3://`` prefix.
        version: Committed data version.
        listing: Hash of the listing that the version was made from.
        files: Number of files.
        rows: Number of rows.
        arrived: Number of rows that are new or changed since the previous sync.
        left_out: Number of damaged rows, which are left out.
        examples: The first damaged rows and their reasons.
    """

    name: str
    place: str
    version: str
    listing: str
    files: int
    rows: int
    arrived: int
    left_out: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.name}: {self.arrived:,} new or changed of {counted(self.rows, 'row')}"
        if not self.left_out:
            return text
        more = " …" if self.left_out > len(self.examples) else ""
        return f"{text}, {self.left_out:,} left out ({'; '.join(self.examples)}{more})"


def sync(
    workspace: Workspace, sources: Sequence[Source], progress: Progress | None = None
) -> tuple[Synced, ...]:
    """Bring every source up to date in the workspace.

    Raises:
        ConfigError: A source has the name of a dataset ingested by hand, or its place can't be
            used.
        DataError: A source is missing, changed while it was read, or has too many damaged rows.
        WorkspaceError: An S3 server can't be reached.
    """
    return tuple(_sync(workspace, source, progress or (lambda done, total: None))
                 for source in sources)  # fmt: skip


def state_of(workspace: Workspace, name: str) -> dict[str, Any]:
    """Record of the last sync of a source; empty before the first."""
    path = _state_path(workspace, name)
    return dict(read_json(path)) if path.exists() else {}


def arrivals_of(workspace: Workspace, name: str) -> dict[str, int]:
    """Number of the sync in which each row of a source arrived, by sample."""
    return {sample: int(number) for sample, (_, number) in _arrivals(workspace, name).items()}


def source_tags(synced: Sequence[Synced]) -> dict[str, str]:
    """Tags of a model version with the data version, place and listing of each source."""
    return {f"source.{one.name}": f"{one.version} from {one.place}, listing {one.listing[:12]}"
            for one in synced}  # fmt: skip


def _sync(workspace: Workspace, source: Source, progress: Progress) -> Synced:
    from hemlets.data.readers.catalogue import find

    dataset = find(source.dataset)
    target = workspace.home / "ingested" / source.name
    state = state_of(workspace, source.name)
    if target.exists() and not state:
        raise ConfigError(
            f"{source.name!r} is a dataset that was ingested by hand",
            where=f"sources, {source.name}",
            remedy="give the source another name, or remove that dataset",
        )
    listing = list_source(source)
    key = content_hash(
        {
            "listing": listing.hash,
            "place": source.place,
            "dataset": source.dataset,
            "settings": source.settings,
            "code": code_hash(dataset.reader.split(":")[0], "hemlets.data.versions.ingest"),
        }
    )
    if state.get("key") == key and (target / "version.json").exists():
        return Synced(**{**state["synced"], "examples": tuple(state["synced"]["examples"])} | {
            "arrived": 0})  # fmt: skip
    incoming = target.with_name(f".{source.name}.{key[:12]}")
    _remove_other_attempts(target, incoming)
    try:
        # One worker for few files: starting several takes seconds.
        workers = (os.cpu_count() or 1) if len(listing.files) > _FEW else 1
        result = _ingest(workspace, source, incoming, workers, progress)
        _require_unchanged(source, listing)
        _require_sound(source, result)
    except BaseException:
        # A file that disappeared while it was read would leave its rows out permanently.
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    return _accept(workspace, source, listing, key, result)


def _ingest(
    workspace: Workspace, source: Source, incoming: Path, workers: int, progress: Progress
) -> IngestResult:
    from hemlets.data.readers.catalogue import find
    from hemlets.data.readers.contract import ReadOptions
    from hemlets.data.versions.ingest import ingest
    from hemlets.data.versions.ingest_config import IngestConfig, SplitCut

    folder = Path(source.place).expanduser()
    if is_s3_url(source.place):
        folder = fetch_s3(source.place, workspace.home / "downloads", endpoint=source.endpoint)
    return ingest(
        find(source.dataset),
        folder,
        incoming,
        # `hemlets data hold-out` holds out gate and test rows.
        IngestConfig(cut=SplitCut(validation=0.0, gate=0.0)),
        options=ReadOptions(settings=source.settings),
        workers=workers,
        progress=lambda _, done, total: progress(done, total),
    )


def _require_unchanged(source: Source, before: Listing) -> None:
    if list_source(source).hash != before.hash:
        raise DataError(
            f"the source {source.name} changed while it was read",
            where=source.place,
            remedy="run again when the upload is complete; nothing was trained or promoted",
        )


def _require_sound(source: Source, result: IngestResult) -> None:
    damaged, kept = sum(result.refused.values()), sum(result.samples.values())
    if damaged > source.max_damaged * (damaged + kept):
        reasons = "; ".join(f"{count:,} × {why}" for why, count in result.refused.items())
        raise DataError(
            f"{damaged:,} of {damaged + kept:,} rows of the source {source.name} are damaged: "
            f"{reasons}",
            where=source.place,
            expected=f"at most {100 * source.max_damaged:g} %, the source's max_damaged",
            remedy="correct the files; nothing was trained or promoted",
        )


def _accept(
    workspace: Workspace, source: Source, listing: Listing, key: str, result: IngestResult
) -> Synced:
    """Replace the current version, commit it, and record the sync last."""
    from hemlets.data.table import Annotations
    from hemlets.data.versions.ingest import QUARANTINE

    target, state = workspace.home / "ingested" / source.name, state_of(workspace, source.name)
    rows = Annotations.read(result.folder / _TABLE)
    known, now = _arrivals(workspace, source.name), _digests(rows)
    number = max([int(state.get("number", 0)), *(count for _, count in known.values())]) + 1
    arrivals = {
        sample: (digest, known[sample][1] if known.get(sample, ("",))[0] == digest else number)
        for sample, digest in now.items()
    }
    path = _state_path(workspace, source.name)
    # After a crash the dataset must not look like one ingested by hand.
    write_json(path, state | {"key": "", "number": number - 1})
    shutil.rmtree(target, ignore_errors=True)
    result.folder.replace(target)
    synced = Synced(
        name=source.name,
        place=source.place,
        version=data_versions.commit(workspace, target, name=source.name),
        listing=listing.hash,
        files=len(listing.files),
        rows=len(rows),
        arrived=sum(known.get(sample, ("",))[0] != digest for sample, digest in now.items()),
        left_out=sum(result.refused.values()),
        examples=_examples(target / QUARANTINE),
    )
    data_versions.note_arrivals(workspace, synced.version, json.dumps(arrivals))
    write_json(_arrivals_path(workspace, source.name), arrivals)
    write_json(path, {"key": key, "number": number, "files": listing.files,
                      "synced": asdict(synced)})  # fmt: skip
    return synced


def _examples(quarantine: Path) -> tuple[str, ...]:
    with quarantine.open(encoding="utf-8") as stream:
        items = [json.loads(line) for _, line in zip(range(_NAMED), stream, strict=False)]
    return tuple(
        ", ".join(filter(None, (item["file"], "" if item["row"] is None else f"row {item['row']}")))
        + f": {item['what']}"
        for item in items
    )


def _digests(rows: Annotations) -> dict[str, str]:
    """Hash of each row without its location in the shards, by sample."""
    from hemlets.data.table import FIELDS

    columns = [rows.column(f.name) for f in FIELDS if f.name not in ("shard", "shard_row")]
    digests = {}
    for number, sample in enumerate(rows.sample_id):
        digest = hashlib.blake2b(digest_size=12)
        for column in columns:
            value = column[number]
            digest.update(value.tobytes() if hasattr(value, "tobytes") else repr(value).encode())
            digest.update(b"\0")
        digests[str(sample)] = digest.hexdigest()
    return digests


def _remove_other_attempts(target: Path, incoming: Path) -> None:
    for folder in target.parent.glob(f".{target.name}.*"):
        if folder != incoming:
            with contextlib.suppress(OSError):
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


def _arrivals(workspace: Workspace, name: str) -> dict[str, tuple[str, int]]:
    path = _arrivals_path(workspace, name)
    if path.exists():
        stored = read_json(path)
    else:
        # An empty machine learns from the remote what other machines have taken in.
        stored = json.loads(data_versions.noted_arrivals(workspace, name) or "{}")
    return {sample: (str(digest), int(number)) for sample, (digest, number) in stored.items()}


def _state_path(workspace: Workspace, name: str) -> Path:
    return workspace.home / "ingested" / STATES / f"{name}.json"


def _arrivals_path(workspace: Workspace, name: str) -> Path:
    return workspace.home / "ingested" / STATES / f"{name}.arrivals.json"
