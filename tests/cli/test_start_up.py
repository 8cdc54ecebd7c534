"""What a command needs to start is what it pays for: nothing slow is imported in vain."""

import subprocess
import sys
from pathlib import Path

import pytest

# A tenth of a second to two seconds each: torch's compiler and what it computes shapes with, roma,
# which imports it, and what only tables and the pipeline need.
SLOW = (
    "torch._dynamo", "sympy", "roma", "smplx", "scipy", "pandas", "pyarrow", "mlflow", "prefect",
)  # fmt: skip

# Faces of packages that describe, read or draw, and must not wait for a network library.
WITHOUT_TORCH = (
    "hemlets", "hemlets.cli", "hemlets.core", "hemlets.body", "hemlets.data.table",
    "hemlets.data.readers", "hemlets.data.transforms", "hemlets.data.synthetic",
    "hemlets.evaluation", "hemlets.inference", "hemlets.reports.drawing", "hemlets.training",
    "data_checks", "flows", "serving", "annotate", "hemlets.annotation.store",
)  # fmt: skip


def imported_after(code: str, candidates: tuple[str, ...], *arguments: object) -> list[str]:
    """Which of some modules a fresh interpreter has imported once it has run some code."""
    report = f"import sys\nprint(*(set({candidates!r}) & set(sys.modules)), sep='\\n', end='')"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}", *map(str, arguments)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.parametrize("package", WITHOUT_TORCH)
def test_a_packages_face_does_not_import_torch(package: str) -> None:
    assert imported_after(f"import {package}", ("torch",)) == []


def test_predicting_a_photo_imports_nothing_that_is_slow_and_not_needed(
    photo: Path, model_folder: Path
) -> None:
    code = (
        "import sys\n"
        "from hemlets.cli import main\n"
        "code = main(['predict', sys.argv[1], '--model', sys.argv[2], '--quiet'])\n"
        "assert code == 0, code"
    )
    assert imported_after(code, SLOW, photo, model_folder) == []
    assert Path("predictions/photo.json").exists()
