"""Score a predictions file by a protocol: ``python examples/score_predictions.py FOLDER``.

Renders a small data version and writes the predictions of the simplest model there is: the mean
pose of its training samples, the same for every image. Replace `predict` by your own model.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import Annotations
from hemlets.evaluation import (
    MeanPose,
    Predictions,
    PredictionsInfo,
    Truth,
    load_protocol,
    score,
    summarise,
    write_results,
)


def predict(train: Annotations, test: Annotations) -> Predictions:
    """Predict the test samples; the information says how, and becomes part of metric names."""
    info = PredictionsInfo(
        model_version="mean pose",
        data_version="example",
        split="test",
        precision="float32",
        depth_source="training-mean",
        box_source="ground-truth",
        flip_test=False,
        code_version="example",
    )
    return MeanPose.fit(train).predict(test, info)


def main(folder: str) -> None:
    """Render, predict, score and print each metric under its full name."""
    data = Path(folder) / "data"
    sizes = SplitSizes(train=48, validation=8, gate=8, test=24)
    build_open_data(OpenDataConfig(samples=sizes, image_px=96, background_share=0.0), data)
    table = data / "annotations.parquet"
    annotations = Annotations.read(table)
    file = Path(folder) / "predictions.parquet"
    predict(annotations.split("train"), annotations.split("test")).write(file)

    protocol = load_protocol("open")
    scores = score(file, Truth.read(table, protocol), protocol)
    summary = summarise(scores, resamples=500, seed=0)
    write_results(Path(folder) / "benchmark", scores, summary)
    for name, value in summary.logged.items():
        print(f"{name} = {value:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
