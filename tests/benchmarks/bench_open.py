"""Figures of the bundled weights on the open benchmark: ``python tests/benchmarks/bench_open.py``.

Renders the data of the profile ``demo``, predicts its gate and test splits with the bundled weights
as they are served, and scores the predictions files, beside the mean pose and a linear map of the
true 2D joints (both fitted on the training split). Every figure has its 95 % interval over
sequences, and on the test split what is aimed at. An interrupted rendering goes on in the same
``--folder``. Writes ``results/open.csv``; six minutes on two free cores.
"""

from __future__ import annotations

from conditions import machine

import argparse
import csv
from functools import partial
from pathlib import Path

from flows.profile import load_profile
from flows.steps.scoring import score_model
from hemlets import __version__
from hemlets.cli.terminal import ProgressBars
from hemlets.core.files import sha256_file
from hemlets.data.synthetic import build_open_data
from hemlets.evaluation.scoring.results import read_summary
from hemlets.inference.champion import STARTER

RESULTS = Path(__file__).parent / "results" / "open.csv"
COLUMNS = (
    "machine", "data", "model", "split", "predictor", "metric", "value", "low", "high", "aim",
    "samples", "sequences",
)  # fmt: skip
PREDICTORS = ("model", "mean-pose", "linear-lifter")
AIMS = {"mpjpe_mm": 95.0, "pa_mpjpe_mm": 65.0, "per_vertex_mm": 115.0, "theta_deg": 13.0}
"""Of the bundled weights on the test split."""


def measure(folder: Path) -> list[dict[str, object]]:
    """Render, predict and score in a folder; return a row for each figure."""
    profile = load_profile("demo")
    data, scored = folder / "data", folder / "scored"
    with ProgressBars() as bars:
        build_open_data(
            profile.data,
            data,
            workers=profile.render_workers,
            progress=partial(bars, "images"),
        )
        version = sha256_file(data / "annotations.parquet")[:16]
        score_model(
            scored,
            profile.benchmark,
            data_folder=data,
            data_version=version,
            model_folder=STARTER,
            judges={},
            code_version=__version__,
            progress=partial(bars, "predictions"),
        )
    rows: list[dict[str, object]] = []
    for split in ("gate", "test"):
        for predictor in PREDICTORS:
            summary = read_summary(scored / split / predictor)
            for metric in summary.metrics:
                figure = metric.figure
                ends = (figure.mean, figure.low, figure.high)
                value, low, high = ("" if end is None else f"{end:.1f}" for end in ends)
                judged = predictor == "model" and split == "test"
                values = (
                    machine(), version, summary.predictions.model_version, split, predictor,
                    metric.name, value, low, high, AIMS.get(metric.key, "") if judged else "",
                    figure.samples, figure.sequences,
                )  # fmt: skip
                rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def main() -> int:
    """Measure and write a row for each split, predictor and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("workspace") / "bench-open")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = measure(options.folder)
    with options.results.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(*(row[name] for name in ("split", "predictor", "metric", "value", "aim")), sep="\t")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
