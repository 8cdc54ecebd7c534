"""MLflow's system metrics of a run: processor, memory, disk, network and GPU while it trains."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from flows.tracking.run import Run


@contextlib.contextmanager
def system_metrics(run: Run) -> Iterator[None]:
    """Log them every ten seconds; a tracker that does not answer does not disturb the training."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    # It warns of each GPU library that is absent.
    logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
    monitor = None
    with contextlib.suppress(Exception):
        monitor = SystemMetricsMonitor(run.run_id, resume_logging=True, tracking_uri=run.uri)
        monitor.start()
    try:
        yield
    finally:
        if monitor is not None:
            with contextlib.suppress(Exception):
                monitor.finish()
