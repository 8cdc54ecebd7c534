"""Messages name commands, options, targets, files, extras and variables that exist.

All strings of the source that are prose are read, except docstrings. A word behind ``hemlets`` or
``make`` that is neither a command nor known prose turns a test red, so that none is overlooked.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.core import TyperGroup
from typer.testing import CliRunner

from hemlets.cli.app import GROUP, _app, _load

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("hemlets", "flows", "serving", "data_checks", "annotate")
AFTER_HEMLETS = {"again", "packages", "that", "with"}
AFTER_MAKE = {"a", "all", "an", "it", "more", "one", "the", "them", "this", "up"}
OF_OTHERS = {
    "--experiment-id": "mlflow",
    "--keypoint_scale": "OpenPose",
    "--noproxy": "curl",
    "--shm-size": "docker",
}


EXAMPLES = {"smpl.npz", "NAME.json", "JOB.json", "NAME_000000000000_keypoints.json"}
"""Names that a message makes up."""


class Message(NamedTuple):
    place: str
    text: str


def _text(node: ast.AST) -> str | None:
    """A string, with {} for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) or "{}" for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None and right is None else (left or "{}") + (right or "{}")
    return None


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    skipped: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Docstrings, of attributes too.
            skipped |= {id(item.value) for item in body if isinstance(item, ast.Expr)}
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            skipped |= {id(node.left), id(node.right)}
    for node in ast.walk(tree):
        if id(node) not in skipped and (text := _text(node)) is not None:
            yield getattr(node, "lineno", 0), text


@cache
def sources() -> dict[str, list[tuple[int, str]]]:
    files = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    return {
        path.relative_to(ROOT).as_posix(): list(_strings(path))
        for path in files
        if "rebuild" not in path.parts
    }


@cache
def messages() -> list[Message]:
    return [
        Message(f"{path}:{line}", " ".join(text.split()))
        for path, found in sources().items()
        for line, text in found
        if " " in text.strip() and not text.lstrip().startswith(("<", "{%"))
    ]


@cache
def commands() -> dict[str, Any]:
    """Every command's words, with what typer makes of it."""
    found: dict[str, Any] = {}

    def add(words: str, command: Any) -> None:
        found[words] = command
        for name, below in getattr(command, "commands", {}).items():
            add(f"{words} {name}", below)

    for entry in entry_points(group=GROUP):
        add(entry.name, _load(entry))
    return found


def is_bare_group(words: str) -> bool:
    """Whether a command must follow; a group with a way of its own to find one has a default."""
    command = commands()[words]
    return (
        isinstance(command, TyperGroup)
        and type(command).resolve_command is TyperGroup.resolve_command
    )


def options_of(words: str) -> set[str]:
    command = commands()[words]
    named = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return named | {"--help"}


def commands_in(text: str) -> Iterator[tuple[str, str]]:
    """Each command that a text names, and what follows it up to the next or the sentence's end."""
    for match in re.finditer(r"\bhemlets ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)([^;.`]*)", text):
        words = match[1].split()
        known = [n for n in range(1, len(words) + 1) if " ".join(words[:n]) in commands()]
        if known:
            yield " ".join(words[: known[-1]]), match[0]
        else:
            yield words[0], match[0]


MESSAGES = messages()


def test_there_are_hundreds_of_messages_to_look_at() -> None:
    assert len(MESSAGES) > 800
    assert any("hemlets data ingest" in message.text for message in MESSAGES)


def test_every_command_that_a_message_names_exists() -> None:
    wrong = []
    for message in MESSAGES:
        for words, _ in commands_in(message.text):
            if words in commands():
                if is_bare_group(words) and f"hemlets {words} " in message.text:
                    wrong.append((message, "a group, and no command of it"))
            elif words not in AFTER_HEMLETS:
                wrong.append((message, "no command"))
    assert not wrong


def test_every_option_that_a_message_names_exists() -> None:
    everywhere = {option for words in commands() for option in options_of(words)}
    wrong = []
    for message in MESSAGES:
        for words, rest in commands_in(message.text):
            if words in commands() and not hasattr(commands()[words], "commands"):
                named = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", rest))
                wrong += [(message, option) for option in named - options_of(words)]
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", message.text))
        wrong += [(message, option) for option in named - everywhere - set(OF_OTHERS)]
    assert not wrong


def test_every_option_that_an_error_gives_as_its_place_exists() -> None:
    everywhere = {option for words in commands() for option in options_of(words)}
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.keyword) and node.arg in ("where", "option"):
                named = re.findall(r"--[a-z][a-z-]*", _text(node.value) or "")
                wrong += [(path, node.value.lineno, n) for n in named if n not in everywhere]
    assert not wrong


@pytest.mark.parametrize(
    "words", sorted({w for m in MESSAGES for w, _ in commands_in(m.text) if w in commands()})
)
def test_a_command_that_is_a_remedy_runs_as_far_as_its_help(words: str) -> None:
    done = CliRunner().invoke(_app(), [*words.split(), "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage" in done.output


def test_every_target_of_make_that_a_message_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = [
        message
        for message in MESSAGES
        for word in re.findall(r"\bmake ([a-z-]+)", message.text)
        if word not in targets | AFTER_MAKE
    ]
    assert not wrong


FILE = re.compile(
    r"(?<![\w.{}/*-])((?:[\w-]+/)*[\w-]+\.(?:md|toml|yaml|json|jsonl|log|txt|npz|lock|parquet))\b"
)


def test_every_file_that_a_message_names_is_in_the_project_or_written_by_it() -> None:
    """A file of the project by its path; one of a run by its name, which other code has too."""
    alone = {text for found in sources().values() for _, text in found if " " not in text.strip()}
    names = {part for text in alone for part in re.split(r"[/{}]", text)}
    wrong = [
        (message, name)
        for message in MESSAGES
        for name in FILE.findall(message.text)
        # Readers name the files of datasets.
        if not message.place.startswith("hemlets/data/readers/")
        and not (ROOT / name).exists()
        and name.rpartition("/")[2] not in names | EXAMPLES
    ]
    assert not wrong


def test_every_extra_that_a_message_names_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wrong = [
        (message, extra)
        for message in MESSAGES
        for group in re.findall(r"(?:hemlets|\.)\[([a-z,]+)\]", message.text)
        for extra in group.split(",")
        if extra not in project["optional-dependencies"]
    ]
    assert not wrong


def test_every_variable_of_ours_that_a_message_names_is_read_somewhere() -> None:
    read = {text.strip() for found in sources().values() for _, text in found}
    wrong = [
        (message, name)
        for message in MESSAGES
        for name in re.findall(r"\bHEMLETS_[A-Z_]+", message.text)
        if name not in read
    ]
    assert not wrong


def test_every_profile_that_a_message_names_exists() -> None:
    profiles = {path.stem for path in (ROOT / "flows/profiles").glob("*.toml")}
    named = {
        (message, name)
        for message in MESSAGES
        for name in re.findall(r"\bprofile ([a-z0-9-]+)\b(?=$|[.;,)])", message.text)
    }
    assert not [(message, name) for message, name in named if name not in profiles]
