"""Trains the starter weights: ``python -m hemlets.training.recipe RECIPE.toml FOLDER``.

Renders the data, runs the phases one after the other, each from the weights of the one before,
and writes the last one's model in half precision. Whatever ends it, the same command goes on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.torch import save_file

from hemlets.core.config import Config, read_toml
from hemlets.core.errors import HemletsError
from hemlets.core.files import atomic_path
from hemlets.data.synthetic.config import OpenDataConfig
from hemlets.data.transforms import AugmentationConfig
from hemlets.models import PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.model_folder import load_model, load_weights, save_model
from hemlets.models.resize import resized, with_depth_cells
from hemlets.training.config import LossConfig, StageJob, StageName, TrainingConfig
from hemlets.training.reporting import Rows


class Phase(Config):
    """One phase of the recipe.

    Attributes:
        stage: What is trained; the last phase trains both networks, ``posh``.
        crop_px: Side of its crops where that is not the recipe's: smaller ones teach the same
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
    """Run a recipe to its end.

    Returns:
        The folder of the finished model, in half precision.
    """
    from hemlets.data.synthetic import build_open_data
    from hemlets.training.engine import train

    data = folder / "data"
    build_open_data(recipe.data, data, workers=workers)
    weights: Path | None = None
    for phase in recipe.phases:
        out = folder / phase.name
        pose = resized(recipe.pose, phase.crop_px or recipe.pose.crop_px)
        if weights is not None:
            weights = _carried_over(weights, folder / f"{phase.name}.safetensors", pose)
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
        )
        train(job, reporter=Rows(lambda row: print(json.dumps(row), flush=True)))
        weights = out / "model" / "model.safetensors"
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
        bundled_encoder=_leaves_encoder_alone(recipe),
    )
    return folder / "starter"


def _leaves_encoder_alone(recipe: Recipe) -> bool:
    """Whether the model ends with the encoder that hemlets comes with."""
    trained = [phase.training for phase in recipe.phases if phase.stage != "shape"]
    return recipe.pose.backbone == "movenet_thunder" and all(
        training.backbone_weights == "bundled" and training.frozen_levels == 4
        for training in trained
    )


def _carried_over(weights: Path, to: Path, pose: PoseNetworkConfig) -> Path:
    """The weights as a network for other crops starts from them."""
    state = with_depth_cells(load_weights(weights), pose.volume.shape_xyz[2])
    with atomic_path(to) as path:
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    return to


def main(argv: list[str]) -> int:
    """Command line of the module."""
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
