"""What PoSh's bodies are worth: ``python tests/benchmarks/bench_posh.py``.

Predicts the test split with a model folder (the bundled starter weights unless told otherwise),
once as it is and once refined, and sets beside it what a prediction has to beat and Table 8's two
oracles. Without ``--data`` a small set is rendered: 1,024 training people, which the mean person
is taken of, and 512 test people in motion that the starter weights have never seen. Writes one
row a machine, model, data set, row of the table and metric to ``results/posh.csv``; ends with 1
where PoSh does not beat a baseline for certain, or refinement does not do what it should.
Intervals are of resampled stretches of motion, as the benchmark's are: a test split holds few
whole clips.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from conditions import machine

from flows.scoring import predict_rows
from hemlets.annotations import Annotations
from hemlets.assets import asset_path
from hemlets.body import BodyModel
from hemlets.body.study import body_error, mean_shape_on_skeletons, study_rows, theta_errors
from hemlets.errors import DataError
from hemlets.evaluation import MeanPose, MetricName
from hemlets.evaluation.bootstrap import bootstrap_mean, paired_ratio
from hemlets.evaluation.metrics import mean_over_joints, mpjpe_mm
from hemlets.evaluation.score import STRETCH_FRAMES
from hemlets.files import sha256_file
from hemlets.inference.predictor import Predictor
from hemlets.inference.refine import Refiner
from hemlets.inference.types import BodyEstimate
from hemlets.skeleton import Joint
from hemlets.synthetic import OpenDataConfig, build_open_data
from hemlets.synthetic.config import SplitSizes

RESULTS = Path(__file__).parent / "results" / "posh.csv"
COLUMNS = ("machine", "model", "data", "samples", "row", "metric", "value", "low", "high")
SEED, TRAIN, TEST = 20_265, 1_024, 512
MOST_LEFT: Final = 2 / 3
"""Refinement is to cut the reprojection error by a third."""

Float = npt.NDArray[np.float64]
Shape = tuple[torch.Tensor, torch.Tensor]
Table = dict[tuple[str, MetricName], Float]
"""By row of the table and metric: a figure of each sample, or one figure of all."""


def name(key: str, *, over: str, root: str) -> MetricName:
    """A metric with the protocol that all of these share."""
    return MetricName(key=key, split="test", over=over, root=root, align="none",
                      box="ground-truth", depth="bone-length-prior", flip="no")  # fmt: skip


def shapes_of(estimates: Sequence[BodyEstimate]) -> Shape:
    """θ and β."""
    theta, betas = (np.stack([getattr(e, key) for e in estimates]) for key in ("theta", "betas"))
    return torch.from_numpy(theta), torch.from_numpy(betas)


def reprojected_px(body: BodyModel, estimates: Sequence[BodyEstimate]) -> Float:
    """The posed bodies' joints (N, 18, 2) in the images, each body where its estimate puts it."""
    with torch.inference_mode():
        joints = body(*shapes_of(estimates)).joints18_B183_mm.double().numpy()
    joints += np.stack([e.root_mm for e in estimates])[:, None] - joints[:, [Joint.PELVIS]]
    cameras = np.array([(e.camera.fx, e.camera.fy, e.camera.cx, e.camera.cy) for e in estimates])
    focal, centre = cameras[:, None, :2], cameras[:, None, 2:]
    pixels: Float = joints[..., :2] / np.maximum(joints[..., 2:], 1.0) * focal + centre
    return pixels


def distances_px(found: npt.NDArray[np.floating], wanted: npt.NDArray[np.floating],
                 known: npt.NDArray[np.bool_]) -> Float:  # fmt: skip
    """Mean distance of each sample's known joints."""
    return mean_over_joints(np.where(known, np.linalg.norm(found - wanted, axis=-1), np.nan))


def measure(body: BodyModel, predictor: Predictor, data: Path) -> tuple[Table, Annotations]:
    """Every figure of the table, and the samples."""
    table = Annotations.read(data / "annotations.parquet")
    rows, mean = table.split("test"), MeanPose.fit(table.split("train"))
    rows = rows.take(rows.smpl_valid & rows.camera_valid & rows.valid3d.all(1))
    families = {part for family in set(rows.family) for part in str(family).split("+")}
    seen = families & set(predictor.card.training.get("families", []))
    if seen or not len(rows):
        raise DataError(
            f"the model was trained on motion of the test split: {', '.join(sorted(seen))}"
            if seen
            else "no test row has a body, a camera and all joints",
            where=data,
            expected="bodies in motion that the model has never seen",
        )
    if mean.theta is None or mean.betas is None:
        raise DataError("no training row has a body", where=data, expected="θ and β")
    before = predict_rows(predictor, rows, data / "shards")
    after = Refiner(body).refine(before)
    skeletons = torch.from_numpy(np.stack([e.joints3d_mm for e in before]))
    truth = torch.from_numpy(rows.theta.copy()), torch.from_numpy(rows.betas.copy())
    predicted, refined = shapes_of(before), shapes_of(after)
    average = tuple(
        torch.tensor(np.asarray(values, np.float32)).expand_as(like)
        for values, like in zip((mean.theta, mean.betas), truth, strict=True)
    )
    errors = study_rows(body, predicted, truth)
    errors["mean shape, predicted θ"] = errors.pop("mean shape")
    errors["rest pose turned as the truth, mean shape"] = errors.pop("mean pose and shape")
    for row, shape in {
        "refined": refined,
        "mean shape on the predicted skeleton": mean_shape_on_skeletons(body, skeletons),
        "mean pose and shape": (average[0], average[1]),
    }.items():
        errors[row] = body_error(body, shape, truth)
    figures: Table = {}
    for row, error in errors.items():
        surface = name("per_vertex_mm", over=f"{body.n_vertices}v", root="pelvis")
        figures[row, surface] = error.surface_B_mm.double().numpy()
        joints = name("mesh_joints_mm", over="18j", root="pelvis")
        figures[row, joints] = error.joints_B_mm.double().numpy()
    figures["predicted", name("mpjpe_mm", over="18j", root="pelvis")] = mpjpe_mm(
        skeletons.numpy(), rows.joints3d_mm
    )
    for row, found, theta in (
        ("predicted", before, predicted[0]),
        ("refined", after, refined[0]),
        ("mean pose and shape", None, average[0]),
    ):
        angles = theta_errors(theta, truth[0])
        moving = name("theta_deg", over=f"{len(angles.joints)}r-moving", root="none")
        figures[row, moving] = np.array([np.rad2deg(angles.error_rad)])
        figures["rest pose", moving] = np.array([np.rad2deg(angles.rest_rad)])
        if found is not None:
            pixels = reprojected_px(body, found)
            network = np.stack([e.joints2d_px for e in before])
            figures[row, name("reprojection_from_truth_px", over="18j", root="none")] = (
                distances_px(pixels, rows.joints2d_px, rows.valid2d)
            )
            figures[row, name("reprojection_from_network_px", over="18j", root="none")] = (
                distances_px(pixels, network, np.ones(network.shape[:2], bool))
            )
    return figures, rows


def verdicts(figures: Table, stretches: npt.NDArray[np.object_]) -> list[tuple[str, str, bool]]:
    """What should be so, what was found, and whether it is so."""

    def ratio(row: str, other: str, key: str) -> tuple[str, float, float]:
        ours, theirs = (
            next(values for (r, m), values in figures.items() if r == wanted and m.key == key)
            for wanted in (row, other)
        )
        found = paired_ratio(ours, theirs, stretches)
        text = f"{key}: {found.ratio:+.1%} ({found.low:+.1%} to {found.high:+.1%})"
        return text, found.ratio, found.high

    told = []
    skeleton, person = "mean shape on the predicted skeleton", "mean pose and shape"
    for row, other in (
        ("predicted", skeleton), ("predicted", "mean shape, predicted θ"), ("predicted", person),
        ("refined", skeleton),
    ):  # fmt: skip
        for key in ("per_vertex_mm", "mesh_joints_mm"):
            text, _, high = ratio(row, other, key)
            told.append((f"PoSh, {row}, beats {other!r}", text, high < 0))
    for key in ("per_vertex_mm", "mesh_joints_mm"):
        text, mean, _ = ratio("refined", "predicted", key)
        told.append(("refinement makes the mean no worse", text, mean <= 0))
    for key in ("reprojection_from_truth_px", "reprojection_from_network_px"):
        text, mean, _ = ratio("refined", "predicted", key)
        told.append(("refinement cuts the reprojection error by a third", text,
                     1 + mean <= MOST_LEFT))  # fmt: skip
    return told


def record(figures: Table, stretches: npt.NDArray[np.object_], *, model: str, data: str) -> None:
    """Print the table and replace this machine's, model's and data set's rows."""
    old: list[dict[str, str]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as stream:
            old = list(csv.DictReader(stream))
    where = (machine(), model, data)
    kept = [row for row in old if (row["machine"], row["model"], row["data"]) != where]
    for (row, metric), values in figures.items():
        cells = [f"{values.mean():.4g}", "", ""]
        if len(values) > 1:
            found = bootstrap_mean(values, stretches)
            cells = [f"{value:.4g}" for value in (found.mean, found.low, found.high)]
        print(f"{row:44} {metric.key:30} {cells[0]:>7}  {cells[1]:>6} {cells[2]:>6}")
        line = (*where, len(stretches), row, metric.full, *cells)
        kept.append(dict(zip(COLUMNS, map(str, line), strict=True)))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def main() -> int:
    """Render where there is no data, predict, measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the starter weights if omitted")
    parser.add_argument("--data", type=Path, help="folder of a data version; rendered if omitted")
    parser.add_argument("--test", type=int, default=TEST, help="people to render for the test")
    options = parser.parse_args()
    predictor = Predictor.load(options.model or asset_path("starter/model.json").parent)
    body = BodyModel.load()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data or Path(scratch, "data")
        label = f"open-rendered seed {SEED}"
        if options.data is None:
            sizes = SplitSizes(train=TRAIN, validation=0, gate=0, test=options.test)
            build_open_data(OpenDataConfig(seed=SEED, samples=sizes), folder)
        else:
            label = sha256_file(folder / "annotations.parquet")[:12]
        figures, rows = measure(body, predictor, folder)
    stretches = np.array(
        [f"{str(clip).partition('+')[0]}@{frame // STRETCH_FRAMES}"
         for clip, frame in zip(rows.clip, rows.frame, strict=True)], object
    )  # fmt: skip
    record(figures, stretches, model=predictor.version, data=label)
    told = verdicts(figures, stretches)
    for wanted, found, right in told:
        print(f"{'yes' if right else 'NO ':3} {wanted}: {found}")
    return int(not all(right for _, _, right in told))


if __name__ == "__main__":
    sys.exit(main())
