"""The wheel holds the library alone, and predicts where nothing of the checkout can be imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from hemlets import __version__

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: setuptools writes build/ and an egg-info beside what it builds.
    folder = tmp_path_factory.mktemp("build")
    (folder / "source").mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    for name in ("hemlets", "flows", "serving", "data_checks", "annotate"):
        shutil.copytree(
            ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    options = ("--no-deps", "--no-build-isolation", "--no-index")
    pip("wheel", *options, "--wheel-dir", str(folder), str(folder / "source"))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files as pip installs them, in a folder of their own."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--no-compile", "--target", str(folder), str(wheel))
    return folder


def test_it_holds_one_top_level_package(wheel: Path) -> None:
    names = {name.split("/")[0] for name in ZipFile(wheel).namelist()}
    assert names == {"hemlets", f"hemlets-{__version__}.dist-info"}


def test_it_has_no_command_whose_code_it_lacks(installed: Path) -> None:
    (metadata,) = installed.glob("*.dist-info")
    lines = (metadata / "entry_points.txt").read_text().splitlines()
    modules = [line.split("=")[1].strip().split(":")[0] for line in lines if "=" in line]
    assert modules
    for module in modules:
        path = installed.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), module


def test_it_leaves_out_what_rebuilds_the_assets(installed: Path) -> None:
    assert (installed / "hemlets/assets/manifest.json").exists()
    assert not (installed / "hemlets/assets/rebuild").exists()


def test_it_predicts_everybody_in_a_photo(installed: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests/models/golden/two_people.png", tmp_path / "photo.png")
    # -P: the current folder stays off the path. The checkout's editable install comes after it.
    code = (
        "import sys, hemlets.cli as cli, hemlets\n"
        f"assert hemlets.__file__.startswith({str(installed)!r}), hemlets.__file__\n"
        "sys.exit(cli.main(['predict', 'photo.png', '--json', '--quiet']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    people = json.loads(done.stdout)["people"]
    assert [len(person["joints3d_mm"]) for person in people] == [18, 18]
