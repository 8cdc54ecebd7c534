"""Drift: the endpoint's recent inputs and predictions against the champion's held-out data.

The reference is the champion's held-out predictions and their images, and the window is the
endpoint's prediction log (`hemlets.inference.prediction_log`). Labels are compared separately: the
rows of a source's last sync against its earlier rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from flows.profile import Profile
from flows.settings import DriftSettings
from flows.storage.stage_cache import StageStore
from hemlets.cli.options import HomeOption
from hemlets.core.arrays import Array
from hemlets.core.errors import DataError
from hemlets.core.files import read_json, write_json
from hemlets.core.workspace import Workspace
from hemlets.evaluation.drift import Shift, find_shifts
from hemlets.inference.observed import FEATURES, observe_image, observe_prediction

_MOST_IMAGES: Final = 1000

Values = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Result of a comparison.

    Attributes:
        version: Version of the champion.
        people: Number of people in the window.
        enough: Whether there are enough people for an alarm.
        shifts: Shifts of the endpoint's features, largest first.
        labels: Shifts of the labels by source.
        page: Path of the report.
    """

    version: int
    people: int
    enough: bool
    shifts: tuple[Shift, ...]
    labels: Mapping[str, tuple[Shift, ...]]
    page: Path

    @property
    def alarms(self) -> list[str]:
        """Names of the features whose shift exceeds its bounds."""
        found = [shift.feature for shift in self.shifts if shift.alarm and self.enough]
        for source, shifts in self.labels.items():
            found += [f"{source}: {shift.feature}" for shift in shifts if shift.alarm]
        return found


def drift(
    workspace: Workspace,
    settings: DriftSettings,
    sources: Sequence[str] = (),
    *,
    now: float | None = None,
) -> Drift:
    """Compare a window of the prediction log with the champion's reference, and write the page.

    Args:
        workspace: Workspace with the champion and its data.
        settings: Prediction log and bounds.
        sources: Sources whose newest labels are compared with their earlier labels.
        now: End of the window, seconds since 1970; the current time if None.

    Raises:
        DataError: The champion, its benchmark or the log is missing.
    """
    from flows.registry import versions as registry
    from hemlets.inference.prediction_log import read_log

    champion = registry.champion(workspace)
    if champion is None:
        raise DataError.missing("a champion", workspace.mlflow, remedy="run hemlets retrain")
    end = time.time() if now is None else now
    window = read_log(_log_folder(workspace, settings), since=end - 3600 * settings.hours)
    people = len(window["time"])
    shifts = find_shifts(
        reference(workspace, champion.tags), window, FEATURES,
        psi=settings.psi, p_value=settings.p_value,
    )  # fmt: skip
    labels = {name: tuple(_label_shifts(workspace, name, settings)) for name in sources}
    page = workspace.reports / f"drift-{time.strftime('%Y-%m-%d-%H%M', time.gmtime(end))}.html"
    found = Drift(
        version=champion.version, people=people, enough=people >= settings.min_people,
        shifts=tuple(shifts), labels=labels, page=page,
    )  # fmt: skip
    _write_page(found, settings)
    return found


def reference(workspace: Workspace, tags: Mapping[str, str]) -> Values:
    """Measure features of the champion's held-out people; cached with its benchmark.

    Raises:
        DataError: Data or benchmark are not in this workspace.
    """
    from flows.registry import versions as registry
    from flows.steps.previous_data import CONTENT_TAG
    from hemlets.data.table import Annotations, ShardReader, stored_images
    from hemlets.evaluation import Predictions

    store = StageStore(workspace)
    data = store.holding("ingest", tags.get(CONTENT_TAG, ""))
    scored = [
        path.parent.parent.parent
        for path in sorted(
            (workspace.stages / "benchmark").glob("*/test/model/predictions.parquet")
        )
        if Predictions.read(path).info.model_version == tags.get(registry.ANSWER_TAG)
    ]
    if data is None or not scored:
        raise DataError(
            "the champion's data or benchmark are not in this workspace",
            where=workspace.stages,
            remedy="retrain here; results of a cached retraining are found again in seconds",
        )
    known = workspace.reports / "drift" / f"{scored[-1].name}.json"
    if known.exists():
        return {name: np.asarray(values, np.float64) for name, values in read_json(known).items()}
    predictions = Predictions.read(scored[-1] / "test" / "model" / "predictions.parquet")
    table = Annotations.read(data.folder / "annotations.parquet")
    chosen = np.linspace(0, len(predictions) - 1, min(len(predictions), _MOST_IMAGES)).astype(int)
    rows = [table.row_of[str(predictions.sample_id[i])] for i in chosen]
    images = stored_images(table, rows, ShardReader(data.folder / "shards"))
    found = [
        observe_image(image, table.box_xyxy[row])
        | observe_prediction(
            predictions.confidence[i], predictions.theta[i], predictions.root_mm[i]
        )
        for i, row, image in zip(chosen, rows, images, strict=True)
    ]
    values = {name: [one[name] for one in found] for name in FEATURES}
    write_json(known, values)
    return {name: np.asarray(column, np.float64) for name, column in values.items()}


def _log_folder(workspace: Workspace, settings: DriftSettings) -> Path:
    from hemlets.data.remote import fetch_s3, is_s3_url

    if is_s3_url(settings.log):
        return fetch_s3(settings.log, workspace.home / "downloads")
    return Path(settings.log).expanduser()


def _label_shifts(workspace: Workspace, source: str, settings: DriftSettings) -> list[Shift]:
    """Compare the rows of a source's last sync with all earlier rows."""
    from flows.steps.sync import arrivals_of
    from hemlets.data.table import Annotations

    path = workspace.home / "ingested" / source / "annotations.parquet"
    if not path.exists():
        return []
    rows, arrivals = Annotations.read(path), arrivals_of(workspace, source)
    number = np.array([arrivals.get(str(name), 0) for name in rows.sample_id])
    last = number == number.max(initial=0)
    box = rows.box_xyxy.astype(np.float64)
    values = {
        "box_px": np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]),
        "labelled_joints": rows.valid2d.sum(1).astype(np.float64),
        "visible_joints": rows.visible.sum(1).astype(np.float64),
        "known_relations": rows.relations_valid.sum(1).astype(np.float64),
    }
    older = {name: column[~last] for name, column in values.items()}
    newer = {name: column[last] for name, column in values.items()}
    return find_shifts(older, newer, list(values), psi=settings.psi, p_value=settings.p_value)


def _write_page(found: Drift, settings: DriftSettings) -> None:
    from hemlets.reports.kit import render_page, save_page

    tables = [("The endpoint's images and predictions", found.shifts)]
    tables += [(f"Labels of {name}", shifts) for name, shifts in found.labels.items()]
    save_page(
        found.page,
        render_page("drift.html", package="flows", found=found, settings=settings, tables=tables),
    )
    write_json(found.page.with_suffix(".json"), asdict(found) | {"page": str(found.page)})


def check_drift(workspace: Workspace, profile: Profile) -> Drift | None:
    """Run a profile's comparison, log it in MLflow, and emit ``drift.alarm`` on an alarm.

    Returns:
        None if the profile has no drift settings.

    Raises:
        DataError: As for `drift`.
    """
    from flows.services.events import emit
    from flows.tracking.mlflow_client import connect

    if profile.drift is None:
        return None
    found = drift(workspace, profile.drift, [source.name for source in profile.sources])
    with connect(workspace).run(f"drift-{time.time_ns()}", f"drift {found.page.stem[6:]}") as run:
        values = {f"drift/psi.{shift.feature}": shift.psi for shift in found.shifts}
        run.metrics(values | {"drift/people": found.people, "drift/alarms": len(found.alarms)})
        run.tag({"alarms": ", ".join(found.alarms) or "none", "champion": str(found.version)})
        run.files([found.page])
    if found.alarms:
        emit("drift.alarm", {"features": found.alarms, "people": found.people,
                             "version": found.version, "page": str(found.page)})  # fmt: skip
    return found


def report(
    log: Annotated[str, typer.Option(help="Folder or s3:// prefix of the prediction log.")],
    hours: Annotated[float, typer.Option(min=0.1, help="Length of the window until now.")] = 24,
    home: HomeOption = None,
) -> None:
    """Compare what the endpoint saw with the champion's benchmark, and write a page."""
    workspace = Workspace.at(home)
    given = {"log": log, "hours": hours}
    found = drift(workspace, DriftSettings.from_mapping(given, where="--log, --hours"))
    for shift in found.shifts:
        mark = "  alarm" if shift.alarm and found.enough else ""
        typer.echo(f"{shift.feature:<18} PSI {shift.psi:5.2f}  p {shift.p_value:.1e}{mark}")
    typer.echo(f"{found.people:,} people{'' if found.enough else ', too few for an alarm'}")
    typer.echo(f"wrote {found.page}")
