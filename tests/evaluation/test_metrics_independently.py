"""Every metric against a second implementation, from the definitions, on 10,000 random poses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from flows.ablation.scoring import sign_right_pct
from hemlets.core.skeleton import PARTS, Joint
from hemlets.data.weak_labels import tilts_deg
from hemlets.evaluation import Predictions, PredictionsInfo
from hemlets.evaluation.bodies import _distances_px
from hemlets.evaluation.metrics import joints as metrics
from hemlets.evaluation.metrics.definitions import METRICS
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS
from hemlets.evaluation.metrics.measures import joint_errors_mm, measure_block
from hemlets.evaluation.metrics.rotations import pose_errors_deg
from hemlets.evaluation.metrics.segmentation import figures_pct
from hemlets.evaluation.metrics.surface import mesh_errors_mm
from hemlets.evaluation.protocols import Measure
from hemlets.evaluation.scoring.sample_scores import _by_tilt

COUNT = 10_000
LIMIT_MM = 1e-6
SETS = ("18j", "17j", "14j", "17j-no-pelvis")

RNG = np.random.default_rng(11)
TRUE = RNG.normal(0, 120, (COUNT, 18, 3)).astype(np.float32)
TRUE[:, :, 2] += 4000
NOISE = RNG.normal(0, 1, TRUE.shape) * RNG.uniform(5, 250, (COUNT, 1, 1))
POSE = (TRUE - TRUE[:, :1] + NOISE).astype(np.float32)
KNOWN = RNG.random((COUNT, 18)) < 0.9
KNOWN[::50, Joint.PELVIS] = False
# Float32 is what files hold; all arithmetic here is in float64.
P, T = POSE.astype(np.float64), TRUE.astype(np.float64)

PIXELS = RNG.uniform(0, 1000, (COUNT, 18, 2)).astype(np.float32)
TRUE_PIXELS = (PIXELS + RNG.normal(0, 1, PIXELS.shape) * RNG.uniform(1, 40, (COUNT, 1, 1))).astype(
    np.float32
)
SEEN = RNG.random((COUNT, 18)) < 0.9
HEAD = np.where(RNG.random(COUNT) < 0.95, RNG.uniform(20, 60, COUNT), 0).astype(np.float32)


def _predictions() -> Predictions:
    info = PredictionsInfo(
        model_version="x", data_version="", split="test", precision="float32",
        depth_source="bone-length-prior", box_source="ground-truth", flip_test=False,
        code_version="", absent=("confidence", "theta", "betas"),
    )  # fmt: skip
    return Predictions(
        info=info,
        sample_id=np.array([str(i) for i in range(COUNT)], object),
        joints3d_mm=POSE,
        root_mm=(TRUE[:, 0] + 3 * NOISE[:, 0]).astype(np.float32),
        joints2d_px=PIXELS,
        confidence=np.zeros((COUNT, 18), np.float32),
        theta=np.zeros((COUNT, 24, 3), np.float32),
        betas=np.zeros((COUNT, 10), np.float32),
        box_xyxy=np.zeros((COUNT, 4), np.float32),
        flags=((),) * COUNT,
    )


def measured(key: str, joints: str = "18j") -> np.ndarray:
    predicted = _predictions()
    true = {
        "joints3d_mm": TRUE, "valid3d": KNOWN, "joints2d_px": TRUE_PIXELS, "valid2d": SEEN,
        "head_px": HEAD,
    }  # fmt: skip
    measures = (Measure(key=key, joints=joints),)  # type: ignore[arg-type]
    return measure_block(measures, predicted, true, joint_errors_mm(predicted, true))[key]


def mean_of(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean over the known, by sums that never touch the others."""
    count = known.sum(1)
    with np.errstate(invalid="ignore"):
        return np.einsum("nj,nj->n", np.nan_to_num(values), known.astype(float)) / np.where(
            count, count, np.nan
        )


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected)) < LIMIT_MM
    assert np.isfinite(found).sum() > 0.8 * COUNT


def root_errors() -> np.ndarray:
    gap = (P - P[:, [0]]) - (T - T[:, [0]])
    return np.sqrt(np.einsum("njc,njc->nj", gap, gap))


@pytest.mark.parametrize("joints", SETS)
def test_mpjpe(joints: str) -> None:
    chosen = list(JOINT_SETS[joints])
    known = (KNOWN & KNOWN[:, [0]])[:, chosen]
    same(measured("mpjpe_mm", joints), mean_of(root_errors()[:, chosen], known))


@pytest.mark.parametrize("joints", SETS)
@pytest.mark.parametrize("key", ["pa_mpjpe_mm", "rigid_mpjpe_mm"])
def test_aligned_errors_by_horns_quaternions(key: str, joints: str) -> None:
    chosen = list(JOINT_SETS[joints])
    known = KNOWN[:, chosen].astype(float)
    p, t = P[:, chosen], T[:, chosen]
    weight = known / known.sum(1, keepdims=True)
    p = p - np.einsum("nj,njc->nc", weight, p)[:, None]
    t = t - np.einsum("nj,njc->nc", weight, t)[:, None]
    # Horn (1987): the best rotation is the largest eigenvector of a 4 × 4 matrix of S = Σ p tᵀ.
    s = np.einsum("nj,nja,njb->nab", known, p, t)
    delta = np.stack(
        [s[:, 1, 2] - s[:, 2, 1], s[:, 2, 0] - s[:, 0, 2], s[:, 0, 1] - s[:, 1, 0]], -1
    )
    trace = np.trace(s, axis1=1, axis2=2)
    n = np.zeros((COUNT, 4, 4))
    n[:, 0, 0] = trace
    n[:, 0, 1:] = n[:, 1:, 0] = delta
    n[:, 1:, 1:] = s + s.transpose(0, 2, 1) - trace[:, None, None] * np.eye(3)
    quaternion = np.linalg.eigh(n)[1][..., -1]
    turn = Rotation.from_quat(np.roll(quaternion, -1, axis=1)).as_matrix()
    turned = np.einsum("nab,njb->nja", turn, p)
    if key == "pa_mpjpe_mm":
        scale = np.einsum("nj,njc,njc->n", known, turned, t)
        scale /= np.einsum("nj,njc,njc->n", known, p, p)
        turned *= scale[:, None, None]
    same(measured(key, joints), mean_of(np.linalg.norm(turned - t, axis=2), known > 0))


def test_3dpck_and_auc() -> None:
    chosen = list(JOINT_SETS["17j-no-pelvis"])
    known = (KNOWN & KNOWN[:, [0]])[:, chosen]
    errors = root_errors()[:, chosen]
    hits = np.stack([errors < limit for limit in np.arange(0, 155, 5)])
    assert len(hits) == 31
    same(measured("pck3d_150mm_pct", "17j-no-pelvis"), 100 * mean_of(hits[-1].astype(float), known))
    same(measured("auc3d_150mm_pct", "17j-no-pelvis"), 100 * mean_of(hits.mean(0), known))


def test_depth_error() -> None:
    depth = np.abs((P[..., 2] - P[:, [0], 2]) - (T[..., 2] - T[:, [0], 2]))
    same(measured("depth_mm"), mean_of(depth, KNOWN & KNOWN[:, [0]]))


def _angles(pose: np.ndarray) -> np.ndarray:
    """Signed tilt of each part in degrees, positive where the child is nearer."""
    ends = np.array([(part.parent, part.child) for part in PARTS])
    part = pose[:, ends[:, 1]] - pose[:, ends[:, 0]]
    return np.degrees(np.arcsin(-part[..., 2] / np.linalg.norm(part, axis=-1)))


def test_relations_tilts_and_signs() -> None:
    ends = np.array([(part.parent, part.child) for part in PARTS])
    known = KNOWN[:, ends].all(-1)
    ours, true = _angles(P), _angles(T)

    def state(angles: np.ndarray) -> np.ndarray:
        return (angles > 30).astype(int) - (angles < -30)

    right = (state(ours) == state(true)).astype(float)
    same(measured("relations_right_pct"), 100 * mean_of(right, known))
    assert np.abs(tilts_deg(T) - np.abs(true)).max() < 1e-6
    steep = np.abs(true) > 30
    expected = 100 * (np.sign(ours) == np.sign(true))[steep].mean()
    polarity = P[:, ends[:, 0], 2] - P[:, ends[:, 1], 2]
    assert sign_right_pct(polarity, T) == pytest.approx(expected, abs=1e-9)


def test_root_error() -> None:
    gap = _predictions().root_mm.astype(np.float64) - T[:, 0]
    expected = np.sqrt(gap[:, 0] ** 2 + gap[:, 1] ** 2 + gap[:, 2] ** 2)
    same(measured("root_mm"), np.where(KNOWN[:, 0], expected, np.nan))


def test_errors_by_tilt() -> None:
    ends = np.array([(part.parent, part.child) for part in PARTS])
    tilt = np.abs(_angles(T))
    errors = root_errors()[:, ends[:, 1]]
    known = KNOWN[:, ends].all(-1) & KNOWN[:, [0]]
    true = {"joints3d_mm": TRUE, "valid3d": KNOWN}
    found = _by_tilt(joint_errors_mm(_predictions(), true), true)
    for number, (low, high) in enumerate(((0, 30), (30, 60), (60, 90))):
        inside = known & (tilt > low if low else tilt >= 0) & (tilt <= high)
        expected = mean_of(errors, inside)
        assert np.array_equal(np.isnan(found[:, number]), np.isnan(expected))
        assert np.nanmax(np.abs(found[:, number] - expected)) < LIMIT_MM


def test_2d_error_and_pck() -> None:
    gap = PIXELS.astype(np.float64) - TRUE_PIXELS.astype(np.float64)
    errors = np.hypot(gap[..., 0], gap[..., 1])
    same(measured("joints2d_px"), mean_of(errors, SEEN))
    head = SEEN & (HEAD > 0)[:, None]
    hits = errors / np.where(HEAD > 0, HEAD.astype(np.float64), 1)[:, None] <= 0.5
    same(measured("pckh50_pct"), 100 * mean_of(hits.astype(float), head))
    ends = [Joint.LEFT_SHOULDER, Joint.RIGHT_HIP]
    torso = np.hypot(*np.diff(TRUE_PIXELS.astype(np.float64)[:, ends], axis=1)[:, 0].T)
    hits = errors / torso[:, None] <= 0.2
    same(
        measured("pck20_torso_pct"),
        100 * mean_of(hits.astype(float), SEEN & SEEN[:, ends].all(1)[:, None]),
    )


def test_reprojection_error() -> None:
    gap = PIXELS.astype(np.float64) - TRUE_PIXELS.astype(np.float64)
    same(_distances_px(PIXELS, TRUE_PIXELS, SEEN), mean_of(np.hypot(*np.moveaxis(gap, 2, 0)), SEEN))


class _Sticks:
    """A body whose joints and vertices are its θ and β in another form."""

    n_vertices, n_betas = 30, 10

    def __call__(self, theta: torch.Tensor, betas: torch.Tensor) -> SimpleNamespace:
        joints = 900 * theta[:, :18] + 20 * betas[:, :1, None]
        wide = torch.cat([theta, betas[:, :6, None] * theta[:, :6]], 1)
        return SimpleNamespace(joints18_B183_mm=joints, vertices_BV3_mm=700 * wide)


def test_errors_of_the_mesh_and_of_its_joints() -> None:
    shape = RNG.normal(0, 0.4, (2, COUNT, 24, 3)).astype(np.float32)
    betas = RNG.normal(0, 1, (2, COUNT, 10)).astype(np.float32)
    chosen = list(JOINT_SETS["14j"])
    ours, truth = ((shape[i], betas[i]) for i in range(2))
    found = mesh_errors_mm(_Sticks(), ours, truth, joints=chosen)  # type: ignore[arg-type]
    bodies = [_Sticks()(torch.from_numpy(t), torch.from_numpy(b)) for t, b in (ours, truth)]
    joints = [body.joints18_B183_mm.double().numpy() for body in bodies]
    vertices = [body.vertices_BV3_mm.double().numpy() for body in bodies]
    pelvis = [j[:, [Joint.PELVIS]] for j in joints]
    for values, points in ((found.surface, vertices), (found.joints, joints)):
        gap = (points[0] - pelvis[0]) - (points[1] - pelvis[1])
        same(values, np.sqrt(np.einsum("nvc,nvc->nv", gap, gap)).mean(1))
    a, b = (j[:, chosen] - j[:, chosen].mean(1, keepdims=True) for j in joints)
    # Orthogonal Procrustes by the polar factor, and the scale by traces.
    u, s, vt = np.linalg.svd(np.einsum("nja,njb->nab", a, b))
    sign = np.stack([np.ones(COUNT), np.ones(COUNT), np.linalg.det(u @ vt)], 1)
    turned = np.einsum("nja,nab->njb", a, (u * sign[:, None]) @ vt)
    scale = (s * sign).sum(1) / np.einsum("njc,njc->n", a, a)
    gap = scale[:, None, None] * turned - b
    same(found.aligned, np.sqrt(np.einsum("njc,njc->nj", gap, gap)).mean(1))


def test_segmentation_by_true_and_false_positives() -> None:
    counts = RNG.integers(0, 400, (COUNT, 8, 7)) * (RNG.random((COUNT, 8, 7)) < 0.6)
    # A third of the masks only separate the person from the background.
    plain = np.arange(COUNT) % 3 == 0
    counts[plain, 1:7] = 0
    counts[~plain, 7] = 0
    found = figures_pct(counts)

    def scores(hits: np.ndarray, missed: np.ndarray, wrong: np.ndarray) -> list[np.ndarray]:
        present = hits + missed + wrong > 0
        share = np.where(present, hits + missed + wrong, 1)
        double = np.where(present, 2 * hits + missed + wrong, 1)
        return [100 * mean_of(v, present) for v in (2 * hits / double, hits / share)]

    def agrees(key: str, expected: np.ndarray) -> None:
        assert np.array_equal(np.isnan(found[key]), np.isnan(expected))
        assert np.nanmax(np.abs(found[key] - expected)) < LIMIT_MM

    total = counts.sum((1, 2))
    hit = counts[:, 1:, 1:].sum((1, 2))
    missed, wrong = counts[:, 1:, 0].sum(1), counts[:, 0, 1:].sum(1)
    rest = counts[:, 0, 0]
    f1, iou = scores(
        np.stack([rest, hit], 1), np.stack([wrong, missed], 1), np.stack([missed, wrong], 1)
    )
    agrees("foreground_accuracy_pct", 100 * (rest + hit) / total)
    agrees("foreground_mean_f1_pct", f1)
    agrees("foreground_miou_pct", iou)
    seven = counts[:, :7].astype(float)
    right = np.stack([seven[:, label, label] for label in range(7)], 1)
    f1, iou = scores(right, seven.sum(2) - right, seven.sum(1) - right)
    only_parts = counts[:, 7].sum(1) == 0
    for key, values in (
        ("parts_accuracy_pct", 100 * right.sum(1) / np.maximum(seven.sum((1, 2)), 1)),
        ("parts_f1_pct", f1),
        ("parts_miou_pct", iou),
    ):
        agrees(key, np.where(only_parts, values, np.nan))


def test_every_metric_is_compared_here() -> None:
    source = Path(__file__).read_text()
    elsewhere = {
        "per_vertex_mm": "found.surface",
        "mesh_joints_mm": "found.joints",
        "mesh_pa_mpjpe_mm": "found.aligned",
        "theta_deg": "pose_errors_deg",
        "theta_rest_deg": "rest, angle",
        "reprojection_from_truth_px": "_distances_px",
        "reprojection_from_network_px": "_distances_px",
    }
    # A ratio of two means that are compared.
    for key in METRICS.keys() - {"mpjpe_over_mean_pose", "mpjpe_over_linear_lifter"}:
        assert elsewhere.get(key, f'"{key}"') in source, key


def test_surface_error() -> None:
    vertices = RNG.normal(0, 400, (2, COUNT, 25, 3))
    pelvis = RNG.normal(0, 400, (2, COUNT, 3))
    found = metrics.vertex_errors_mm(
        vertices[0], vertices[1], predicted_pelvis_N3=pelvis[0], true_pelvis_N3=pelvis[1]
    )
    shift = pelvis[1] - pelvis[0]
    gap = vertices[0] - vertices[1] + shift[:, None]
    same(found, np.sqrt((gap**2).sum(2)).sum(1) / 25)


def test_rotation_error_by_the_trace() -> None:
    ours, true = RNG.normal(0, 0.8, (2, COUNT, 24, 3))
    moving = np.ones(24, bool)
    moving[[0, 10]] = False
    a, b = (
        Rotation.from_rotvec(v.reshape(-1, 3)).as_matrix().reshape(COUNT, 24, 3, 3)
        for v in (ours, true)
    )
    # The chord |A - B| of two rotations is 2√2 sin(angle / 2).
    chord = np.sqrt(((a - b) ** 2).sum((2, 3)))
    angle = 2 * np.degrees(np.arcsin(np.clip(chord / np.sqrt(8), 0, 1)))
    found, rest = pose_errors_deg(ours, true, moving)
    same(found, angle[:, moving].mean(1))
    chord = np.sqrt(((b - np.eye(3)) ** 2).sum((2, 3)))
    angle = 2 * np.degrees(np.arcsin(np.clip(chord / np.sqrt(8), 0, 1)))
    same(rest, angle[:, moving].mean(1))
