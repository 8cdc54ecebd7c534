"""What people and later stages get from a validation: pages and a stored result."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from data_checks.result import ValidationResult
from data_checks.validate import validate
from hemlets.core.errors import DataError

Columns = dict[str, Any]
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def failed(
    version: Callable[[Columns], Path], fresh: Callable[[], Columns]
) -> tuple[Path, ValidationResult]:
    """A version with faults, and what was found; the pages lie beside it in ``out``."""
    columns = fresh()
    columns["betas"][3, 0] = 9
    columns["camera"][4, 0] *= -1
    columns["sample_id"][3] = columns["sample_id"][4] = HOSTILE
    folder = version(columns)
    return folder, validate(folder, folder.with_name("out"))


@pytest.fixture
def moved(failed: tuple[Path, ValidationResult], tmp_path: Path) -> Path:
    """A copy of the pages elsewhere, free to be changed."""
    return shutil.copytree(failed[1].report.parent, tmp_path / "elsewhere")


def pages(result: ValidationResult) -> list[Path]:
    return [result.report, *result.data_docs.parent.rglob("*.html")]


def test_pages_fetch_nothing_and_run_nothing(failed: tuple[Path, ValidationResult]):
    for page in pages(failed[1]):
        text = page.read_text()
        assert not re.search(r"<(script|link|img|iframe)\b[^>]*(src|href)=[\"']?http", text)
        assert "<script" not in text
        assert not re.search(r"url\(\s*['\"]?http", text)
        assert "Content-Security-Policy" in text


def test_names_from_the_data_are_escaped(failed: tuple[Path, ValidationResult]):
    _, result = failed

    assert HOSTILE in result.message()
    assert "&lt;script&gt;" in result.report.read_text()


def test_data_docs_name_the_unexpected_row(failed: tuple[Path, ValidationResult]):
    site = failed[1].data_docs.parent
    page = next(p for p in (site / "validations").rglob("*SMPL.html"))

    text = page.read_text()

    assert "Every β lies within ±5 standard deviations. Field: betas." in text
    assert "betas_plausible" in text


def test_every_local_link_leads_somewhere(failed: tuple[Path, ValidationResult]):
    for page in pages(failed[1]):
        for target in re.findall(r"href=\"([^\"#]+)\"", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / unquote(target)).exists(), f"{page}: {target}"


def test_the_report_shows_pictures_of_failing_rows(failed: tuple[Path, ValidationResult]):
    text = failed[1].report.read_text()

    assert text.count("data:image/png;base64,") >= 2
    assert "(row 3)" in text


def test_the_stored_result_survives_a_move(failed: tuple[Path, ValidationResult], moved: Path):
    result = failed[1]

    read = ValidationResult.read(moved)

    assert read.hash == result.hash
    assert read.blocking == result.blocking
    assert read.data_docs.parent == moved / "data_docs"
    assert read.data_docs.exists()
    assert read.report.exists()


def test_a_changed_result_is_refused(moved: Path):
    path = moved / "result.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"passed": True}))

    with pytest.raises(DataError, match="does not match its hash"):
        ValidationResult.read(moved)


def test_validating_again_gives_the_same_hash_and_replaces_the_pages(
    failed: tuple[Path, ValidationResult], moved: Path
):
    folder, result = failed
    (moved / "data_docs" / "old.html").write_text("old")

    again = validate(folder, moved)

    assert again.hash == result.hash
    assert not (moved / "data_docs" / "old.html").exists()


def test_great_expectations_own_result_is_kept(moved: Path):
    results = json.loads((moved / "great_expectations.json").read_text())

    failing = [
        item["expectation_config"]["meta"]["name"]
        for suite in results
        for item in suite["results"]
        if not item["success"]
    ]
    assert {"betas_plausible", "camera_focal_positive", "sample_id_unique"} <= set(failing)
