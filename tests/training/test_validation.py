"""Validation during training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hemlets.core.skeleton import Joint
from hemlets.data.table import FIELDS, Annotations
from hemlets.models.codecs.bones import part_lengths
from hemlets.models.crops import ImageJoints
from hemlets.training.calibration import _bones, _Predicted
from hemlets.training.validation import _held_out_errors, _metric_errors


def test_a_samples_own_true_distance_does_not_place_its_skeleton() -> None:
    rng = np.random.default_rng(0)
    image_px = rng.normal(128, 30, (6, 18, 2))
    depth_mm, truth = rng.normal(0, 200, (6, 18)), rng.normal(0, 300, (6, 18, 3))
    camera = np.tile([300.0, 300.0, 128.0, 128.0], (6, 1))
    lengths = rng.uniform(200, 400, (6, 14))

    def errors(of: np.ndarray) -> np.ndarray:
        return _held_out_errors(image_px, depth_mm, camera, of, truth)

    before = errors(lengths)
    for row in range(6):
        other = lengths.copy()
        other[row] *= 2
        changed = np.abs(errors(other) - before).max(1) > 1e-6
        assert not changed[row]
        assert changed[(row + 1) % 6]


class TestALensWithDistortion:
    """A network that sees every joint where the lens shows it."""

    @pytest.fixture(scope="class")
    def rows(self, data: Path) -> Annotations:
        table = Annotations.read(data / "annotations.parquet").split("validation")
        lens = np.tile(np.float32([-0.2, 0.25, -0.0014, -0.001, -0.003]), (len(table), 1))
        columns = {f.name: table.column(f.name) for f in FIELDS}
        return Annotations.from_columns(columns | {"distortion": lens})

    @staticmethod
    def seen(rows: Annotations) -> tuple[np.ndarray, np.ndarray]:
        pixels = []
        for joints, camera, lens in zip(
            rows.joints3d_mm, rows.camera, rows.column("distortion"), strict=True
        ):
            fx, fy, cx, cy = camera.astype(float)
            matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
            still = np.zeros(3)
            found = cv2.projectPoints(
                joints.astype(float), still, still, matrix, lens.astype(float)
            )
            pixels.append(found[0][:, 0])
        depth = rows.joints3d_mm[..., 2].astype(float)
        return np.stack(pixels), depth - depth[:, [Joint.PELVIS]]

    def test_calibration_measures_lengths_along_the_undistorted_rays(
        self, rows: Annotations
    ) -> None:
        pixels, depth_mm = self.seen(rows)
        bones, _ = _bones([(rows, _Predicted(ImageJoints(pixels, pixels, depth_mm), None))], {})
        assert bones is not None
        true_mm = part_lengths(rows.joints3d_mm.astype(float)).mean(0)
        np.testing.assert_allclose(bones.mean_mm, true_mm, atol=0.05)

    def test_validation_finds_no_error_in_what_the_lens_bends(self, rows: Annotations) -> None:
        errors = _metric_errors(*self.seen(rows), rows)
        true_mm = part_lengths(rows.joints3d_mm.astype(float)).sum(1)
        np.testing.assert_allclose(errors["bone_length_mm"], true_mm, atol=0.5)
