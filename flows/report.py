"""One self-contained HTML page about a retraining: pictures, tables, the decision and why."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.figures import LIFTER_RATIO, MEAN_POSE_RATIO
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
    "Left the image, right both poses from the side with the camera on the left and both pelves "
    "where the lines cross; above it the sample's MPJPE. Bold with filled dots: predicted; thin "
    "and pale with open dots: the truth. Orange is the person's right, blue the left."
)
_PICTURES = (
    (
        "Held-out samples from best to worst",
        "best-to-worst",
        "Of the test split, at even steps from the smallest to the largest MPJPE. " + _SKELETONS,
    ),
    (
        "The same samples' bodies on the image and from the side",
        "mesh",
        "In the same order. The grey body is the shape network's, not refined; the skeleton drawn "
        "over it is the pose network's own: where they part, the networks disagree. The truth is "
        "not drawn. The box is the one that the model was given.",
    ),
    ("The worst held-out samples", "worst", "Of the test split, by MPJPE. " + _SKELETONS),
    (
        "Error by joint",
        "joint-errors",
        "Mean distance on the test split in mm with both pelves at the same point, nothing else "
        "aligned; the pelvis has no error by construction. The darker and larger, the worse.",
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
        better={split: _lifter_better(figures[split]) for split in ("test", "gate")},
        given=_given(figures["test"]["model"]),
        floors=_floors(profile, facts),
        families={split: _families(scored.result.folder, split) for split in ("test", "gate")},
        model_version=_model_version(scored.result.folder),
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
    from hemlets.evaluation.meanings import MEANINGS, compared_over
    from hemlets.evaluation.names import MetricName

    names = [(title, MetricName.parse(metrics[key]["name"])) for key, title, _ in _ROWS
             if key in metrics]  # fmt: skip
    return [(title, f"{MEANINGS.get(name.key, '')} {compared_over(name)}") for title, name in names]


def _given(metrics: dict[str, Any]) -> str:
    """What the model had for all of its figures."""
    from hemlets.evaluation.meanings import what_was_given
    from hemlets.evaluation.names import MetricName

    return what_was_given(MetricName.parse(metrics["mpjpe_mm"]["name"]))


def _lifter_better(predictors: dict[str, Any]) -> list[str]:
    """Titles of the figures that the linear lifter has a better mean of."""
    found = []
    for key, title, unit in _ROWS:
        own, other = (predictors[name].get(key, {}).get("mean") for name in
                      ("model", "linear-lifter"))  # fmt: skip
        larger_is_better = unit == "%"
        if own is not None and other is not None and own != other:
            found += [title] if (other > own) == larger_is_better else []
    return found


def _floors(profile: Profile, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each floor with the figure that was held against it; empty where they weren't noted."""
    titles = {key: (f"{title} ({unit})", 1) for key, title, unit in _ROWS} | {
        LIFTER_RATIO: ("MPJPE as a share of the linear lifter's", 2),
        MEAN_POSE_RATIO: ("MPJPE as a share of the mean pose's", 2),
    }
    found: Mapping[str, float | None] = facts.get("figures", {})
    floors = profile.promotion.model_dump(mode="json")["floors"]
    rows = []
    for key, floor in sorted(floors.items()) if found else ():
        title, places = titles.get(key, (key, 2))
        ends = [f"{word} {floor[end]:g}" for word, end in (("at least", "min"), ("at most", "max"))
                if floor[end] is not None]  # fmt: skip
        value = found.get(key)
        said = "–" if value is None else f"{value:.{places}f}"
        rows.append({"title": title, "key": key, "value": said, "floor": ", ".join(ends)})
    return rows


def _families(folder: Path, split: str) -> list[dict[str, Any]]:
    """Families of motions in a split, with samples and MPJPE of the model."""
    return [
        {"name": part["value"], "samples": part["samples"],
         "mean": part["metrics"]["mpjpe_mm"]["mean"]}
        for part in read_json(folder / split / "model" / "scores.json")["slices"]
        if part["by"] == "family"
    ]  # fmt: skip


def _model_version(folder: Path) -> str:
    found = read_json(folder / "test" / "model" / "scores.json")
    return str(found["predictions"]["model_version"])


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
    for set_formatter in (left.yaxis.set_major_formatter, left.yaxis.set_minor_formatter):
        set_formatter("{x:g}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
