"""A profile's stream is what its training stages are shown, in processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.profile import Profile, load_profile
from flows.steps import train
from flows.steps.ingest import Data
from flows.storage.stage_cache import StageStore
from hemlets.core.files import read_json
from hemlets.core.workspace import Workspace
from hemlets.data.synthetic import build_open_data

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    return StageStore(Workspace(home=tmp_path))


def profile_of(tiny: Path, *overrides: str) -> Profile:
    few = ("data.samples.train=16", "data.samples.validation=8", "train_pose.steps=2")
    return load_profile(str(tiny), (*few, "train_pose.checkpoint_every=1", *overrides))


def test_the_pose_stage_takes_two_steps_on_rendered_people_and_is_kept_by_its_stream(
    tiny: Path, store: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_of(tiny, "stream.window=64", "render_workers=1")
    result = store.run(
        "ingest", "data", lambda folder: build_open_data(profile.data, folder, workers=1)
    )
    data = Data(result=result, version="v")
    steps: list[int] = []
    trained = train.train_pose(
        store, profile, data, lambda key, folder: lambda row: steps.append(int(row["step"]))
    )
    card = read_json(trained.folder / "model" / "model.json")
    assert steps[-1] == card["training"]["steps"] == 2
    (job,) = (read_json(path) for path in store.workspace.logs.glob("train-pose-*.json"))
    assert job["stream"]["data"] == profile.data.model_dump(mode="json")
    assert job["render_workers"] == 1
    assert train.train_pose(store, profile, data).cached

    class AskedToTrainError(Exception): ...

    def ask(*_: Any, **__: Any) -> None:
        raise AskedToTrainError

    monkeypatch.setattr(train, "run_training", ask)
    with pytest.raises(AskedToTrainError):
        train.train_pose(store, profile_of(tiny, "stream.window=64", "stream.reuse=2"), data)
