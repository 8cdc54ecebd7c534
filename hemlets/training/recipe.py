"""Trains the starter weights: ``python -m hemlets.training.recipe RECIPE.toml FOLDER``.

Renders the data, runs the phases one after the other, each from the weights of the one before,
and writes the last one's model in half precision. Whatever ends it, the same command goes on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from hemlets.annotations import Annotations
from hemlets.config import Config, read_toml
from hemlets.errors import HemletsError
from hemlets.models import PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.model_folder import load_model, save_model
from hemlets.skeleton import Joint
from hemlets.synthetic.config import OpenDataConfig
from hemlets.training.config import LossConfig, StageJob, StageName, TrainingConfig
from hemlets.training.reporting import Rows
from hemlets.transforms import AugmentationConfig

__all__ = ["Phase", "Recipe", "easy", "run"]


class Phase(Config):
    """One phase of the recipe.

    Attributes:
        stage: What is trained; the last phase trains both networks, ``posh``.
        easy: Only upright people who are whole in the image: a curriculum's first lessons.
    """

    name: str
    stage: StageName = "posh"
    easy: bool = False
    losses: LossConfig = LossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig


class Recipe(Config):
    """Data, network and phases."""

    data: OpenDataConfig
    pose: PoseNetworkConfig
    shape: ShapeNetworkConfig = ShapeNetworkConfig()
    phases: list[Phase]


def easy(annotations: Annotations) -> Annotations:
    """Training rows with the trunk within 40° of upright and no joint outside the image.

    The rows of the other splits stay as they are.
    """
    trunk = annotations.joints2d_px[:, Joint.THORAX] - annotations.joints2d_px[:, Joint.PELVIS]
    tilt = np.arctan2(np.abs(trunk[:, 0]), -trunk[:, 1])
    # A trunk that points at the camera has no direction in the image.
    long_enough = np.linalg.norm(trunk, axis=1) > annotations.image_width / 8
    chosen = (tilt < np.deg2rad(40)) & long_enough & ~annotations.truncated.any(1)
    return annotations.take(chosen | (annotations.column("split") != "train"))


def run(recipe: Recipe, folder: Path, *, workers: int = 2) -> Path:
    """Run a recipe to its end.

    Returns:
        The folder of the finished model, in half precision.
    """
    from hemlets.synthetic import build_open_data
    from hemlets.training.engine import train

    everything, simple = folder / "data", folder / "data-easy"
    build_open_data(recipe.data, everything, workers=workers)
    if not (simple / "annotations.parquet").exists():
        simple.mkdir(parents=True, exist_ok=True)
        (simple / "shards").unlink(missing_ok=True)
        (simple / "shards").symlink_to(everything.resolve() / "shards")
        table = Annotations.read(everything / "annotations.parquet")
        easy(table).write(simple / "annotations.parquet")
    weights: Path | None = None
    for phase in recipe.phases:
        out = folder / phase.name
        job = StageJob(
            stage=phase.stage,
            pose=recipe.pose,
            shape=recipe.shape,
            losses=phase.losses,
            augmentation=phase.augmentation,
            training=phase.training,
            data=simple if phase.easy else everything,
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
        bone_length_mm=card.bone_length_mm,
        training=card.training,
        half=True,
    )
    return folder / "starter"


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
