"""Writes a data version of rendered people, shard by shard, on all the cores that it is given.

A shard's annotation rows are written after its images and are whole or absent, so their file
says that the shard is done. A build that was killed goes on with the shards that lack it.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

from hemlets.annotations import FIELDS, SPLITS, Annotations, ShardWriter
from hemlets.assets import asset_path
from hemlets.body.model import BodyModel
from hemlets.errors import DataError, WorkspaceError
from hemlets.files import (
    content_hash,
    lock,
    read_json,
    require_free_space,
    sha256_file,
    write_json,
)
from hemlets.processes import die_with_parent
from hemlets.synthetic.config import OpenDataConfig
from hemlets.synthetic.people import Studio
from hemlets.synthetic.poses import MotionLibrary

__all__ = ["ShardPlan", "build_open_data", "plan_shards"]

RENDERER_VERSION: Final = 1
"""Counts up when the same configuration renders other images than before."""

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
    """All shards of a configuration, in the table's order."""
    return [
        ShardPlan(
            name=f"{split}-{number:05d}.arrow",
            split=split,
            start=start,
            stop=min(start + config.shard_size, config.samples.of(split)),
        )
        for split in SPLITS
        for number, start in enumerate(range(0, config.samples.of(split), config.shard_size))
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
            return
        require_free_space(folder, _expected_bytes(config, missing))
        total = sum(map(len, plans))
        done = total - sum(map(len, missing))

        def report(plan: ShardPlan) -> None:
            nonlocal done
            done += len(plan)
            if progress is not None:
                progress(done, total)

        if progress is not None:
            progress(done, total)
        if workers > 1 and len(missing) > 1:
            _render_in_workers(config, folder, missing, min(workers, len(missing)), report)
        else:
            studio = _studio(config)
            for plan in missing:
                _render_shard(studio, folder, plan)
                report(plan)
        if not finished:
            _finish(folder, plans, recipe)
        shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)


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


def _studio(config: OpenDataConfig) -> Studio:
    return Studio(config, MotionLibrary.bundled(), BodyModel.load(resolution="lite"))


def _render_shard(studio: Studio, folder: Path, plan: ShardPlan) -> None:
    people = [studio.person(plan.split, index) for index in range(plan.start, plan.stop)]
    rows = [
        person.row | {"shard": plan.name, "shard_row": row} for row, person in enumerate(people)
    ]
    columns = {field.name: [row[field.name] for row in rows] for field in FIELDS}
    names = columns["sample_id"]
    ShardWriter.write(folder / "shards" / plan.name, names, [person.jpeg for person in people])
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


def _render_in_workers(
    config: OpenDataConfig,
    folder: Path,
    plans: Sequence[ShardPlan],
    workers: int,
    report: Callable[[ShardPlan], None],
) -> None:
    # Spawned, since a forked copy of PyTorch's thread pools can hang. Started by hand, since a
    # pool neither notices a worker that the kernel killed nor hands its workers' death on.
    context = multiprocessing.get_context("spawn")
    crew: dict[Connection, SpawnProcess] = {}
    waiting = list(reversed(plans))
    under_way: dict[Connection, ShardPlan] = {}
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            worker = context.Process(
                target=_work, args=(config, folder, theirs, os.getpid()), daemon=True
            )
            worker.start()
            theirs.close()
            crew[ours] = worker
            under_way[ours] = waiting.pop()
            _send(ours, worker, under_way[ours])
        while under_way:
            for ready in wait(list(under_way)):
                assert isinstance(ready, Connection)
                plan = under_way.pop(ready)
                _receive(ready, crew[ready], plan)
                report(plan)
                if waiting:
                    under_way[ready] = waiting.pop()
                    _send(ready, crew[ready], under_way[ready])
    finally:
        for connection, worker in crew.items():
            connection.close()
            worker.terminate()
        for worker in crew.values():
            worker.join()


def _send(connection: Connection, worker: SpawnProcess, plan: ShardPlan) -> None:
    try:
        connection.send(plan)
    except OSError:
        raise _death(worker, plan) from None


def _receive(connection: Connection, worker: SpawnProcess, plan: ShardPlan) -> None:
    """Wait for a shard, and raise what went wrong with it."""
    try:
        answer = connection.recv()
    except (EOFError, OSError):
        raise _death(worker, plan) from None
    if isinstance(answer, BaseException):
        raise answer


def _death(worker: SpawnProcess, plan: ShardPlan) -> WorkspaceError:
    worker.join()
    return WorkspaceError(
        f"a render worker ended with exit code {worker.exitcode}",
        where=plan.name,
        remedy="run the command again, it goes on where it stopped; fewer workers need less memory",
    )


def _work(config: OpenDataConfig, folder: Path, tasks: Connection, parent_pid: int) -> None:
    die_with_parent(signal.SIGTERM, parent_pid=parent_pid)
    # Ctrl-C reaches the whole process group; only the parent answers it, by ending the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    studio: Studio | None = None
    while True:
        try:
            plan = tasks.recv()
        except (EOFError, OSError):
            return
        try:
            studio = studio or _studio(config)
            _render_shard(studio, folder, plan)
        except Exception as error:  # handed on to the parent, which raises it
            tasks.send(error)
        else:
            tasks.send(None)
