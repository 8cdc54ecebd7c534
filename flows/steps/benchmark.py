"""Benchmark: predict the gate and test splits, save the predictions, score the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flows.settings import BenchmarkConfig
from flows.steps.ingest import Data, Progress
from flows.steps.machine import machine
from flows.steps.split_fingerprint import read_split_fingerprint
from flows.storage.stage_cache import StageResult, StageStore
from flows.tracking.figures import Figures
from hemlets.core.code_hash import code_hash
from hemlets.core.files import sha256_folder

if TYPE_CHECKING:
    from flows.tracking.run import Run

_BASELINES: Final = frozenset(("mean-pose", "linear-lifter"))


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Saved predictions and their scores, by split and predictor."""

    result: StageResult

    def predictions(self, split: str) -> Path:
        """The model's predictions file."""
        return self.result.folder / split / "model" / "predictions.parquet"

    def scores(self, split: str, predictor: str = "model") -> Path:
        """Folder of a predictor's scores: ``model``, ``mean-pose`` or ``linear-lifter``."""
        return self.result.folder / split / predictor

    @property
    def open_page(self) -> Path:
        """Folder of the test split scored by the open protocol, with its page."""
        return self.result.folder / "open"


def benchmark(
    store: StageStore,
    config: BenchmarkConfig,
    data: Data,
    model_folder: Path,
    *,
    code_version: str,
    progress: Progress | None = None,
) -> Benchmark:
    """Predict the gate and the test split, save the predictions, then score the files.

    The mean-pose predictor and the linear lifter are scored on the same samples. This function also
    scores the champion; earlier results come from the cache.
    """
    key = store.key(
        "benchmark",
        config=config.hash,
        data=data.result.content,
        model=sha256_folder(model_folder),
        judges=sorted(data.judges),
        machine=machine(),
        code=code_hash("flows.steps.scoring"),
    )

    def build(folder: Path) -> None:
        from flows.steps.scoring import score_model

        score_model(
            folder,
            config,
            data_folder=data.folder,
            data_version=data.version,
            model_folder=model_folder,
            judges=data.judges,
            code_version=code_version,
            progress=progress,
        )

    return Benchmark(result=store.run("benchmark", key, build))


def summarize(scored: Benchmark) -> str:
    """The test error of the model and the baselines, as one line."""
    figures = Figures.read(scored.result.folder)
    model, mean_pose, lifter = (
        "unknown" if value is None else f"{value:.1f}"
        for value in (
            figures.mean("test", name, "mpjpe_mm")
            for name in ("model", "mean-pose", "linear-lifter")
        )
    )
    return f"test MPJPE {model} mm (mean pose {mean_pose}, linear lifter {lifter})"


def log_protocol(run: Run, scored: Benchmark) -> None:
    """Log what figures must share to be comparable: the protocol and the rows of each split."""
    figures = Figures.read(scored.result.folder)
    rows = {name: read_split_fingerprint(scored.result.folder, name) for name in figures.by_split}
    found = {f"rows.{name}": f"{it.samples} rows, {it.hash[:12]}" for name, it in rows.items()}
    run.params({"protocol": figures.protocol, **found}, file=False)


def log_scores(run: Run, scored: Benchmark) -> None:
    """Log figures of the model and the baselines, pictures, predictions, tables and the page."""
    from flows.steps.body_metrics import body_metrics, body_table, read_bodies
    from flows.steps.presence_metrics import person_metrics, read_person
    from flows.tracking.compare import log_benchmark

    figures = Figures.read(scored.result.folder)
    for split, predictors in figures.by_split.items():
        run.metrics(figures.logged(split))
        for baseline in predictors.keys() & _BASELINES:
            run.metrics(figures.logged(split, baseline))
        folder = scored.result.folder / split
        run.files(sorted(folder.glob("*.png")), folder=f"pictures/{split}")
        run.files([scored.predictions(split)], folder=f"predictions/{split}")
    log_protocol(run, scored)
    run.metrics(person_metrics(read_person(scored.result.folder)))
    run.table("figures", figures.rows())
    bodies = read_bodies(scored.result.folder)
    run.metrics(body_metrics(bodies))
    if bodies is not None:
        run.table("bodies", body_table(bodies))
    log_benchmark(run.run_id, scored.open_page, uri=run.uri)
