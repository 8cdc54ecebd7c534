"""Combine data versions into one, e.g. rendered people with 3D and photographs with 2D.

The table is the parts' tables in order. Shards are unchanged, under names that begin with the
part's name. A row's dataset stays in its ``source``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import atomic_path, content_hash, sha256_file
from hemlets.data.table import ALL_SPLITS, Annotations
from hemlets.data.versions.writer import SHARDS, TABLE, VersionWriter, is_whole_shard

COMBINE_VERSION: Final = 1
"""Increase it whenever the same parts give another table or other shards."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHOWN: Final = 5
_AGAIN: Final = "run ingest again, or check out the data version again"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A data version that becomes part of another.

    Attributes:
        name: Unique name of the part, which prefixes the names of its shards.
        folder: The data version.
        splits: Splits to include. Parts for training only leave the held-out rows unchanged between
            combinations.
        only: Samples of these splits to include; all if None.
    """

    name: str
    folder: Path
    splits: tuple[str, ...] = ALL_SPLITS
    only: frozenset[str] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything, except the bytes, that selects the part's rows."""
        chosen = {} if self.only is None else {"only": content_hash(sorted(self.only))}
        return {"name": self.name, "splits": sorted(self.splits), **chosen}


def combine(parts: Sequence[Part], folder: Path) -> None:
    """Combine data versions into one, or finish an interrupted combination.

    Shards are linked on the same disk, else copied. The bytes depend on the parts' bytes, names and
    order alone.

    Args:
        parts: In the table's order.
        folder: Gets ``shards/``, ``annotations.parquet`` and, last, ``version.json``.

    Raises:
        ConfigError: There is no part, two have the same name, or a name or split is invalid.
        DataError: A part is damaged, two have a sample of the same name, a clip would be both
            trained on and held out, or the folder holds something else.
        WorkspaceError: Another process writes into the folder.
    """
    _require_names(parts)
    contents = [_content(part) for part in parts]
    with VersionWriter(folder, _recipe(parts, contents), purpose="combining into") as writer:
        if writer.is_whole:
            return
        tables = [_table(part) for part in parts]
        _require_sound(Annotations(pa.concat_tables(tables)), parts, [len(one) for one in tables])
        shards: dict[str, str] = {}
        for part, content, table in zip(parts, contents, tables, strict=True):
            for name in sorted(pc.unique(table.column("shard")).to_pylist()):
                own = name.removeprefix(f"{part.name}-")
                source = part.folder / SHARDS / own
                if own not in content:
                    raise DataError.missing("the image shard", source, remedy=_AGAIN)
                if not is_whole_shard(source):
                    raise DataError.damaged("the image shard is cut", source, remedy=_AGAIN)
                shards[name] = content[own]
                target = folder / SHARDS / name
                if not target.exists() or sha256_file(target) != content[own]:
                    place_file(source, target)
        writer.finish(writer.write_table(tables), shards, hashes=shards)


def _require_names(parts: Sequence[Part]) -> None:
    if not parts:
        raise ConfigError("there is nothing to combine", expected="data versions")
    names = Counter(part.name for part in parts)
    for part in parts:
        if not _NAME.fullmatch(part.name):
            raise ConfigError(
                f"{part.name!r} can't be the name of a part",
                expected="letters, digits, '-', '_' and '.'",
            )
        if names[part.name] > 1:
            raise ConfigError(
                f"two parts are called {part.name!r}", remedy="give each a name of its own"
            )
        strange = [split for split in part.splits if split not in ALL_SPLITS]
        if strange or not part.splits:
            raise ConfigError(
                f"{part.name}: there is no split {', '.join(strange)}" if strange
                else f"{part.name}: no split is taken",
                expected=", ".join(ALL_SPLITS),
            )  # fmt: skip


def _recipe(parts: Sequence[Part], contents: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Collect everything that the bytes depend on."""
    return {
        "kind": "combined",
        "combine": COMBINE_VERSION,
        "parts": [
            {**part.identity, "content": content_hash(content)}
            for part, content in zip(parts, contents, strict=True)
        ],
    }


def _content(part: Part) -> dict[str, str]:
    """Hash a part's table and shards, by file name."""
    table, shards = part.folder / TABLE, part.folder / SHARDS
    if not table.is_file() or not shards.is_dir():
        raise DataError(
            "this is no data version with images",
            where=part.folder,
            expected="annotations.parquet and shards/",
            remedy="run hemlets data ingest, without images=none",
        )
    files = [table, *sorted(shards.glob("*.arrow"))]
    return {path.name: sha256_file(path) for path in files}


def _table(part: Part) -> pa.Table:
    """Select a part's rows, with their shards' new names."""
    table = Annotations.read(part.folder / TABLE).table
    table = table.filter(pc.is_in(table.column("split"), pa.array(part.splits, pa.string())))
    if part.only is not None:
        chosen = pa.array(sorted(part.only), pa.string())
        table = table.filter(pc.is_in(table.column("sample_id"), chosen))
    shard = table.column("shard")
    if pc.any(pc.equal(shard, "")).as_py():
        raise DataError(
            "rows have no stored image",
            where=part.folder / TABLE,
            remedy="run hemlets data ingest again, without images=none",
        )
    renamed = pc.binary_join_element_wise(pa.scalar(part.name), shard, "-")
    place = table.column_names.index("shard")
    return table.set_column(place, Annotations.schema.field("shard"), renamed)


def _require_sound(table: Annotations, parts: Sequence[Part], rows: Sequence[int]) -> None:
    where = ", ".join(str(part.folder) for part in parts)
    if not len(table):
        raise DataError("no row is taken of any part", where=where)
    of_part = [part.name for part, count in zip(parts, rows, strict=True) for _ in range(count)]
    counts = Counter(table.sample_id)
    again: dict[str, list[str]] = {str(n): [] for n, count in counts.items() if count > 1}
    for name, part in zip(table.sample_id, of_part, strict=True):
        if name in again:
            again[name].append(part)
    if again:
        first = next(iter(again))
        raise DataError(
            f"{len(again):,} samples are in more than one part: "
            f"{', '.join(map(str, list(again)[:_SHOWN]))}",
            where=f"{' and '.join(again[first])} (sample {first})",
            expected="each sample once",
            remedy="leave one of the parts out, or take other splits of it",
        )
    homes: dict[tuple[str, str], set[tuple[str, str]]] = {}
    split = table.column("split")
    for source, clip, *home in zip(table.source, table.clip, of_part, split, strict=True):
        homes.setdefault((str(source), str(clip)), set()).add((home[0], str(home[1])))
    # A clip that a single part has in two splits was split so on purpose by its own dataset.
    torn = [
        clip
        for (_, clip), found in homes.items()
        if clip and len({part for part, _ in found}) > 1 and len({home for _, home in found}) > 1
    ]
    if torn:
        raise DataError(
            f"{len(torn):,} clips are in more than one split: {', '.join(torn[:_SHOWN])}",
            where=where,
            expected="a clip in one split, so that nothing is trained on and held out",
            remedy="take other splits of a part, or ingest it again with the same cut",
        )


def place_file(source: Path, target: Path) -> None:
    """Link a file where both are on the same disk, else copy it; whole or not at all."""
    with atomic_path(target) as scratch:
        scratch.unlink(missing_ok=True)
        try:
            os.link(source, scratch)
        except OSError:
            shutil.copyfile(source, scratch)
