import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from hemlets import __version__
from hemlets.cli import app, main
from hemlets.cli.boundary import prepare_streams
from hemlets.core.errors import HemletsError

COMMANDS = '''
"""Commands to try things with."""
import os
import signal

import typer

from hemlets.core.errors import ValidationFailed


def fine(times: int = 1) -> None:
    """Works well.

    And has more to say.
    """
    print("fine" * times)


def wrong() -> None:
    """Goes wrong in a way that was foreseen."""
    raise ValidationFailed("a row is bad", where="row 7", expected="a good row", remedy="mend it")


def buggy() -> None:
    """Goes wrong in a way that was not."""
    raise ZeroDivisionError("a bug")


def unreadable() -> None:
    """Opens a file that is not there."""
    open("/nowhere/at/all")


def special() -> None:
    """Prints what few encodings have."""
    typer.echo("θ — 雪")


def interrupted() -> None:
    """Is stopped by Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()


group = typer.Typer()


@group.command()
def one() -> None:
    print("one")


@group.command()
def two() -> None:
    print("two")
'''


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry points of a module that is as good as installed."""
    (tmp_path / "trial_commands.py").write_text(COMMANDS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trial_commands", raising=False)
    found = [
        EntryPoint(name, f"trial_commands:{name}", app.GROUP)
        for name in ("fine", "wrong", "buggy", "unreadable", "special", "interrupted", "group")
    ]
    found.append(EntryPoint("absent", "flows.no_such_module:absent", app.GROUP))
    found.append(EntryPoint("moved", "trial_commands:moved_away", app.GROUP))
    monkeypatch.setattr(app, "entry_points", lambda group: found)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


class TestHelp:
    def test_it_lists_every_command_with_its_summary(self, commands: None, run: Run) -> None:
        code, out, _ = run("--help")

        assert code == 0
        assert "fine         Works well.\n" in out
        assert "wrong        Goes wrong in a way that was foreseen." in out
        assert "absent       (not installed)" in out

    def test_listing_the_commands_does_not_import_them(self, commands: None, run: Run) -> None:
        run("--help")

        assert "trial_commands" not in sys.modules

    def test_a_commands_own_help_has_its_options(self, commands: None, run: Run) -> None:
        code, out, _ = run("fine", "--help")

        assert code == 0
        assert "And has more to say." in out
        assert "--times" in out

    def test_it_needs_no_heavy_library(self) -> None:
        heavy = "torch numpy cv2 pydantic rich mlflow prefect great_expectations pyarrow"
        program = (
            "import sys; from hemlets.cli import main; code = main(['--help']); "
            f"loaded = sorted(set('{heavy}'.split()) & set(sys.modules)); "
            "sys.exit(f'imported: {loaded}' if loaded or code else 0)"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )

        assert ended.returncode == 0, ended.stderr
        assert "predict Predict the 3D pose" in " ".join(ended.stdout.split())

    def test_without_arguments_it_is_shown(self, commands: None, run: Run) -> None:
        code, out, err = run()

        assert code == 2
        assert "Commands:" in out + err


def test_the_real_entry_points_include_predict() -> None:
    found = {entry.name: entry.value for entry in entry_points(group=app.GROUP)}

    assert found["predict"] == "hemlets.cli.predict:predict"


def test_version_is_printed(run: Run) -> None:
    assert run("--version") == (0, f"hemlets {__version__}\n", "")


def test_a_command_runs_with_its_options(commands: None, run: Run) -> None:
    assert run("fine", "--times", "2") == (0, "finefine\n", "")


def test_an_app_can_stand_for_a_command(commands: None, run: Run) -> None:
    assert run("group", "two") == (0, "two\n", "")


def test_an_unknown_command_gets_a_suggestion(commands: None, run: Run) -> None:
    code, _, err = run("fin")

    assert code == 2
    assert "No such command 'fin'" in err
    assert "fine" in err


def test_a_command_whose_package_is_missing_names_the_extra(commands: None, run: Run) -> None:
    code, _, err = run("absent")

    assert code == 2
    assert "flows.no_such_module" in err
    assert "pip install 'hemlets[flows]'" in err


def test_a_command_that_an_old_installation_remembers_asks_to_install_again(
    commands: None, run: Run
) -> None:
    code, _, err = run("moved")

    assert code == 2
    assert "trial_commands:moved_away" in err
    assert "pip install -e ." in err


class TestErrors:
    def test_one_of_ours_is_a_message_with_its_exit_code(self, commands: None, run: Run) -> None:
        code, out, err = run("wrong")

        assert (code, out) == (3, "")
        assert err == (
            "error: a row is bad\n  where: row 7\n  expected: a good row\n  remedy: mend it\n"
        )

    def test_its_traceback_is_shown_on_demand(
        self, commands: None, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HEMLETS_DEBUG", "1")

        with pytest.raises(HemletsError, match="a row is bad"):
            run("wrong")

    def test_what_was_not_foreseen_is_a_message_with_its_kind_and_a_way_to_see_more(
        self, commands: None, run: Run
    ) -> None:
        code, out, err = run("buggy")

        assert (code, out) == (70, "")
        assert "ZeroDivisionError: a bug" in err
        assert "HEMLETS_DEBUG=1" in err
        assert "Traceback" not in err

    def test_its_own_traceback_is_shown_on_demand(
        self, commands: None, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HEMLETS_DEBUG", "1")

        with pytest.raises(ZeroDivisionError):
            run("buggy")

    def test_an_error_of_the_system_names_its_file(self, commands: None, run: Run) -> None:
        code, _, err = run("unreadable")

        assert code == 70
        assert "no such file or directory" in err
        assert "where: /nowhere/at/all" in err

    def test_a_wrong_option_is_refused_by_name(self, commands: None, run: Run) -> None:
        code, _, err = run("fine", "--tims", "2")

        assert code == 2
        assert "--tims" in err


def test_ctrl_c_ends_quietly_with_130(commands: None, run: Run) -> None:
    assert run("interrupted") == (130, "", "")


def test_ctrl_c_while_a_command_is_still_loading_is_quiet_too(tmp_path: Path) -> None:
    (tmp_path / "slow_command.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from hemlets.cli import app; "
        "from importlib.metadata import EntryPoint; "
        "app.entry_points = lambda group: [EntryPoint('slow', 'slow_command:slow', group)]; "
        "sys.exit(app.main(['slow']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (130, "")
    assert signal.getsignal(signal.SIGINT) is not None


def _program(commands: str, folder: Path) -> str:
    (folder / "trial_commands.py").write_text(commands)
    return (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from hemlets.cli import app; "
        "from importlib.metadata import EntryPoint; "
        "app.entry_points = lambda group: ["
        "EntryPoint(n, 'trial_commands:' + n, group) for n in ('fine', 'special')]; "
        "sys.exit(app.main(sys.argv[1:]))"
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp437", "utf-8"])
def test_output_is_printed_whatever_the_terminals_encoding(tmp_path: Path, encoding: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _program(COMMANDS, tmp_path), "special"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "θ — 雪".encode(encoding, errors="replace")


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_fault(closed: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _program(COMMANDS, tmp_path), "fine"]
    ended = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], check=False)
    assert ended.returncode == 0


def test_a_full_standard_output_is_a_message(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", _program(COMMANDS, tmp_path), "fine"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert ended.returncode == 70
    assert "no space is left" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_a_reader_that_has_gone_ends_the_command_quietly(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _program(COMMANDS, tmp_path), "fine", "--times", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()

    assert process.wait(180) == 141
    assert process.stderr.read() == b""


@pytest.mark.parametrize("command", ["retrain", "serve", "data", "doctor", "annotate"])
def test_a_foreign_package_of_the_same_name_on_the_path_hides_no_command(
    tmp_path: Path, command: str
) -> None:
    for package in ("flows", "serving", "data_checks", "annotate"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('a foreign package')")
    ended = subprocess.run(
        [sys.executable, "-m", "hemlets.cli", command, "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert f"hemlets {command}" in ended.stdout


def test_each_line_reaches_a_pipe_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, "latin-1"))
    prepare_streams()
    print("serving — here")
    assert pipe.getvalue() == b"serving ? here\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("~/a.jpg", "/h/a.jpg"),
        ("--out=~/a", "--out=/h/a"),
        ("--out=~", "--out=~"),
        ("a~/b", "a~/b"),
        ("--set=x=~/b\n", "--set=x=~/b\n"),
        ("-", "-"),
        ("", ""),
    ],
)
def test_a_tilde_that_the_shell_left_is_the_home_folder(
    given: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert app._with_home(given) == expected
