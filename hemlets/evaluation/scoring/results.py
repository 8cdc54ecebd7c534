"""Store a benchmark's results: summary as JSON, figures by sample as Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hemlets.core.arrays import Float, Objects
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import atomic_path, read_json, write_json
from hemlets.evaluation.scoring.sample_scores import SampleScores
from hemlets.evaluation.scoring.summary import Summary

SUMMARY_FILE: Final = "benchmark.json"
SAMPLES_FILE: Final = "samples.parquet"
_REMEDY: Final = "run `hemlets benchmark score … --out FOLDER`: it writes these files"


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleFigures:
    """Stored figures by sample.

    Attributes:
        sample_id: (N,).
        sequence: (N,) unit of resampling.
        by_key: (N,) values by key; NaN where a sample has none.
    """

    sample_id: Objects
    sequence: Objects
    by_key: dict[str, Float]


def write_results(folder: Path, scores: SampleScores, summary: Summary) -> None:
    """Write both files atomically; a summary is never beside figures that it is not of."""
    truth = scores.truth
    words = {"sequence": truth.sequence} | {
        name: truth.facets[name] for name in ("subject", "action", "camera_id")
    }
    columns: dict[str, Any] = {"sample_id": truth.ids}
    for name, facet in words.items():
        columns[name] = pa.DictionaryArray.from_arrays(
            pa.array(facet.codes, pa.int32()), pa.array(facet.words, pa.string())
        )
    for place, key in enumerate(scores.keys):
        columns[key] = pa.array(np.ascontiguousarray(scores.values[:, place]))
    with atomic_path(folder / SAMPLES_FILE) as scratch:
        pq.write_table(
            pa.table(columns),
            scratch,
            compression="zstd",
            row_group_size=65_536,
            write_page_checksum=True,
        )
        (folder / SUMMARY_FILE).unlink(missing_ok=True)
    write_json(folder / SUMMARY_FILE, summary.model_dump(mode="json"))


def read_summary(folder: Path) -> Summary:
    """Read the summary of a benchmark's folder.

    Raises:
        DataError: There is none, or it has another form.
    """
    path = folder / SUMMARY_FILE
    if not path.exists():
        raise DataError(
            "there is no benchmark in this folder",
            where=folder,
            expected=SUMMARY_FILE,
            remedy=_REMEDY,
        )
    try:
        return Summary.from_mapping(read_json(path), where=str(path))
    except (ConfigError, DataError) as error:
        raise DataError(
            f"the benchmark's summary can't be used: {error.what}", where=path, remedy=_REMEDY
        ) from error


def read_sample_figures(folder: Path, summary: Summary) -> SampleFigures:
    """Read the figures by sample of a benchmark's folder.

    Raises:
        DataError: The file is absent, damaged or has another form.
    """
    path = folder / SAMPLES_FILE
    keys = [metric.key for metric in summary.metrics]
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        text = {
            name: np.array(table.column(name).to_pylist(), object)
            for name in ("sample_id", "sequence")
        }
        by_key = {key: np.asarray(table.column(key).to_numpy(), np.float64) for key in keys}
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(
            f"the figures by sample can't be read: {error}", where=path, remedy=_REMEDY
        ) from error
    return SampleFigures(by_key=by_key, **text)
