from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from hemlets.data.table import Annotations
from hemlets.evaluation.metrics.segmentation import (
    count_pixels,
    draw_labels,
    figures_pct,
    read_mask,
    vertex_labels,
)
from hemlets.evaluation.protocols import load_protocol
from hemlets.evaluation.scoring.sample_scores import score
from hemlets.evaluation.scoring.summary import summarise
from hemlets.evaluation.scoring.truth import Truth

from .layouts import annotations_of, predictions_of, written

CAMERA = np.array([300.0, 300, 64, 64])


def counts(*pairs: tuple[int, int, int]) -> np.ndarray:
    found = np.zeros((8, 7))
    for true, predicted, pixels in pairs:
        found[true, predicted] += pixels
    return found


def test_accuracy_and_f1_by_hand():
    # 60 background right, 10 background called torso, 20 torso right, 10 torso called head.
    found = figures_pct(counts((0, 0, 60), (0, 2, 10), (2, 2, 20), (2, 1, 10)))
    assert found["foreground_accuracy_pct"] == pytest.approx(90)
    # Of the person 60 of 70 (twice 30 right, 60 in truth and prediction together with 10 wrong),
    # of the background 120 of 130.
    assert found["foreground_mean_f1_pct"] == pytest.approx(100 * (60 / 70 + 120 / 130) / 2)
    assert found["foreground_miou_pct"] == pytest.approx(100 * (30 / 40 + 60 / 70) / 2)
    assert found["parts_accuracy_pct"] == pytest.approx(80)
    by_class = [2 * 60 / 130, 0, 2 * 20 / 60]
    assert found["parts_f1_pct"] == pytest.approx(100 * np.mean(by_class))


def test_a_truth_without_parts_has_foreground_figures_only():
    found = figures_pct(counts((0, 0, 50), (7, 2, 40), (7, 0, 10)))
    assert found["foreground_accuracy_pct"] == pytest.approx(90)
    assert np.isnan(found["parts_accuracy_pct"])
    assert np.isnan(found["parts_f1_pct"])


def test_figures_agree_with_plain_loops_over_pixels():
    rng = np.random.default_rng(0)
    true, ours = rng.integers(0, 7, (2, 400))
    table = np.zeros((8, 7))
    np.add.at(table, (true, ours), 1)
    f1 = []
    for label in range(7):
        hit = sum(t == o == label for t, o in zip(true, ours, strict=True))
        f1.append(2 * hit / ((true == label).sum() + (ours == label).sum()))
    found = figures_pct(table)
    assert found["parts_f1_pct"] == pytest.approx(100 * np.mean(f1))
    assert found["parts_accuracy_pct"] == pytest.approx(100 * (true == ours).mean())


def overlap(true: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
    """F1 and intersection over union of two sets of pixels."""
    both, either = (true & ours).sum(), (true | ours).sum()
    return 2 * both / (both + either), both / either


def test_both_means_agree_with_set_arithmetic_on_pixels():
    rng = np.random.default_rng(1)
    for _ in range(100):
        true, ours = rng.integers(0, 7, (2, 300))
        table = np.zeros((8, 7))
        np.add.at(table, (true, ours), 1)
        found = figures_pct(table)
        two = [overlap(true > 0, ours > 0), overlap(true == 0, ours == 0)]
        seven = [overlap(true == label, ours == label) for label in range(7)]
        for key, pairs in (("foreground_mean", two), ("parts", seven)):
            f1, iou = 100 * np.mean(pairs, axis=0)
            assert found[f"{key}_f1_pct"] == pytest.approx(f1, abs=1e-9)
            miou = found[f"{key.removesuffix('_mean')}_miou_pct"]
            assert miou == pytest.approx(iou, abs=1e-9)


def facing_camera() -> np.ndarray:
    theta = np.zeros((24, 3))
    theta[0] = [np.pi, 0, 0]
    return theta


def test_the_persons_left_arm_is_on_the_right_of_a_picture_of_a_facing_person(body):
    labels = draw_labels(body, facing_camera(), np.zeros(10), np.array([0, 0, 4000.0]), CAMERA,
                         (128, 128))  # fmt: skip
    assert set(np.unique(labels)) == set(range(7))
    middle = {part: np.nonzero(labels == part)[1].mean() for part in (3, 4)}
    head, legs = (np.nonzero(np.isin(labels, parts))[0].mean() for parts in ((1,), (5, 6)))
    assert middle[3] > middle[4]
    assert head < legs


def test_every_vertex_belongs_to_a_part(body):
    assert set(vertex_labels(body)) == set(range(1, 7))


def png(labels: np.ndarray) -> bytes:
    return cv2.imencode(".png", labels)[1].tobytes()


def test_a_mask_of_0_and_255_tells_no_parts():
    mask = np.zeros((4, 4), np.uint8)
    mask[1:3] = 255
    assert set(np.unique(read_mask(png(mask), where="x"))) == {0, 7}


def test_an_ignored_pixel_takes_no_part_away_and_counts_neither_way(body):
    rows = annotations_of("up3d", [("a", "x")], each=1)
    predictions = predictions_of(rows, noise_mm=0)
    predictions = replace(predictions, theta=facing_camera()[None].astype(np.float32))
    labels = draw_labels(body, facing_camera(), np.zeros(10), predictions.root_mm[0], CAMERA,
                         (128, 128))  # fmt: skip
    wrong, ignored = labels.copy(), labels.copy()
    wrong[:8], ignored[:8] = 5, 255
    assert set(np.unique(read_mask(png(ignored), where="x"))) == {*range(7), 255}

    def accuracy(mask: np.ndarray) -> float:
        true = {"mask": [png(mask)], "camera": CAMERA[None], "camera_valid": [True]}
        counts = count_pixels(body, predictions, true)
        assert counts.sum() == (mask != 255).sum()
        return float(figures_pct(counts.sum(0))["parts_accuracy_pct"])

    assert accuracy(ignored) == 100
    assert accuracy(wrong) == pytest.approx(100 * 15 / 16)


def test_a_body_in_its_own_mask_is_right_everywhere(body, tmp_path):
    rows = annotations_of("up3d", [("a", "x"), ("b", "y")], each=2)
    kept = {f: rows.column(f) for f in rows.table.column_names}
    theta = np.tile(facing_camera(), (len(rows), 1, 1))
    predictions = predictions_of(rows, noise_mm=0)
    masks = [
        png(draw_labels(body, facing_camera(), np.zeros(10), root, CAMERA, (128, 128)))
        for root in predictions.root_mm
    ]
    rows = Annotations.from_columns(
        kept | {"theta": theta, "mask": masks, "camera": np.tile(CAMERA, (len(rows), 1))}
    )
    protocol = load_protocol("up3d-segmentation")
    files = written(tmp_path, rows, predictions_of(rows, noise_mm=0))
    scores = score(files[0], Truth.read(files[1], protocol), protocol, body=body)
    summary = summarise(scores, resamples=200)
    assert [metric.figure.mean for metric in summary.metrics] == [100] * 6
