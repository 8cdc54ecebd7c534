"""Writes a data version of rendered people, shard by shard, on all the cores that it is given.

A shard's annotation rows are written after its images and are whole or absent, so their file
says that the shard is done. A build that was killed goes on with the shards that lack it.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from hemlets.assets import asset_path
from hemlets.body.model import BodyModel
from hemlets.core.errors import DataError
from hemlets.core.files import (
    content_hash,
    lock,
    read_json,
    remove_leftovers,
    require_free_space,
    sha256_file,
    write_json,
)
from hemlets.core.worker_pool import work_through
from hemlets.data.synthetic.config import OpenDataConfig
from hemlets.data.synthetic.people import Studio
from hemlets.data.synthetic.poses import MotionLibrary
from hemlets.data.table import ALL_SPLITS, BACKGROUND_SPLITS, Annotations, ShardWriter

__all__ = ["ShardPlan", "build_open_data", "plan_shards"]

RENDERER_VERSION: Final = 2
"""Counts up when the same configuration gives other images or other columns than before."""

_ASSETS: Final = ("body/open_body_lite.npz", "motions/motions.npz", "motions/families.json")
_UNFINISHED: Final = ".unfinished"

Progress = Callable[[int, int], None]


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
            start=start,
            stop=min(start + config.shard_size, config.count(split)),
        )
        for split in ALL_SPLITS
        for number, start in enumerate(range(0, config.count(split), config.shard_size))
    ]


def build_open_data(
    config: OpenDataConfig, folder: Path, *, workers: int = 1, progress: Progress | None = None
) -> None:
    """Render a data version into a folder, or finish one that was interrupted.

    The bytes don't depend on the number of workers nor on interruptions. A folder that holds
    the whole data version already is left as it is; a shard that went missing is rendered anew.

    Args:
        config: What to render.
        folder: Gets ``shards/``, ``annotations.parquet`` and, last, ``version.json``.
        workers: Processes. 1 renders in this process.
        progress: Called with the samples done and the samples in all.

    Raises:
        DataError: The folder holds other data, or a split is to be rendered without motion.
        WorkspaceError: The disk is too small, another process writes into the folder, or a
            worker died.
    """
    recipe = _recipe(config)
    plans = plan_shards(config)
    # Beside the folder, so that a data version holds data only.
    with lock(folder.with_name(f".{folder.name}.lock"), f"rendering into {folder}"):
        _claim(folder, recipe)
        missing = [plan for plan in plans if not _is_done(folder, plan)]
        finished = (folder / "version.json").exists()
        if finished and not missing:
            shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
            remove_leftovers(folder)
            return
        require_free_space(folder, _expected_bytes(config, missing))
        total = sum(map(len, plans))
        done = total - sum(map(len, missing))
        told = progress or _silent
        told(done, total)
        rendering = _Rendering(config, folder)
        for plan, _ in work_through(rendering, missing, workers, what="render worker"):
            done += len(plan)
            told(done, total)
        if not finished:
            _finish(folder, plans, recipe)
        shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
        remove_leftovers(folder)


def _recipe(config: OpenDataConfig) -> dict[str, Any]:
    """Everything that decides the bytes."""
    return {
        "kind": "open-rendered",
        "renderer": RENDERER_VERSION,
        "config": config.model_dump(mode="json"),
        "assets": {name: sha256_file(asset_path(name)) for name in _ASSETS},
    }


def _claim(folder: Path, recipe: dict[str, Any]) -> None:
    """Note what the folder will hold, or make sure that it is the same as before."""
    started, finished = folder / _UNFINISHED / "recipe.json", folder / "version.json"
    for path in (finished, started):
        if path.exists():
            found = read_json(path)
            if not isinstance(found, dict) or any(found.get(k) != v for k, v in recipe.items()):
                raise DataError(
                    "the folder holds data of another configuration, renderer or body",
                    where=path,
                    expected=f"configuration {content_hash(recipe['config'])[:12]}",
                    remedy="choose another folder, or delete this one",
                )
            return
    write_json(started, recipe)


def _rows_path(folder: Path, plan: ShardPlan) -> Path:
    return folder / _UNFINISHED / f"{plan.name}.parquet"


def _is_done(folder: Path, plan: ShardPlan) -> bool:
    rows_are_kept = (folder / "version.json").exists() or _rows_path(folder, plan).exists()
    return rows_are_kept and (folder / "shards" / plan.name).exists()


def _expected_bytes(config: OpenDataConfig, missing: Sequence[ShardPlan]) -> int:
    """A generous guess: noisy JPEGs of high quality take about 0.7 bytes a pixel."""
    sample = int(0.8 * config.image_px**2) + 6_000
    return sum(map(len, missing)) * sample + 50_000_000


@dataclass(frozen=True)
class _Rendering:
    """What a worker needs to render shards; calling it makes the worker."""

    config: OpenDataConfig
    folder: Path

    def __call__(self) -> Callable[[ShardPlan], None]:
        body = BodyModel.load(resolution="lite")
        return partial(
            _render_shard, Studio(self.config, MotionLibrary.bundled(), body), self.folder
        )


def _render_shard(studio: Studio, folder: Path, plan: ShardPlan) -> None:
    render = studio.scene if plan.split in BACKGROUND_SPLITS else studio.person
    images = [render(plan.split, index) for index in range(plan.start, plan.stop)]
    rows = [image.row | {"shard": plan.name, "shard_row": row} for row, image in enumerate(images)]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    names = columns["sample_id"]
    ShardWriter.write(folder / "shards" / plan.name, names, [image.jpeg for image in images])
    Annotations.from_columns(columns).write(_rows_path(folder, plan))


def _finish(folder: Path, plans: Sequence[ShardPlan], recipe: dict[str, Any]) -> None:
    parts = [Annotations.read(_rows_path(folder, plan)) for plan in plans]
    if not parts:
        raise DataError("the configuration asks for no sample", where="samples")
    table = Annotations.concatenate(parts)
    table.write(folder / "annotations.parquet")
    write_json(
        folder / "version.json",
        recipe
        | {
            "samples": dict(Counter(map(str, table.column("split")))),
            "annotations": sha256_file(folder / "annotations.parquet"),
            "shards": {plan.name: sha256_file(folder / "shards" / plan.name) for plan in plans},
        },
    )


def _silent(_done: int, _total: int) -> None: ...
