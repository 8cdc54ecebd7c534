"""Under which key a retraining is tracked: everything that its stages and its decision depend on.

A run with the same key has nothing new to say, so it finds the run of the first time; whatever
may give another result gives another key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flows.profile import Profile
from flows.registry import versions as registry
from flows.steps import stages
from flows.steps.merge_datasets import ingested_parts, part_content
from hemlets.core.errors import HemletsError
from hemlets.core.files import content_hash, sha256_file
from hemlets.core.workspace import Workspace

__all__ = ["RetrainingKey", "retraining_key"]

_INPUTS_TAG: Final = "hemlets.inputs"
_KEY_TAG: Final = "hemlets.retraining"
_MODEL: Final = ("model.safetensors", "model.json")


@dataclass(frozen=True, kw_only=True)
class RetrainingKey:
    """What a retraining is known by.

    Attributes:
        key: Of everything, the champion that it begins with included.
        inputs: Of settings, code, machine and files alone.
    """

    key: str
    inputs: str

    @property
    def tags(self) -> Mapping[str, str]:
        """What a model version says of the retraining that made it."""
        return {_KEY_TAG: self.key, _INPUTS_TAG: self.inputs}


def retraining_key(workspace: Workspace, profile: Profile) -> RetrainingKey:
    """The key of a retraining that begins now.

    The champion counts, since data are compared with its data and the challenger with it. One
    that this very retraining has made doesn't: then it goes by the key that it went by before.

    Args:
        workspace: Whose registry and ingested datasets.
        profile: That is followed.
    """
    inputs = content_hash(
        {
            "profile": profile.hash,
            "code": stages.pipeline_code(),
            "machine": stages.machine(),
            "files": _files(profile),
            "datasets": _datasets(workspace, profile),
        }
    )[:20]
    champion = registry.champion(workspace)
    withdrawn = [version.version for version in registry.withdrawn_versions(workspace)]
    if champion is not None and champion.tags.get(_INPUTS_TAG) == inputs:
        known = champion.tags.get(_KEY_TAG)
        if known:
            return RetrainingKey(key=known, inputs=inputs)
    begun = {
        "retrain": inputs,
        "champion": None if champion is None else champion.model_hash,
        "withdrawn": withdrawn,
    }
    return RetrainingKey(key=content_hash(begun)[:20], inputs=inputs)


def _files(profile: Profile) -> dict[str, Any]:
    """Hashes of the files that a profile names; None for one that the stage will miss by name."""
    from hemlets.models.backbones.pretrained import backbone_file

    found: dict[str, Any] = {}
    if profile.start == "starter":
        folder = stages.starter_weights().parent
        found["starter"] = [_hash(folder / name) for name in _MODEL]
    for name, training in (("pose", profile.train_pose), ("posh", profile.train_posh)):
        if training.backbone_weights:
            try:
                file = backbone_file(training.backbone_weights, profile.pose.backbone)
            except HemletsError:
                continue
            found[f"backbone, {name}"] = _hash(file)
    if profile.losses.body:
        found["body"] = _hash(Path(profile.losses.body))
    return found


def _datasets(workspace: Workspace, profile: Profile) -> list[Any] | None:
    """Names and contents of the ingested datasets; None where the ingest will refuse them."""
    try:
        parts = ingested_parts(workspace, profile.datasets)
    except HemletsError:
        return None
    return [[part.name, sorted(part.splits), part_content(part)] for part in parts]


def _hash(file: Path) -> str | None:
    try:
        return sha256_file(file)
    except OSError:
        return None
