"""The README's commands and code are run, or at least exist, as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
    image = np.random.default_rng(0).integers(0, 255, (240, 200, 3)).astype(np.uint8)
    (tmp_path / "photo.jpg").write_bytes(encode_jpeg(image))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("(18, 3) (24, 3) whole-image-box")
