"""One self-contained HTML page about a retraining: pictures, tables, the decision and why."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.profile import Profile
from flows.stages import Benchmark, Data, Package
from hemlets.files import atomic_path, read_json
from hemlets.workspace import Workspace

__all__ = ["write_report"]

_ROWS = (
    ("mpjpe_mm", "MPJPE", "mm"),
    ("pa_mpjpe_mm", "PA-MPJPE", "mm"),
    ("pck3d_150mm_pct", "3DPCK at 150 mm", "%"),
    ("auc3d_150mm_pct", "3D AUC to 150 mm", "%"),
    ("per_vertex_mm", "Per-vertex error", "mm"),
    ("theta_deg", "Rotation error, moving joints", "°"),
)

_SKELETONS = (
    "Left the image, right both poses from the side with the camera on the left, by their MPJPE. "
    "Bold with filled dots: predicted; thin and pale with open dots: the truth."
)
_PICTURES = (
    ("Held-out samples from best to worst", "best-to-worst", "Of the test split. " + _SKELETONS),
    (
        "The same samples' bodies on the image and from the side",
        "mesh",
        "The predicted body; the box is the one that the model was given.",
    ),
    ("The worst held-out samples", "worst", "Of the test split. " + _SKELETONS),
    (
        "Error by joint",
        "joint-errors",
        "Mean distance on the test split with both pelves at the same point, nothing else aligned.",
    ),
)


def write_report(
    workspace: Workspace,
    profile: Profile,
    *,
    key: str,
    data: Data,
    validation: Mapping[str, Any],
    stages_done: Mapping[str, Path],
    scored: Benchmark,
    packaged: Package,
    facts: dict[str, Any],
    timings: Mapping[str, float],
    code_version: str,
) -> Path:
    """Write the page of a retraining, and a copy as ``reports/latest.html``.

    Args:
        workspace: Whose page it is.
        profile: That was followed.
        key: Of the retraining.
        data: The data version.
        validation: What the suites found (``result.json`` of the validation).
        stages_done: Folders of the training stages by name, in their order.
        scored: The benchmark.
        packaged: The archive and what its endpoint answered.
        facts: What the decision was made from.
        timings: Seconds by stage.
        code_version: The commit that ran.

    Returns:
        Path of the page.
    """
    from jinja2 import Environment, PackageLoader

    from flows.bodies import body_page, read_bodies
    from flows.person import person_sentence, read_person

    path = workspace.reports / f"retrain-{profile.name}-{key[:8]}.html"
    if facts["decision"] == "already champion" and facts["failures"]:
        path = path.with_stem(f"{path.stem}-no-longer-passes")
    elif facts["decision"] == "already champion" and path.exists():
        # The page that says why it became champion is worth more than "nothing to do".
        return path
    figures = read_json(scored.result.folder / "figures.json")
    champion = _champion(facts)
    bodies, person = read_bodies(scored.result.folder), read_person(scored.result.folder)
    pictures = scored.result.folder / "test"
    environment = Environment(loader=PackageLoader("flows"), autoescape=True)
    page = environment.get_template("report.html").render(
        profile=profile.model_dump(mode="json"),
        key=key,
        data_version=data.version,
        code_version=code_version,
        facts=facts,
        packaged=packaged,
        tables={split: _table(figures[split], champion, split)
                for split in ("test", "gate")},
        counts={split: figures[split]["model"]["mpjpe_mm"] for split in ("test", "gate")},
        titles={key: title for key, title, _ in _ROWS},
        meanings=_meanings(figures["test"]["model"]),
        names=[entry["name"] for entry in figures["test"]["model"].values()],
        validation=validation,
        bodies=None if bodies is None else body_page(bodies),
        person=None if person is None else person_sentence(person),
        pictures={
            title: (told, _png(pictures / f"{name}.png"))
            for title, name, told in _PICTURES
        },
        curves=_curves(stages_done),
        timings=dict(timings),
    )  # fmt: skip
    with atomic_path(path) as scratch:
        scratch.write_text(page, encoding="utf-8")
    with atomic_path(workspace.reports / "latest.html") as scratch:
        shutil.copyfile(path, scratch)
    return path


def _meanings(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Title and explanation of each figure that the tables have."""
    from hemlets.evaluation.meanings import explain
    from hemlets.evaluation.names import MetricName

    return [
        (title, explain(MetricName.parse(metrics[key]["name"])))
        for key, title, _ in _ROWS
        if key in metrics
    ]


def _champion(facts: dict[str, Any]) -> dict[str, Any] | None:
    folder = facts["champion_benchmark"]
    if folder is None or facts["decision"] == "already champion":
        return None
    figures: dict[str, Any] = read_json(Path(folder) / "figures.json")
    return figures


def _table(
    predictors: dict[str, Any], champion: dict[str, Any] | None, split: str
) -> list[dict[str, Any]]:
    """One row a metric: value and interval of each predictor on the same samples."""
    columns = [("this model", predictors["model"])]
    if champion is not None:
        columns.append(("champion before", champion[split]["model"]))
    columns += [
        ("mean pose", predictors["mean-pose"]),
        ("linear lifter from true 2D", predictors["linear-lifter"]),
    ]
    if "theta_rest_deg" in predictors["model"]:
        columns.append(("rest pose", {"theta_deg": predictors["model"]["theta_rest_deg"]}))
    rows = []
    for key, title, unit in _ROWS:
        if key not in predictors["model"]:
            continue
        cells = []
        for _, metrics in columns:
            entry = metrics.get(key)
            cells.append(
                None
                if entry is None or entry["mean"] is None
                else {"mean": entry["mean"], "low": entry.get("low"), "high": entry.get("high")}
            )
        rows.append(
            {
                "title": title,
                "unit": unit,
                "name": predictors["model"][key]["name"],
                "columns": [name for name, _ in columns],
                "cells": cells,
            }
        )
    return rows


def _png(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _curves(stages_done: Mapping[str, Path]) -> str:
    """Loss and validation MPJPE over samples, as a PNG in base64."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    start = 0
    for stage, folder in stages_done.items():
        rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        samples = [start + row["samples"] for row in rows]
        left.plot(samples, [row["loss/total"] for row in rows], label=stage)
        validated = [row for row in rows if "validation/mpjpe_mm" in row]
        right.plot(
            [start + row["samples"] for row in validated],
            [row["validation/mpjpe_mm"] for row in validated],
            marker="o",
            label=stage,
        )
        start = samples[-1] if samples else start
    left.set(title="Training loss", xlabel="samples trained on", yscale="log")
    right.set(title="Validation MPJPE (mm)", xlabel="samples trained on")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
