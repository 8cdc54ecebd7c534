"""MLflow for a workspace: runs that survive a killed process and are never logged twice.

One parent run per retraining, one child run per stage. A run is found again by the content hash
of what it computes (tag ``hemlets.stage_key``), so a rerun from cache finds the run of the first
time, and a rerun after a crash goes on in the run that was left behind.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemlets.errors import DataError, WorkspaceError
from hemlets.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

__all__ = [
    "EXPERIMENT",
    "STAGE_KEY_TAG",
    "Owner",
    "Run",
    "Tracking",
    "close_orphans",
    "connect",
    "flatten",
    "read_history",
    "tracking_uri",
]

EXPERIMENT = "hemlets"
STAGE_KEY_TAG = "hemlets.stage_key"
_OWNER_TAGS = ("hemlets.pid", "hemlets.pid_started", "hemlets.host", "hemlets.boot_id")
_TAKEOVERS_TAG = "hemlets.takeovers"
# Limits of one log_batch call (mlflow.utils.validation) and of a value over REST.
_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
_LONGEST_PARAM = 6000
_LONGEST_TAG = 8000
_METRIC_NAME = re.compile(r"[\w/.:\- ]{1,250}", re.ASCII)


def tracking_uri(workspace: Workspace) -> str:
    """Where runs and models are kept: ``MLFLOW_TRACKING_URI``, else SQLite in the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.mlflow / 'mlflow.db'}"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that writes a run, told apart from a later one with the same number.

    Attributes:
        pid: Process id.
        pid_started: The process's start in clock ticks since boot (``/proc/PID/stat``, field 22).
        host: The machine's name.
        boot_id: The kernel's identifier of this boot.
    """

    pid: int
    pid_started: str
    host: str
    boot_id: str

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(
            pid=pid, pid_started=_started(pid) or "", host=platform.node(), boot_id=_boot_id()
        )

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Owner | None:
        """The owner that a run's tags name, None where they name none."""
        pid, started, host, boot = (tags.get(name, "") for name in _OWNER_TAGS)
        return (
            cls(pid=int(pid), pid_started=started, host=host, boot_id=boot)
            if pid.isdigit()
            else None
        )

    def to_tags(self) -> dict[str, str]:
        """Inverse of :meth:`from_tags`."""
        values = (str(self.pid), self.pid_started, self.host, self.boot_id)
        return dict(zip(_OWNER_TAGS, values, strict=True))

    def may_be_alive(self) -> bool:
        """Whether the process still runs; True for another machine, which can't be looked at."""
        if self.host != platform.node():
            return True
        return self.boot_id == _boot_id() and _started(self.pid) == self.pid_started


def _started(pid: int) -> str | None:
    try:
        # The command's name, field 2, may itself hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """An open connection to the tracker.

    Attributes:
        uri: Where MLflow keeps runs and models.
        experiment_id: MLflow's id of the experiment ``hemlets``.
        client: For what this class has no method for.
    """

    uri: str
    experiment_id: str
    client: MlflowClient

    def find(self, key: str) -> Run | None:
        """The run of a stage key: the finished one if there is one, else the newest.

        Args:
            key: Content hash of what the run computes.
        """
        quoted = key.replace("'", "")
        found = self.client.search_runs(
            [self.experiment_id],
            filter_string=f"tags.`{STAGE_KEY_TAG}` = '{quoted}'",
            order_by=["attributes.start_time DESC"],
        )
        found = sorted(found, key=lambda run: run.info.status != "FINISHED")
        return self._run(found[0], key) if found else None

    def start_or_adopt(
        self,
        key: str,
        name: str,
        *,
        parent: Run | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Start the run of a stage key, or go on in the one that exists.

        A finished run is handed back as it is (``finished`` is True) and must not be written to.
        One that failed, was killed, or whose process is gone is adopted: set running again and
        owned by this process.

        Args:
            key: Content hash of what the run computes.
            name: What people read in the list of runs.
            parent: The retraining that this stage belongs to.
            tags: Further tags of the run.

        Raises:
            WorkspaceError: Another living process writes this run.
        """
        owner = Owner.here()
        existing = self.find(key)
        if existing is None:
            every = {
                "mlflow.runName": name,
                STAGE_KEY_TAG: key,
                **owner.to_tags(),
                **(tags or {}),
                **({"mlflow.parentRunId": parent.run_id} if parent else {}),
            }
            created = self.client.create_run(self.experiment_id, tags=_short(every), run_name=name)
            return self._run(created, key)
        if existing.finished:
            return existing
        record = self.client.get_run(existing.run_id)
        holder = Owner.from_tags(record.data.tags)
        if record.info.status == "RUNNING" and holder == owner:
            return existing
        if record.info.status == "RUNNING" and holder is not None and holder.may_be_alive():
            raise WorkspaceError(
                f"run {name!r} is being written by process {holder.pid} on {holder.host}",
                where=f"{self.uri}, run {existing.run_id}",
                expected="one process a run",
                remedy="wait for that process or end it; if it ran on a machine that is gone, "
                f"delete the run's tag {_OWNER_TAGS[0]!r} in MLflow",
            )
        takeovers = int(record.data.tags.get(_TAKEOVERS_TAG, "0")) + 1
        adopted = {**owner.to_tags(), **(tags or {}), _TAKEOVERS_TAG: str(takeovers)}
        adopted |= {"mlflow.parentRunId": parent.run_id} if parent else {}
        # The owner comes before the status: a crash in between leaves a run that is closed or
        # has an owner, never a running one that nobody owns.
        self._tag(existing.run_id, adopted)
        self.client.update_run(existing.run_id, status="RUNNING")
        return existing

    @contextlib.contextmanager
    def run(
        self,
        key: str,
        name: str,
        *,
        parent: Run | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[Run]:
        """:meth:`start_or_adopt` as a block whose end sets the run's status.

        Ctrl-C marks it KILLED, another exception FAILED, with the message as tag
        ``hemlets.error``.
        """
        current = self.start_or_adopt(key, name, parent=parent, tags=tags)
        try:
            yield current
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
            if not current.finished:
                # What went wrong in the block matters more than that the tracker is gone too.
                with contextlib.suppress(Exception):
                    current.tag({"hemlets.error": str(error) or type(error).__name__})
                    current.finish("KILLED" if interrupted else "FAILED")
            raise
        if not current.finished:
            current.finish()

    def _tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(k, v) for k, v in _short(tags).items()])

    def _run(self, record: MlflowRun, key: str) -> Run:
        return Run(
            tracking=self,
            run_id=record.info.run_id,
            key=key,
            started_ms=record.info.start_time,
            finished=record.info.status == "FINISHED",
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. Every method may be repeated after a crash without logging anything twice.

    Attributes:
        tracking: The connection.
        run_id: MLflow's id.
        key: Content hash of what the run computes.
        started_ms: First start, milliseconds since 1970; stays when the run is adopted.
        finished: The run was already whole when it was found.
    """

    tracking: Tracking
    run_id: str
    key: str
    started_ms: int
    finished: bool = False

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags; an existing one is replaced."""
        self.tracking._tag(self.run_id, tags)

    def params(self, config: Mapping[str, Any]) -> None:
        """Log a nested configuration, whole as ``config.json`` and flat as parameters.

        Raises:
            WorkspaceError: The run already holds other values for the same key.
        """
        from mlflow.entities import Param

        client = self.tracking.client
        flat = {k: _cut(v, _LONGEST_PARAM) for k, v in flatten(config).items()}
        known = client.get_run(self.run_id).data.params
        other = sorted(k for k in flat if k in known and known[k] != flat[k])
        if other:
            raise WorkspaceError(
                f"parameters of this run differ from those it began with: {', '.join(other)}",
                where=f"{self.tracking.uri}, run {self.run_id}",
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
        points = [
            (name, value, step) for step, values in read_history(path) for name, value in values
        ]
        self._log(points)
        return len(points)

    def pictures(self, paths: Iterable[Path], *, folder: str = "pictures") -> None:
        """Store picture files, shown by MLflow's pages."""
        self.files(paths, folder=folder)

    def files(self, paths: Iterable[Path], *, folder: str | None = None) -> None:
        """Store files or folders as they are."""
        client = self.tracking.client
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
        client = self.tracking.client
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
        self.tracking.client.set_terminated(self.run_id, status=status)

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
            self.tracking.client.log_batch(self.run_id, metrics=block)


def connect(workspace: Workspace) -> Tracking:
    """Open the tracker of a workspace, making its database on the first call.

    MLflow's process-wide tracking and registry addresses are set too, since models are logged
    through them.

    Raises:
        WorkspaceError: The tracker can't be reached, or the workspace was moved after its
            database was made (MLflow stores absolute paths).
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # The making of its tables is no news to people who retrain.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    import mlflow

    uri = tracking_uri(workspace)
    own = not os.environ.get("MLFLOW_TRACKING_URI")
    artifacts = (workspace.mlflow / "artifacts").as_uri() if own else None
    if own:
        workspace.mlflow.mkdir(parents=True, exist_ok=True)
    _point_mlflow_at(uri)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        experiment = _experiment(client, artifacts)
    except mlflow.exceptions.MlflowException as error:
        raise WorkspaceError(
            f"MLflow can't be used: {error.message}",
            where=uri,
            remedy="check that the server runs and MLFLOW_TRACKING_URI is right; without that "
            "variable the workspace's own SQLite database is used",
        ) from error
    if experiment.lifecycle_stage == "deleted":
        raise WorkspaceError(
            f"the MLflow experiment {EXPERIMENT!r} was deleted",
            where=uri,
            remedy=f"bring it back: MLFLOW_TRACKING_URI={uri} mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}",
        )
    # A server over this workspace puts experiments that it creates one level below.
    location = experiment.artifact_location.rstrip("/")
    if artifacts is not None and not f"{location}/".startswith(f"{artifacts}/"):
        raise WorkspaceError(
            f"this MLflow database keeps its files in {experiment.artifact_location}",
            where=workspace.mlflow,
            expected=f"{artifacts}: the workspace seems to have been moved",
            remedy="move the workspace back, or move its mlflow folder away to begin a new one",
        )
    return Tracking(uri=uri, experiment_id=experiment.experiment_id, client=client)


def _point_mlflow_at(uri: str) -> None:
    import mlflow

    # set_tracking_uri also writes the environment, where the next connect would take it for the
    # user's own wish.
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    before = {name: os.environ.get(name) for name in names}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _experiment(client: MlflowClient, artifacts: str | None) -> Experiment:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        # Another process may create it between the two calls.
        with contextlib.suppress(MlflowException):
            client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        raise MlflowException(f"the experiment {EXPERIMENT!r} could not be created")
    return found


def close_orphans(workspace: Workspace) -> list[str]:
    """Mark as KILLED every run whose process is gone, so that no page shows it as running.

    Runs of other machines, and of processes that live, are left alone.

    Returns:
        The ids of the runs that were closed.
    """
    tracking = connect(workspace)
    closed = []
    running = tracking.client.search_runs(
        [tracking.experiment_id], filter_string="attributes.status = 'RUNNING'"
    )
    for record in running:
        owner = Owner.from_tags(record.data.tags)
        if STAGE_KEY_TAG in record.data.tags and (owner is None or not owner.may_be_alive()):
            tracking._tag(record.info.run_id, {"hemlets.error": "its process was killed"})
            tracking.client.set_terminated(record.info.run_id, status="KILLED")
            closed.append(record.info.run_id)
    return closed


def read_history(path: Path) -> list[tuple[int, list[tuple[str, float]]]]:
    """Read a training history: JSON lines of ``{"step": …, "epoch": …, metric: number, …}``.

    Values that are not numbers are passed over. A last line without its end is what a killed
    trainer leaves behind, and is passed over too.

    Returns:
        For each line its step and its named values.

    Raises:
        DataError: The file is absent, or a line is not such an object; the line is named.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the training history can't be read: {error}", where=path) from None
    lines = text.split("\n")[:-1]
    history = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            step = record.pop("step")
            if isinstance(step, bool) or not isinstance(step, int):
                raise TypeError("step")
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError):
            raise DataError(
                f"line {number} of the training history can't be used: {line[:80]!r}",
                where=f"{path}:{number}",
                expected='a JSON object with a whole number "step"',
                remedy="delete the file and run the stage again",
            ) from None
        numbers = [
            (name, float(value))
            for name, value in record.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        history.append((step, numbers))
    return history


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


def _short(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: _cut(value, _LONGEST_TAG) for key, value in tags.items()}


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
