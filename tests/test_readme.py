"""The README's Python runs as it stands there. Its commands and links: see test_docs.py."""

import re
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


@pytest.mark.skipif(
    not (STARTER / "model.json").exists(), reason="no starter weights in this checkout"
)
def test_the_python_of_the_readme_runs(tmp_path):
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert README.index(first) < README.index("## ")
    image = np.asarray(Image.open(ROOT / "tests/models/golden/two_people.png").convert("RGB"))
    (tmp_path / "photo.jpg").write_bytes(encode_jpeg(image))
    code = f"{first}\nimport shutil\nshutil.move('predictions', 'first')\n{second}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("(18, 2) (18, 3) (") for line in (lines[1], lines[3]))
    assert lines[4] == "(24, 3) (10,)"
    for folder in ("first", "predictions"):
        written = {path.name for path in (tmp_path / folder).iterdir()}
        assert written == {"photo.json", "photo.overlay.png", "photo.html"}
