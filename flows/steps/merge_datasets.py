"""Merge ingested datasets with rendered people into one data version."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from flows.profile import Profile
from flows.registry.rules import Judge
from flows.sources import Source
from flows.steps.sync import arrivals_of
from flows.storage import data_versions
from flows.storage.stage_cache import StageResult, StageStore
from hemlets.core.code_hash import code_hash
from hemlets.core.errors import ConfigError
from hemlets.core.files import sha256_file
from hemlets.core.workspace import Workspace
from hemlets.data.table import Annotations
from hemlets.data.versions.combine import Part, combine
from hemlets.data.versions.hold_out import SUFFIX, HeldOut

COMBINED: Final = "combined"
"""Name of the merged dataset in DVC."""

_TABLE: Final = "annotations.parquet"
_RENDERED: Final = "open-rendered"


def ingested_parts(workspace: Workspace, names: Sequence[str]) -> list[Part]:
    """Ingested datasets by name, restricted to their training rows.

    Promotion is decided on the gate split of rendered people, so that models trained on different
    datasets are judged by the same samples.

    Raises:
        ConfigError: A dataset isn't ingested, or is named twice.
    """
    folder = workspace.home / "ingested"
    parts = []
    for name in names:
        if Path(name).name != name or not (folder / name / "version.json").is_file():
            known = sorted(path.parent.name for path in folder.glob("*/version.json"))
            raise ConfigError(
                f"the dataset {name!r} is not ingested",
                where=f"datasets = {list(names)}",
                expected=", ".join(known) or "an ingested dataset; there is none yet",
                remedy=f"run hemlets data ingest {name}",
            )
        if names.count(name) > 1 or name == _RENDERED:
            raise ConfigError(
                f"the dataset {name!r} would be in the union twice",
                where=f"datasets = {list(names)}",
                remedy="name each dataset once; the rendered people are always there",
            )
        parts.append(Part(name=name, folder=folder / name, splits=("train",)))
    return parts


def profile_parts(workspace: Workspace, profile: Profile) -> list[Part]:
    """Ingested datasets of a profile with their chosen rows, and its held-out rows.

    Raises:
        ConfigError: A dataset isn't ingested, or is named twice.
        DataError: A judge's data version is unknown or of another kind.
    """
    names = [*profile.datasets, *(source.name for source in profile.sources)]
    parts = {part.name: part for part in ingested_parts(workspace, names)}
    judges = {judge.name: held_out_rows(workspace, judge) for judge in profile.judges}
    for name in parts.keys() & judges.keys():
        table = Annotations.read(parts[name].folder / _TABLE)
        parts[name] = replace(parts[name], only=judges[name].left_for_training(table))
    for source in profile.sources:
        if source.most is not None:
            part = parts[source.name]
            rows = _training_rows(part)
            candidates = [row for row in rows if part.only is None or row in part.only]
            only = chosen_rows(arrivals_of(workspace, source.name), source, candidates)
            parts[source.name] = replace(part, only=only)
    held = [
        Part(name=f"{name}{SUFFIX}", folder=found.folder, splits=("gate", "test"))
        for name, found in judges.items()
    ]
    return [*parts.values(), *held]


def held_out_rows(workspace: Workspace, judge: Judge) -> HeldOut:
    """Held-out rows of a judge, fetched if they are not on this machine.

    Raises:
        DataError: There is no such data version.
    """
    return HeldOut.read(_held_out_folder(workspace.home, judge.held_out))


@lru_cache(maxsize=16)
def _held_out_folder(home: Path, version: str) -> Path:
    # Cached per process: DVC verifies every file.
    return data_versions.export(Workspace(home=home), version)


def chosen_rows(
    arrivals: Mapping[str, int], source: Source, candidates: Iterable[str]
) -> frozenset[str]:
    """Choose training samples of a source: some of the newest and some older ones.

    Args:
        arrivals: Number of the sync that brought each sample.
        source: Source with the cap ``most`` and the share ``new_share``.
        candidates: Training samples of the source.
    """
    assert source.most is not None
    rows = sorted(candidates, key=lambda name: hashlib.sha256(name.encode()).digest())
    last = max(arrivals.values(), default=0)
    new = [name for name in rows if arrivals.get(name) == last]
    old = [name for name in rows if arrivals.get(name) != last]
    count = min(len(new), max(math.ceil(source.new_share * source.most), source.most - len(old)))
    return frozenset([*new[:count], *old[: source.most - count]])


def _training_rows(part: Part) -> list[str]:
    import pyarrow.parquet as pq

    table = pq.read_table(
        part.folder / _TABLE, columns=["sample_id"], filters=[("split", "==", "train")]
    )
    return [str(name) for name in table.column("sample_id").to_pylist()]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Ingested row that a merged row comes from.

    Attributes:
        file: Table of the ingested dataset.
        row: Row number in that table, from 0.
    """

    file: Path
    row: int


def origins(union: Path, parts: Sequence[Part], rows: Iterable[int]) -> dict[int, Origin]:
    """Origins of merged rows; rendered people have none.

    Args:
        union: Folder of the merged version.
        parts: Ingested datasets in it.
        rows: Row numbers in the merged table, from 0.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(union / _TABLE, columns=["shard", "sample_id"])
    places: dict[str, dict[str, int]] = {}
    found = {}
    for row in rows:
        shard, sample = (table.column(name)[row].as_py() for name in ("shard", "sample_id"))
        # One part's name may be a prefix of another's.
        owners = [part for part in parts if shard.startswith(f"{part.name}-")]
        if not owners or shard.startswith(f"{_RENDERED}-"):
            continue
        part = max(owners, key=lambda part: len(part.name))
        file = part.folder / _TABLE
        if part.name not in places:
            ids = pq.read_table(file, columns=["sample_id"]).column("sample_id").to_pylist()
            places[part.name] = {name: number for number, name in enumerate(ids)}
        if sample in places[part.name]:
            found[row] = Origin(file=file, row=places[part.name][sample])
    return found


def unite(store: StageStore, rendered: StageResult, parts: Sequence[Part]) -> StageResult:
    """Merge rendered people and ingested datasets into one data version.

    The key hashes the bytes of each part's table and shards, not its ``version.json``: a row
    edited by hand makes another version.

    Raises:
        DataError: A part is damaged, or shares a sample with another part.
    """
    key = store.key(
        "ingest",
        rendered=rendered.content,
        parts=[(part.identity, part_content(part)) for part in parts],
        code=code_hash("hemlets.data.versions.combine"),
    )
    whole = [Part(name=_RENDERED, folder=rendered.folder), *parts]
    return store.run("ingest", key, lambda folder: combine(whole, folder))


def part_content(part: Part) -> dict[str, str]:
    """Hashes of the table and shards of a part, by file."""
    files = [part.folder / _TABLE, *sorted((part.folder / "shards").glob("*.arrow"))]
    return {file.name: sha256_file(file) for file in files if file.is_file()}
