"""The open benchmark of a retrained model: the page that `hemlets benchmark score` would write."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flows.profile import BenchmarkConfig

__all__ = ["write_open_benchmark"]

_PROTOCOL: Final = "open"


def write_open_benchmark(folder: Path, config: BenchmarkConfig, *, data_folder: Path) -> None:
    """Score saved predictions of the test split by the open protocol, with page and pictures.

    Whatever a model was trained on, the test split is of rendered people alone, so the same
    samples are in every run's page.

    Args:
        folder: Of a benchmark that is whole but for this; gets the folder ``open``.
        config: Draws behind each interval, and how many of the worst samples to show.
        data_folder: The data version.

    Raises:
        DataError: The files don't fit each other.
    """
    from flows.steps.presence_metrics import PERSON_TITLE, person_sentence, read_person
    from hemlets.body import BodyModel
    from hemlets.evaluation.protocols import load_protocol
    from hemlets.evaluation.scoring.benchmark import score_file
    from hemlets.evaluation.scoring.results import write_results
    from hemlets.evaluation.scoring.summary import summarise_protocol
    from hemlets.evaluation.scoring.truth import Truth
    from hemlets.reports.benchmark_page import write_benchmark_page
    from hemlets.reports.gallery import pictures_of, worst_samples

    protocol = load_protocol(_PROTOCOL)
    annotations = data_folder / "annotations.parquet"
    out, predictions = folder / "open", folder / "test" / "model" / "predictions.parquet"
    truth = Truth.read(annotations, protocol)
    scores = score_file(predictions, truth, protocol, body=BodyModel.load())
    summary = summarise_protocol(scores, resamples=config.resamples)
    worst = worst_samples(summary, config.pictures)
    gallery = pictures_of(predictions, annotations, data_folder / "shards", worst)
    write_results(out, scores, summary)
    person = read_person(folder)
    remarks = () if person is None else ((PERSON_TITLE, person_sentence(person)),)
    write_benchmark_page(out / "report.html", summary, gallery, remarks)
