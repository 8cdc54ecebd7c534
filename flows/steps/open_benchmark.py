"""Page of the open benchmark in a retraining, as `hemlets benchmark score` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flows.settings import BenchmarkConfig
from hemlets.body import BodyModel
from hemlets.evaluation import SampleScores, Truth, load_protocol, score, summarise, write_results

_PROTOCOL: Final = "open"


def write_open_benchmark(
    folder: Path,
    config: BenchmarkConfig,
    *,
    data_folder: Path,
    scores: SampleScores,
    body: BodyModel,
) -> None:
    """Write page, pictures and figures of the test split under the open protocol.

    The protocol's samples are always the rendered people of the test split, so that the pages of
    all runs can be compared.

    Args:
        folder: Folder of the benchmark; the subfolder ``open`` is written.
        config: Resamples per interval, and number of pictures of the worst samples.
        data_folder: The data version.
        scores: The model's scores on the test split; reused if the split holds only the protocol's
            samples.
        body: Body model of θ and β.

    Raises:
        DataError: The files don't fit each other.
    """
    from flows.steps.presence_metrics import PERSON_TITLE, person_sentence, read_person
    from hemlets.reports.benchmark_page import write_benchmark_page
    from hemlets.reports.gallery import pictures_of, worst_samples

    protocol = load_protocol(_PROTOCOL)
    annotations = data_folder / "annotations.parquet"
    out, predictions = folder / "open", folder / "test" / "model" / "predictions.parquet"
    truth = Truth.read(annotations, protocol)
    found = scores.under(protocol, truth) or score(
        predictions, truth, protocol, body=body, among_others=True, known_units=True
    )
    summary = summarise(found, resamples=config.resamples)
    worst = worst_samples(summary, config.pictures)
    gallery = pictures_of(predictions, annotations, data_folder / "shards", worst)
    write_results(out, found, summary)
    person = read_person(folder)
    remarks = () if person is None else ((PERSON_TITLE, person_sentence(person)),)
    write_benchmark_page(out / "report.html", summary, gallery, remarks)
