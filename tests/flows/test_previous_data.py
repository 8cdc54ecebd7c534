"""New data are compared with those that the champion learned from, where these can be found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data_checks.result import ValidationResult
from flows.steps.ingest import Data
from flows.steps.previous_data import CONTENT_TAG, DATA_TAG, Previous, find_previous
from flows.steps.validate import validate_data
from flows.storage import data_versions as data_version
from flows.storage.stage_cache import StageStore
from hemlets.core.workspace import Workspace
from hemlets.data.table import FIELDS, Annotations

TABLE = "annotations.parquet"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data

    folder = tmp_path_factory.mktemp("rendered") / "version"
    sizes = SplitSizes(train=8, validation=8, gate=8, test=8)
    build_open_data(OpenDataConfig(samples=sizes, shard_size=8, image_px=64), folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    return StageStore(Workspace(home=tmp_path / "workspace"))


def ingested(store: StageStore, key: str, text: str) -> Data:
    """A data version whose table is no table; enough to be found."""
    result = store.run("ingest", key, lambda folder: (folder / TABLE).write_text(text) and None)
    version = data_version.commit(store.workspace, result.folder, content=result.content)
    return Data(result=result, version=version)


def tags_of(data: Data, previous: Previous | None = None) -> dict[str, str]:
    """What a model that learned from the data says of them."""
    own = {DATA_TAG: data.version, CONTENT_TAG: data.result.content}
    return own if previous is None else own | dict(previous.tags)


def test_without_a_champion_there_is_nothing_to_compare_with(store) -> None:
    assert find_previous(store, "open-rendered-1", None) is None


def test_a_champion_of_the_same_data_changes_nothing(store) -> None:
    data = ingested(store, "a", "first")
    assert find_previous(store, data.version, tags_of(data)) is None


def test_the_champions_data_are_found_among_the_stages(store) -> None:
    old, new = ingested(store, "a", "first"), ingested(store, "b", "second")
    previous = find_previous(store, new.version, tags_of(old))
    assert previous is not None
    assert previous.version == old.version
    assert previous.folder == old.folder


def test_a_damaged_stage_is_not_compared_with_but_brought_back(store) -> None:
    old, new = ingested(store, "a", "first"), ingested(store, "b", "second")
    (old.folder / TABLE).write_text("changed")
    previous = find_previous(store, new.version, tags_of(old))
    assert previous is not None
    assert previous.folder is not None
    assert previous.folder != old.folder
    assert (previous.folder / TABLE).read_text() == "first"


def test_data_that_are_nowhere_are_named_with_the_reason(store) -> None:
    new = ingested(store, "b", "second")
    previous = find_previous(store, new.version, {DATA_TAG: "open-rendered-000000000000"})
    assert previous is not None
    assert previous.folder is None
    assert "open-rendered-000000000000 can't be fetched" in str(previous)


def test_after_a_promotion_the_same_versions_are_compared_as_before(store) -> None:
    old, new = ingested(store, "a", "first"), ingested(store, "b", "second")
    before = find_previous(store, new.version, tags_of(old))
    after = find_previous(store, new.version, tags_of(new, before))
    assert after == before


class TestValidation:
    @pytest.fixture
    def data(self, store, rendered) -> Data:
        def build(folder: Path) -> None:
            shutil.copytree(rendered, folder, dirs_exist_ok=True)

        return Data(result=store.run("ingest", "now", build), version="open-rendered-2")

    def earlier(self, rendered: Path, folder: Path, source: str) -> Previous:
        """The same people under another dataset's name."""
        table = Annotations.read(rendered / TABLE)
        columns = {field.name: table.column(field.name).copy() for field in FIELDS}
        columns["source"][:] = source
        folder.mkdir()
        Annotations.from_columns(columns).write(folder / TABLE)
        return Previous(version="open-rendered-1", folder=folder)

    def test_it_warns_of_labels_unlike_those_before_and_runs_once(
        self, store, data, rendered, tmp_path
    ) -> None:
        previous = self.earlier(rendered, tmp_path / "one", "captured")
        first = validate_data(store, data, previous)
        result = ValidationResult.read(first.folder)
        assert "labels_like_before" in [finding.expectation for finding in result.warnings]
        assert result.compared_with == "data version open-rendered-1"
        assert "compared with data version open-rendered-1" in result.report.read_text()
        assert validate_data(store, data, previous).cached
        other = self.earlier(rendered, tmp_path / "other", "open-rendered")
        assert not validate_data(store, data, other).cached

    def test_it_passes_without_the_earlier_version_and_says_so(self, store, data) -> None:
        gone = Previous(version="open-rendered-1", missing="the remote is empty")
        result = ValidationResult.read(validate_data(store, data, gone).folder)
        assert result.passed
        assert result.warnings == ()
        assert "the remote is empty" in result.report.read_text()
