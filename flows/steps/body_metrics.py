"""Body metrics of a model's benchmark: storage, logging, and the page's text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from hemlets.core.config import Config
from hemlets.core.files import read_json, write_json
from hemlets.core.wording import counted
from hemlets.evaluation.bodies import BodyRow, BodyStudy
from hemlets.evaluation.metrics.names import MetricName

_FILE: Final = "bodies.json"

_REPROJECTED: Final = ("reprojection_from_network_px", "reprojection_from_truth_px")
_SOLID: Final = ("per_vertex_mm", "mesh_joints_mm")
_ROTATIONS: Final = "theta_deg"
_COMPARED: Final[tuple[tuple[BodyRow, BodyRow, tuple[str, ...]], ...]] = (
    (BodyRow.REFINED, BodyRow.PREDICTED, (*_SOLID, *_REPROJECTED, _ROTATIONS)),
    (BodyRow.PREDICTED, BodyRow.LAID, _SOLID),
    (BodyRow.REFINED, BodyRow.LAID, _SOLID),
    (BodyRow.PREDICTED, BodyRow.MEAN_PERSON, _SOLID),
)
_MOST_LEFT: Final = 2 / 3
"""Target of refinement: a cut of the reprojection error by one third."""

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "surface (mm)": ("per_vertex_mm",),
    "joints (mm)": ("mesh_joints_mm", "mpjpe_mm"),
    "joints in the image, from the truth (px)": ("reprojection_from_truth_px", "joints2d_px"),
    "joints in the image, from the network's own (px)": ("reprojection_from_network_px",),
    "rotations of moving joints (°)": ("theta_deg",),
}
_MEANINGS: Final[Mapping[BodyRow, str]] = {
    BodyRow.PREDICTED: "The body that the shape network gives, as it is.",
    BodyRow.REFINED: "The same body fitted to the network's joints in space and in the image "
    "(SMPLify) and held to the network's own θ and β by how poses vary in the training clips, "
    "which costs time and is off unless asked for.",
    BodyRow.SKELETON: "No body: the joints of the pose network, which refinement fits to.",
    BodyRow.TRUE_SHAPE: "As in Table 8 of the paper (HEMlets PoSh): the true β put in, so that "
    "what is left is the pose's error. It may be larger than with the predicted β: errors of "
    "pose and shape partly make up for each other.",
    BodyRow.TRUE_POSE: "As in Table 8 of the paper (HEMlets PoSh): the true θ put in, so that what "
    "is left is the shape's error.",
    BodyRow.MEAN_SHAPE: "The predicted θ on the body of mean shape, β = 0: how much the predicted "
    "β is worth.",
    BodyRow.LAID: "To be beaten: the body of mean shape, β = 0, fitted (SMPLify) to the 18 "
    "predicted joints in space alone, held by the mean and spread of the poses in the "
    "training clips and starting from that mean, without any shape network.",
    BodyRow.MEAN_PERSON: "To be beaten: the training set's mean θ, facing included, and mean β, "
    "whatever the image shows.",
    BodyRow.RESTING: "A body in the rest pose and of mean shape, β = 0, with the truth's "
    "orientation: the error of a body that doesn't move at all.",
    BodyRow.REST: "The rotation error of a body at rest, below which a prediction must stay.",
}


class Figure(Config):
    """Stored figure of a row.

    Attributes:
        row: Kind of bodies.
        name: Full name of the metric, with its protocol.
        mean: Mean over the samples with a value; None without any.
        low: Lower end of the interval; None with fewer than two sequences.
        high: Upper end of the interval.
        samples: Number of samples with a value.
        sequences: Number of their sequences.
    """

    row: BodyRow
    name: str
    mean: float | None
    low: float | None
    high: float | None
    samples: int
    sequences: int

    @property
    def key(self) -> str:
        """The metric without its protocol."""
        return MetricName.parse(self.name).key

    @property
    def unit(self) -> str:
        """Unit of the metric."""
        return MetricName.parse(self.name).unit


class Change(Config):
    """Relative difference of two rows' means on the same samples: their ratio − 1."""

    row: BodyRow
    other: BodyRow
    key: str
    ratio: float
    low: float
    high: float


class Bodies(Config):
    """Stored body study of a benchmark.

    Attributes:
        samples: Number of studied samples.
        sequences: Number of their sequences.
        available: Number of test samples with a known body.
        figures: Figures of all rows.
        changes: Changes between rows; empty with fewer than two sequences.
    """

    samples: int = Field(ge=1)
    sequences: int = Field(ge=1)
    available: int = Field(ge=1)
    figures: tuple[Figure, ...]
    changes: tuple[Change, ...]


def write_bodies(folder: Path, study: BodyStudy, *, available: int, resamples: int) -> None:
    """Store a study in a benchmark's folder.

    Args:
        folder: Folder of the benchmark.
        study: Measurements.
        available: Number of test samples with a known body.
        resamples: Bootstrap resamples per interval.
    """
    figures = [
        {"row": row, "name": name.full, **interval.to_json()}
        for (row, name), interval in study.intervals(resamples=resamples).items()
    ]
    sequences, changes = len(set(study.sequence_N)), []
    measured = {row for row, _ in study.figures}
    for row, other, keys in _COMPARED if sequences > 1 else ():
        for key in keys if {row, other} <= measured else ():
            found = study.change(row, other, key, resamples=resamples)
            ends = {"ratio": found.ratio, "low": found.low, "high": found.high}
            changes.append({"row": row, "other": other, "key": key} | ends)
    bodies = Bodies.from_mapping(
        {
            "samples": len(study),
            "sequences": sequences,
            "available": available,
            "figures": figures,
            "changes": changes,
        },
        where=str(folder / _FILE),
    )
    write_json(folder / _FILE, bodies.model_dump(mode="json"))


def read_bodies(folder: Path) -> Bodies | None:
    """Read the study in a benchmark's folder; None if absent."""
    path = folder / _FILE
    return Bodies.from_mapping(read_json(path), where=str(path)) if path.exists() else None


def body_metrics(found: Bodies | None) -> dict[str, float]:
    """Defined means for the tracker, with row and protocol in each name."""
    if found is None:
        return {}
    metrics = {
        f"bodies/{figure.row}.{_quantity(figure.name)}": figure.mean
        for figure in found.figures
        if figure.mean is not None
    }
    changes = {
        f"bodies/{change.row} over {change.other}.{change.key}": change.ratio
        for change in found.changes
    }
    return metrics | changes | {"bodies/samples": float(found.samples)}


def _quantity(full_name: str) -> str:
    return MetricName.parse(full_name).short.partition("/")[2]


def body_table(found: Bodies) -> list[dict[str, Any]]:
    """All figures as a table, one row per figure."""
    return [figure.model_dump(mode="json") for figure in found.figures]


def body_page(found: Bodies) -> dict[str, Any]:
    """Content of the page: column titles, rows with their meaning, and conclusions."""
    rows = []
    for row, meaning in _MEANINGS.items():
        own = {figure.key: figure for figure in found.figures if figure.row == row}
        if own:
            cells = [
                next((own[key] for key in keys if key in own), None) for keys in _COLUMNS.values()
            ]
            rows.append({"title": row.value, "meaning": meaning, "cells": cells})
    return {
        "columns": list(_COLUMNS),
        "rows": rows,
        "samples": _samples(found),
        "sentences": [*_effect_of_refinement(found), *_compare_with_baselines(found)],
        "names": sorted({figure.name for figure in found.figures}),
    }


def _samples(found: Bodies) -> str:
    taken = (
        "every test sample with a known body"
        if found.samples == found.available
        else f"spread evenly over the {found.available:,} test samples with a known body"
    )
    return (
        f"{counted(found.samples, 'sample')} of {counted(found.sequences, 'sequence')}: {taken}. "
        "All rows "
        "are of the same samples, so they differ a little from the test table's. A body has a "
        "shape β and rotations θ of its joints. For millimetres both pelves are at the same point, "
        "nothing is turned or scaled; how large a body is follows from its β alone, and the scale "
        "from bone lengths says where it stands (and how large the skeleton is that “refined” is "
        "fitted to). Pixels are of the whole image: “predicted” has its pelvis where the pose "
        "network has it, “refined” where the fit put it. Joints are all 18, computed from the body "
        "but for the skeleton's; rotations are of the joints below the pelvis that move. "
        "Intervals, box, scale and mirrored image: as below the tables above. A dash: not "
        "measured. These figures decide nothing."
    )


def _effect_of_refinement(found: Bodies) -> list[str]:
    """Describe the effect of refinement, with both errors in the image."""
    changes = _changes(found, BodyRow.REFINED, BodyRow.PREDICTED)
    if not changes:
        return ["Too few sequences to say what refinement changes."]
    network, truth = (changes[key] for key in _REPROJECTED)
    own = next(
        (f.mean for f in found.figures if f.row == BodyRow.SKELETON and f.key == "joints2d_px"),
        None,
    )
    limit = "" if own is None else f" ({own:.1f} px from the truth)"
    surface, joints = (changes[key] for key in _SOLID)
    return [
        f"Refinement changes the 2D reprojection error by {_percent(network)} against the "
        "network's own joints in the image, which are what it fits to: "
        f"{_target(network)}.",
        f"Against the truth it changes it by {_percent(truth)}: {_target(truth)}. The network's "
        f"own joints{limit} are the limit there, and no fit to them sees beyond their error.",
        f"Refinement changes the error of the surface by {_percent(surface)} and that of the "
        f"joints by {_percent(joints)}.",
        *_effect_on_rotations(changes.get(_ROTATIONS)),
    ]


def _effect_on_rotations(change: Change | None) -> list[str]:
    """Describe the effect of refinement on rotations, which it does not fit."""
    if change is None:
        return []
    verdict = "is not surely better or worse with"
    if change.low > 0:
        verdict = "becomes worse by"
    elif change.high < 0:
        verdict = "becomes better by"
    reason = (
        ": joints don't tell how a limb is turned about itself, so a fit may turn it wrongly"
        if change.low > 0
        else ""
    )
    return [f"The error of the rotations {verdict} refinement, {_percent(change)}{reason}."]


def _compare_with_baselines(found: Bodies) -> list[str]:
    """Compare the bodies with the baselines."""
    sentences = []
    for row, other, _ in _COMPARED[1:]:
        changes = _changes(found, row, other)
        if changes:
            surface, joints = (changes[key] for key in _SOLID)
            verdict = "does not surely beat"
            if max(surface.high, joints.high) < 0:
                verdict = "beats"
            elif min(surface.low, joints.low) > 0:
                verdict = "is beaten by"
            sentences.append(
                f"The body “{row.value}” {verdict} “{other.value}”: error of the surface "
                f"{_percent(surface)}, of the joints {_percent(joints)}."
            )
    return sentences


def _changes(found: Bodies, row: BodyRow, other: BodyRow) -> dict[str, Change]:
    return {c.key: c for c in found.changes if (c.row, c.other) == (row, other)}


def _percent(change: Change) -> str:
    ratio, low, high = (100 * value for value in (change.ratio, change.low, change.high))
    return f"{ratio:+.1f} % (95 % interval {low:+.1f} % to {high:+.1f} %)"


def _target(change: Change) -> str:
    if 1 + change.ratio <= _MOST_LEFT:
        return "the aim, a cut by one third, is reached"
    return "the aim, a cut by one third, is missed"
