"""Ingested datasets that a profile trains on beside the people that it renders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flows.stage_store import StageResult, StageStore, code_hash
from hemlets.datasets.combine import Part, combine
from hemlets.errors import ConfigError
from hemlets.files import sha256_file
from hemlets.workspace import Workspace

__all__ = ["COMBINED", "ingested_parts", "unite"]

COMBINED: Final = "combined"
"""What DVC calls the dataset that a union is a version of."""

_RENDERED: Final = "open-rendered"
_CODE: Final = ("hemlets/annotations", "hemlets/datasets/combine.py", "hemlets/skeleton.py")


def ingested_parts(workspace: Workspace, names: Sequence[str]) -> list[Part]:
    """Ingested datasets by name, of which the training rows are taken.

    What decides on a promotion stays the rendered people's gate split, so that models which
    learned from other datasets are judged by the same samples.

    Raises:
        ConfigError: One isn't ingested, or is named twice.
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


def unite(store: StageStore, rendered: StageResult, parts: Sequence[Part]) -> StageResult:
    """One data version of rendered people and ingested datasets.

    Raises:
        DataError: A part is damaged, or holds a sample of another.
    """
    key = store.key(
        "ingest",
        rendered=rendered.content,
        parts=[(part.name, sha256_file(part.folder / "version.json")) for part in parts],
        code=code_hash(*_CODE),
    )
    whole = [Part(name=_RENDERED, folder=rendered.folder), *parts]
    return store.run("ingest", key, lambda folder: combine(whole, folder))
