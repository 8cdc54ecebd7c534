"""Train: the pose network, then pose and shape end to end, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from flows.profile import Profile
from flows.steps.ingest import Data
from flows.steps.label_coverage import require_bodies
from flows.steps.machine import machine
from flows.steps.training_process import run_training
from flows.storage.stage_cache import StageResult, StageStore
from flows.tracking.history import LiveHistory
from hemlets.core.code_hash import code_hash
from hemlets.core.files import read_json
from hemlets.models.model_folder import InferenceConfig
from hemlets.training.config import StageJob

if TYPE_CHECKING:
    from flows.tracking.run import Run

Stage = Literal["pose", "posh"]

Begins = Callable[[str, Path], Callable[[dict[str, Any]], None]]
"""Called with the key and folder of a training before it starts or resumes, but not if the result
is cached. Returns a function that receives each new row of the history."""

_LATER_STEPS: Final = ("canary", "open_benchmark", "scoring")


def starter_weights() -> Path:
    """Path of the bundled weights that fine-tuning starts from."""
    from hemlets.assets import asset_path

    return asset_path("starter/model.safetensors")


def training_job(
    profile: Profile, stage: Stage, *, data: Path, out: Path, initial_pose: Path | None = None
) -> StageJob:
    """Build the job of one training stage of a profile.

    Args:
        profile: The profile.
        stage: ``pose`` or ``posh``.
        data: Folder of the data version.
        out: Folder for checkpoints and the model.
        initial_pose: Weights of the pose stage, for ``posh``.
    """
    from hemlets.data.synthetic.stream import StreamConfig

    stream = None
    if profile.stream is not None:
        stream = StreamConfig(data=profile.data, **profile.stream.model_dump())
    return StageJob(
        stage=stage,
        pose=profile.pose,
        shape=profile.shape,
        losses=profile.losses,
        augmentation=profile.augmentation,
        training=profile.train_pose if stage == "pose" else profile.train_posh,
        # A model of the pose stage alone can't predict people.
        inference=profile.inference if stage == "posh" else InferenceConfig(),
        data=data,
        out=out,
        initial=starter_weights() if profile.start == "starter" else None,
        initial_pose=initial_pose,
        stream=stream,
        render_workers=max(profile.render_workers // profile.processes, 1),
    )


def train_pose(
    store: StageStore, profile: Profile, data: Data, begins: Begins | None = None
) -> StageResult:
    """Train the pose network, from the starter weights or from random ones.

    Raises:
        DataError: The data cannot teach the PoSh stage that follows.
    """
    require_bodies(profile, data.folder)
    return _train(
        store, profile, training_job(profile, "pose", data=data.folder, out=Path()), begins
    )


def train_posh(
    store: StageStore,
    profile: Profile,
    data: Data,
    pose: StageResult,
    begins: Begins | None = None,
) -> StageResult:
    """Train pose and shape end to end, starting from the pose stage's network."""
    weights = pose.folder / "model" / "model.safetensors"
    job = training_job(profile, "posh", data=data.folder, out=Path(), initial_pose=weights)
    return _train(store, profile, job, begins)


def _train(
    store: StageStore, profile: Profile, job: StageJob, begins: Begins | None
) -> StageResult:
    from hemlets.training.identity import Identity

    name = f"train-{job.stage}"
    key = store.key(
        name,
        training=Identity.of(job).record,
        processes=profile.processes,
        machine=machine(),
        code=code_hash("hemlets.training.__main__", "flows.steps.training_process"),
    )

    def build(folder: Path) -> None:
        _import_later_steps()
        run_training(
            job.model_copy(update={"out": folder}),
            processes=profile.processes,
            job_file=store.workspace.logs / f"{name}-{key}.json",
            log=store.workspace.logs / f"{name}-{key}.log",
            progress=begins(key, folder) if begins is not None else None,
        )

    return store.run(name, key, build, counts="model/")


def summarize(result: StageResult) -> str:
    """Format the last validation error as one line."""
    figures = read_json(result.folder / "model" / "model.json")["training"]["validation"]
    error = figures.get("mpjpe_mm")
    return "" if error is None else f"validation MPJPE {error:.1f} mm"


def log_settings(run: Run, profile: Profile, stage: Stage) -> None:
    """Log the settings of a training."""
    training = profile.train_pose if stage == "pose" else profile.train_posh
    run.params(
        {
            "training": training.model_dump(mode="json"),
            "losses": profile.losses.model_dump(mode="json"),
            "augmentation": profile.augmentation.model_dump(mode="json"),
            "pose": profile.pose.model_dump(mode="json"),
            "shape": profile.shape.model_dump(mode="json"),
            "start": profile.start,
        }
    )


def log_training(run: Run, result: StageResult) -> None:
    """Log a finished training: its whole history, the model card, the last picture."""
    LiveHistory(run, result.folder / "history.jsonl").send_all()
    pictures = sorted((result.folder / "pictures").glob("*.png"))
    run.files([result.folder / "model" / "model.json", *pictures[-1:]])


def _import_later_steps() -> None:
    """Import the code of the later steps before a training starts.

    Source files can change during the hours of a training, but results are cached under the hash of
    the code at the start of the retraining.
    """
    for module in _LATER_STEPS:
        import_module(f"flows.steps.{module}")
