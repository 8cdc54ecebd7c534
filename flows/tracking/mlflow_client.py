"""MLflow for a workspace: runs that survive a killed process and are never logged twice.

One parent run per retraining, one child run per stage. A run is found again by the content hash
of what it computes (tag ``hemlets.stage_key``), so a rerun from cache finds the run of the first
time, and a rerun after a crash goes on in the run that was left behind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.services.redaction import masked
from flows.tracking import heartbeat
from flows.tracking.run import Run, shortened, write_tags
from flows.tracking.run_owner import EXPIRY_S, Owner
from hemlets.core.errors import WorkspaceError
from hemlets.core.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

__all__ = [
    "EXPERIMENT",
    "STAGE_KEY_TAG",
    "Tracking",
    "close_orphans",
    "connect",
    "tracking_uri",
]

EXPERIMENT = "hemlets"
STAGE_KEY_TAG = "hemlets.stage_key"
_TAKEOVERS_TAG = "hemlets.takeovers"


def tracking_uri(workspace: Workspace) -> str:
    """Where runs and models are kept: ``MLFLOW_TRACKING_URI``, else SQLite in the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.mlflow / 'mlflow.db'}"


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """An open connection to the tracker.

    Attributes:
        uri: Where MLflow keeps runs and models; may hold a password, so it is shown
            :func:`~flows.services.redaction.masked` only.
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
            created = self.client.create_run(
                self.experiment_id, tags=shortened(every), run_name=name
            )
            heartbeat.begin(self.client, created.info.run_id)
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
                where=f"{masked(self.uri)}, run {existing.run_id}",
                expected="one process a run",
                remedy=f"wait for that process or end it{_free_at(holder)}",
            )
        takeovers = int(record.data.tags.get(_TAKEOVERS_TAG, "0")) + 1
        adopted = {**owner.to_tags(), **(tags or {}), _TAKEOVERS_TAG: str(takeovers)}
        adopted |= {"mlflow.parentRunId": parent.run_id} if parent else {}
        # The owner comes before the status: a crash in between leaves a run that is closed or
        # has an owner, never a running one that nobody owns.
        write_tags(self.client, existing.run_id, adopted)
        self.client.update_run(existing.run_id, status="RUNNING")
        heartbeat.begin(self.client, existing.run_id)
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
        ``hemlets.error``, in which addresses are shown without their passwords.
        """
        current = self.start_or_adopt(key, name, parent=parent, tags=tags)
        try:
            yield current
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
            if not current.finished:
                # What went wrong in the block matters more than that the tracker is gone too.
                with contextlib.suppress(Exception):
                    current.tag({"hemlets.error": masked(str(error)) or type(error).__name__})
                    current.finish("KILLED" if interrupted else "FAILED")
            raise
        finally:
            heartbeat.end(current.run_id)
        if not current.finished:
            current.finish()

    def _run(self, record: MlflowRun, key: str) -> Run:
        return Run(
            client=self.client,
            uri=self.uri,
            run_id=record.info.run_id,
            key=key,
            started_ms=record.info.start_time,
            finished=record.info.status == "FINISHED",
        )


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
            f"MLflow can't be used: {masked(error.message)}",
            where=masked(uri),
            remedy="check that the server runs and MLFLOW_TRACKING_URI is right; without that "
            "variable the workspace's own SQLite database is used",
        ) from error
    if experiment.lifecycle_stage == "deleted":
        raise WorkspaceError(
            f"the MLflow experiment {EXPERIMENT!r} was deleted",
            where=masked(uri),
            remedy=f"bring it back: MLFLOW_TRACKING_URI={masked(uri)} mlflow experiments restore "
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


def _free_at(holder: Owner) -> str:
    """When a run is free whose process can't be looked at from here; nothing for a local one."""
    if not holder.elsewhere:
        return ""
    left_s = max(holder.free_at_s - time.time(), 0.0)
    when = time.strftime("%H:%M:%S %Z", time.localtime(holder.free_at_s))
    return (
        f"; where its machine or container is gone, the run is free at {when}, in {left_s:.0f} s, "
        f"{EXPIRY_S / 60:.0f} minutes after its last sign of life"
    )


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

    Runs of processes that live, or gave a sign of life on another machine a short while ago, are
    left alone.

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
            write_tags(
                tracking.client, record.info.run_id, {"hemlets.error": "its process was killed"}
            )
            tracking.client.set_terminated(record.info.run_id, status="KILLED")
            closed.append(record.info.run_id)
    return closed
