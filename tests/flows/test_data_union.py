"""A profile trains on ingested datasets beside the people that it renders."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from flows import data_version, stages
from flows.data_union import ingested_parts
from flows.profile import load_profile
from flows.stage_store import StageStore
from hemlets.annotations import Annotations, encode_jpeg
from hemlets.datasets.contract import ReadOptions
from hemlets.datasets.ingest import ingest
from hemlets.datasets.ingest_config import IngestConfig, SplitCut
from hemlets.datasets.lsp import LSPET_DATASET
from hemlets.errors import ConfigError
from hemlets.workspace import Workspace

PROFILE = Path(__file__).with_name("tiny.toml")
SMALL = (
    "data.samples.train=8", "data.samples.validation=2", "data.samples.gate=2",
    "data.samples.test=2", "promotion.min_gate_samples=2", "render_workers=1",
)  # fmt: skip


def add_photos(workspace: Workspace, source: Path) -> None:
    """An ingested LSPET of five people, the last of whom is for validation."""
    joints_S3N = np.random.default_rng(0).uniform(20, 180, (14, 3, 5))
    joints_S3N[:, 2] = 1
    (source / "images").mkdir(parents=True)
    savemat(source / "joints.mat", {"joints": joints_S3N})
    jpeg = encode_jpeg(np.full((200, 200, 3), 90, np.uint8))
    for number in range(1, 6):
        (source / "images" / f"im{number:05d}.jpg").write_bytes(jpeg)
    ingest(
        LSPET_DATASET,
        source,
        workspace.home / "ingested" / "lspet",
        IngestConfig(cut=SplitCut(validation=0.0, gate=0.0)),
        options=ReadOptions(settings={"validation_from": "5"}),
    )


def test_the_data_version_is_the_rendered_people_and_the_training_rows_of_the_datasets(
    tmp_path,
) -> None:
    workspace = Workspace(home=tmp_path / "home")
    add_photos(workspace, tmp_path / "source")
    profile = load_profile(str(PROFILE), (*SMALL, "datasets=['lspet']"))
    store = StageStore(workspace)
    data = stages.ingest(store, profile)
    table = Annotations.read(data.folder / "annotations.parquet")
    counts = Counter(zip(table.source, table.column("split"), strict=True))
    assert counts["lspet", "train"] == 4
    assert sum(count for (source, _), count in counts.items() if source == "lspet") == 4
    assert len(table) == 8 + 2 + 2 + 2 + 4
    assert data.version.startswith("combined-")
    assert data_version.versions(workspace, "combined") == [data.version]
    again = stages.ingest(store, profile)
    assert (again.version, again.result.cached) == (data.version, True)


def test_a_dataset_that_is_not_ingested_is_refused_before_anything_is_rendered(tmp_path) -> None:
    workspace = Workspace(home=tmp_path / "home")
    add_photos(workspace, tmp_path / "source")
    profile = load_profile(str(PROFILE), (*SMALL, "datasets=['mpii']"))
    with pytest.raises(ConfigError, match="'mpii' is not ingested") as raised:
        stages.ingest(StageStore(workspace), profile)
    assert raised.value.expected == "lspet"
    assert not (workspace.stages / "ingest").exists()


@pytest.mark.parametrize("names", [("lspet", "lspet"), ("../lspet",)])
def test_a_dataset_named_twice_or_by_a_path_is_refused(tmp_path, names) -> None:
    workspace = Workspace(home=tmp_path / "home")
    add_photos(workspace, tmp_path / "source")
    with pytest.raises(ConfigError):
        ingested_parts(workspace, names)
