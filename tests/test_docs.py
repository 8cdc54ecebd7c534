"""What README and documentation name exists, and their Python runs."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hemlets.cli.app import GROUP
from hemlets.data.table import encode_jpeg

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
TOP_LEVEL = (
    "hemlets", "flows", "serving", "data_checks", "annotate", "infra", "docs", "examples", "tests",
)  # fmt: skip
# Spelt like names of Python, and none.
NOT_PYTHON = {GROUP, "hemlets.predictions"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

each_page = pytest.mark.parametrize("page", PAGES, ids=IDS)


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page.read_text(), re.DOTALL | re.M)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in found]


def code_words(page: Path) -> set[str]:
    """What stands in backticks within a line."""
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.M)
    return {word.strip() for word in re.findall(r"`([^`\n]+)`", prose)}


def console_lines() -> list[str]:
    lines = {
        line.strip()
        for page in PAGES
        for block in blocks(page, "console")
        for line in block.splitlines()
    }
    return sorted(lines - {""})


@cache
def help_of(*command: str) -> str:
    """The help of a command, by the code that prints it."""
    from typer.testing import CliRunner

    from hemlets.cli.app import _app

    done = CliRunner().invoke(_app(), [*command, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, f"hemlets {' '.join(command)}: {done.output}"
    return done.output


def commands_of(words: list[str]) -> list[str]:
    """The command, and the sub-command where there is one."""
    name = words[1]
    is_group = "COMMAND [ARGS]" in help_of(name)
    return words[1:3] if is_group and len(words) > 2 else [name]


@pytest.mark.parametrize("line", [s for s in console_lines() if s.startswith("hemlets ")])
def test_each_command_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)
    shown = help_of(*commands_of(words))
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", shown), option


@each_page
def test_each_command_in_a_sentence_exists_with_its_options(page: Path) -> None:
    for words in (shlex.split(word) for word in code_words(page) if word.startswith("hemlets ")):
        shown = help_of(*commands_of([word for word in words if word != "N"]))
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", shown), f"{' '.join(words)}"


@each_page
def test_each_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    for words in (text.split() for text in [*code_words(page), *lines]):
        if words[:1] == ["make"]:
            assert set(words[1:2]) <= targets, " ".join(words)


@each_page
def test_each_path_exists(page: Path) -> None:
    for word in code_words(page):
        path = word.rstrip("/")
        in_the_tree = "/" in word and word.split("/")[0] in TOP_LEVEL
        if in_the_tree and re.fullmatch(r"[\w./*-]+", word):
            assert list(ROOT.glob(path)), f"{page.name}: {word}"


@each_page
def test_each_linked_file_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@each_page
def test_each_python_name_exists(page: Path) -> None:
    for word in code_words(page):
        if not re.fullmatch(rf"({'|'.join(TOP_LEVEL[:5])})(\.\w+)+", word) or word in NOT_PYTHON:
            continue
        if not word.endswith((".py", ".toml", ".lock", ".yaml", ".md")):
            assert resolves(word), f"{page.name}: {word}"


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@each_page
def test_each_extra_and_profile_exists(page: Path) -> None:
    profiles = {path.stem for path in (ROOT / "flows" / "profiles").glob("*.toml")}
    for line in (text for block in blocks(page, "console") for text in block.splitlines()):
        if found := re.search(r"--profile ([\w-]+)(?!\S)", line):
            assert found.group(1) in profiles, line
        if found := re.search(r"hemlets\[(\w+)\]", line):
            assert found.group(1) in PROJECT["optional-dependencies"], line


def test_each_extra_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "packaging.md").read_text(), re.M)
    assert set(rows) == set(PROJECT["optional-dependencies"])


def test_each_diagram_is_what_its_script_draws() -> None:
    folder = ROOT / "docs" / "figures"
    spec = importlib.util.spec_from_file_location("draw", folder / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    assert {path.stem for path in folder.glob("*.svg")} == set(drawn.DIAGRAMS)
    for name, draw in drawn.DIAGRAMS.items():
        assert (folder / f"{name}.svg").read_text(encoding="utf-8") == draw(), name


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, code, id=f"{name}-{number}")
        for page, name in zip(PAGES, IDS, strict=True)
        for number, code in enumerate(blocks(page, "python"))
        if name != "README.md"  # Run by test_readme.py.
    ],
)
def test_the_python_runs(
    page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEMLETS_HOME", str(tmp_path / "workspace"))
    image = np.random.default_rng(0).integers(0, 255, (240, 200, 3)).astype(np.uint8)
    (tmp_path / "photo.jpg").write_bytes(encode_jpeg(image))
    exec(compile(code, str(page), "exec"), {"__name__": "page"})
