"""Connect to MLflow: runs survive a killed process and nothing is logged twice.

A retraining has one parent run and one child run per step. A run is found by the content hash of
what it computes (tag ``hemlets.stage_key``). So a rerun from cache finds the run of the first
time, and a rerun after a crash continues the run that was left behind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flows.tracking.owner import EXPIRY_S, Owner, heartbeat
from flows.tracking.run import Run, shorten_tags
from hemlets.core.errors import WorkspaceError
from hemlets.core.redaction import redact_url
from hemlets.core.wording import code_block
from hemlets.core.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

EXPERIMENT: Final = "hemlets"
STAGE_KEY_TAG: Final = "hemlets.stage_key"
_TAKEOVERS_TAG: Final = "hemlets.takeovers"
_ERROR_TAG: Final = "hemlets.error"
NOTE_TAG: Final = "mlflow.note.content"
"""The description on a run's page, as Markdown."""


def tracking_uri(workspace: Workspace) -> str:
    """Address of the tracker: ``MLFLOW_TRACKING_URI``, else SQLite in the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.mlflow / 'mlflow.db'}"


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """An open connection to the tracker.

    Attributes:
        uri: Its address; may contain a password, so it is only shown
            :func:`~hemlets.core.redaction.redact_url`.
        experiment_id: MLflow's id of the experiment ``hemlets``.
        client: MLflow's client.
    """

    uri: str
    experiment_id: str
    client: MlflowClient

    def find(self, key: str) -> Run | None:
        """The run of a key: the finished one if there is one, else the newest."""
        quoted = key.replace("'", "")
        found = self.client.search_runs(
            [self.experiment_id],
            filter_string=f"tags.`{STAGE_KEY_TAG}` = '{quoted}'",
            order_by=["attributes.start_time DESC"],
        )
        found = sorted(found, key=lambda run: run.info.status != "FINISHED")
        return self._run(found[0], key) if found else None

    def page(self, run: Run) -> str:
        """Address of a run's page on a server; its id where the tracker has no server."""
        if self.uri.startswith("http"):
            # A browser would send the stars as a user name.
            server = redact_url(self.uri).replace("://***@", "://").rstrip("/")
            return f"{server}/{self.place(run)}"
        return f"run {run.run_id} of {EXPERIMENT} (hemlets ui)"

    def place(self, run: Run) -> str:
        """Address of a run's page relative to any page of the same MLflow."""
        return f"#/experiments/{self.experiment_id}/runs/{run.run_id}"

    def start_or_adopt(
        self,
        key: str,
        name: str,
        *,
        parent: Run | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Start the run of a key, or continue an existing run.

        A finished run is returned unchanged. A run that failed, was killed, or whose process is
        gone is adopted: it is set running again under its first name, without the error of the
        earlier attempt, and owned by this process.

        Args:
            key: Content hash of what the run computes.
            name: Shown in the list of runs.
            parent: The retraining that this step belongs to.
            tags: Further tags.

        Raises:
            WorkspaceError: Another living process writes this run.
        """
        owner = Owner.here()
        given = {**owner.to_tags(), **(tags or {})}
        given |= {"mlflow.parentRunId": parent.run_id} if parent else {}
        existing = self.find(key)
        if existing is None:
            given = _origin(given) | given | {"mlflow.runName": name, STAGE_KEY_TAG: key}
            created = self.client.create_run(
                self.experiment_id, tags=shorten_tags(given), run_name=name
            )
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
                where=f"{redact_url(self.uri)}, run {existing.run_id}",
                expected="one process per run",
                remedy=f"wait for that process or end it{_expiry(holder)}",
            )
        takeovers = int(record.data.tags.get(_TAKEOVERS_TAG, "0")) + 1
        # Set the owner before the status: a crash in between must not leave a running run
        # without an owner.
        existing.tag({**given, _TAKEOVERS_TAG: str(takeovers)})
        self.client.update_run(existing.run_id, status="RUNNING", name=name)
        for tag in {_ERROR_TAG, NOTE_TAG} & record.data.tags.keys():
            self.client.delete_tag(existing.run_id, tag)
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

        Ctrl-C marks it KILLED, another exception FAILED, with the message as description and as
        tag ``hemlets.error``. Passwords are masked.
        """
        current = self.start_or_adopt(key, name, parent=parent, tags=tags)
        if current.finished:
            yield current
            return
        try:
            with heartbeat(self.client, current.run_id):
                yield current
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
            # An error of the tracker must not replace the error of the block.
            with contextlib.suppress(Exception):
                why = redact_url(str(error)) or type(error).__name__
                current.tag({_ERROR_TAG: why, NOTE_TAG: code_block(why)})
                current.finish("KILLED" if interrupted else "FAILED")
            raise
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
    """Open the tracker of a workspace; the first call creates its database.

    MLflow's process-wide tracking and registry addresses are set too, because models are logged
    through them.

    Raises:
        WorkspaceError: The tracker can't be reached, or the workspace was moved after its
            database was made (MLflow stores absolute paths).
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # A server's client prints the address of every run that ends.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # It would load every model that is logged, and predict, to find out what it reads.
    os.environ.setdefault("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false")
    # Hide the messages about creating tables, checking the input example, and waiting.
    for name in ("mlflow.store.db.utils", "mlflow.pyfunc", "mlflow.store.model_registry"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import mlflow
    import sqlalchemy.exc

    uri = tracking_uri(workspace)
    own = not os.environ.get("MLFLOW_TRACKING_URI")
    artifacts = (workspace.mlflow / "artifacts").as_uri() if own else None
    if own:
        workspace.mlflow.mkdir(parents=True, exist_ok=True)
    _point_mlflow_at(uri)
    try:
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment = _experiment(client, artifacts)
    except sqlalchemy.exc.DatabaseError as error:
        raise WorkspaceError(
            f"MLflow's database can't be read: {error.orig}",
            where=redact_url(uri),
            remedy="hemlets doctor looks at it: restore a backup, or move it away, with which the "
            "runs and models in it are lost",
        ) from error
    except mlflow.exceptions.MlflowException as error:
        raise WorkspaceError(
            f"MLflow can't be used: {redact_url(error.message)}",
            where=redact_url(uri),
            remedy="check that the server runs and MLFLOW_TRACKING_URI is right; without that "
            "variable the workspace's own SQLite database is used",
        ) from error
    if experiment.lifecycle_stage == "deleted":
        raise WorkspaceError(
            f"the MLflow experiment {EXPERIMENT!r} was deleted",
            where=redact_url(uri),
            remedy=f"bring it back: MLFLOW_TRACKING_URI={redact_url(uri)} mlflow experiments "
            f"restore --experiment-id {experiment.experiment_id}",
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


def _origin(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that fill MLflow's columns of source and user."""
    import getpass

    found = {"mlflow.source.name": "hemlets retrain", "mlflow.source.type": "PROJECT"}
    with contextlib.suppress(Exception):  # A container's user may have no name.
        found["mlflow.user"] = getpass.getuser()
    commit = tags.get("code_version", "")
    return found | ({"mlflow.source.git.commit": commit} if commit else {})


def _expiry(holder: Owner) -> str:
    """When a run of a process elsewhere can be adopted; nothing for a local process."""
    if not holder.elsewhere:
        return ""
    left_s = max(holder.expires_s - time.time(), 0.0)
    when = time.strftime("%H:%M:%S %Z", time.localtime(holder.expires_s))
    return (
        f"; if its machine or container is gone, the run is free at {when}, in {left_s:.0f} s, "
        f"{EXPIRY_S / 60:.0f} minutes after its last heartbeat"
    )


def _point_mlflow_at(uri: str) -> None:
    import mlflow

    # set_tracking_uri also writes the environment, which the next connect would read as the
    # user's setting.
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
            # The tag makes MLflow's page open with the runs, not with traces of language models.
            client.create_experiment(
                EXPERIMENT,
                artifact_location=artifacts,
                tags={"mlflow.experimentKind": "custom_model_development"},
            )
        found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        raise MlflowException(f"the experiment {EXPERIMENT!r} could not be created")
    return found


def close_orphans(workspace: Workspace) -> list[str]:
    """Mark every run whose process is gone as KILLED, so that no page shows it as running.

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
            run_id = record.info.run_id
            tracking.client.set_tag(run_id, _ERROR_TAG, "its process was killed")
            tracking.client.set_terminated(run_id, status="KILLED")
            closed.append(run_id)
    return closed
