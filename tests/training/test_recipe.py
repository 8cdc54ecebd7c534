from pathlib import Path

import numpy as np

from hemlets.annotations import FIELDS, Annotations
from hemlets.assets import ASSETS_FOLDER
from hemlets.config import read_toml
from hemlets.skeleton import Joint
from hemlets.training.recipe import Recipe, easy


def table(**columns):
    rows = 4
    plain = {"string": [""] * rows, "binary": [b""] * rows}
    values = {
        f.name: np.zeros((rows, *f.shape), f.dtype.to_pandas_dtype())
        if f.shape
        else plain.get(str(f.dtype), np.zeros(rows))
        for f in FIELDS
    }
    values["smpl_valid"] = values["camera_valid"] = np.ones(rows, bool)
    return Annotations.from_columns({**values, **columns})


def test_the_bundled_recipe_is_one():
    path = ASSETS_FOLDER / "starter" / "recipe.toml"
    recipe = Recipe.from_mapping(read_toml(Path(path)))
    assert [phase.easy for phase in recipe.phases] == [True, True, False]


def test_easy_rows_are_upright_whole_and_not_foreshortened_and_other_splits_stay():
    joints = np.zeros((4, 18, 2))
    joints[:, Joint.PELVIS] = (80, 100)
    joints[:, Joint.THORAX] = [(80, 40), (130, 90), (80, 95), (80, 160)]
    truncated = np.zeros((4, 18), bool)
    rows = table(
        sample_id=["upright", "lying", "towards the camera", "upside down"],
        split=["train", "train", "train", "test"],
        image_width=np.full(4, 160),
        joints2d_px=joints,
        truncated=truncated,
    )
    assert list(easy(rows).sample_id) == ["upright", "upside down"]
    truncated[0, Joint.NOSE] = True
    rows = table(
        sample_id=["cut", "a", "b", "c"],
        split=["train"] * 4,
        image_width=np.full(4, 160),
        joints2d_px=joints,
        truncated=truncated,
    )
    assert len(easy(rows)) == 0


def test_phases_go_on_from_each_other_and_a_shape_phase_may_come_before(tmp_path):
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
                "crop_px": 64,
                "volume_cells": 16,
                "branch_channels": 16,
                "fusion_channels": 32,
            },
            "shape": {"hidden": 32, "blocks": 0},
            "phases": [
                {"name": "shape", "stage": "shape", "training": training | {"steps": 3}},
                {"name": "all", "training": training},
            ],
        }
    )
    finished = run(recipe, tmp_path, workers=1)
    _, card = load_model(finished)
    assert card.training["stage"] == "posh"
    phases = [
        load_model(tmp_path / name / "model")[1].training["stage"] for name in ("shape", "all")
    ]
    assert phases == ["shape", "posh"]
