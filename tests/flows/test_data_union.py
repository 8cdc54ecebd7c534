"""A profile trains on ingested datasets beside the people that it renders."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from data_checks.result import Finding, Row, ValidationResult
from data_checks.rule import Severity
from flows.profile import Profile, load_profile
from flows.steps import ingest as step
from flows.steps.ingest import Data
from flows.steps.merge_datasets import ingested_parts
from flows.steps.validate import require_valid
from flows.storage import data_versions as data_version
from flows.storage.stage_cache import StageResult, StageStore
from hemlets.core.errors import ConfigError, ValidationFailed
from hemlets.core.workspace import Workspace
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.lsp import LSPET_DATASET
from hemlets.data.table import FIELDS, Annotations, encode_jpeg
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig, SplitCut

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
    data = step.ingest(store, profile)
    table = Annotations.read(data.folder / "annotations.parquet")
    counts = Counter(zip(table.source, table.column("split"), strict=True))
    assert counts["lspet", "train"] == 4
    assert sum(count for (source, _), count in counts.items() if source == "lspet") == 4
    assert len(table) == 8 + 2 + 2 + 2 + 4
    assert data.version.startswith("combined-")
    assert data_version.versions(workspace, "combined") == [data.version]
    again = step.ingest(store, profile)
    assert (again.version, again.result.cached) == (data.version, True)


def test_a_dataset_that_is_not_ingested_is_refused_before_anything_is_rendered(tmp_path) -> None:
    workspace = Workspace(home=tmp_path / "home")
    add_photos(workspace, tmp_path / "source")
    profile = load_profile(str(PROFILE), (*SMALL, "datasets=['mpii']"))
    with pytest.raises(ConfigError, match="'mpii' is not ingested") as raised:
        step.ingest(StageStore(workspace), profile)
    assert raised.value.expected == "lspet"
    assert not (workspace.stages / "ingest").exists()


def rewritten(workspace: Workspace, mend: Callable[[dict[str, Any]], None]) -> Path:
    """The ingested table after somebody mended it by hand; ``version.json`` knows nothing of it."""
    file = workspace.home / "ingested" / "lspet" / "annotations.parquet"
    table = Annotations.read(file)
    columns = {field.name: table.column(field.name).copy() for field in FIELDS}
    mend(columns)
    Annotations.from_columns(columns).write(file)
    return file


@pytest.fixture
def united(tmp_path) -> tuple[StageStore, Profile, Data]:
    workspace = Workspace(home=tmp_path / "home")
    add_photos(workspace, tmp_path / "source")
    profile = load_profile(str(PROFILE), (*SMALL, "datasets=['lspet']"))
    store = StageStore(workspace)
    return store, profile, step.ingest(store, profile)


def test_a_row_that_was_mended_by_hand_is_in_the_next_union(united) -> None:
    store, profile, before = united

    def mend(columns: dict[str, Any]) -> None:
        columns["box_xyxy"][1] = (11, 12, 101, 102)

    rewritten(store.workspace, mend)
    after = step.ingest(store, profile)
    assert not after.result.cached
    assert after.version != before.version
    table = Annotations.read(after.folder / "annotations.parquet")
    assert [11, 12, 101, 102] in table.column("box_xyxy").tolist()
    assert step.ingest(store, profile).result.cached


def test_a_shard_that_was_replaced_makes_another_union(united) -> None:
    store, profile, _ = united
    (shard,) = (store.workspace.home / "ingested" / "lspet" / "shards").glob("*train*.arrow")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.unlink()
    shard.write_bytes(content)
    assert not step.ingest(store, profile).result.cached


def test_a_row_that_breaks_an_expectation_is_named_in_the_file_that_it_was_ingested_into(
    united, tmp_path
) -> None:
    store, _, data = united
    table = Annotations.read(data.folder / "annotations.parquet")
    own = Annotations.read(store.workspace.home / "ingested" / "lspet" / "annotations.parquet")
    sample = str(own.sample_id[2])
    rows = [int(np.flatnonzero(table.sample_id == sample)[0]), 0]
    with pytest.raises(ValidationFailed) as raised:
        require_valid(found_wanting(tmp_path, table, rows), data)
    file = store.workspace.home / "ingested" / "lspet" / "annotations.parquet"
    assert raised.value.where == str(file)
    assert f"- {sample}: row 2 of {file}" in raised.value.what
    assert f"{table.sample_id[0]}: row" not in raised.value.what
    assert "hemlets data ingest --anew (lspet)" in raised.value.remedy


def test_of_rendered_rows_it_is_said_that_a_change_of_the_stage_would_be_undone(
    united, tmp_path
) -> None:
    _, _, data = united
    table = Annotations.read(data.folder / "annotations.parquet")
    with pytest.raises(ValidationFailed) as raised:
        require_valid(found_wanting(tmp_path, table, [0]), data)
    assert "settings under [data]" in raised.value.remedy
    assert "would be undone" in raised.value.remedy


def found_wanting(folder: Path, table: Annotations, rows: list[int]) -> StageResult:
    """A validation that these rows of a table broke."""
    finding = Finding(
        expectation="box_covers_joints", severity=Severity.BLOCK, field="box_xyxy", says="covers",
        reason="crops", observed="outside", count=len(rows),
        rows=tuple(Row(number=r, sample_id=str(table.sample_id[r]), observed="out") for r in rows),
    )  # fmt: skip
    ValidationResult(
        passed=False, rows=len(table), expectations=1, blocking=(finding,), warnings=(),
        table_sha256="", compared_with="nothing", data_docs=folder / "docs.html",
        report=folder / "report.html",
    ).write(folder)  # fmt: skip
    return StageResult(stage="validate", key="k", folder=folder, content="c", cached=False)


@pytest.mark.parametrize("names", [("lspet", "lspet"), ("../lspet",)])
def test_a_dataset_named_twice_or_by_a_path_is_refused(tmp_path, names) -> None:
    workspace = Workspace(home=tmp_path / "home")
    add_photos(workspace, tmp_path / "source")
    with pytest.raises(ConfigError):
        ingested_parts(workspace, names)
