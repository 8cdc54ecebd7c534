"""Train the starter weights: ``python -m hemlets.training.recipe RECIPE.toml FOLDER``.

Renders the data and runs the phases, each from the weights of the previous phase. Writes the last
model in half precision. The same command resumes after any end.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from hemlets.core.config import Config, read_toml
from hemlets.core.errors import HemletsError
from hemlets.data.synthetic.config import OpenDataConfig
from hemlets.data.transforms import AugmentationConfig
from hemlets.models import PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.model_folder import load_model, load_weights, save_model, save_tensors
from hemlets.models.resize import fitted, resized
from hemlets.training.config import LossConfig, StageJob, StageName, TrainingConfig
from hemlets.training.reporting import Rows

_FEATURES = "features"
"""Folder of the features that the phases share."""


class Phase(Config):
    """One phase of the recipe.

    Attributes:
        stage: The stage to train; the last phase is ``posh``.
        crop_px: Side of the crops, if it differs from the recipe's: smaller crops train the same
            weights at a fraction of the cost.
    """

    name: str
    stage: StageName = "posh"
    crop_px: int | None = None
    losses: LossConfig = LossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig


class Recipe(Config):
    """Data, network and phases."""

    data: OpenDataConfig
    pose: PoseNetworkConfig
    shape: ShapeNetworkConfig = ShapeNetworkConfig()
    phases: list[Phase]


def run(recipe: Recipe, folder: Path, *, workers: int = 2) -> Path:
    """Run a recipe to its end; return the folder of the half-precision model."""
    from hemlets.data.synthetic import build_open_data
    from hemlets.training.engine import train

    data = folder / "data"
    build_open_data(recipe.data, data, workers=workers)
    weights: Path | None = None
    for phase in recipe.phases:
        out = folder / phase.name
        pose = resized(recipe.pose, phase.crop_px or recipe.pose.crop_px)
        if weights is not None:
            weights = _transfer_weights(weights, folder / f"{phase.name}.safetensors", pose)
        job = StageJob(
            stage=phase.stage,
            pose=pose,
            shape=recipe.shape,
            losses=phase.losses,
            augmentation=phase.augmentation,
            training=phase.training,
            data=data,
            out=out,
            initial=weights,
            features=folder / _FEATURES,
        )
        train(job, reporter=Rows(lambda row: print(json.dumps(row), flush=True)))
        weights = out / "model" / "model.safetensors"
    shutil.rmtree(folder / _FEATURES, ignore_errors=True)
    model, card = load_model(folder / recipe.phases[-1].name / "model")
    save_model(
        folder / "starter",
        model.state_dict(),
        pose=card.pose,
        shape=card.shape,
        bones=card.bones,
        person=card.person,
        inference=card.inference,
        training=card.training,
        half=True,
        bundled_encoder=_keeps_bundled_encoder(recipe),
    )
    return folder / "starter"


def _keeps_bundled_encoder(recipe: Recipe) -> bool:
    """Return whether the finished model has the bundled encoder."""
    trained = [phase.training for phase in recipe.phases if phase.stage != "shape"]
    return recipe.pose.backbone == "movenet_thunder" and all(
        training.backbone_weights == "bundled" and training.frozen_levels == 4
        for training in trained
    )


def _transfer_weights(weights: Path, to: Path, pose: PoseNetworkConfig) -> Path:
    """Convert weights for a network with another crop size."""
    state = fitted(load_weights(weights), pose)
    save_tensors(to, state)
    return to


def main(argv: list[str]) -> int:
    """Run the module's command line."""
    try:
        path, folder = Path(argv[0]), Path(argv[1])
        recipe = Recipe.from_mapping(read_toml(path), where=str(path))
        print(run(recipe, folder))
    except HemletsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
