"""Ingest: render a profile's data, merge ingested datasets into it, commit a data version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows.profile import Profile
from flows.steps.held_out import Judges, require_unseen
from flows.steps.machine import machine
from flows.steps.merge_datasets import COMBINED, held_out_rows, profile_parts, unite
from flows.steps.sync import Synced, source_tags
from flows.storage import data_versions
from flows.storage.stage_cache import StageResult, StageStore
from hemlets.core.code_hash import code_hash

if TYPE_CHECKING:
    from flows.tracking.run import Run
    from hemlets.data.versions.combine import Part

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data version.

    Attributes:
        result: The cached result with the annotation table and the shards.
        version: Name of the data version in DVC.
        parts: Ingested datasets that the rows come from.
        judges: The user's own held-out rows.
    """

    result: StageResult
    version: str
    parts: tuple[Part, ...] = ()
    judges: Judges = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder with the annotation table and the shards."""
        return self.result.folder


def ingest(store: StageStore, profile: Profile, progress: Progress | None = None) -> Data:
    """Render the open data of a profile and commit it as a data version.

    If the profile names ingested datasets, the version includes their training rows.

    Raises:
        ConfigError: A dataset is not ingested.
        DataError: A dataset cannot be merged, or held-out rows leak into training.
    """
    from hemlets.data.synthetic import build_open_data

    parts = profile_parts(store.workspace, profile)
    key = store.key(
        "ingest",
        config=profile.data.hash,
        machine=machine(),
        code=code_hash("hemlets.data.synthetic"),
    )
    result = store.run(
        "ingest",
        key,
        lambda folder: build_open_data(
            profile.data, folder, workers=profile.render_workers, progress=progress
        ),
    )
    judges = {judge.name: held_out_rows(store.workspace, judge).kinds for judge in profile.judges}
    if parts:
        result = unite(store, result, parts)
        require_unseen(result.folder / "annotations.parquet", judges)
    version = data_versions.commit(
        store.workspace,
        result.folder,
        name=COMBINED if parts else data_versions.OPEN_RENDERED,
        content=result.content,
    )
    return Data(result=result, version=version, parts=tuple(parts), judges=judges)


def log_ingest(run: Run, profile: Profile, data: Data, synced: Sequence[Synced] = ()) -> None:
    """Log the rendering settings, the datasets and the data version."""
    run.params(
        {
            "data": profile.data.model_dump(mode="json"),
            "datasets": ", ".join(profile.datasets),
            "sources": ", ".join(source.name for source in profile.sources),
        }
    )
    run.tag({"data_version": data.version, "content": data.result.content})
    run.tag(source_tags(synced))
    run.files([data.folder / "version.json"])
