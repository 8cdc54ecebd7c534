"""Mixing: each source has its share of every batch, on every process, after any resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemlets.core.errors import ConfigError
from hemlets.data.table import FIELDS, Annotations
from hemlets.training.batches import Loader
from hemlets.training.engine import _loader as _loader_of
from hemlets.training.group import Group
from hemlets.training.mixing import MixedSource, batch_counts, mixed_rows, mixed_sources
from hemlets.training.stages import stage_of
from hemlets.training.training_rows import TrainingRows

LARGE, SMALL = np.arange(300), np.arange(300, 320)


@dataclass
class Sized:
    count: int

    def __len__(self) -> int:
        return self.count


def _loader(**changes: Any) -> Loader:
    sources = [MixedSource(members=LARGE, share=0.5), MixedSource(members=SMALL, share=0.5)]
    values: dict[str, Any] = {"batch_size": 16, "seed": 3, "sources": sources} | changes
    return Loader(Sized(320), **values)  # type: ignore[arg-type]


def test_every_batch_holds_half_of_each_source_however_large_it_is() -> None:
    loader = _loader()
    for step in range(60):
        chosen, _ = loader.indices(step)
        assert (chosen < 300).sum() == (chosen >= 300).sum() == 8


def test_a_pass_over_a_source_shows_each_of_its_samples_once() -> None:
    drawn = np.concatenate([_loader().indices(step)[0] for step in range(37)])
    large = drawn[drawn < 300]
    assert len(set(large)) == len(large) == 37 * 8
    small = drawn[drawn >= 300]
    # 16 of the 20 fill the whole batches of a pass.
    assert all(len(set(small[at : at + 16])) == 16 for at in range(0, 32 * 8, 16))


def test_a_small_source_comes_in_another_order_and_augmentation_with_each_pass() -> None:
    loader = _loader()
    first, second = (
        np.concatenate([loader.indices(step)[0] for step in steps]) for steps in ([0, 1], [2, 3])
    )
    assert not np.array_equal(first[first >= 300], second[second >= 300])
    assert [loader.indices(step)[1] for step in range(5)] == [0, 0, 1, 1, 2]


def test_a_source_that_does_not_fill_its_share_is_repeated_within_the_batch() -> None:
    few = [MixedSource(members=LARGE, share=0.5), MixedSource(members=SMALL[:3], share=0.5)]
    chosen, _ = _loader(sources=few).indices(4)
    assert set(chosen[chosen >= 300]) == {300, 301, 302}
    assert (chosen >= 300).sum() == 8


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_the_batch_of_one_process_and_each_sees_both_sources(
    world_size: int,
) -> None:
    whole = _loader()
    parts = [_loader(rank=rank, world_size=world_size) for rank in range(world_size)]
    seen = np.zeros((world_size, 2), int)
    for step in range(40):
        shares = [part.indices(step)[0] for part in parts]
        assert sorted(np.concatenate(shares)) == sorted(whole.indices(step)[0])
        seen += [[(s < 300).sum(), (s >= 300).sum()] for s in shares]
    assert seen.min() > 0.35 * 40 * 16 / world_size


def test_each_part_that_a_batch_is_cut_into_sees_both_sources() -> None:
    seen = np.zeros((2, 2), int)
    for step in range(40):
        for half, part in enumerate(np.split(_loader().indices(step)[0], 2)):
            seen[half] += (part < 300).sum(), (part >= 300).sum()
    assert seen.min() > 0.4 * 40 * 8


def test_the_samples_of_a_step_depend_on_seed_and_step_alone() -> None:
    forward = _loader()
    for step in range(9):
        forward.indices(step)
    assert np.array_equal(_loader().indices(9)[0], forward.indices(9)[0])
    assert not np.array_equal(_loader(seed=4).indices(9)[0], forward.indices(9)[0])


@pytest.mark.parametrize(
    ("shares", "batch_size", "counts"),
    [
        ([0.5, 0.5], 64, [32, 32]),
        ([0.5, 0.5], 5, [3, 2]),
        ([0.7, 0.2, 0.1], 10, [7, 2, 1]),
        ([0.998, 0.001, 0.001], 8, [6, 1, 1]),
        ([1 / 3, 1 / 3, 1 / 3], 8, [3, 3, 2]),
    ],
)
def test_shares_become_whole_samples_and_no_source_vanishes(
    shares: list[float], batch_size: int, counts: list[int]
) -> None:
    assert batch_counts(shares, batch_size) == counts


def test_a_batch_too_small_for_its_sources_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"3 sources don't fit a batch of 2"):
        batch_counts([0.4, 0.3, 0.3], 2)


def _rows(data: Path, source: list[str], *, without_depth: str = "") -> Annotations:
    table = Annotations.read(data / "annotations.parquet").take(np.arange(len(source)))
    columns = {f.name: table.column(f.name).copy() for f in FIELDS}
    columns["valid3d"] = columns["valid3d"] & (np.array(source) != without_depth)[:, None]
    return Annotations.from_columns(columns | {"source": source})


def test_one_source_with_depth_and_one_without_are_mixed_half_and_half(data: Path) -> None:
    rows = _rows(data, ["human36m"] * 9 + ["mpii"], without_depth="mpii")
    found = mixed_sources(rows, {})
    assert [(len(s.members), s.share) for s in found] == [(9, 0.5), (1, 0.5)]
    assert found[1].members.tolist() == [9]


def test_two_sources_with_depth_are_drawn_alike(data: Path) -> None:
    assert mixed_sources(_rows(data, ["human36m"] * 4 + ["surreal"] * 4), {}) == []
    assert mixed_sources(_rows(data, ["human36m"] * 4), {}) == []


def test_sources_outside_the_mix_are_not_trained_on(data: Path) -> None:
    rows = _rows(data, ["human36m"] * 4 + ["open"] * 2 + ["mpii"] * 2)
    mix = {"human36m": 3.0, "mpii": 1.0}
    kept = mixed_rows(rows, mix)
    assert set(kept.source) == {"human36m", "mpii"}
    assert [(s.share, len(s.members)) for s in mixed_sources(kept, mix)] == [(0.75, 4), (0.25, 2)]


def test_a_source_of_the_mix_without_rows_is_named(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)no training row of mpii.*human36m"):
        mixed_rows(_rows(data, ["human36m"] * 4), {"human36m": 0.5, "mpii": 0.5})


class TestInTheEngine:
    @pytest.fixture
    def folder(self, data: Path, tmp_path: Path) -> Path:
        """As the shared data version, with a third of the training rows from two other sources."""
        table = Annotations.read(data / "annotations.parquet")
        columns = {f.name: table.column(f.name).copy() for f in FIELDS}
        train = np.flatnonzero(table.column("split") == "train")
        source = np.full(len(table), "studio", object)
        source[train[::6]], source[train[1::6]] = "flat", "other"
        columns["valid3d"][train[::6]] = False
        Annotations.from_columns(columns | {"source": source}).write(
            tmp_path / "data" / "annotations.parquet"
        )
        (tmp_path / "data" / "shards").symlink_to(data / "shards")
        return tmp_path / "data"

    def test_a_stage_draws_its_batches_by_the_mix_and_from_nothing_else(
        self, folder: Path, tmp_path: Path, job_for: Callable[..., Any]
    ) -> None:
        mix = {"studio": 0.75, "flat": 0.25}
        training = {"steps": 4, "batch_size": 8, "mix": mix}
        job = job_for(tmp_path / "run", data=folder, training=training)
        rows = TrainingRows.read(job)
        assert set(rows.train.source) == {"studio", "flat"}
        loader = _loader_of(job, Group(), stage_of(job, Group()), rows, None)
        for step in range(4):
            chosen, _ = loader.indices(step)
            assert (rows.train.source[chosen] == "flat").sum() == 2

    def test_the_scale_of_a_source_without_whole_skeletons_comes_from_the_others(
        self, folder: Path, tmp_path: Path, job_for: Callable[..., Any]
    ) -> None:
        job = job_for(tmp_path / "run", data=folder, training={"steps": 1, "mix": {"flat": 1.0}})
        whole = job_for(tmp_path / "run", data=folder, training={"steps": 1})
        assert TrainingRows.read(job).true_bones == TrainingRows.read(whole).true_bones
