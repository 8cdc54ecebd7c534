"""Find the data version for comparison: the champion's training data.

A model version's tags hold the content hashes of its data and of the data that these were compared
with. A run after a promotion therefore compares the same two versions as the promoting run, and
reuses its cached validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flows.storage import data_versions as data_version
from flows.storage.stage_cache import StageStore
from hemlets.core.errors import DataError, WorkspaceError
from hemlets.core.files import sha256_file

NO_PREVIOUS: Final = "nothing: no champion was trained on another data version"
DATA_TAG: Final = "data_version"
CONTENT_TAG: Final = "data_content"
_PREVIOUS_TAG: Final = "previous_data_version"
_PREVIOUS_CONTENT_TAG: Final = "previous_data_content"
_TABLE: Final = "annotations.parquet"


@dataclass(frozen=True, kw_only=True)
class Previous:
    """Earlier data version.

    Attributes:
        version: Name of the version in DVC.
        content: Hash of the step result; empty if unknown.
        folder: Folder of the version; None if it can't be fetched.
        missing: Reason why it can't be fetched.
    """

    version: str
    content: str = ""
    folder: Path | None = None
    missing: str = ""

    def __str__(self) -> str:
        if self.folder is None:
            return f"nothing: data version {self.version} can't be fetched ({self.missing})"
        return f"data version {self.version}"

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of a model version with the data version that its data were compared with."""
        known = {_PREVIOUS_TAG: self.version, _PREVIOUS_CONTENT_TAG: self.content}
        return {name: value for name, value in known.items() if value}

    def ingredients(self) -> dict[str, Any]:
        """Inputs of a comparison: the table, or its absence."""
        table = None if self.folder is None else sha256_file(self.folder / _TABLE)
        return {"version": self.version, "table": table}


def find_previous(
    store: StageStore, present: str, champion_tags: Mapping[str, str] | None
) -> Previous | None:
    """Find the version to compare the present one with, from the cache or through DVC.

    Args:
        store: The cache of step results.
        present: Name of the present data version.
        champion_tags: Tags of the champion; None if there is none.

    Returns:
        None if no champion was trained on other data.
    """
    tags = champion_tags or {}
    version, content = tags.get(DATA_TAG, ""), tags.get(CONTENT_TAG, "")
    if version == present:
        version, content = tags.get(_PREVIOUS_TAG, ""), tags.get(_PREVIOUS_CONTENT_TAG, "")
    if not version or version == present:
        return None
    held = store.holding("ingest", content) if content else None
    if held is not None:
        return Previous(version=version, content=content, folder=held.folder)
    try:
        folder = data_version.export(store.workspace, version)
    except (DataError, WorkspaceError) as error:
        return Previous(version=version, content=content, missing=error.what)
    if not (folder / _TABLE).is_file():
        return Previous(version=version, content=content, missing=f"it has no {_TABLE}")
    return Previous(version=version, content=content, folder=folder)
