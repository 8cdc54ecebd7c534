"""Benchmarks as MLflow runs keep them: logged by short names, fetched to be compared."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Final

from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.scoring.results import SAMPLES_FILE, SUMMARY_FILE, read_summary

ARTIFACT_FOLDER: Final = "benchmark"


def fetch_run(run_id: str) -> tuple[Path, str] | None:
    """Download a run's benchmark; return the temporary folder and the run's name.

    Returns None if there is no such run.

    Raises:
        DataError: The run has no benchmark.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    from flows.tracking.mlflow_client import tracking_uri
    from hemlets.core.errors import DataError
    from hemlets.core.workspace import Workspace

    uri = tracking_uri(Workspace.from_env())
    # A query must not create a database.
    if "/" in run_id or (uri.startswith("sqlite:///") and not Path(uri[10:]).exists()):
        return None
    client = mlflow.MlflowClient(tracking_uri=uri)
    try:
        run = client.get_run(run_id)
    except MlflowException:
        return None
    folder = Path(tempfile.mkdtemp(prefix="hemlets-run-"))
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        for name in (SUMMARY_FILE, SAMPLES_FILE):
            file = client.download_artifacts(run_id, f"{ARTIFACT_FOLDER}/{name}", str(folder))
    except (MlflowException, OSError) as error:
        raise DataError(
            "the run holds no benchmark",
            where=f"run {run_id}",
            expected=f"its artifacts {ARTIFACT_FOLDER}/{SUMMARY_FILE} and {SAMPLES_FILE}",
            remedy="score its predictions with `hemlets benchmark score` and name that folder",
        ) from error
    return Path(file).parent, run.info.run_name or run_id[:8]


def log_benchmark(run_id: str, folder: Path, *, uri: str) -> None:
    """Log a benchmark's folder into a run: figures under their short names, files as artifacts.

    The full names are in the artifact. The paper's cells of the same protocol are logged too, as
    ``paper-table-1/Avg.mpjpe_mm``.
    """
    import time

    import mlflow
    from mlflow.entities import Metric

    client = mlflow.MlflowClient(tracking_uri=uri)
    summary, now = read_summary(folder), int(time.time() * 1000)
    names = {metric.key: metric.name for metric in summary.metrics}
    printed = {
        f"paper-table-{f.table}/{_allowed(f.cell.column)}.{_quantity(names[f.cell.key])}": float(
            f.cell.value
        )
        for f in summary.paper
        # Cells of another protocol are not comparable with ours.
        if not f.why_apart
    }
    logged = {MetricName.parse(name).short: value for name, value in summary.logged.items()}
    figures = [Metric(name, value, now, 0) for name, value in (logged | printed).items()]
    client.log_batch(run_id, metrics=figures)
    client.set_tag(run_id, "hemlets.protocol", summary.protocol.name)
    client.set_tag(run_id, "hemlets.given", " ".join(summary.privileges) or "nothing")
    client.log_artifacts(run_id, str(folder), ARTIFACT_FOLDER)


def _quantity(full_name: str) -> str:
    return MetricName.parse(full_name).short.partition("/")[2]


def _allowed(name: str) -> str:
    """Remove the characters that MLflow refuses in metric names."""
    return re.sub(r"[^\w\-. ]", "", name)
