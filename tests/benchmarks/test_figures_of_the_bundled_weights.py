"""The bundled weights have figures on photographs and on the open benchmark."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hemlets.core.files import read_json
from hemlets.inference.champion import STARTER
from hemlets.models.model_folder import ModelCard

RESULTS = Path(__file__).parent / "results"


@pytest.mark.parametrize("name", ["open.csv", "photos.csv"])
def test_figures_of_the_bundled_weights_are_committed(name: str) -> None:
    card = STARTER / "model.json"
    version = ModelCard.from_mapping(read_json(card), where=str(card)).version
    with (RESULTS / name).open(newline="") as stream:
        models = {row["model"].removeprefix("hemlets ") for row in csv.DictReader(stream)}
    assert version in models, f"run the benchmark that writes {name} again"
