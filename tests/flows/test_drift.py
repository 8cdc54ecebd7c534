"""What the endpoint saw is compared with the champion's benchmark; lineage goes both ways."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from flows.drift import drift, reference
from flows.registry import versions as registry
from flows.registry.lineage import models_of_sample, origin_of, version_of
from flows.settings import DriftSettings
from hemlets.core.errors import DataError
from hemlets.data.table import Annotations
from hemlets.evaluation import Predictions
from hemlets.inference.observed import FEATURES
from hemlets.inference.prediction_log import _write


def write_log(folder, values, change: float = 0.0) -> None:
    """A log of the reference's own people, brighter by a number of grey levels."""
    rows = [
        {"time": time.time(), "version": "1", "width": 96, "height": 96, "people": 1,
         "person": True, "image": None,
         **{name: float(values[name][i % len(values[name])]) for name in FEATURES}}
        for i in range(120)
    ]  # fmt: skip
    for row in rows:
        row["brightness"] += change
    _write(folder, rows, 0)


@pytest.mark.services
class TestTheFinishedRetraining:
    def test_the_same_people_give_no_alarm_and_brighter_ones_do(self, finished, tmp_path) -> None:
        champion = registry.champion(finished.workspace)
        values = reference(finished.workspace, champion.tags)
        assert all(np.isfinite(values[name]).all() for name in FEATURES)
        settings = DriftSettings(log=str(tmp_path / "same"), min_people=100)
        write_log(tmp_path / "same", values)
        quiet = drift(finished.workspace, settings)
        assert quiet.alarms == []
        assert quiet.people == 120
        write_log(tmp_path / "bright", values, change=80.0)
        loud = drift(
            finished.workspace, settings.model_copy(update={"log": str(tmp_path / "bright")})
        )
        assert loud.alarms == ["brightness"]
        assert "Drift: brightness" in loud.page.read_text()
        few = settings.model_copy(update={"log": str(tmp_path / "bright"), "min_people": 500})
        assert drift(finished.workspace, few).alarms == []

    def test_without_a_log_it_says_how_to_get_one(self, finished, tmp_path) -> None:
        settings = DriftSettings(log=str(tmp_path / "none"))
        with pytest.raises(DataError, match="HEMLETS_PREDICTION_LOG"):
            drift(finished.workspace, settings)

    def test_an_answer_leads_to_all_that_its_model_rests_on(self, finished, command) -> None:
        path = finished.stage("benchmark") / "test" / "model" / "predictions.parquet"
        version = version_of(finished.workspace, Predictions.read(path).info.model_version)
        assert version is not None
        origin = origin_of(finished.workspace, version)
        assert origin["model version"] == version.version == finished.outcome["version"]
        assert origin["aliases"] == ["champion"] or "champion" in origin["aliases"]
        assert origin["data version"].startswith("open-rendered-")
        assert origin["decision"] == "promoted"
        assert origin["validation"].startswith("passed ")
        assert all(origin[key] for key in ("run", "code", "configuration", "gate", "reasons"))
        printed = command(finished.workspace, "lineage", "champion", "--json")
        assert json.loads(printed.out)["data version"] == origin["data version"]

    def test_a_sample_leads_to_every_model_that_learnt_from_it(self, finished, command) -> None:
        table = Annotations.read(finished.stage("ingest") / "annotations.parquet")
        for split, use in (("train", "trained on it"), ("gate", "only in its gate split")):
            sample = str(table.split(split).sample_id[0])
            (found,) = models_of_sample(finished.workspace, sample)
            assert (found["version"], found["use"]) == (finished.outcome["version"], use)
            assert use in command(finished.workspace, "lineage", sample).out
        with pytest.raises(DataError, match="no model's data hold 'nobody'"):
            models_of_sample(finished.workspace, "nobody")

    def test_the_version_page_says_what_how_good_from_what_and_why(self, finished) -> None:
        from flows.tracking.mlflow_client import connect

        client = connect(finished.workspace).client
        found = client.get_model_version(registry.MODEL_NAME, str(finished.outcome["version"]))
        for text in ("Promoted, gate MPJPE ", "- gate: ", "MPJPE", "- data version open-rendered-",
                     "- code ", "- validation passed", "Why:", "the canary passed"):  # fmt: skip
            assert text in found.description
