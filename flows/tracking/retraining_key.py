"""Compute the key of a retraining: a hash of everything that its steps and decision depend on.

A rerun with the same key continues the same MLflow run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from flows.profile import Profile
from flows.registry import versions as registry
from flows.steps.machine import machine
from flows.steps.merge_datasets import part_content, profile_parts
from flows.steps.train import Stage, training_job
from flows.steps.validate import overlay_hash
from hemlets.core.code_hash import code_hash
from hemlets.core.errors import HemletsError
from hemlets.core.files import content_hash
from hemlets.core.workspace import Workspace

_INPUTS_TAG: Final = "hemlets.inputs"
_KEY_TAG: Final = "hemlets.retraining"


@dataclass(frozen=True, kw_only=True)
class RetrainingKey:
    """The key of a retraining.

    Attributes:
        key: Hash of everything, including the champion at the start.
        inputs: Hash of settings, code, machine and files alone.
    """

    key: str
    inputs: str

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the model version that the retraining registers."""
        return {_KEY_TAG: self.key, _INPUTS_TAG: self.inputs}


def retraining_key(workspace: Workspace, profile: Profile) -> RetrainingKey:
    """Compute the key of a retraining that starts now.

    The key includes the current champion, because data and challenger are compared with it. If
    this retraining produced that champion, its original key is used again.
    """
    inputs = content_hash(
        {
            "profile": profile.hash,
            "code": pipeline_code(),
            "machine": machine(),
            "trainings": [_training(profile, stage) for stage in get_args(Stage)],
            "datasets": _datasets(workspace, profile),
            "overlay": overlay_hash(profile.overlay),
        }
    )[:20]
    champion = registry.champion(workspace)
    if champion is not None and champion.tags.get(_INPUTS_TAG) == inputs:
        known = champion.tags.get(_KEY_TAG)
        if known:
            return RetrainingKey(key=known, inputs=inputs)
    start = {
        "retrain": inputs,
        "champion": None if champion is None else champion.model_hash,
        "withdrawn": [version.version for version in registry.withdrawn_versions(workspace)],
    }
    return RetrainingKey(key=content_hash(start)[:20], inputs=inputs)


def pipeline_code() -> str:
    """Hash all code that the outcome of a retraining depends on.

    A retraining calls this first, so that the code of every step is read at its start.
    """
    return code_hash("flows.retrain", "hemlets.training.__main__")


def _training(profile: Profile, stage: Stage) -> dict[str, str] | None:
    """Return a training's identity without its data; None if the step will refuse its files."""
    from hemlets.training.identity import Identity

    try:
        job = training_job(profile, stage, data=Path(), out=Path())
        return Identity.without_data(job).record
    except (HemletsError, OSError):
        return None


def _datasets(workspace: Workspace, profile: Profile) -> list[Any] | None:
    """List name and content of each ingested dataset; None if the ingest will refuse them."""
    try:
        parts = profile_parts(workspace, profile)
    except HemletsError:
        return None
    return [[part.identity, part_content(part)] for part in parts]
