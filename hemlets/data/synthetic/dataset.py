"""Render a data version of people and empty scenes, shard by shard, on several cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from hemlets.assets import asset_path
from hemlets.assets.clips import load_clips
from hemlets.core.errors import DataError
from hemlets.core.files import sha256_file
from hemlets.data.synthetic.config import OpenDataConfig
from hemlets.data.synthetic.motions import Motions
from hemlets.data.synthetic.people import Studio
from hemlets.data.synthetic.poses import MotionLibrary
from hemlets.data.table import ALL_SPLITS, BACKGROUND_SPLITS, Annotations
from hemlets.data.versions.writer import Progress, VersionWriter, rows_file, store_shard

RENDERER_VERSION: Final = 2
"""Increase it whenever a configuration gives other images or columns."""

_ASSETS: Final = ("body/open_body_lite.npz", "motions/motions.npz", "motions/families.json")


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """The samples of one shard: ``start`` to ``stop`` of a split."""

    name: str
    split: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def plan_shards(config: OpenDataConfig) -> list[ShardPlan]:
    """All shards of a configuration, in the table's order: people before empty scenes."""
    return [
        ShardPlan(
            name=f"{split}-{number:05d}.arrow",
            split=split,
            start=config.start(split) + start,
            stop=config.start(split) + min(start + config.shard_size, config.count(split)),
        )
        for split in ALL_SPLITS
        for number, start in enumerate(range(0, config.count(split), config.shard_size))
    ]


def build_open_data(
    config: OpenDataConfig,
    folder: Path,
    *,
    motions: Motions | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Render a data version into a folder, or resume an interrupted rendering.

    The bytes do not depend on the number of workers or on interruptions. Existing shards are
    reused; a missing shard is rendered again.

    Args:
        config: Configuration of the rendering.
        folder: Gets ``shards/``, ``annotations.parquet`` and, last, ``version.json``.
        motions: Further motion clips.
        workers: Processes. 1 renders in this process.
        progress: See `hemlets.data.versions.writer.Progress`.

    Raises:
        DataError: The folder holds other data, or a split has no motion.
        WorkspaceError: The disk is too small, another process writes into the folder, or a
            worker died.
    """
    plans = plan_shards(config)
    with VersionWriter(folder, _recipe(config, motions), purpose="rendering into") as writer:
        if writer.is_whole:
            return
        writer.store(
            _Rendering(config, folder, writer.staging, motions),
            plans,
            image_bytes=_image_bytes(config),
            workers=workers,
            what="render worker",
            progress=progress or _silent,
        )
        if writer.is_finished:
            return
        files = (rows_file(writer.staging, plan) for plan in plans)
        samples = writer.write_table(Annotations.read(file).table for file in files)
        if not samples:
            writer.discard()
            raise DataError("the configuration asks for no sample", where="samples")
        writer.finish(samples, [plan.name for plan in plans])


def _recipe(config: OpenDataConfig, motions: Motions | None) -> dict[str, Any]:
    """Collect everything that the bytes depend on."""
    own = {} if motions is None else {"motions": motions.recipe}
    return own | {
        "kind": "open-rendered",
        "renderer": RENDERER_VERSION,
        # Versions that were rendered before the setting existed have the same bytes, and name.
        "config": config.model_dump(mode="json", exclude=None if config.first else {"first"}),
        "assets": {name: sha256_file(asset_path(name)) for name in _ASSETS},
    }


def _image_bytes(config: OpenDataConfig) -> int:
    """Estimate an image's bytes generously: noisy JPEGs take about 0.7 per pixel."""
    return int(0.8 * config.image_px**2) + 6_000


@dataclass(frozen=True)
class _Rendering:
    """Makes a worker that renders shards."""

    config: OpenDataConfig
    folder: Path
    staging: Path
    motions: Motions | None

    def __call__(self) -> Callable[[ShardPlan], None]:
        from hemlets.body.model import BodyModel

        body = BodyModel.load(resolution="lite")
        own = () if self.motions is None else self.motions.clips
        studio = Studio(self.config, MotionLibrary([*load_clips(), *own]), body)
        name = None if self.motions is None else self.motions.name
        return partial(_render_shard, studio, self.folder, self.staging, name)


def _render_shard(
    studio: Studio, folder: Path, staging: Path, name: str | None, plan: ShardPlan
) -> None:
    render = studio.scene if plan.split in BACKGROUND_SPLITS else studio.person
    images = [render(plan.split, index) for index in range(plan.start, plan.stop)]
    rows = [image.row | {"shard": plan.name, "shard_row": row} for row, image in enumerate(images)]
    columns = {field: [row[field] for row in rows] for field in rows[0]}
    if name is not None:
        span = range(plan.start, plan.stop)
        columns["sample_id"] = [f"{name}-{plan.split}-{index:06d}" for index in span]
    table = Annotations.from_columns(columns)
    store_shard(folder, staging, plan, table, [image.jpeg for image in images])


def _silent(_done: int, _total: int) -> None: ...
