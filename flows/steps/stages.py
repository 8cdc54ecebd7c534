"""The stages of a retraining, each a function from whole inputs to a whole result.

None of them knows Prefect or MLflow; :mod:`flows.retrain` orders and reports them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows.profile import BenchmarkConfig, Profile
from flows.steps.label_coverage import require_bodies
from flows.steps.previous_data import NO_PREVIOUS, Previous
from flows.steps.training_process import run_training
from flows.storage import data_versions as data_version
from flows.storage.stage_cache import StageResult, StageStore, code_hash
from hemlets.core.errors import ConfigError, ValidationFailed
from hemlets.core.files import content_hash, read_json, sha256_file, sha256_folder, write_json
from hemlets.models.model_folder import CARD, InferenceConfig
from hemlets.training.config import StageJob, TrainingConfig

if TYPE_CHECKING:
    from data_checks.result import ValidationResult
    from hemlets.data.versions.combine import Part

__all__ = [
    "Begins",
    "Benchmark",
    "Data",
    "Package",
    "benchmark",
    "check_needs",
    "ingest",
    "package",
    "pipeline_code",
    "require_valid",
    "starter_weights",
    "train_pose",
    "train_posh",
    "validate_data",
]

Progress = Callable[[int, int], None]

Begins = Callable[[str, Path], Callable[[dict[str, Any]], None]]
"""Called with a training's key and its folder before it begins or goes on, never where its result
is there already; gives what each new row of its history is handed to."""

_CORE: Final = (
    "hemlets/core/config.py",
    "hemlets/core/files.py",
    "hemlets/core/skeleton.py",
    "hemlets/data/table",
    "hemlets/models/codecs",
    "hemlets/data/transforms",
    "hemlets/models",
)
_MOTIONS: Final = (
    "hemlets/assets/clips.py",
    "hemlets/assets/motions/motions.npz",
    "hemlets/assets/motions/families.json",
)
_DATA: Final = (
    "hemlets/core/skeleton.py",
    "hemlets/data/table",
    "hemlets/data/synthetic",
    "hemlets/data/versions/writer.py",
    "hemlets/body",
    "hemlets/assets/body/open_body_lite.npz",
    *_MOTIONS,
)
_TRAINING: Final = (
    *_CORE,
    "hemlets/body",
    "hemlets/assets/body/open_body_lite.npz",
    "hemlets/models/losses",
    "hemlets/training",
    "flows/steps/training_process.py",
)
_SCORING: Final = (
    *_CORE,
    "hemlets/inference",
    "hemlets/evaluation",
    "hemlets/reports/drawing",
    "hemlets/body",
    "hemlets/assets/body/open_body_lite.npz",
    # Refinement's prior of poses is learned from them.
    *_MOTIONS,
    "flows/steps/body_metrics.py",
    "flows/steps/split_fingerprint.py",
    "flows/steps/open_benchmark.py",
    "flows/steps/presence_metrics.py",
    "flows/steps/scoring.py",
)
_SERVING: Final = (
    *_CORE,
    "hemlets/inference",
    "hemlets/evaluation/predictions.py",
    "serving",
    "flows/steps/canary.py",
)
_CANARY: Final = "canary.json"
_SCORED_SPLITS: Final = ("gate", "test")
_ROWS_TOLD: Final = 10


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data version: where it is and what DVC calls it.

    Attributes:
        parts: The ingested datasets that rows of it were taken from.
    """

    result: StageResult
    version: str
    parts: tuple[Part, ...] = ()

    @property
    def folder(self) -> Path:
        """Folder with the annotation table and the shards."""
        return self.result.folder


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Saved predictions and their scores, by split and predictor."""

    result: StageResult

    def predictions(self, split: str) -> Path:
        """The model's predictions file."""
        return self.result.folder / split / "model" / "predictions.parquet"

    def scores(self, split: str, predictor: str = "model") -> Path:
        """Folder of a predictor's scores: ``model``, ``mean-pose`` or ``linear-lifter``."""
        return self.result.folder / split / predictor

    @property
    def open_page(self) -> Path:
        """Folder of the test split scored by the open protocol, with its page."""
        return self.result.folder / "open"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A model archive and what its endpoint answered."""

    result: StageResult
    archive: Path
    passed: bool
    summary: str


def starter_weights() -> Path:
    """The bundled weights that fine-tuning starts from."""
    from hemlets.assets import asset_path

    return asset_path("starter/model.safetensors")


def check_needs(profile: Profile) -> None:
    """Miss what a later stage needs now rather than after the training.

    Raises:
        AssetError: The profile starts from weights that are not there.
        ServingError: There is no Java.
    """
    from serving.java import find_java

    find_java()
    if profile.start == "starter":
        starter_weights()


def ingest(store: StageStore, profile: Profile, progress: Progress | None = None) -> Data:
    """Render the open data of a profile and commit it as a data version.

    Where the profile names ingested datasets, the version is the union with these.

    Raises:
        ConfigError: A dataset isn't ingested.
        DataError: A dataset can't be part of the union.
    """
    from flows.steps.merge_datasets import COMBINED, ingested_parts, unite
    from hemlets.data.synthetic import build_open_data

    parts = ingested_parts(store.workspace, profile.datasets)
    key = store.key("ingest", config=profile.data.hash, machine=machine(), code=code_hash(*_DATA))
    result = store.run(
        "ingest",
        key,
        lambda folder: build_open_data(
            profile.data, folder, workers=profile.render_workers, progress=progress
        ),
    )
    if parts:
        result = unite(store, result, parts)
    version = data_version.commit(
        store.workspace,
        result.folder,
        name=COMBINED if parts else data_version.OPEN_RENDERED,
        content=result.content,
    )
    return Data(result=result, version=version, parts=tuple(parts))


def validate_data(store: StageStore, data: Data, previous: Previous | None = None) -> StageResult:
    """Hold a data version against the suites; the result says whether it passed.

    Args:
        store: Where the result is kept.
        data: The version.
        previous: The version before it, whose label distributions it is compared with.
    """

    def build(folder: Path) -> None:
        from data_checks.validate import validate

        validate(
            data.folder,
            folder,
            previous=None if previous is None else previous.folder,
            compared_with=NO_PREVIOUS if previous is None else str(previous),
        )

    key = store.key(
        "validate",
        data=data.result.content,
        previous=None if previous is None else previous.ingredients(),
        code=code_hash("data_checks", *_DATA),
    )
    return store.run("validate", key, build, counts="result.json")


def require_valid(result: StageResult, data: Data) -> None:
    """Go on with a valid data version only.

    Raises:
        ValidationFailed: A blocking expectation failed; names rows, fields and pages, and the
            ingested files that the rows came from.
    """
    from data_checks.result import ValidationResult

    outcome = ValidationResult.read(result.folder)
    if outcome.passed:
        return
    told, files = _ingested_rows(outcome, data)
    if files:
        names = ", ".join(file.parent.name for file in files)
        raise ValidationFailed(
            f"{outcome.message()}\n{told}",
            where=", ".join(map(str, files)),
            remedy="mend or remove these rows in the ingested files, or mend the source and make "
            f"them anew with hemlets data ingest --anew ({names}), and run again; nothing was "
            "trained",
        )
    raise ValidationFailed(
        outcome.message(),
        where=data.folder / "annotations.parquet",
        remedy="mend what made these rows (the settings under [data], the rendering's code"
        + "".join(f", the ingested dataset {part.name}" for part in data.parts)
        + ") and run again; a change of this file itself would be undone; nothing was trained",
    )


def _ingested_rows(outcome: ValidationResult, data: Data) -> tuple[str, list[Path]]:
    """Which ingested rows broke an expectation, in words, and the files that they are in."""
    from flows.steps.merge_datasets import origins

    named = {
        row.number: row.sample_id
        for finding in outcome.blocking
        for row in finding.rows
        if row.number >= 0
    }
    if not data.parts or not named:
        return "", []
    found = origins(data.folder, data.parts, named)
    lines = [
        f"- {named[number]}: row {origin.row} of {origin.file}" for number, origin in found.items()
    ]
    more = [f"- and {len(lines) - _ROWS_TOLD} more"] if len(lines) > _ROWS_TOLD else []
    files = sorted({origin.file for origin in found.values()})
    return "\n".join(["Where they were ingested:", *lines[:_ROWS_TOLD], *more]), files


def train_pose(
    store: StageStore, profile: Profile, data: Data, begins: Begins | None = None
) -> StageResult:
    """Train the pose network, from the starter weights or from random ones.

    Raises:
        DataError: The data can't teach the PoSh stage that follows.
    """
    require_bodies(profile, data.folder)
    initial = starter_weights() if profile.start == "starter" else None
    return _train(store, profile, data, "pose", profile.train_pose, initial, None, begins)


def train_posh(
    store: StageStore,
    profile: Profile,
    data: Data,
    pose: StageResult,
    begins: Begins | None = None,
) -> StageResult:
    """Train pose and shape end to end, from the pose stage's network."""
    initial = starter_weights() if profile.start == "starter" else None
    weights = pose.folder / "model" / "model.safetensors"
    return _train(store, profile, data, "posh", profile.train_posh, initial, weights, begins)


def _train(
    store: StageStore,
    profile: Profile,
    data: Data,
    stage: str,
    training: TrainingConfig,
    initial: Path | None,
    initial_pose: Path | None,
    begins: Begins | None,
) -> StageResult:
    from hemlets.data.synthetic.stream import StreamConfig
    from hemlets.models.backbones.pretrained import backbone_file

    name = f"train-{stage}"
    weights = training.backbone_weights
    settings: dict[str, Any] = {
        "pose": profile.pose.hash,
        "shape": profile.shape.hash,
        "losses": profile.losses.hash,
        "augmentation": profile.augmentation.hash,
        "training": training.hash,
        "processes": profile.processes,
    }
    stream = None
    if profile.stream is not None:
        stream = StreamConfig(data=profile.data, **profile.stream.model_dump())
        settings["stream"] = stream.hash
    if profile.losses.body:
        settings["body"] = sha256_file(profile.losses.body)
    # The pose stage's model predicts nothing yet.
    inference = profile.inference if stage == "posh" else InferenceConfig()
    if stage == "posh":
        settings["inference"] = inference.hash
    key = store.key(
        name,
        **settings,
        data=data.result.content,
        initial=initial and _model_hash(initial),
        initial_pose=initial_pose and _model_hash(initial_pose),
        backbone=weights and sha256_file(backbone_file(weights, profile.pose.backbone)),
        machine=machine(),
        code=code_hash(*_TRAINING, *(_DATA if stream else ())),
    )

    def build(folder: Path) -> None:
        _load_scoring()
        job = StageJob.from_mapping(
            {
                "stage": stage,
                "pose": profile.pose.model_dump(mode="json"),
                "shape": profile.shape.model_dump(mode="json"),
                "losses": profile.losses.model_dump(mode="json"),
                "augmentation": profile.augmentation.model_dump(mode="json"),
                "training": training.model_dump(mode="json"),
                "inference": inference.model_dump(mode="json"),
                "data": str(data.folder),
                "out": str(folder),
                "initial": initial and str(initial),
                "initial_pose": initial_pose and str(initial_pose),
                "stream": stream and stream.model_dump(mode="json"),
                "render_workers": max(profile.render_workers // profile.processes, 1),
            }
        )
        run_training(
            job,
            processes=profile.processes,
            job_file=store.workspace.logs / f"{name}-{key}.json",
            log=store.workspace.logs / f"{name}-{key}.log",
            progress=begins(key, folder) if begins is not None else None,
        )

    return store.run(name, key, build, counts="model/")


def _model_hash(weights: Path) -> str:
    """Hash of weights and of the card beside them, whose families and calibrations are used."""
    card = weights.with_name(CARD)
    files = [weights, card] if card.exists() else [weights]
    return content_hash({file.name: sha256_file(file) for file in files})


def _load_scoring() -> None:
    """Load what comes after a training before it begins.

    A training takes hours, in which the files may be changed, and the results are kept under the
    hash of the code that the retraining began with.
    """
    for module in ("canary", "open_benchmark", "scoring"):
        import_module(f"flows.steps.{module}")


def pipeline_code() -> str:
    """Hash of all code that the outcome of a retraining depends on.

    A retraining calls it first: the code of every stage is hashed then, see
    :func:`flows.storage.stage_cache.code_hash`.
    """
    return code_hash(*_DATA, "data_checks", *_TRAINING, *_SCORING, *_SERVING, "flows")


@cache
def machine() -> dict[str, Any]:
    """What makes the same code and inputs give other bits elsewhere, or after an upgrade."""
    from importlib.metadata import version

    import torch

    packages = ("numpy", "opencv-python-headless", "pyarrow", "scipy", "torch", "torchserve")
    return {
        "isa": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: version(name) for name in packages},
    }


def benchmark(
    store: StageStore,
    config: BenchmarkConfig,
    data: Data,
    model_folder: Path,
    *,
    code_version: str,
    progress: Progress | None = None,
) -> Benchmark:
    """Predict the gate and the test split, save the predictions, then score the files.

    The mean-pose predictor and the linear lifter are scored on the same samples. A champion
    is run through the same function, so that it is found in the cache where it was judged
    before.
    """
    key = store.key(
        "benchmark",
        config=config.hash,
        data=data.result.content,
        model=sha256_folder(model_folder),
        machine=machine(),
        code=code_hash(*_SCORING),
    )

    def build(folder: Path) -> None:
        from flows.steps.scoring import score_model

        score_model(
            folder,
            config,
            data_folder=data.folder,
            data_version=data.version,
            model_folder=model_folder,
            splits=_SCORED_SPLITS,
            code_version=code_version,
            progress=progress,
        )

    return Benchmark(result=store.run("benchmark", key, build))


def package(
    store: StageStore, profile: Profile, data: Data, model_folder: Path, scored: Benchmark
) -> Package:
    """Build the model archive and compare a real endpoint's answers with the predictions.

    A failure is not taken from the cache: a worker may have been short of memory, once. Each is
    known under a key of its own, so that it never stands for the try that passes.
    """
    from serving.archive import build_archive

    model = sha256_folder(model_folder)
    key = store.key(
        "package",
        config=profile.canary.hash,
        model=model,
        predictions=sha256_file(scored.predictions("test")),
        machine=machine(),
        code=code_hash(*_SERVING),
    )

    def build(folder: Path) -> None:
        from flows.steps.canary import try_endpoint

        archive = build_archive(model_folder, folder)
        outcome = try_endpoint(
            profile.canary,
            archive,
            scored.predictions("test"),
            data.folder,
            instance=store.workspace.serving / "canary",
        )
        write_json(folder / _CANARY, outcome)

    def passed(folder: Path) -> bool:
        return bool(read_json(folder / _CANARY)["passed"])

    result = store.run("package", key, build, reusable=passed)
    archives = sorted(result.folder.glob("*.mar"))
    if len(archives) != 1:
        shutil.rmtree(result.folder, ignore_errors=True)
        raise ConfigError("the package has no archive", where=result.folder, remedy="run again")
    outcome = read_json(result.folder / _CANARY)
    if not outcome["passed"]:
        result = replace(result, key=f"{key}-failed-{result.content[:8]}")
    return Package(
        result=result,
        archive=archives[0],
        passed=bool(outcome["passed"]),
        summary=str(outcome["summary"]),
    )
