"""Register: make a trained model the challenger, with lineage tags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flows.profile import Profile
from flows.registry import versions as registry
from flows.steps.benchmark import Benchmark
from flows.steps.ingest import Data
from flows.steps.previous_data import CONTENT_TAG, DATA_TAG, Previous
from flows.steps.split_fingerprint import read_split_fingerprint
from flows.storage.stage_cache import StageResult
from hemlets.core.files import read_json
from hemlets.core.workspace import Workspace
from hemlets.models.model_folder import ModelCard

METRIC_PROTOCOL: Final = "open-benchmark-1"


def register_challenger(
    workspace: Workspace,
    profile: Profile,
    *,
    data: Data,
    validation: str,
    previous: Previous | None,
    model: StageResult,
    scored: Benchmark,
    code_version: str,
    run_id: str,
    tags: Mapping[str, str],
) -> registry.ModelVersion:
    """Register the model of a training with its lineage as tags.

    Args:
        workspace: The workspace with the registry.
        profile: Profile of the run.
        data: The training data version.
        validation: Hash of the validation result.
        previous: The data version that the validation compared with.
        model: Result of the last training.
        scored: The model's benchmark.
        code_version: Git commit of the code.
        run_id: MLflow run of the retraining.
        tags: Further tags.
    """
    gate = read_split_fingerprint(scored.result.folder, "gate")
    return registry.register(
        workspace,
        _model_folder(model),
        run_id=run_id,
        tags={
            "code_version": code_version,
            DATA_TAG: data.version,
            CONTENT_TAG: data.result.content,
            "config_hash": profile.hash,
            "validation": f"passed {validation[:12]}",
            "metric_protocol": METRIC_PROTOCOL,
            "stage_key": model.key,
            registry.ANSWER_TAG: _card(model).version,
            registry.GATE_TAG: gate.hash,
            "gate_samples": str(gate.samples),
            "profile": profile.name,
            **{f"judge.{judge.name}": judge.held_out for judge in profile.judges},
            **({} if previous is None else previous.tags),
            **tags,
        },
    )


def _model_folder(model: StageResult) -> Path:
    return model.folder / "model"


def _card(model: StageResult) -> ModelCard:
    path = _model_folder(model) / "model.json"
    return ModelCard.from_mapping(read_json(path), where=str(path))
