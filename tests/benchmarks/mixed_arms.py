"""The two arms of the mixed-training study: as many images each, some of one's are photographs.

Both arms see the same number of images in the same number of steps, so that what is compared is
what an image is worth and not how long was trained: the mixed arm gives rendered people up for
its photographs. The rendered people that it keeps are the first of those that the other sees.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.errors import ConfigError
from hemlets.data.readers.catalogue import find
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.table import FIELDS, Annotations
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig, SplitCut

__all__ = ["HELD_OUT_FROM", "PHOTOGRAPHS", "arm_rows", "ingest_photographs", "unite", "write_arm"]

PHOTOGRAPHS: Final = "lspet"
HELD_OUT_FROM: Final = 251
"""Photographs from this number on are checked with and never trained on."""


def ingest_photographs(root: Path, folder: Path, *, crop_px: int) -> None:
    """LSPET as a data version whose validation split is held out by number, not by chance."""
    # Takes seconds, and what another version of the reader has made would be refused.
    shutil.rmtree(folder, ignore_errors=True)
    ingest(
        find(PHOTOGRAPHS),
        root,
        folder,
        IngestConfig(crop_px=crop_px, cut=SplitCut(validation=0.0, gate=0.0)),
        options=ReadOptions(settings={"validation_from": str(HELD_OUT_FROM)}),
    )


def unite(rendered: Path, photographs: Path, folder: Path) -> Annotations:
    """The rows of both, with photographs of the training split alone; links to all shards.

    `hemlets.data.versions.combine` makes a data version of it, as a profile with ``datasets =
    ["lspet"]`` trains on. That refuses rendered people of several runs under one name, who do
    no harm here, and reads every byte of them.

    Args:
        rendered: Data version of rendered people.
        photographs: That of `ingest_photographs`.
        folder: Gets ``shards``.
    """
    people = Annotations.read(rendered / "annotations.parquet")
    pictures = Annotations.read(photographs / "annotations.parquet").split("train")
    shards = folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    for prefix, source in (("", rendered), (f"{PHOTOGRAPHS}-", photographs)):
        for path in sorted((source / "shards").glob("*.arrow")):
            link = shards / f"{prefix}{path.name}"
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
    columns: dict[str, Any] = {f.name: pictures.column(f.name) for f in FIELDS}
    columns["shard"] = [f"{PHOTOGRAPHS}-{name}" for name in pictures.shard]
    return Annotations.concatenate([people, Annotations.from_columns(columns)])


def arm_rows(
    table: Annotations, *, images: int, photographs: int, seed: int, validation: int
) -> Annotations:
    """The rows of an arm: each is shown once, so that the table is the whole training.

    Args:
        table: Of the union.
        images: Training rows.
        photographs: How many of those are photographs. They come round in whole passes in a new
            order each, and every showing is varied on its own.
        seed: Of the draws; arms of one seed share their rendered people.
        validation: Rendered validation rows, evenly over that split.

    Raises:
        ConfigError: There are not enough rendered people, or no photograph.
    """
    split, source = table.column("split"), table.column("source")
    is_photograph = source == PHOTOGRAPHS
    rendered = np.flatnonzero((split == "train") & ~is_photograph)
    shown = np.flatnonzero((split == "train") & is_photograph)
    if len(rendered) < images or not len(shown):
        raise ConfigError(
            f"the data hold {len(rendered)} rendered people and {len(shown)} photographs to "
            "train on",
            where="--images",
            expected=f"at least {images} rendered people and some photographs",
            remedy="lower --images, or name larger data",
        )
    people = np.random.default_rng((seed, 0)).permutation(rendered)[: images - photographs]
    rng = np.random.default_rng((seed, 1))
    passes = [rng.permutation(shown) for _ in range(-(-photographs // len(shown)))]
    pictures = np.concatenate([shown[:0], *passes])[:photographs]
    checked = np.flatnonzero(split == "validation")
    places = np.linspace(0, len(checked) - 1, min(validation, len(checked))).astype(np.int64)
    rows = table.take(np.concatenate([people, pictures, checked[places]]))
    # Masks are the bulk of a table and nothing here looks at them.
    columns = {f.name: rows.column(f.name) for f in FIELDS} | {"mask": [b""] * len(rows)}
    return Annotations.from_columns(columns)


def write_arm(rows: Annotations, shards: Path, folder: Path) -> Path:
    """An arm's rows over the images of all, as the engine takes a data version."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "shards"
    link.unlink(missing_ok=True)
    link.symlink_to(shards.resolve())
    rows.write(folder / "annotations.parquet")
    return folder
