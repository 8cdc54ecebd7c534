"""What is written into one run. Every write may be repeated after a crash without doubling."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.services.redaction import masked
from flows.tracking import heartbeat
from flows.tracking.training_history import read_history
from hemlets.core.errors import DataError, WorkspaceError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Run", "flatten", "shortened", "write_tags"]

# Limits of one log_batch call (mlflow.utils.validation) and of a value over REST.
_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
_LONGEST_PARAM = 6000
_LONGEST_TAG = 8000
_METRIC_NAME = re.compile(r"[\w/.:\- ]{1,250}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. Every method may be repeated after a crash without logging anything twice.

    Attributes:
        client: The connection.
        uri: Of the server, or the database, behind it; may hold a password.
        run_id: MLflow's id.
        key: Content hash of what the run computes.
        started_ms: First start, milliseconds since 1970; stays when the run is adopted.
        finished: The run was already whole when it was found.
    """

    client: MlflowClient
    uri: str
    run_id: str
    key: str
    started_ms: int
    finished: bool = False

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags; an existing one is replaced."""
        write_tags(self.client, self.run_id, tags)

    def params(self, config: Mapping[str, Any]) -> None:
        """Log a nested configuration, whole as ``config.json`` and flat as parameters.

        Raises:
            WorkspaceError: The run already holds other values for the same key.
        """
        from mlflow.entities import Param

        client = self.client
        flat = {k: _cut(v, _LONGEST_PARAM) for k, v in flatten(config).items()}
        known = client.get_run(self.run_id).data.params
        other = sorted(k for k in flat if k in known and known[k] != flat[k])
        if other:
            raise WorkspaceError(
                f"parameters of this run differ from those it began with: {', '.join(other)}",
                where=f"{masked(self.uri)}, run {self.run_id}",
                expected="the same configuration under the same stage key",
                remedy="delete that run in MLflow, or give the stage another key",
            )
        new = [Param(key, value) for key, value in flat.items() if key not in known]
        for start in range(0, len(new), _PARAMS_PER_BATCH):
            client.log_batch(self.run_id, params=new[start : start + _PARAMS_PER_BATCH])
        client.log_dict(self.run_id, dict(config), "config.json")

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Log final figures in one call. A repeated figure is stored once."""
        self._log([(name, value, step) for name, value in values.items()])

    def history(self, path: Path) -> int:
        """Log a training history, as :func:`read_history` describes it, in batches.

        Args:
            path: JSON lines with ``step``, ``epoch`` and metrics.

        Returns:
            How many points were sent.

        Raises:
            DataError: The file is absent or damaged before its last line.
        """
        return self.rows(read_history(path))

    def rows(self, history: Sequence[tuple[int, Sequence[tuple[str, float]]]]) -> int:
        """Log rows of a training history: steps and their named values.

        Returns:
            How many points were sent.
        """
        points = [(name, value, step) for step, values in history for name, value in values]
        self._log(points)
        return len(points)

    def pictures(self, paths: Iterable[Path], *, folder: str = "pictures") -> None:
        """Store picture files, shown by MLflow's pages."""
        self.files(paths, folder=folder)

    def files(self, paths: Iterable[Path], *, folder: str | None = None) -> None:
        """Store files or folders as they are."""
        client = self.client
        for path in paths:
            if not path.exists():
                raise DataError("the file to be stored with the run does not exist", where=path)
            if path.is_dir():
                inside = f"{folder}/{path.name}" if folder else path.name
                client.log_artifacts(self.run_id, str(path), inside)
            else:
                client.log_artifact(self.run_id, str(path), folder)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store a table as ``tables/NAME.json`` (columns and data) and ``tables/NAME.csv``.

        Args:
            name: File name without an ending.
            rows: One mapping a row; columns in the order in which they first appear.
        """
        columns = list(dict.fromkeys(key for row in rows for key in row))
        data = [[row.get(column) for column in columns] for row in rows]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([columns, *data])
        client = self.client
        # MLflow's log_table appends to what is there, which a rerun would double.
        client.log_dict(self.run_id, {"columns": columns, "data": data}, f"tables/{name}.json")
        client.log_text(self.run_id, text.getvalue(), f"tables/{name}.csv")

    def link(self, stage: str, run: Run) -> None:
        """Note which run a stage's result came from, also where it came from the cache.

        Args:
            stage: The stage's name.
            run: The run that computed it, which may belong to an earlier retraining.
        """
        self.tag({f"hemlets.run.{stage}": run.run_id})

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run: FINISHED, FAILED or KILLED."""
        heartbeat.end(self.run_id)
        self.client.set_terminated(self.run_id, status=status)

    def _log(self, points: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        wrong = sorted({name for name, _, _ in points if not _METRIC_NAME.fullmatch(name)})
        if wrong:
            raise DataError(
                f"MLflow does not take these metric names: {', '.join(wrong)}",
                where=f"run {self.run_id}",
                expected="letters, digits, and _ - . : / or spaces",
            )
        # A point's identity in MLflow includes its time, so the time is made from the step: a
        # history that is sent again after a crash falls onto the points that are there.
        metrics = [
            Metric(name, float(value), self.started_ms + step, step) for name, value, step in points
        ]
        for start in range(0, len(metrics), _METRICS_PER_BATCH):
            block = metrics[start : start + _METRICS_PER_BATCH]
            self.client.log_batch(self.run_id, metrics=block)


def write_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run in one call, cut to what MLflow takes; an existing one is replaced."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(k, v) for k, v in shortened(tags).items()])


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one level of dotted names; lists and other values as JSON text."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def shortened(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags whose values MLflow takes whole."""
    return {key: _cut(value, _LONGEST_TAG) for key, value in tags.items()}


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
