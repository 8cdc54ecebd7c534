"""Depth errors and depth relations against loops written from the definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hemlets.core.skeleton import PARTS, Joint
from hemlets.data.table import Annotations
from hemlets.evaluation.metrics.measures import measure_block
from hemlets.evaluation.protocols import Measure

from .layouts import human36m, predictions_of

MEASURES = (Measure(key="depth_mm"), Measure(key="relations_right_pct"))


def measured(rows: Annotations, noise_mm: float) -> tuple[dict, np.ndarray, dict]:
    predictions = predictions_of(rows, noise_mm=noise_mm)
    valid = np.random.default_rng(0).random(rows.valid3d.shape) < 0.9
    valid[0, Joint.PELVIS] = False
    true = {"joints3d_mm": rows.joints3d_mm, "valid3d": valid}
    found = measure_block(MEASURES, predictions, true, np.zeros(valid.shape))
    return found, predictions.joints3d_mm.astype(np.float64), true


def test_the_depth_error_is_the_mean_difference_of_depths_below_the_pelvis() -> None:
    found, pose, true = measured(human36m("S9", "S11", each=170), 80)
    assert len(pose) > 5_000
    for row in range(len(pose)):
        truth, valid = true["joints3d_mm"][row].astype(np.float64), true["valid3d"][row]
        errors = [
            abs((pose[row, j, 2] - pose[row, 0, 2]) - (truth[j, 2] - truth[0, 2]))
            for j in range(18)
            if valid[j] and valid[0]
        ]
        expected = np.mean(errors) if errors else np.nan
        np.testing.assert_allclose(found["depth_mm"][row], expected, atol=1e-6)


def relation(joints: np.ndarray, parent: int, child: int) -> int:
    """Equation (1), by the angle between the part and the image plane."""
    part = joints[child] - joints[parent]
    tilt = np.degrees(np.arcsin(-part[2] / np.sqrt((part**2).sum())))
    return 1 if tilt > 30 else -1 if tilt < -30 else 0


def test_relations_are_right_where_both_tilts_are_on_the_same_side_of_30_degrees() -> None:
    found, pose, true = measured(human36m("S9", each=67), 150)
    for row in range(len(pose)):
        truth, valid = true["joints3d_mm"][row].astype(np.float64), true["valid3d"][row]
        right = [
            relation(pose[row], p.parent, p.child) == relation(truth, p.parent, p.child)
            for p in PARTS
            if valid[p.parent] and valid[p.child]
        ]
        np.testing.assert_allclose(found["relations_right_pct"][row], 100 * np.mean(right))
    assert 30 < np.nanmean(found["relations_right_pct"]) < 95


def test_a_mirrored_depth_gets_every_tilted_part_wrong() -> None:
    rows = human36m("S9")
    predictions = predictions_of(rows, noise_mm=0)
    mirrored = replace(predictions, joints3d_mm=predictions.joints3d_mm * [1, 1, -1])
    true = {"joints3d_mm": rows.joints3d_mm, "valid3d": rows.valid3d}
    whole = measure_block(MEASURES, predictions, true, np.zeros(rows.valid3d.shape))
    wrong = measure_block(MEASURES, mirrored, true, np.zeros(rows.valid3d.shape))
    assert whole["relations_right_pct"].min() == 100
    tilted = [
        sum(relation(j.astype(float), p.parent, p.child) != 0 for p in PARTS)
        for j in rows.joints3d_mm
    ]
    np.testing.assert_allclose(wrong["relations_right_pct"], 100 - 100 * np.array(tilted) / 14)
