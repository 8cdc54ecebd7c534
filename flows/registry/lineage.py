"""Lineage: from an endpoint's answer to its model and data, and from a sample to its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.registry import versions as registry
from flows.registry.versions import ModelVersion
from flows.steps.previous_data import CONTENT_TAG, DATA_TAG
from flows.storage import data_versions
from flows.storage.stage_cache import StageStore
from hemlets.core.errors import DataError, WorkspaceError
from hemlets.core.workspace import Workspace

_TABLE = "annotations.parquet"


def version_of(workspace: Workspace, name: str) -> ModelVersion | None:
    """Find a model version.

    Args:
        workspace: Workspace with the registry.
        name: Version number, ``champion``, ``challenger``, or the ``model_version`` of an answer.

    Returns:
        The version, or None if it does not exist.
    """
    for version in reversed(registry.versions(workspace)):
        known = {str(version.version), version.tags.get(registry.ANSWER_TAG), *version.aliases}
        if name in known:
            return version
    return None


def origin_of(workspace: Workspace, version: ModelVersion) -> dict[str, Any]:
    """Data, code, sources, scores and promotion decision of a model version, by topic."""
    tags = version.tags
    return {
        "model version": version.version,
        "aliases": list(version.aliases),
        "model": version.model_hash,
        "run": version.run_id,
        "code": tags.get("code_version", ""),
        "profile": tags.get("profile", ""),
        "configuration": tags.get("config_hash", ""),
        "data version": tags.get(DATA_TAG, ""),
        "sources": [f"{name.partition('.')[2]}: {text}" for name, text in sorted(tags.items())
                    if name.startswith("source.")],
        "judges": [text for name, text in sorted(tags.items()) if name.startswith("judge.")],
        "gate": f"{tags.get('gate_samples', '')} rows, {tags.get(registry.GATE_TAG, '')}",
        "validation": tags.get("validation", ""),
        "decision": tags.get("decision", "none yet"),
        "reasons": tags.get("decision_reasons", "").split("; "),
    }  # fmt: skip


def models_of_sample(workspace: Workspace, sample: str) -> list[dict[str, Any]]:
    """Find all model versions whose data contain a sample, and how each used it.

    Args:
        workspace: Workspace with the registry and data.
        sample: Sample id, as in labels and annotation tables.

    Raises:
        DataError: No model's data contain the sample; names unreadable data versions.
    """
    found, unread = [], []
    splits: dict[str, str | None] = {}
    for version in registry.versions(workspace):
        name = version.tags.get(DATA_TAG, "")
        if name not in splits:
            try:
                splits[name] = _split(_folder(workspace, version), sample)
            except (DataError, WorkspaceError) as error:
                unread.append(f"{name} ({error.what})")
                splits[name] = None
        split = splits[name]
        if split is not None:
            use = "trained on it" if split == "train" else f"only in its {split} split"
            found.append({"version": version.version, "use": use, "data_version": name,
                          "alias": ", ".join(version.aliases)})  # fmt: skip
    if not found:
        unknown = f"; not read: {', '.join(unread)}" if unread else ""
        raise DataError(
            f"no model's data hold {sample!r}{unknown}",
            where=f"registered model {registry.MODEL_NAME}",
            expected="a sample's id, a version's number, or an answer's model_version",
        )
    return found


def _folder(workspace: Workspace, version: ModelVersion) -> Path:
    held = StageStore(workspace).holding("ingest", version.tags.get(CONTENT_TAG, ""))
    if held is not None:
        return held.folder
    return data_versions.export(workspace, version.tags.get(DATA_TAG, ""))


def _split(folder: Path, sample: str) -> str | None:
    import pyarrow.parquet as pq

    wanted = [("sample_id", "==", sample)]
    table = pq.read_table(folder / _TABLE, columns=["split"], filters=wanted)
    return str(table.column("split")[0].as_py()) if table.num_rows else None
