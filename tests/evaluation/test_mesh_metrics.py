"""Errors of posed bodies against plain loops over the bodies' own joints and vertices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.evaluation import Truth, load_protocol, score
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS
from hemlets.evaluation.metrics.surface import mesh_errors_mm

from .layouts import layout_of, predictions_of

SET = JOINT_SETS["14j"]


class Scaled:
    """A body of the same mesh, larger by a factor."""

    def __init__(self, body, factor: float) -> None:
        self.body, self.factor = body, factor
        self.n_vertices, self.n_betas = body.n_vertices, body.n_betas

    def __call__(self, theta, betas):
        from dataclasses import replace

        posed = self.body(theta, betas)
        return replace(
            posed,
            vertices_BV3_mm=posed.vertices_BV3_mm * self.factor,
            joints18_B183_mm=posed.joints18_B183_mm * self.factor,
        )


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 0.4, (count, 24, 3)).astype(np.float32)
    return theta, rng.normal(0, 1, (count, 10)).astype(np.float32)


def joints_of(body, shape) -> np.ndarray:
    with torch.inference_mode():
        posed = body(*(torch.from_numpy(x) for x in shape))
    return posed.joints18_B183_mm.double().numpy()


def test_the_aligned_error_is_that_of_scipys_rotation_on_the_meshes_joints(body) -> None:
    ours, truth = shapes(200, 0), shapes(200, 1)
    found = mesh_errors_mm(body, ours, truth, joints=SET).aligned
    for row, (a, b) in enumerate(zip(joints_of(body, ours), joints_of(body, truth), strict=True)):
        pose, true = (x[list(SET)] - x[list(SET)].mean(0) for x in (a, b))
        turned = Rotation.align_vectors(true, pose)[0].apply(pose)
        scale = (true * turned).sum() / (turned**2).sum()
        expected = np.linalg.norm(true - scale * turned, axis=1).mean()
        assert found[row] == pytest.approx(expected, abs=1e-6)


def test_putting_in_the_true_pose_or_shape_changes_the_reconstruction_error(body) -> None:
    ours, truth = shapes(50, 0), shapes(50, 1)
    whole = mesh_errors_mm(body, ours, truth, joints=SET).aligned.mean()
    true_shape = mesh_errors_mm(body, (ours[0], truth[1]), truth, joints=SET).aligned.mean()
    true_pose = mesh_errors_mm(body, (truth[0], ours[1]), truth, joints=SET).aligned.mean()
    assert true_shape != pytest.approx(whole, rel=1e-3)
    assert true_pose < 0.5 * whole


def test_a_gendered_truth_is_posed_by_its_own_body(body) -> None:
    rows = layout_of("surreal")
    kept = {name: rows.column(name) for name in rows.table.column_names}
    gender = ["female" if i % 2 else "male" for i in range(len(rows))]
    rows = type(rows).from_columns(kept | {"gender": gender})
    protocol = load_protocol("surreal")
    truth = Truth.of(rows, protocol)
    large = {"female": Scaled(body, 1.1)}
    found = score(predictions_of(rows), truth, protocol, body=body, true_bodies=large)
    surface = found.of("per_vertex_mm")
    np.testing.assert_array_equal(surface[0::2], 0)
    with torch.inference_mode():
        rest = body(torch.zeros(1, 24, 3), torch.zeros(1, 10))
    placed = rest.vertices_BV3_mm[0] - rest.joints18_B183_mm[0, Joint.PELVIS]
    expected = 0.1 * placed.norm(dim=-1).mean().item()
    np.testing.assert_allclose(surface[1::2], expected, rtol=1e-4)


def test_bodies_of_other_meshes_are_not_compared_vertex_by_vertex(body) -> None:
    other = Scaled(body, 1.0)
    other.n_vertices += 1
    with pytest.raises(DataError, match="vertices"):
        mesh_errors_mm(body, shapes(1, 0), shapes(1, 0), true_body=other)
