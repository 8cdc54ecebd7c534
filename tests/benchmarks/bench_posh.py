"""What PoSh's bodies are worth: ``python tests/benchmarks/bench_posh.py``.

Predicts the test split with a model folder (the bundled starter weights unless told otherwise),
once as it is and once refined, and sets beside it what a prediction has to beat and Table 8's two
oracles. Without ``--data`` a small set is rendered: 1,024 training people, which the mean person
is taken of, and 512 test people in motion that the starter weights have never seen. Writes one
row a machine, model, data set, row of the table and metric to ``results/posh.csv``; ends with 1
where PoSh does not beat a baseline for certain, or refinement does not do what it should.
Intervals are of resampled sequences of motion, as the benchmark's are: a test split holds few
whole clips.
"""

from __future__ import annotations

from conditions import machine

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from typing import Final

from hemlets.assets import asset_path
from hemlets.body import BodyModel
from hemlets.core.errors import DataError
from hemlets.core.files import sha256_file
from hemlets.data.synthetic import OpenDataConfig, build_open_data
from hemlets.data.synthetic.config import SplitSizes
from hemlets.data.table import Annotations
from hemlets.evaluation import MeanPose, PredictionsInfo
from hemlets.evaluation.bodies import BodyRow, BodyStudy, pick_bodies, study_bodies
from hemlets.evaluation.intervals import paired_ratio
from hemlets.evaluation.predicting import predict_rows
from hemlets.inference.predictor import Predictor

RESULTS = Path(__file__).parent / "results" / "posh.csv"
COLUMNS = ("machine", "model", "data", "samples", "row", "metric", "value", "low", "high")
SEED, TRAIN, TEST = 20_265, 1_024, 512
MOST_LEFT: Final = 2 / 3
"""Refinement is to cut the reprojection error by a third."""


def measure(body: BodyModel, predictor: Predictor, data: Path) -> BodyStudy:
    """The study of every test sample whose body and camera are known."""
    table = Annotations.read(data / "annotations.parquet")
    test, mean = table.split("test"), MeanPose.fit(table.split("train"))
    rows = test.take(pick_bodies(test, len(test)))
    families = {part for family in set(rows.family) for part in str(family).split("+")}
    seen = families & set(predictor.card.training.get("families", []))
    if seen or not len(rows):
        raise DataError(
            f"the model was trained on motion of the test split: {', '.join(sorted(seen))}"
            if seen
            else "no test row has a body, a camera and all joints",
            where=data,
            expected="bodies in motion that the model has never seen",
        )
    if mean.theta is None:
        raise DataError("no training row has a body", where=data, expected="θ and β")
    info = PredictionsInfo(
        model_version=predictor.version, data_version="bench", split="test",
        precision=predictor.precision, depth_source="bone-length-prior",
        box_source="ground-truth", flip_test=predictor.card.flip_test, code_version="bench",
    )  # fmt: skip
    return study_bodies(body, predict_rows(predictor, rows, data / "shards"), rows, mean, info)


def verdicts(study: BodyStudy) -> list[tuple[str, str, bool]]:
    """What should be so, what was found, and whether it is so."""

    def ratio(row: BodyRow, other: BodyRow, key: str) -> tuple[str, float, float]:
        found = study.change(row, other, key)
        text = f"{key}: {found.ratio:+.1%} ({found.low:+.1%} to {found.high:+.1%})"
        return text, found.ratio, found.high

    told = []
    predicted, refined = BodyRow.PREDICTED, BodyRow.REFINED
    for row, other in (
        (predicted, BodyRow.LAID), (predicted, BodyRow.MEAN_SHAPE),
        (predicted, BodyRow.MEAN_PERSON), (refined, BodyRow.LAID),
    ):  # fmt: skip
        for key in ("per_vertex_mm", "mesh_joints_mm"):
            text, _, high = ratio(row, other, key)
            told.append((f"PoSh, {row}, beats {other.value!r}", text, high < 0))
    for key in ("per_vertex_mm", "mesh_joints_mm"):
        text, mean, _ = ratio(refined, predicted, key)
        told.append(("refinement makes the mean no worse", text, mean <= 0))
    for key in ("reprojection_from_truth_px", "reprojection_from_network_px"):
        text, mean, _ = ratio(refined, predicted, key)
        told.append(("refinement cuts the reprojection error by a third", text,
                     1 + mean <= MOST_LEFT))  # fmt: skip
    # A fit to the network's image joints can hardly do better than they do.
    own = study.of(BodyRow.SKELETON, "joints2d_px")
    found = paired_ratio(study.of(refined, "reprojection_from_truth_px"), own, study.sequence_N)
    text = f"{found.ratio:+.1%} ({found.low:+.1%} to {found.high:+.1%})"
    told.append(
        ("refined bodies are in the image no worse than its joints", text, found.ratio <= 0)
    )
    return told


def record(study: BodyStudy, *, model: str, data: str) -> None:
    """Print the table and replace this machine's, model's and data set's rows."""
    old: list[dict[str, str]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as stream:
            old = list(csv.DictReader(stream))
    where = (machine(), model, data)
    kept = [row for row in old if (row["machine"], row["model"], row["data"]) != where]
    for (row, metric), found in study.intervals().items():
        cells = [f"{value:.4g}" for value in (found.mean, found.low, found.high)]
        print(f"{row:45} {metric.key:30} {cells[0]:>7}  {cells[1]:>6} {cells[2]:>6}")
        line = (*where, len(study), row, metric.full, *cells)
        kept.append(dict(zip(COLUMNS, map(str, line), strict=True)))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def main() -> int:
    """Render where there is no data, predict, measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the starter weights if omitted")
    parser.add_argument("--data", type=Path, help="folder of a data version; rendered if omitted")
    parser.add_argument("--test", type=int, default=TEST, help="people to render for the test")
    options = parser.parse_args()
    predictor = Predictor.load(options.model or asset_path("starter/model.json").parent)
    body = BodyModel.load()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data or Path(scratch, "data")
        label = f"open-rendered seed {SEED}"
        if options.data is None:
            sizes = SplitSizes(train=TRAIN, validation=0, gate=0, test=options.test)
            build_open_data(OpenDataConfig(seed=SEED, samples=sizes), folder)
        else:
            label = sha256_file(folder / "annotations.parquet")[:12]
        study = measure(body, predictor, folder)
    record(study, model=predictor.version, data=label)
    told = verdicts(study)
    for wanted, found, right in told:
        print(f"{'yes' if right else 'NO ':3} {wanted}: {found}")
    return int(not all(right for _, _, right in told))


if __name__ == "__main__":
    sys.exit(main())
