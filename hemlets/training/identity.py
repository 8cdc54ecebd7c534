"""The identity of a run: hashes of everything that determines its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from hemlets.core.errors import CheckpointError
from hemlets.core.files import content_hash, sha256_file
from hemlets.models.backbones.pretrained import backbone_file
from hemlets.models.model_folder import CARD
from hemlets.training.config import StageJob

_NAMES: Final = {
    "settings": "settings",
    "annotations": "annotations",
    "initial": "initial weights",
    "initial_pose": "initial pose weights",
    "backbone": "backbone weights",
    "body": "body model",
}


def table_of(job: StageJob) -> Path:
    """Return the path of a job's annotation table."""
    return job.data / "annotations.parquet"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Hashes that identify a run: equal identities give equal weights on the same machine.

    Every field is a SHA-256, or empty if the job has no such file.

    Attributes:
        settings: Of the job, without file locations and rendering workers.
        annotations: Of the annotation table, which holds the hashes of its images.
        initial: Of the initial weights and their model card.
        initial_pose: Of the pose network's initial weights and their model card.
        backbone: Of the ImageNet weights.
        body: Of the body model of the data's θ and β.
    """

    settings: str
    annotations: str
    initial: str
    initial_pose: str
    backbone: str
    body: str

    @classmethod
    def of(cls, job: StageJob) -> Self:
        """Hash the files that a job names.

        Raises:
            CheckpointError: Initial weights do not exist.
        """
        return cls._of(job, annotations=sha256_file(table_of(job)))

    @classmethod
    def without_data(cls, job: StageJob) -> Self:
        """Hash everything but the annotation table, for a data version that does not exist yet.

        Raises:
            CheckpointError: Initial weights do not exist.
        """
        return cls._of(job, annotations="")

    @classmethod
    def _of(cls, job: StageJob, *, annotations: str) -> Self:
        backbone = job.training.backbone_weights
        return cls(
            settings=_settings(job),
            annotations=annotations,
            initial=_weights(job.initial),
            initial_pose=_weights(job.initial_pose),
            backbone=sha256_file(backbone_file(backbone, job.pose.backbone)) if backbone else "",
            body=sha256_file(job.losses.body) if job.losses.body else "",
        )

    @property
    def key(self) -> str:
        """Short hash of all fields."""
        return content_hash(asdict(self))[:20]

    @property
    def record(self) -> dict[str, str]:
        """Hashes by field, for storage."""
        return asdict(self)

    @property
    def described(self) -> dict[str, str]:
        """Hashes by the fields' names in messages."""
        return {_NAMES[field]: value for field, value in asdict(self).items()}

    def changed(self, record: Mapping[str, Any]) -> list[str]:
        """Return the message names of fields that differ from a record."""
        return [
            _NAMES[field] for field, value in asdict(self).items() if record.get(field) != value
        ]


def _settings(job: StageJob) -> str:
    values = job.model_dump(mode="json", exclude={"data", "out", "initial", "initial_pose"})
    del values["render_workers"]
    del values["features"]
    # Their contents count, and have fields of their own.
    del values["losses"]["body"]
    del values["training"]["backbone_weights"]
    return content_hash(values)


def _weights(path: Path | None) -> str:
    if path is None:
        return ""
    card = path.with_name(CARD)
    try:
        digest = sha256_file(path)
        # The families and calibrations in a model card are used too.
        return content_hash([digest, sha256_file(card)]) if card.exists() else digest
    except FileNotFoundError as error:
        raise CheckpointError(
            "the weights to start from do not exist",
            where=path,
            remedy="put them there, on every machine of the run, or name others",
        ) from error
