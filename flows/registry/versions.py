"""Model registry: model versions, their files, tags and aliases.

Versions of ``hemlets-posh`` carry what they were made from as tags. The alias ``challenger``
names the newest candidate, ``champion`` the one that serves.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import tempfile
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows.tracking.mlflow_client import STAGE_KEY_TAG, Tracking, connect
from flows.tracking.run import shorten_tags
from hemlets.core.errors import AssetError, CheckpointError, ConfigError, PromotionError
from hemlets.core.files import atomic_folder, lock, sha256_file, sha256_folder
from hemlets.core.redaction import redact_url
from hemlets.core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.models import ModelSignature

MODEL_NAME = "hemlets-posh"
CHALLENGER = "challenger"
CHAMPION = "champion"
GATE_TAG = "gate_hash"
ANSWER_TAG = "answer_version"
"""Tag with the ``model_version`` of the model's predictions and answers."""
ARCHIVE_TAG = "archive_hash"
WITHDRAWN_TAG = "hemlets.withdrawn"
WITHDRAWN_FOR_TAG = "hemlets.withdrawn_for"
_ARCHIVE_PATH_TAG = "archive_path"
REQUIRED_TAGS = (
    "code_version",
    "data_version",
    "config_hash",
    "validation",
    "metric_protocol",
    "stage_key",
    GATE_TAG,
)
_DESCRIPTION = "HEMlets PoSh: 3D human pose and shape from one image"
WHEEL_VARIABLE = "HEMLETS_WHEEL"
_HASH_TAG = "model_hash"
_MODEL_FILES = ("model.safetensors", "model.json")
_LONGEST_TAG = 5000
# What a machine needs to load the model. hemlets itself comes from this project's wheel.
_REQUIREMENTS = ("hemlets", "mlflow", "numpy", "opencv-python-headless", "pandas", "torch")


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """Registered model version.

    Attributes:
        version: Its number; MLflow gives an int or a str depending on the store.
        run_id: The run that made it.
        source: Where MLflow keeps its files.
        model_hash: :func:`hemlets.core.files.sha256_folder` of the model folder.
        stage_key: Content hash of the stage that made it.
        tags: All tags.
        aliases: Names that point to it now.
    """

    version: int
    run_id: str
    source: str
    model_hash: str
    stage_key: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


def register(
    workspace: Workspace, model_folder: Path, *, run_id: str, tags: Mapping[str, str]
) -> ModelVersion:
    """Register a model folder as the challenger, once per ``stage_key`` and content.

    A second call with the same stage key and the same files finds the version of the first; a
    first call that was killed is completed. Other files under the same key, as a GPU or another
    machine may give, are another version. The version is whole before the alias moves to it.

    Args:
        workspace: Whose registry.
        model_folder: Holds ``model.safetensors`` and ``model.json``, and what else is served.
        run_id: The run that made the model; must be running.
        tags: At least :data:`REQUIRED_TAGS`.

    Raises:
        ConfigError: A required tag is missing or empty.
        AssetError: The folder lacks a file.
    """
    missing = [name for name in REQUIRED_TAGS if not tags.get(name)]
    if missing:
        raise ConfigError(
            f"tags missing for registration: {', '.join(missing)}",
            where=f"registered model {MODEL_NAME}",
            expected=f"all of {', '.join(REQUIRED_TAGS)}",
        )
    absent = [name for name in _MODEL_FILES if not (model_folder / name).is_file()]
    if absent:
        raise AssetError(
            f"the model folder has no {' and no '.join(absent)}",
            where=model_folder,
            remedy="run the training stage again",
        )
    tracking = connect(workspace)
    key = tags["stage_key"]
    model_hash = sha256_folder(model_folder)
    with lock(workspace.locks / "registry.lock", "a registration", timeout_s=120):
        found = [
            version
            for version in _search(tracking, f"name = '{MODEL_NAME}' and tags.stage_key = '{key}'")
            if version.model_hash == model_hash
        ]
        if found:
            version = found[-1]
        else:
            every = {**tags, _HASH_TAG: model_hash}
            version = _create(tracking, model_folder, run_id, shorten_tags(every, _LONGEST_TAG))
        if CHALLENGER not in version.aliases:
            tracking.client.set_registered_model_alias(MODEL_NAME, CHALLENGER, str(version.version))
    return _get(tracking, version.version)


def champion(workspace: Workspace) -> ModelVersion | None:
    """The champion; None before the first promotion."""
    return _by_alias(connect(workspace), CHAMPION)


def versions(workspace: Workspace) -> list[ModelVersion]:
    """All versions, oldest first."""
    return _search(connect(workspace), f"name = '{MODEL_NAME}'")


def withdrawn_versions(workspace: Workspace) -> list[ModelVersion]:
    """Withdrawn versions, oldest first, without their aliases."""
    found = connect(workspace).client.search_model_versions(f"name = '{MODEL_NAME}'")
    every = sorted(map(_version, found), key=lambda version: version.version)
    return [version for version in every if WITHDRAWN_TAG in version.tags]


def version_by_number(workspace: Workspace, number: int | str) -> ModelVersion:
    """One version.

    Raises:
        PromotionError: There is none of that number.
    """
    return _get(connect(workspace), int(number))


def model_folder_of(workspace: Workspace, version: ModelVersion) -> Path:
    """Return the model folder of a version on this machine after verifying its hash.

    Local artifacts are used where they lie; those of a server are downloaded once.

    Raises:
        CheckpointError: The stored files are not those that were registered.
    """
    import mlflow

    remedy = (
        "restore MLflow's artifacts from a backup, or go back to an earlier champion with "
        "hemlets rollback VERSION, and retrain"
    )
    cached = workspace.mlflow / "downloads" / version.model_hash
    if cached.is_dir() and sha256_folder(cached) == version.model_hash:
        return cached
    connect(workspace)
    try:
        stored = _local(version.source)
        if stored is not None:
            folder = stored / _artifact_path(stored)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                stored = Path(mlflow.artifacts.download_artifacts(version.source, dst_path=scratch))
                with atomic_folder(cached) as target:
                    shutil.copytree(stored / _artifact_path(stored), target, dirs_exist_ok=True)
            folder = cached
    except (OSError, KeyError, mlflow.exceptions.MlflowException) as error:
        raise CheckpointError(
            f"the files of {MODEL_NAME} version {version.version} can't be read: "
            f"{redact_url(str(error))}",
            where=redact_url(version.source),
            remedy=remedy,
        ) from error
    if not folder.is_dir() or sha256_folder(folder) != version.model_hash:
        raise CheckpointError(
            f"the files of {MODEL_NAME} version {version.version} were changed or are incomplete",
            where=folder,
            expected=f"SHA-256 {version.model_hash} over the folder",
            remedy=remedy,
        )
    return folder


def attach_archive(workspace: Workspace, version: ModelVersion, archive: Path) -> None:
    """Store a tested TorchServe archive (``.mar``) with its version, and its hash as a tag.

    Does nothing if the same bytes are stored already.
    """
    digest = sha256_file(archive)
    if version.tags.get(ARCHIVE_TAG) == digest:
        return
    folder = f"archive/{digest[:12]}"
    connect(workspace).client.log_artifact(version.run_id, str(archive), folder)
    # The hash comes last: without it the archive does not count as stored.
    tags = {_ARCHIVE_PATH_TAG: f"{folder}/{archive.name}", ARCHIVE_TAG: digest}
    tag_version(workspace, version, tags)


def archive_of(workspace: Workspace, version: ModelVersion) -> Path | None:
    """Return the tested archive of a version on this machine, verified; None if not stored.

    Local artifacts are used where they lie; those of a server are downloaded once.

    Raises:
        CheckpointError: The stored file is not the one that was tested.
    """
    import mlflow

    digest, inside = version.tags.get(ARCHIVE_TAG), version.tags.get(_ARCHIVE_PATH_TAG)
    if not digest or not inside:
        return None
    cached = workspace.mlflow / "downloads" / f"archive-{digest}"
    stored = cached / Path(inside).name
    if stored.is_file() and sha256_file(stored) == digest:
        return stored
    try:
        root = connect(workspace).client.get_run(version.run_id).info.artifact_uri
        local = _local(root)
        if local is not None:
            stored = local / inside
        else:
            with atomic_folder(cached) as target:
                mlflow.artifacts.download_artifacts(f"{root}/{inside}", dst_path=str(target))
        found = sha256_file(stored)
    except (OSError, mlflow.exceptions.MlflowException) as error:
        raise CheckpointError(
            f"the archive of {MODEL_NAME} version {version.version} can't be read: "
            f"{redact_url(str(error))}",
            where=inside,
            remedy="restore MLflow's artifacts from a backup, or retrain",
        ) from error
    if found != digest:
        raise CheckpointError(
            f"the archive of {MODEL_NAME} version {version.version} was changed",
            where=stored,
            expected=f"SHA-256 {digest}, the archive that was tested",
            remedy="restore MLflow's artifacts from a backup, or retrain",
        )
    return stored


def set_champion(workspace: Workspace, version: ModelVersion) -> None:
    """Point the alias ``champion`` to a version."""
    tracking = connect(workspace)
    current = _by_alias(tracking, CHAMPION)
    if current is None or current.version != version.version:
        tracking.client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(version.version))


def reject(workspace: Workspace, version: ModelVersion, reasons: Sequence[str]) -> None:
    """Tag a version with the reasons of its rejection, at least one. No alias moves."""
    if not reasons:
        raise PromotionError(
            "a rejection needs a reason", where=f"{MODEL_NAME} version {version.version}"
        )
    tag_version(
        workspace, version, {"decision": "rejected", "decision_reasons": "; ".join(reasons)}
    )


def tag_version(workspace: Workspace, version: ModelVersion, tags: Mapping[str, str]) -> None:
    """Set tags on a version; existing tags are replaced."""
    client = connect(workspace).client
    for name, value in shorten_tags(tags, _LONGEST_TAG).items():
        client.set_model_version_tag(MODEL_NAME, str(version.version), name, value)


def set_description(workspace: Workspace, version: ModelVersion, text: str) -> None:
    """Set the description of a version, as Markdown."""
    connect(workspace).client.update_model_version(MODEL_NAME, str(version.version), text)


def describe_model(workspace: Workspace, text: str) -> None:
    """Set the text that follows the registered model's description."""
    connect(workspace).client.update_registered_model(MODEL_NAME, f"{_DESCRIPTION}; {text}")


def untag_version(workspace: Workspace, version: ModelVersion, names: Iterable[str]) -> None:
    """Remove tags from a version; absent tags are ignored."""
    client = connect(workspace).client
    for name in names:
        if name in version.tags:
            client.delete_model_version_tag(MODEL_NAME, str(version.version), name)


def _create(
    tracking: Tracking, model_folder: Path, run_id: str, tags: Mapping[str, str]
) -> ModelVersion:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    client = tracking.client
    try:
        client.create_registered_model(MODEL_NAME, description=_DESCRIPTION)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    logged = _logged(tracking, tags["stage_key"], tags[_HASH_TAG])
    if logged is None:
        logged = _log(tracking, model_folder, run_id, tags)
    created = client.create_model_version(
        MODEL_NAME,
        source=logged.artifact_location,
        run_id=run_id,
        model_id=logged.model_id,
        tags=dict(tags),
    )
    return _version(created)


def _logged(tracking: Tracking, stage_key: str, model_hash: str) -> LoggedModel | None:
    # A process killed between logging and registering leaves a complete model without a version.
    found = tracking.client.search_logged_models(
        [tracking.experiment_id],
        filter_string=f"tags.`{STAGE_KEY_TAG}` = '{stage_key}'",
    )
    return next(
        (
            model
            for model in found
            if model.status == "READY" and model.tags.get(_HASH_TAG) == model_hash
        ),
        None,
    )


def _log(
    tracking: Tracking, model_folder: Path, run_id: str, tags: Mapping[str, str]
) -> LoggedModel:
    import mlflow.pyfunc
    from mlflow.models import Model

    client = tracking.client
    wheel = _wheel()
    # Made here, since Model.log alone would put it into MLflow's default experiment.
    empty = client.create_logged_model(
        tracking.experiment_id,
        name="model",
        source_run_id=run_id,
        tags={**tags, STAGE_KEY_TAG: tags["stage_key"]},
        model_type="3D human pose and shape",
    )
    with warnings.catch_warnings():
        # It advises on type hints of the script.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"mlflow\.pyfunc")
        Model.log(
            artifact_path=None,
            name="model",
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=empty.model_id,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"model": str(model_folder)}
            | ({} if wheel is None else {"wheel": str(wheel)}),
            signature=_signature(),
            input_example=_input_example(),
            pip_requirements=_requirements(wheel),
        )
    return client.get_logged_model(empty.model_id)


def _wheel() -> Path | None:
    """Build the library's wheel, which is stored with a model for fresh environments.

    Raises:
        AssetError: ``HEMLETS_WHEEL`` names no wheel.
    """
    given = os.environ.get(WHEEL_VARIABLE)
    if not given:
        return None
    path = Path(given).expanduser()
    if not (path.is_file() and path.suffix == ".whl" and path.name.startswith("hemlets-")):
        raise AssetError.missing(
            "the library's wheel", path, expected="a file that make wheel wrote",
            remedy=f"correct {WHEEL_VARIABLE}, or run make wheel",
        )  # fmt: skip
    return path


def _requirements(wheel: Path | None) -> list[str]:
    # A build's own mark (2.13.0+cpu) names a file that no index has.
    versions = {name: importlib.metadata.version(name) for name in _REQUIREMENTS}
    pinned = [f"{name}=={version.partition('+')[0]}" for name, version in versions.items()]
    # Relative to the model's folder, where MLflow installs its requirements from.
    return pinned if wheel is None else [f"artifacts/{wheel.name}", *pinned[1:]]


def _input_example() -> pd.DataFrame:
    """Example request for the model's page: a grey image."""
    import numpy as np
    import pandas as pd

    from hemlets.data.table import encode_jpeg

    image = encode_jpeg(np.full((64, 64, 3), 127, np.uint8))
    return pd.DataFrame({"image": [image], "box": [[8.0, 4.0, 56.0, 60.0]]})


def _signature() -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema

    number, text = DataType.double, DataType.string
    intrinsics = Object([Property(name, number) for name in ("fx", "fy", "cx", "cy")])
    inputs = [
        ColSpec(DataType.binary, "image"),
        ColSpec(Array(number), "box", required=False),
        ColSpec(intrinsics, "camera", required=False),
    ]
    outputs = [
        ColSpec(Array(Array(number)), "joints3d_mm"),
        ColSpec(Array(number), "root_mm"),
        ColSpec(Array(Array(number)), "joints2d_px"),
        ColSpec(Array(number), "confidence"),
        ColSpec(number, "person_confidence", required=False),
        ColSpec(DataType.boolean, "person", required=False),
        ColSpec(Array(Array(number)), "theta_rad"),
        ColSpec(Array(number), "betas"),
        ColSpec(Array(number), "box_xyxy_px"),
        ColSpec(intrinsics, "camera_px"),
        ColSpec(Array(text), "flags"),
        ColSpec(text, "model_version"),
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _local(source: str) -> Path | None:
    parts = urllib.parse.urlsplit(source)
    path = Path(urllib.request.url2pathname(parts.path) if parts.scheme else source)
    return path if parts.scheme in ("", "file") else None


def _artifact_path(stored: Path) -> str:
    from mlflow.models import Model

    return str(Model.load(str(stored)).flavors["python_function"]["artifacts"]["model"]["path"])


def _search(tracking: Tracking, query: str) -> list[ModelVersion]:
    found = [_version(item) for item in tracking.client.search_model_versions(query)]
    # A search does not return aliases.
    return [_get(tracking, item.version) for item in sorted(found, key=lambda v: v.version)]


def _get(tracking: Tracking, number: int) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        return _version(tracking.client.get_model_version(MODEL_NAME, str(number)))
    except MlflowException as error:
        raise PromotionError(
            f"{MODEL_NAME} has no version {number}",
            where=redact_url(tracking.uri),
            remedy=redact_url(error.message),
        ) from error


def _by_alias(tracking: Tracking, alias: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

    try:
        found = tracking.client.get_model_version_by_alias(MODEL_NAME, alias)
    except MlflowException as error:
        # An unknown alias answers INVALID_PARAMETER_VALUE, an unknown model
        # RESOURCE_DOES_NOT_EXIST; a lost server must not read as "no champion".
        absent = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE"}
        if error.error_code in absent:
            return None
        raise PromotionError(
            f"the alias {alias!r} can't be looked up: {redact_url(error.message)}",
            where=redact_url(tracking.uri),
        ) from error
    return _version(found)


def _version(found: MlflowVersion) -> ModelVersion:
    tags = dict(found.tags)
    return ModelVersion(
        version=int(found.version),
        run_id=found.run_id or "",
        source=found.source,
        model_hash=tags.get(_HASH_TAG, ""),
        stage_key=tags.get("stage_key", ""),
        tags=tags,
        aliases=tuple(found.aliases or ()),
    )
