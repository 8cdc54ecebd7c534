"""Write into one MLflow run. Every write can be repeated after a crash without duplicates."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hemlets.core.errors import DataError, WorkspaceError
from hemlets.core.redaction import redact_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Limits of one log_batch call (mlflow.utils.validation) and of a value over REST.
_METRICS_PER_BATCH: Final = 1000
_PARAMS_PER_BATCH: Final = 100
_LONGEST_PARAM: Final = 6000
_LONGEST_TAG: Final = 8000
_METRIC_NAME: Final = re.compile(r"[\w/.:\- ]{1,250}", re.ASCII)


class Point(NamedTuple):
    """A value of a metric at a step, and when it was measured: milliseconds since 1970."""

    name: str
    value: float
    step: int
    time_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run.

    Attributes:
        client: The connection.
        uri: Address of the tracker; may contain a password.
        run_id: MLflow's id.
        key: Content hash of what the run computes.
        started_ms: First start, milliseconds since 1970; unchanged when the run is adopted.
        finished: The run was complete when it was found; it must not be written to.
    """

    client: MlflowClient
    uri: str
    run_id: str
    key: str
    started_ms: int
    finished: bool = False

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, cut to MLflow's limit; existing ones are replaced."""
        from mlflow.entities import RunTag

        self.client.log_batch(
            self.run_id, tags=[RunTag(name, text) for name, text in shorten_tags(tags).items()]
        )

    def params(self, config: Mapping[str, Any], *, file: bool = True) -> None:
        """Log a nested configuration: flat as parameters, and whole as the file ``config.json``.

        Raises:
            WorkspaceError: The run already has other values for the same names.
        """
        from mlflow.entities import Param

        flat = {name: _cut(text, _LONGEST_PARAM) for name, text in flatten(config).items()}
        known = self.client.get_run(self.run_id).data.params
        other = sorted(name for name in flat if name in known and known[name] != flat[name])
        if other:
            raise WorkspaceError(
                f"parameters of this run differ from those it began with: {', '.join(other)}",
                where=f"{redact_url(self.uri)}, run {self.run_id}",
                expected="the same configuration under the same key",
                remedy="delete that run in MLflow and run again",
            )
        new = [Param(name, text) for name, text in flat.items() if name not in known]
        for start in range(0, len(new), _PARAMS_PER_BATCH):
            self.client.log_batch(self.run_id, params=new[start : start + _PARAMS_PER_BATCH])
        if file:
            self.client.log_dict(self.run_id, dict(config), "config.json")

    def metrics(self, values: Mapping[str, float]) -> None:
        """Log final figures."""
        self.log_points([Point(name, value, 0) for name, value in values.items()])

    def log_points(self, points: Sequence[Point]) -> None:
        """Log points of metrics.

        Raises:
            DataError: MLflow refuses a name.
        """
        from mlflow.entities import Metric

        wrong = sorted({point.name for point in points if not _METRIC_NAME.fullmatch(point.name)})
        if wrong:
            raise DataError(
                f"MLflow does not accept these metric names: {', '.join(wrong)}",
                where=f"run {self.run_id}",
                expected="letters, digits, and _ - . : / or spaces",
            )
        # MLflow identifies a point by its time too. A final figure has the time at which the run
        # started, so that it replaces itself when it is sent again.
        metrics = [
            Metric(name, float(value), self.started_ms + step if time_ms is None else time_ms, step)
            for name, value, step, time_ms in points
        ]
        for start in range(0, len(metrics), _METRICS_PER_BATCH):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + _METRICS_PER_BATCH])

    def logged_steps(self, names: Iterable[str]) -> set[tuple[str, int]]:
        """Metric name and step of all points of some metrics that the run has."""
        present = self.client.get_run(self.run_id).data.metrics
        return {
            (name, point.step)
            for name in names
            if name in present
            for point in self.client.get_metric_history(self.run_id, name)
        }

    def dataset(self, version: str, context: str, source: str = "") -> None:
        """Log a data version as the run's input.

        Args:
            version: Its name; the part behind the last dash is the digest.
            context: What it is used for, e.g. ``training``.
            source: Where its rows come from; DVC's remote when empty.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name, _, digest = version.rpartition("-")
        place = json.dumps({"uri": source or f"dvc:{version}", "version": version})
        entry = Dataset(name=name, digest=digest, source_type="dvc", source=place)
        tag = InputTag("mlflow.data.context", context)
        self.client.log_inputs(self.run_id, [DatasetInput(entry, [tag])])

    def files(self, paths: Iterable[Path], *, folder: str | None = None) -> None:
        """Store files in a folder of the run's artifacts.

        Raises:
            DataError: A file does not exist.
        """
        for path in paths:
            if not path.is_file():
                raise DataError("the file to be stored with the run does not exist", where=path)
            self.client.log_artifact(self.run_id, str(path), folder)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store a table as ``tables/NAME.json`` (columns and data) and ``tables/NAME.csv``.

        Args:
            name: File name without an ending.
            rows: One mapping per row; columns in the order in which they first appear.
        """
        columns = list(dict.fromkeys(key for row in rows for key in row))
        data = [[row.get(column) for column in columns] for row in rows]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *data])
        # MLflow's log_table appends, which a rerun would duplicate.
        self.client.log_dict(self.run_id, {"columns": columns, "data": data}, f"tables/{name}.json")
        self.client.log_text(self.run_id, text.getvalue(), f"tables/{name}.csv")

    def rename(self, name: str) -> None:
        """Give the run another name."""
        self.client.update_run(self.run_id, name=name)

    def link(self, step: str, run: Run) -> None:
        """Record the run that produced a step's result; it may be of an earlier retraining."""
        self.tag({f"hemlets.run.{step}": run.run_id})

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status=status)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested mappings to dotted names; lists and other values become JSON text."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def shorten_tags(tags: Mapping[str, str], longest: int = _LONGEST_TAG) -> dict[str, str]:
    """Cut the values of tags to MLflow's limit, by default that of a run's tags."""
    return {key: _cut(value, longest) for key, value in tags.items()}


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
