"""`hemlets clean` removes what nothing needs, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows.registry import versions as registry
from flows.starting import RETRAIN_LOCK
from flows.storage import data_versions as data_version
from flows.storage.retention import clean, plan
from flows.storage.stage_cache import RUNS, StageStore
from hemlets.cli import main
from hemlets.core.errors import WorkspaceError
from hemlets.core.files import lock, sha256_file, sha256_folder, write_json
from hemlets.core.workspace import Workspace

STAGES = ("ingest", "validate", "train-pose", "train-posh", "benchmark", "package")


def retrained(workspace: Workspace, name: str, *, stages: tuple[str, ...] = STAGES) -> StageStore:
    """A run whose every stage has a result of its own."""
    store = StageStore(workspace)
    for stage in stages:
        store.run(stage, name, lambda folder, stage=stage: _write(folder, f"{stage} {name}"))
        workspace.logs.mkdir(parents=True, exist_ok=True)
    return store


def _write(folder: Path, text: str) -> None:
    (folder / "result.bin").write_text(text * 100)


def results(workspace: Workspace) -> set[str]:
    """Folders of stages, as ``stage/key``."""
    found = workspace.stages.glob("[!.]*/[!.]*")
    return {path.relative_to(workspace.stages).as_posix() for path in found}


def of(name: str, *stages: str) -> set[str]:
    return {f"{stage}/{name}" for stage in stages or STAGES}


@pytest.fixture
def crown(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> Callable[..., None]:
    """Makes models the versions of the registry, the last of them the champion."""

    def put(*models: dict[str, str]) -> None:
        versions = []
        for number, tags in enumerate(models, 1):
            before = {"replaced_version": str(number - 1)} if number > 1 else {}
            versions.append(
                registry.ModelVersion(
                    version=number, run_id="r", source="s", model_hash=f"model-{number}",
                    stage_key=tags.pop("stage_key"), tags=tags | before,
                )
            )  # fmt: skip
        workspace.mlflow.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(registry, "champion", lambda _: versions[-1])
        monkeypatch.setattr(registry, "versions", lambda _: versions)

    return put


class TestStages:
    def test_those_of_the_newest_runs_stay(self, workspace) -> None:
        for name in ("one", "two", "three"):
            retrained(workspace, name)
        clean(workspace, keep=2)
        assert results(workspace) == of("two") | of("three")

    def test_runs_that_asked_for_the_same_or_for_a_part_of_it_count_once(self, workspace) -> None:
        retrained(workspace, "one")
        retrained(workspace, "two")
        retrained(workspace, "two")
        retrained(workspace, "two", stages=STAGES[:3])
        clean(workspace, keep=2)
        assert results(workspace) == of("one") | of("two")

    def test_one_that_a_newer_run_took_from_the_cache_stays(self, workspace) -> None:
        retrained(workspace, "one")
        store = retrained(workspace, "two", stages=STAGES[1:])
        store.run("ingest", "one", lambda _: pytest.fail("it is there"))
        clean(workspace, keep=1)
        assert results(workspace) == of("one", "ingest") | of("two", *STAGES[1:])

    def test_what_the_champion_and_the_one_before_it_came_from_stays(
        self, workspace, crown
    ) -> None:
        for name in ("one", "two", "three", "four"):
            retrained(workspace, name)
        crown({"stage_key": "two"}, {"stage_key": "three"})
        clean(workspace, keep=1)
        assert results(workspace) == of("two") | of("three") | of("four")

    def test_the_way_back_leads_over_a_withdrawn_model_to_the_one_before_it(
        self, workspace, crown
    ) -> None:
        for name in ("one", "two", "three", "four", "five"):
            retrained(workspace, name)
        withdrawn = {"stage_key": "three", registry.WITHDRAWN_TAG: "it fell over"}
        crown({"stage_key": "one"}, {"stage_key": "two"}, withdrawn, {"stage_key": "four"})
        clean(workspace, keep=1)
        assert results(workspace) == set().union(*map(of, ("two", "three", "four", "five")))

    def test_what_a_champion_was_judged_by_last_stays_and_not_what_it_was_judged_by_before(
        self, workspace, crown
    ) -> None:
        retrained(workspace, "one")
        again = StageStore(workspace)
        again.run("train-posh", "one", lambda _: pytest.fail("it is there"))
        again.run("benchmark", "other", lambda folder: _write(folder, "other"))
        retrained(workspace, "two")
        crown({"stage_key": "one"})
        clean(workspace, keep=1)
        kept = of("one") - of("one", "benchmark") | {"benchmark/other"}
        assert results(workspace) == kept | of("two")

    def test_a_champions_data_and_archive_are_found_without_any_note_of_its_run(
        self, workspace, crown
    ) -> None:
        store = retrained(workspace, "one")
        data = store.find("ingest", "one")
        archive = sha256_file(store.folder("package", "one") / "result.bin")
        shutil.rmtree(workspace.stages / RUNS)
        retrained(workspace, "two")
        crown({"stage_key": "one", "data_content": data.content, "archive_hash": archive})
        clean(workspace, keep=1)
        assert results(workspace) == of("one", "ingest", "train-posh", "package") | of("two")

    def test_those_of_recent_runs_stay_however_many_there_are(self, workspace) -> None:
        for name in ("one", "two", "three"):
            retrained(workspace, name)
        (oldest, *_) = sorted((workspace.stages / RUNS).iterdir())
        long_ago = time.time_ns() - 3 * 86_400 * 10**9
        oldest.rename(oldest.with_name(f"{long_ago}-1.json"))
        for days in (float("inf"), float("nan")):
            clean(workspace, keep=1, days=days)
            assert results(workspace) == of("one") | of("two") | of("three")
        clean(workspace, keep=1, days=2)
        assert results(workspace) == of("two") | of("three")

    def test_an_unfinished_one_goes_with_its_checkpoints_unless_a_newest_run_asked_for_it(
        self, workspace
    ) -> None:
        def interrupted(folder: Path) -> None:
            _write(folder, "checkpoint")
            raise KeyboardInterrupt

        for key in ("old", "new"):
            with pytest.raises(KeyboardInterrupt):
                StageStore(workspace).run("train-pose", key, interrupted)
        done = clean(workspace, keep=1)
        assert results(workspace) == {"train-pose/new.partial"}
        assert done.leftovers[0].why == "unfinished result of a stage"

    def test_a_damaged_one_goes_also_where_its_key_is_needed(self, workspace) -> None:
        store = retrained(workspace, "one")
        (store.folder("ingest", "one") / "result.bin").write_text("changed")
        assert store.find("ingest", "one") is None
        clean(workspace, keep=1)
        assert results(workspace) == of("one", *STAGES[1:])

    def test_a_log_goes_with_its_stage(self, workspace) -> None:
        workspace.logs.mkdir(parents=True)
        old, new = "a" * 20, "b" * 20
        retrained(workspace, old)
        retrained(workspace, new)
        for key in (old, new):
            (workspace.logs / f"train-pose-{key}.log").write_text("said")
        clean(workspace, keep=1)
        assert [path.name for path in workspace.logs.iterdir()] == [f"train-pose-{new}.log"]

    def test_notes_do_not_pile_up(self, workspace) -> None:
        for name in ("one", "two", "two", "two"):
            retrained(workspace, name)
        clean(workspace, keep=1)
        assert len(list((workspace.stages / RUNS).iterdir())) == 1


class TestWhatIsTold:
    def test_a_dry_run_finds_what_a_cleaning_frees_and_removes_nothing(self, workspace) -> None:
        retrained(workspace, "one")
        retrained(workspace, "two")
        before = sha256_folder(workspace.home)
        found = plan(workspace, keep=1)
        assert sha256_folder(workspace.home) == before
        used = disk_use(workspace)
        done = clean(workspace, keep=1)
        assert done.leftovers == found.leftovers
        assert used - disk_use(workspace) == found.bytes == done.bytes > 5000

    def test_bytes_that_another_name_still_holds_are_not_called_freed(self, workspace) -> None:
        store = retrained(workspace, "one")
        retrained(workspace, "two")
        kept = workspace.home / "ingested"
        kept.mkdir()
        os.link(store.folder("ingest", "one") / "result.bin", kept / "shard.bin")
        sizes = {item.path.parent.name: item.bytes for item in plan(workspace, keep=1).leftovers}
        manifest = (store.folder("ingest", "one") / "manifest.json").stat().st_size
        assert sizes["ingest"] == manifest

    def test_the_command_lists_what_goes_and_the_sum(self, workspace, monkeypatch, capsys) -> None:
        monkeypatch.setenv("HEMLETS_HOME", str(workspace.home))
        for name in ("one", "two"):
            retrained(workspace, name)
        assert main(["clean", "--keep", "1", "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "stages/train-pose/one  (result of a stage)" in said
        assert "would free " in said
        assert main(["clean", "--keep", "1"]) == 0
        assert capsys.readouterr().out == said.replace("would free", "freed")
        assert results(workspace) == of("two")
        assert main(["clean", "--keep", "1"]) == 0
        assert capsys.readouterr().out == "freed 0.0 kB\n"

    def test_where_there_is_no_workspace_none_is_made(self, workspace, monkeypatch) -> None:
        monkeypatch.setenv("HEMLETS_HOME", str(workspace.home))
        assert main(["clean"]) == 0
        assert not workspace.home.exists()


def disk_use(workspace: Workspace) -> int:
    files = (path for path in workspace.home.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if "locks" not in path.parts)


class TestWhatIsInUse:
    @pytest.mark.parametrize(
        "name", [RETRAIN_LOCK, "promotion.lock", "train-pose.lock", "data.lock"]
    )
    def test_nothing_is_removed_while_something_writes(self, workspace, name) -> None:
        for run in ("one", "two"):
            retrained(workspace, run)
        with (
            lock(workspace.locks / name, "held by the test"),
            pytest.raises(WorkspaceError, match="is already running"),
        ):
            clean(workspace, keep=1)
        assert results(workspace) == of("one") | of("two")

    def test_a_running_server_keeps_its_files_and_an_ended_one_loses_them(self, workspace) -> None:
        alive, ended = (workspace.serving / f"serve-{port}" for port in (1, 2))
        for folder in (alive, ended):
            (folder / "store").mkdir(parents=True)
            (folder / "store" / "model.mar").write_text("archive")
            (folder / "start.lock").touch()
        ports = dict.fromkeys(
            ("inference", "management", "metrics", "grpc_inference", "grpc_management", "worker"), 1
        )
        started = psutil.Process().create_time()
        # Of a server that an earlier version of the project has started.
        settings = {"queue_size": 1000, "heap_mb": 128}
        state = {"supervisor": {"pid": os.getpid(), "started": started}, "settings": settings}
        write_json(alive / "instance.json", state | {"ports": ports, "scratch": "none"})
        done = clean(workspace, keep=1)
        assert done.in_use == (alive,)
        assert (alive / "store" / "model.mar").exists()
        assert [path.name for path in ended.iterdir() if path.suffix != ".owner"] == ["start.lock"]

    def test_downloads_of_the_champion_and_the_one_before_it_stay(self, workspace, crown) -> None:
        crown({"stage_key": "a"}, {"stage_key": "b"}, {"stage_key": "c", "archive_hash": "digest"})
        downloads = workspace.mlflow / "downloads"
        names = ("model-1", "model-2", "model-3", "archive-digest", "archive-old")
        for name in names:
            (downloads / name).mkdir(parents=True)
        clean(workspace, keep=1)
        left = {path.name for path in downloads.iterdir()}
        assert left == {"model-2", "model-3", "archive-digest"}

    def test_a_servers_log_keeps_its_end_and_the_server_writes_on(self, workspace) -> None:
        workspace.logs.mkdir(parents=True)
        path = workspace.logs / "mlflow-server.log"
        with path.open("ab") as log:
            for number in range(120_000):
                log.write(b"line %06d\n" % number)
            log.flush()
            before = path.stat().st_size
            done = clean(workspace, keep=1)
            assert before - path.stat().st_size == pytest.approx(done.bytes, abs=20)
            log.write(b"after\n")
        lines = path.read_text().splitlines()
        assert lines[-2:] == ["line 119999", "after"]
        assert re.fullmatch(r"line \d{6}", lines[0])


@pytest.mark.services
class TestDataVersions:
    @pytest.fixture
    def committed(self, workspace) -> Callable[[str], str]:
        """A run that ends with a data version."""

        def build(folder: Path, name: str) -> None:
            (folder / "shards").mkdir(exist_ok=True)
            (folder / "shards" / "own.arrow").write_text(name * 5000)
            (folder / "shards" / "same.arrow").write_text("common" * 5000)

        def run(name: str) -> str:
            store = StageStore(workspace)
            result = store.run("ingest", name, lambda folder: build(folder, name))
            return data_version.commit(workspace, result.folder, content=result.content)

        return run

    def objects(self, workspace: Workspace) -> list[int]:
        stores = (workspace.data / ".dvc" / "cache", workspace.data_remote)
        return [len(list(store.glob("files/md5/??/*"))) for store in stores]

    def test_those_of_removed_stages_go_from_the_cache_and_the_remote_and_the_others_come_back(
        self, workspace, committed
    ) -> None:
        old, kept, new = (committed(name) for name in ("old", "kept", "new"))
        data_version.export(workspace, old)
        data_version.export(workspace, kept)
        assert self.objects(workspace) == [7, 7]
        used, found = disk_use(workspace), plan(workspace, keep=2)
        done = clean(workspace, keep=2)
        assert found.versions == done.versions == (old,)
        assert self.objects(workspace) == [5, 5]
        assert used - disk_use(workspace) == pytest.approx(done.bytes, abs=3000)
        assert data_version.versions(workspace) == [kept, new]
        assert [path.name for path in (workspace.data / "beside").glob("[!.]*[!c]")] == [kept]
        shutil.rmtree(workspace.data / ".dvc" / "cache")
        for version, name in ((kept, "kept"), (new, "new")):
            back = data_version.checkout(workspace, version)
            assert (back / "shards" / "own.arrow").read_text() == name * 5000
            assert (back / "shards" / "same.arrow").exists()

    def test_one_that_was_removed_is_committed_again_with_its_run(
        self, workspace, committed
    ) -> None:
        old = committed("old")
        committed("new")
        clean(workspace, keep=1)
        assert committed("old") == old
        shutil.rmtree(workspace.data / ".dvc" / "cache")
        assert (data_version.export(workspace, old) / "shards" / "own.arrow").exists()

    def test_one_that_the_champion_was_compared_with_or_somebody_committed_stays(
        self, workspace, committed, crown, tmp_path
    ) -> None:
        compared, own = committed("compared"), tmp_path / "own"
        own.mkdir()
        (own / "annotations.parquet").write_text("by hand")
        by_hand = data_version.commit(workspace, own, name="mpii")
        gone, new = committed("gone"), committed("new")
        crown({"stage_key": "none", "previous_data_version": compared})
        assert clean(workspace, keep=1).versions == (gone,)
        assert data_version.versions(workspace) == [compared, by_hand, new]

    def test_a_remote_that_others_may_share_is_left_alone(
        self, workspace, committed, tmp_path, monkeypatch
    ) -> None:
        monkeypatch.setenv("HEMLETS_DATA_REMOTE", str(tmp_path / "shared"))
        old, _ = committed("old"), committed("new")
        before = sha256_folder(tmp_path / "shared")
        assert clean(workspace, keep=1).versions == (old,)
        assert sha256_folder(tmp_path / "shared") == before
        assert self.objects(workspace)[0] == 3

    def test_nothing_is_collected_where_the_list_of_a_versions_files_is_lost(
        self, workspace, committed
    ) -> None:
        for name in ("old", "kept", "new"):
            committed(name)
        kept = data_version.versions(workspace)[1]
        digest = kept.rpartition("-")[2]
        for store in (workspace.data / ".dvc" / "cache", workspace.data_remote):
            (listing,) = store.glob(f"files/md5/{digest[:2]}/{digest[2:]}*")
            listing.unlink()
        before = self.objects(workspace)
        with pytest.raises(WorkspaceError, match="can't be found"):
            clean(workspace, keep=2)
        assert self.objects(workspace) == before


@pytest.mark.services
def test_after_a_cleaning_the_same_retraining_takes_every_stage_from_the_cache(
    finished, workspace, lend, retrain
) -> None:
    lend(finished, workspace, *STAGES)
    assert retrain(workspace)["decision"] == "promoted"
    (workspace.stages / "benchmark" / "stale").mkdir()
    (path,) = [item.path for item in clean(workspace, keep=1).leftovers]
    assert path.name == "stale"
    outcome = retrain(workspace)
    assert outcome["decision"] == "already champion"
    assert len(outcome["cached"]) == len(STAGES) + 1
