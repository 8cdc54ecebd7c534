"""What photographs with 2D joints add: ``python tests/benchmarks/bench_mixed_training.py``.

From one start, trains the pose network on rendered people alone and, for as many images, on
rendered people and LSPET's photographs 1 to 250; then both are asked about photographs 251 to
300, which nobody has trained on: LSP's PCK at 0.2 of the torso, in boxes around the annotated
joints, before and after. What it costs is told, too: the errors on rendered people of the test
split. Both arms take as many steps with as many images: each photograph takes the place of a
rendered person, and every other setting is the same. Photographs have no depth: λ is 0 there.

``--model`` is the start (the bundled starter weights unless told otherwise) and ``--data`` a data
version of rendered people (a small one is rendered without it). LSPET is looked for as
``hemlets data ingest lspet`` does; without it there is nothing to measure. ``--folder`` keeps
what is trained: whatever ends the command, the same command goes on. Writes one row a run, and
the differences over all seeds, to ``results/mixed_training.csv``; pictures go to the folder.

Intervals are over photographs, each with its mean over the seeds: they tell what other
photographs might have given, not other seeds; those stand in rows of their own.
"""

from __future__ import annotations

from conditions import machine

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from mixed_arms import PHOTOGRAPHS, arm_rows, ingest_photographs, unite, write_arm
from mixed_pictures import before_and_after, training_crops
from mixed_scoring import (
    PCK,
    Figures,
    Float,
    of,
    score_photographs,
    score_rendered,
    spread,
)

from hemlets.assets import asset_path
from hemlets.core.files import content_hash, sha256_file
from hemlets.core.workspace import Workspace
from hemlets.data.locations import DataSettings, locate
from hemlets.data.readers.catalogue import find
from hemlets.data.synthetic import OpenDataConfig, build_open_data
from hemlets.data.synthetic.config import SplitSizes
from hemlets.data.table import Annotations, ShardReader
from hemlets.data.transforms import AugmentationConfig
from hemlets.evaluation import MetricName, Predictions
from hemlets.evaluation.intervals import Resampler
from hemlets.inference.predictor import Predictor
from hemlets.models.model_folder import WEIGHTS, load_model
from hemlets.reports.drawing import png
from hemlets.training.config import LossConfig, StageJob, TrainingConfig
from hemlets.training.engine import train
from hemlets.training.reporting import Rows
from hemlets.training.stages import stage_of

RESULTS = Path(__file__).parent / "results" / "mixed_training.csv"
STUDY: Final = ("machine", "model", "data", "images", "photographs", "recipe")
COLUMNS: Final = (*STUDY, "seed", "arm", "metric", "samples", "value", "low", "high")
START, OPEN, MIXED = "start", "open", "mixed"
VALIDATION, TEST = 256, 512
SEED: Final = 20_266

Run = tuple[str, int | None]
"""An arm and its seed; the start has none."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What all runs share.

    Attributes:
        start: Model folder.
        photographs: LSPET's data version.
        table: Rows of both.
        folder: For what is made, with ``shards`` of both.
        options: Of the command line.
    """

    start: Path
    photographs: Path
    table: Annotations
    folder: Path
    options: argparse.Namespace

    def job(self, arm: str, seed: int) -> StageJob:
        """What trains an arm under a seed; writes the arm's rows."""
        o = self.options
        card = Predictor.load(self.start).card
        rows = arm_rows(
            self.table,
            images=o.images,
            photographs=round(o.share * o.images) if arm == MIXED else 0,
            seed=seed,
            validation=VALIDATION,
        )
        steps = o.images // o.batch
        job = StageJob(
            stage="pose",
            pose=card.pose,
            shape=card.shape,
            losses=LossConfig(),
            augmentation=AugmentationConfig(),
            training=TrainingConfig(
                steps=steps,
                batch_size=o.batch,
                optimiser=o.optimiser,
                learning_rate=o.rate,
                backbone_rate=o.backbone_rate,
                frozen_levels=o.frozen_levels,
                ema=0.99,
                threads=o.threads,
                seed=seed,
                log_every=min(10, steps),
                validate_every=steps,
                validation_samples=VALIDATION,
                checkpoint_every=20,
            ),
            data=Path(),
            out=Path(),
            initial=self.start / WEIGHTS,
        )
        key = content_hash(
            {"job": job.model_copy(update={"initial": None}).hash, "arm": arm, "share": o.share,
             "start": sha256_file(self.start / WEIGHTS)}
        )[:12]  # fmt: skip
        out = self.folder / f"{arm}-seed{seed}-{key}"
        data = write_arm(rows, self.folder / "shards", out / "data")
        return job.model_copy(update={"data": data, "out": out})


def _one_look(folder: Path) -> Predictor:
    """A predictor without the flip test, which the start may declare and the arms don't."""
    model, card = load_model(folder)
    return Predictor(model, card.model_copy(update={"flip_test": False}))


def run(study: Study) -> Iterator[tuple[dict[Run, Figures], list[int]]]:
    """Figures of the start and of both arms under the seeds so far, after each; draws pictures."""
    photographs = Annotations.read(study.photographs / "annotations.parquet").split("validation")
    rendered = spread(study.table.split("test"), TEST)

    def scored(model: Path, out: Path) -> tuple[Figures, Predictions]:
        predictor = _one_look(model)
        shards = study.photographs / "shards"
        found, predicted = score_photographs(
            predictor, photographs, shards, out / "predictions.parquet"
        )
        return found | score_rendered(predictor, rendered, study.folder / "shards"), predicted

    before, before_predicted = scored(study.start, study.folder / START)
    figures: dict[Run, Figures] = {(START, None): before}
    for place, seed in enumerate(study.options.seeds, 1):
        shown, predicted = {START: before}, {START: before_predicted}
        for arm in (OPEN, MIXED):
            job = study.job(arm, seed)
            draw_crops(job, study.folder / f"crops-{arm}-seed{seed}.png")
            train(job, reporter=Rows(partial(tell, job.out.name)))
            shown[arm], predicted[arm] = scored(job.out / "model", job.out)
            figures[arm, seed] = shown[arm]
        sheet = before_and_after(
            photographs,
            ShardReader(study.photographs / "shards"),
            predicted,
            {arm: of(values, PCK) for arm, values in shown.items()},
            count=study.options.pictures,
        )
        (study.folder / f"photographs-seed{seed}.png").write_bytes(png(sheet))
        yield figures, study.options.seeds[:place]


def tell(run: str, row: dict[str, float]) -> None:
    """Progress of a training."""
    print(f"{run}: {row['step']:.0f} of {row['steps']:.0f}, loss {row['loss/total']:.1f}, "
          f"{row['samples_per_s']:.0f} images a second", flush=True)  # fmt: skip


def draw_crops(job: StageJob, path: Path) -> None:
    """Some of what is trained on: rendered people, then photographs if there are any."""
    rows = Annotations.read(job.data / "annotations.parquet").split("train")
    samples = stage_of(job).samples(rows)
    indices = np.linspace(0, len(rows) - 1, 24).astype(np.int64)
    if (rows.source == PHOTOGRAPHS).any():
        indices = np.concatenate([indices[:6], np.arange(len(rows) - 18, len(rows))])
    path.write_bytes(png(training_crops(samples.batch(indices, 0), job.pose.volume)))


def differences(
    figures: dict[Run, Figures], seeds: Sequence[int]
) -> dict[tuple[str, MetricName], Float]:
    """By what is compared and metric: the difference of each sample, in the mean over seeds."""

    def mean(arm: str, name: MetricName) -> Float:
        if arm == START:
            return figures[START, None][name]
        return np.asarray(np.mean([figures[arm, seed][name] for seed in seeds], 0))

    return {
        (f"{arm} minus {other}", name): mean(arm, name) - mean(other, name)
        for arm, other in ((MIXED, OPEN), (MIXED, START), (OPEN, START))
        for name in figures[START, None]
    }


def record(
    figures: dict[Run, Figures], seeds: Sequence[int], where: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    """Print the table, replace this study's rows, and return the differences in PCK."""
    lines: list[tuple[str, str, MetricName, Float]] = [
        ("" if seed is None else str(seed), arm, name, values)
        for (arm, seed), by_metric in figures.items()
        for name, values in by_metric.items()
    ]
    lines += [("all", what, n, v) for (what, n), v in differences(figures, seeds).items()]
    old: list[dict[str, str]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as stream:
            old = list(csv.DictReader(stream))
    kept = [row for row in old if [row[key] for key in STUDY] != list(where)]
    gained = {}
    for seed, arm, metric, values in lines:
        interval = Resampler(np.arange(len(values))).mean(values)
        cells = [interval.mean, interval.low, interval.high]
        if seed == "all" and metric.key == PCK:
            gained[arm] = (cells[0], cells[1], cells[2])
        row = (*where, seed, arm, metric.full, interval.samples, *(f"{c:.4g}" for c in cells))
        kept.append(dict(zip(COLUMNS, map(str, row), strict=True)))
        print(f"{arm:18} {seed:4} {metric.key:18} {row[-3]:>7}  {row[-2]:>7} {row[-1]:>7}")
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    return gained


def recipe(options: argparse.Namespace) -> str:
    """How is trained, in a word."""
    told = f"{options.optimiser} {options.rate:g}, batch {options.batch}"
    if options.backbone_rate != 1:
        told += f", backbone {options.backbone_rate:g} of that"
    return told + (f", {options.frozen_levels} levels frozen" if options.frozen_levels else "")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, help="model folder to start from; the starter weights if omitted")
    add("--data", type=Path, help="data version of rendered people; rendered if omitted")
    add("--lspet", type=Path, help="LSPET's folder; looked for if omitted")
    add("--folder", type=Path, help="keeps runs and pictures; thrown away if omitted")
    add("--images", type=int, default=1_504, help="that each arm is trained on")
    add("--share", type=float, default=0.25, help="of the mixed arm's images: photographs")
    add("--seeds", type=int, nargs="+", default=[0, 1])
    add("--batch", type=int, default=32)
    add("--optimiser", choices=("adamw", "muon"), default="adamw")
    add("--rate", type=float, default=3e-4, help="peak learning rate")
    add("--backbone-rate", type=float, default=1.0, help="times that, for the backbone")
    add("--frozen-levels", type=int, default=0, help="of the backbone")
    add("--threads", type=int, default=2)
    add("--pictures", type=int, default=12, help="photographs in the sheets")
    return parser.parse_args()


def main() -> int:
    """Bring the data together, train, score, draw, print, record."""
    options = parsed()
    lspet = options.lspet
    if lspet is None:
        place = locate(find(PHOTOGRAPHS), DataSettings.of(Workspace.from_env()))
        lspet = place.folder if place.is_complete else None
    if lspet is None:
        print("nothing is measured: LSPET is not here; name its folder with --lspet")
        return 0
    start = options.model or asset_path("starter/model.json").parent
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        data, label = options.data, f"open-rendered seed {SEED}"
        if data is None:
            data = folder / "rendered"
            sizes = SplitSizes(train=options.images, validation=VALIDATION, gate=0, test=TEST)
            build_open_data(OpenDataConfig(seed=SEED, samples=sizes), data)
        else:
            label = sha256_file(data / "annotations.parquet")[:12]
        predictor = Predictor.load(start)
        # Photographs are as sharp as the network's crops can show, and no sharper.
        ingest_photographs(lspet, folder / PHOTOGRAPHS, crop_px=predictor.card.pose.crop_px)
        study = Study(
            start=start,
            photographs=folder / PHOTOGRAPHS,
            table=unite(data, folder / PHOTOGRAPHS, folder),
            folder=folder,
            options=options,
        )
        where = (
            machine(), predictor.version, label, str(options.images),
            str(round(options.share * options.images)), recipe(options),
        )  # fmt: skip
        for figures, seeds in run(study):
            gained = record(figures, seeds, where)
    mean, low, high = gained[f"{MIXED} minus {OPEN}"]
    print(f"photographs in the mixture: {mean:+.1f} points of PCK ({low:+.1f} to {high:+.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
