from pathlib import Path

import pytest

from hemlets.assets import ASSETS_FOLDER
from hemlets.core.config import read_toml
from hemlets.training.recipe import Recipe


def test_the_bundled_recipe_is_one():
    path = ASSETS_FOLDER / "starter" / "recipe.toml"
    recipe = Recipe.from_mapping(read_toml(Path(path)))
    assert recipe.phases[-1].stage == "posh"
    assert recipe.phases[-1].crop_px in (None, recipe.pose.crop_px)


@pytest.mark.slow
def test_phases_go_on_from_each_other_also_when_one_changes_and_a_shape_phase_may_come_before(
    tmp_path,
):
    from hemlets.models.model_folder import load_model
    from hemlets.training.recipe import run

    training = {"steps": 1, "batch_size": 4, "precision": "float32", "threads": 1}
    recipe = Recipe.from_mapping(
        {
            "data": {
                "image_px": 96,
                "supersampling": 1,
                "samples": {"train": 8, "validation": 2, "gate": 0, "test": 0},
            },
            "pose": {
                "crop_px": 96,
                "volume_cells": 24,
                "branch_channels": 16,
                "fusion_channels": 32,
            },
            "shape": {"hidden": 32, "blocks": 0},
            "phases": [
                {"name": "shape", "stage": "shape", "training": training | {"steps": 3}},
                {"name": "coarse", "crop_px": 64, "training": training},
                {"name": "all", "training": training},
            ],
        }
    )
    finished = run(recipe, tmp_path, workers=1)
    _, card = load_model(finished)
    assert card.training["stage"] == "posh"
    phases = [load_model(tmp_path / name / "model")[1] for name in ("shape", "coarse", "all")]
    assert [card.training["stage"] for card in phases] == ["shape", "posh", "posh"]
    assert [card.pose.crop_px for card in phases] == [96, 64, 96]
    before = {p.name: card.weights_sha256 for p, card in zip(recipe.phases, phases, strict=True)}
    first = recipe.phases[0]
    other = first.model_copy(update={"training": first.training.model_copy(update={"seed": 1})})
    run(recipe.model_copy(update={"phases": [other, *recipe.phases[1:]]}), tmp_path, workers=1)
    for name, weights_sha256 in before.items():
        assert load_model(tmp_path / name / "model")[1].weights_sha256 != weights_sha256
