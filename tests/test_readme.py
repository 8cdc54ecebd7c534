"""The README's commands and code are run, or at least exist, as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemlets.data.table import encode_jpeg
from hemlets.inference.champion import STARTER

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CONSOLE = [
    line
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("line", [line for line in CONSOLE if line.startswith("hemlets ")])
def test_each_command_of_the_readme_exists_with_its_options(line):
    words = shlex.split(line)
    command = [sys.executable, "-m", "hemlets.cli", words[1], "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for option in (word for word in words if word.startswith("--")):
        assert option in shown


@pytest.mark.parametrize("line", [line for line in CONSOLE if line.startswith("make ")])
def test_each_make_target_of_the_readme_exists(line):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line.split()[1] in targets


def test_each_file_that_the_readme_links_to_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.skipif(
    not (STARTER / "model.json").exists(), reason="no starter weights in this checkout"
)
def test_the_python_of_the_readme_runs(tmp_path):
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    image = np.asarray(Image.open(ROOT / "tests/models/golden/two_people.png").convert("RGB"))
    (tmp_path / "photo.jpg").write_bytes(encode_jpeg(image))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("(18, 2) (18, 3) (") for line in (lines[1], lines[3]))
    assert lines[4] == "(24, 3) (10,)"
    written = {path.name for path in (tmp_path / "predictions").iterdir()}
    assert written == {"photo.json", "photo.overlay.png", "photo.html"}
