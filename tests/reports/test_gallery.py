"""A few rows of an annotation table by their samples' names."""

from pathlib import Path

from hemlets.data.table import Annotations
from hemlets.reports.gallery import rows_of_samples

from ..evaluation.layouts import human36m


def _table(tmp_path: Path) -> tuple[Path, Annotations]:
    rows = human36m("S9")
    path = tmp_path / "annotations.parquet"
    rows.write(path)
    return path, rows


def test_the_named_rows_are_read_and_no_others(tmp_path: Path) -> None:
    path, rows = _table(tmp_path)
    names = [str(name) for name in rows.sample_id[[1, 0]]]
    assert set(rows_of_samples(path, names).sample_id) == set(names)


def test_no_names_are_no_rows(tmp_path: Path) -> None:
    # A model without the headline's figure has no worst samples.
    path, _ = _table(tmp_path)
    assert len(rows_of_samples(path, [])) == 0
