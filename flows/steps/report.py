"""Retraining report: one self-contained HTML page with pictures, tables and the decision."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from flows.profile import Profile
from flows.steps.benchmark import Benchmark
from flows.steps.ingest import Data
from flows.steps.package import Package
from hemlets.core.files import atomic_path, read_json
from hemlets.core.workspace import Workspace
from hemlets.data.table import SPLITS
from hemlets.evaluation import Run, read_run
from hemlets.evaluation.metrics.definitions import metric_of
from hemlets.evaluation.scoring.results import read_summary
from hemlets.reports.pictures import SKELETON_LEGEND

_MEAN_POSE: Final = "mean pose"
_LIFTER: Final = "linear lifter from true 2D"

_ROWS: Final = (
    "mpjpe_mm", "pa_mpjpe_mm", "rigid_mpjpe_mm", "pck3d_150mm_pct", "auc3d_150mm_pct",
    "per_vertex_mm", "mesh_joints_mm", "theta_deg", "root_mm", "joints2d_px",
)  # fmt: skip
"""Metric keys of the tables, in order."""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """Picture of the page.

    Attributes:
        title: Heading.
        name: File name without suffix.
        caption: Caption.
        order: Selection of samples: ``spread`` from best to worst, ``worst``, or none.
        skeletons: Whether to show the legend of skeletons.
    """

    title: str
    name: str
    caption: str
    order: Literal["spread", "worst", ""] = ""
    skeletons: bool = False


_PICTURES: Final = (
    _Picture(
        title="Held-out samples from best to worst",
        name="best-to-worst",
        caption="Of the test split, ordered by MPJPE and taken at even steps of rank from the best "
        "to the worst. " + SKELETON_LEGEND,
        order="spread",
        skeletons=True,
    ),
    _Picture(
        title="The same samples' bodies on the image and from the side",
        name="mesh",
        caption="In the same order; the millimetres below are the skeleton's MPJPE, not the "
        "body's. The grey body is the shape network's, not refined, with its pelvis put on the "
        "pose network's; the skeleton drawn over it is the pose network's own: where they part, "
        "the networks disagree. The "
        "truth is not drawn: every limb is predicted, orange the person's right, blue the left, "
        "yellow spine and head. The box is the one that the model was given. From the side each "
        "body is enlarged to fill its picture; the bar there is half a metre long.",
        order="spread",
    ),
    _Picture(
        title="The worst held-out samples",
        name="worst",
        caption="Of the test split, by MPJPE. " + SKELETON_LEGEND,
        order="worst",
        skeletons=True,
    ),
    _Picture(
        title="Error by joint",
        name="joint-errors",
        caption="Mean distance on the test split in mm with both pelves at the same point, nothing "
        "else aligned; the pelvis has no error by construction. The darker and larger, the worse.",
    ),
)

_USES: Final = {
    "train": ("", "heatmaps are taught to stay empty there"),
    "validation": (
        "error while training, bone lengths, strength of the linear lifter",
        "the threshold of “Is there anybody at all?”",
    ),
    "gate": ("promotion is decided on them", ""),
    "test": ("figures for people, which decide nothing", "the rates of “Is there anybody at all?”"),
}
"""Uses of each split's images with and without people."""


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
        workspace: Workspace that the page is written to.
        profile: Profile of the run.
        key: Key of the retraining.
        data: The data version.
        validation: Validation result (``result.json``).
        stages_done: Folders of the training stages by name, in order.
        scored: The benchmark.
        packaged: The archive and the outcome of its canary.
        facts: Inputs of the decision.
        timings: Seconds by stage.
        code_version: Git commit of the code.

    Returns:
        Path of the page.
    """
    path = workspace.reports / f"retrain-{profile.name}-{key[:8]}.html"
    if facts["decision"] == "already champion" and facts["failures"]:
        path = path.with_stem(f"{path.stem}-no-longer-passes")
    elif facts["decision"] == "already champion" and path.exists():
        # Keep the page that explains the promotion; a repeated run has nothing to add.
        return path
    # These import torch's compiler, which takes seconds.
    from flows.steps.body_metrics import body_page, read_bodies
    from flows.steps.presence_metrics import PERSON_TITLE, person_sentence, read_person
    from flows.tracking.settings_table import settings_of
    from hemlets.evaluation.metrics.meanings import RENDERED_ANEW
    from hemlets.reports.drawing import png
    from hemlets.reports.kit import render_page, save_page
    from hemlets.reports.pictures import legend

    figures = read_json(scored.result.folder / "figures.json")
    champion = _champion(facts)
    bodies, person = read_bodies(scored.result.folder), read_person(scored.result.folder)
    pictures = scored.result.folder / "test"
    tested = read_run(pictures / "model")
    samples = _pictured(tested, profile.benchmark.pictures)
    splits = _splits(data.folder / "annotations.parquet", profile)
    page = render_page(
        "report.html",
        package="flows",
        profile=profile.model_dump(mode="json"),
        key=key,
        data_version=data.version,
        code_version=code_version,
        facts=facts,
        packaged=packaged,
        tables={split: _table(figures[split], champion, split)
                for split in ("test", "gate")},
        counts={split: figures[split]["model"]["mpjpe_mm"] for split in ("test", "gate")},
        titles={key: metric_of(key).label for key in _ROWS},
        meanings=_meanings(figures["test"]["model"]),
        better={split: _lifter_better(figures[split]) for split in ("test", "gate")},
        given=_given(figures["test"]["model"]),
        floors=_floors(profile, facts),
        families={split: _families(scored.result.folder, split) for split in ("test", "gate")},
        model_version=tested.summary.predictions.model_version,
        names=[entry["name"] for split in ("test", "gate")
               for entry in figures[split]["model"].values()],
        validation=validation,
        bodies=None if bodies is None else body_page(bodies),
        person=None if person is None else person_sentence(person),
        person_title=PERSON_TITLE,
        predictors=_predictors(),
        words=_words(figures["test"]["model"]),
        rendered_anew=RENDERED_ANEW,
        start=start_words(
            profile, [name for row in splits if row["split"] != "train" for name in row["families"]]
        ),
        settings=settings_of(profile),
        splits=splits,
        pictures=[
            {"title": shown.title, "caption": shown.caption, "skeletons": shown.skeletons,
             "png": pictures / f"{shown.name}.png", "samples": samples[shown.order]}
            for shown in _PICTURES
        ],
        legend=png(legend()),
        curves=_curves(stages_done),
        timings=dict(timings),
    )  # fmt: skip
    save_page(path, page)
    with atomic_path(workspace.reports / "latest.html") as scratch:
        shutil.copyfile(path, scratch)
    return path


def _meanings(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Title and explanation of each figure in the tables."""
    from hemlets.evaluation.metrics.meanings import compared_over
    from hemlets.evaluation.metrics.names import MetricName

    names = [MetricName.parse(metrics[key]["name"]) for key in _ROWS if key in metrics]
    return [
        (metric.label, f"{metric.explanation} {compared_over(name)}")
        for name in names
        for metric in (metric_of(name.key),)
    ]


def _predictors() -> dict[str, str]:
    """Inputs and method of the two baselines, by column title."""
    from hemlets.evaluation.metrics.meanings import PREDICTORS

    return {_MEAN_POSE: PREDICTORS["mean-pose"], _LIFTER: PREDICTORS["linear-lifter"]}


def _words(metrics: dict[str, Any]) -> dict[str, str]:
    """Explanations of the page's terms."""
    from hemlets.evaluation.metrics.meanings import glossary
    from hemlets.evaluation.metrics.names import MetricName

    return glossary(MetricName.parse(metrics["mpjpe_mm"]["name"]), rendered=True)


def start_words(profile: Profile, held_out: Iterable[str]) -> str:
    """Describe the initial weights of the training and their training data.

    Args:
        profile: Profile of the run.
        held_out: Motion families of all splits but train; mixed ones are joined by ``+``.
    """
    from flows.steps.train import starter_weights

    if profile.start != "starter":
        return "Training started from random weights."
    trained = read_json(starter_weights().with_name("model.json")).get("training", {})
    seen = _parts(trained.get("families", ()))
    both = ", ".join(sorted(seen & _parts(held_out))) or "none"
    backbone = str(trained.get("backbone", "")).partition(",")[0]
    return (
        "Training went on from the starter weights that come with the program. They are of the "
        f"whole model, trained before on {trained.get('distinct_images', 0):,} rendered "
        f"images in the families {', '.join(sorted(seen)).replace('_', ' ') or 'unknown'}"
        f"{f' (backbone: {backbone})' if backbone else ''}; of the families of validation, gate "
        f"and test they had seen {both}."
    )


def _parts(families: Iterable[str]) -> set[str]:
    """Split mixed families into their parts."""
    return {part for family in families for part in family.split("+")}


def _people_for(split: str, profile: Profile) -> str:
    """Describe the use of a split's images of people."""
    if split != "train":
        return _USES[split][0]
    baselines = "mean pose and linear lifter are learned from them"
    if profile.stream is not None:
        return f"{baselines}; the networks learn from people that are rendered while they train"
    on = "training goes on from the starter weights with them"
    if profile.start != "starter":
        on = "the weights are learned from them"
    return f"{on}; {baselines}"


def _splits(annotations: Path, profile: Profile) -> list[dict[str, Any]]:
    """Rows with and without people of each split, with their uses."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from hemlets.data.synthetic.people import SOURCE

    table = pq.read_table(annotations, columns=["split", "family", "source"])
    counts = Counter(table.column("split").to_pylist())
    # Each photograph is a separate family.
    rendered = table.filter(pc.equal(table.column("source"), SOURCE))
    pairs = zip(*(rendered.column(name).to_pylist() for name in ("family", "split")), strict=True)
    families: dict[str, list[str]] = {}
    for family, split in pairs:
        families.setdefault(split, []).append(family)
    return [
        {"split": split, "people": counts[split], "empty": counts[f"{split}-background"],
         "families": sorted(_parts(families.get(split, ()))),
         "people_for": _people_for(split, profile), "empty_for": _USES[split][1]}
        for split in SPLITS
    ]  # fmt: skip


def _pictured(tested: Run, count: int) -> dict[str, list[str]]:
    """Sample ids with MPJPE of the pictures, by order (``spread`` or ``worst``)."""
    import numpy as np

    from hemlets.reports.pictures import pick_samples

    errors_mm = tested.samples.by_key["mpjpe_mm"]
    spread = pick_samples(errors_mm, count)
    worst = np.argsort(-errors_mm, kind="stable")[: len(spread)]
    return {"": []} | {
        order: [f"{tested.samples.sample_id[row]} ({errors_mm[row]:.0f} mm)" for row in rows]
        for order, rows in (("spread", spread), ("worst", worst))
    }


def _given(metrics: dict[str, Any]) -> str:
    """Oracle inputs common to all figures."""
    from hemlets.evaluation.metrics.meanings import what_was_given
    from hemlets.evaluation.metrics.names import MetricName

    return what_was_given(MetricName.parse(metrics["mpjpe_mm"]["name"]))


def _lifter_better(predictors: dict[str, Any]) -> list[str]:
    """Titles of the figures whose mean is better for the linear lifter."""
    found = []
    for key in _ROWS:
        own, other = (predictors[name].get(key, {}).get("mean") for name in
                      ("model", "linear-lifter"))  # fmt: skip
        if own is not None and other is not None and own != other:
            better = (other > own) == metric_of(key).higher_is_better
            found += [metric_of(key).label] if better else []
    return found


def _floors(profile: Profile, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each floor with its compared figure; empty for old facts without figures."""
    own = {entry["name"]: entry["figures"] for entry in facts.get("own", ())}
    gates = [("", profile.promotion.floors, facts.get("figures", {}))]
    gates += [(judge.name, judge.floors, own.get(judge.name, {})) for judge in profile.judges]
    rows = []
    for name, floors, found in gates:
        for key, floor in sorted(floors.items()) if found else ():
            places = 1 if metric_of(key).unit else 2
            ends = [f"{word} {end:g}" for word, end in (("at least", floor.min),
                    ("at most", floor.max)) if end is not None]  # fmt: skip
            value = found.get(key)
            shown = "–" if value is None else f"{value:.{places}f}"
            title = metric_of(key).title + (f" on {name}" if name else "")
            rows.append({"title": title, "key": key, "value": shown, "floor": ", ".join(ends)})
    return rows


def _families(folder: Path, split: str) -> list[dict[str, Any]]:
    """Motion families in a split, with samples and the model's MPJPE."""
    tables = read_summary(folder / split / "model").tables
    return [
        {"name": cell.title, "samples": cell.figure.samples, "mean": cell.figure.mean}
        for table in tables
        for cell in table.cells
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
    """One row per metric: value and interval of each predictor on the same samples."""
    columns = [("this model", predictors["model"])]
    if champion is not None:
        columns.append(("champion before", champion[split]["model"]))
    columns += [
        (_MEAN_POSE, predictors["mean-pose"]),
        (_LIFTER, predictors["linear-lifter"]),
    ]
    if "theta_rest_deg" in predictors["model"]:
        columns.append(("rest pose", {"theta_deg": predictors["model"]["theta_rest_deg"]}))
    rows = []
    for key in _ROWS:
        if key in predictors["model"]:
            rows.append(
                {
                    "title": metric_of(key).label,
                    "unit": metric_of(key).unit,
                    "name": predictors["model"][key]["name"],
                    "columns": [name for name, _ in columns],
                    "cells": [metrics.get(key) for _, metrics in columns],
                }
            )
    return rows


def _curves(stages_done: Mapping[str, Path]) -> bytes:
    """Loss and validation MPJPE over samples, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from hemlets.core.wording import counted

    figure = Figure(figsize=(9, 3), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    start = 0
    for stage, folder in stages_done.items():
        rows = [
            json.loads(line)
            for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        samples = [start + row["samples"] for row in rows]
        left.plot(samples, [row["loss/total"] for row in rows], label=stage)
        validated = [row for row in rows if "validation/mpjpe_mm" in row]
        right.plot(
            [start + row["samples"] for row in validated],
            [row["validation/mpjpe_mm"] for row in validated],
            marker="o",
            markersize=5,
            label=f"{stage}: {counted(len(validated), 'validation')}",
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
    return buffer.getvalue()
