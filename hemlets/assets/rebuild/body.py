"""The open body: anny sampled as a population, written down in SMPL's own file form.

`anny` (Brégier et al. 2025; code Apache-2.0, body data CC0) is a body model with 104 bones and
phenotype sliders. SMPL (Loper et al. 2015) is a template, linear shape directions, joint
regressors and skinning weights for 24 joints. The one becomes the other by

1. sampling adults from anny's WHO-calibrated phenotype distribution,
2. bringing each into the rest pose of `rest_pose` with its skinning weights merged to 24 joints,
3. principal components of the full mesh, weighted by the area around each vertex: β,
4. regressing the coarse mesh on the same β, so that both meshes are the same person,
5. fitting sparse, non-negative joint regressors whose rows sum to one.

Every array is made exactly mirror-symmetric: exchanging left and right vertices and negating x
gives the same body with the same β.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hemlets.assets.rebuild.population import Population
from hemlets.assets.rebuild.regressors import (
    KINEMATIC_TWIN,
    PosedBody,
    fit_posed_regressor,
    fit_rest_point,
    fit_rest_regressor,
    posed_error_mm,
)
from hemlets.assets.rebuild.rest_pose import (
    ARM_DIRECTION,
    SHIN_DIRECTION,
    THIGH_DIRECTION,
    aim,
    side_sign,
)
from hemlets.core.arrays import Array, Float, Float32, Floating, Int64
from hemlets.core.errors import AssetError
from hemlets.core.skeleton import MIRROR_SMPL_JOINTS, SMPL_JOINTS, SMPL_PARENTS, Joint

N_BETAS: Final = 10
WEIGHT_STEPS: Final = 1024
"""Skinning weights are whole multiples of 1/1024: exact in a sum, small in a compressed file."""

# Bone of anny whose head is the joint; hands and feet are means of knuckles and toe roots.
_BONE_OF_JOINT: Final[Mapping[str, str]] = {
    "pelvis": "root", "spine1": "spine04", "spine2": "spine03", "spine3": "spine01",
    "neck": "neck01", "head": "head",
    "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "collar": "clavicle",
    "shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist",
}  # fmt: skip
_KNUCKLES: Final = ("finger2-1", "finger3-1", "finger4-1", "finger5-1")
_TOE_ROOTS: Final = ("toe1-1", "toe2-1", "toe3-1", "toe4-1", "toe5-1")

# First match wins; a bone's weights go to this joint of its own side.
_OWNER: Final[Sequence[tuple[str, str]]] = (
    ("root", "pelvis"), ("pelvis", "pelvis"), ("spine05", "pelvis"), ("spine04", "spine1"),
    ("spine03", "spine2"), ("spine02", "spine2"), ("spine01", "spine3"), ("neck", "neck"),
    ("head", "head"), ("eye", "head"), ("upperleg", "hip"), ("lowerleg", "knee"),
    ("foot", "ankle"), ("toe", "foot"), ("clavicle", "collar"), ("shoulder", "collar"),
    ("upperarm", "shoulder"), ("lowerarm", "elbow"), ("wrist", "wrist"),
    ("metacarpal", "wrist"), ("finger", "hand"),
)  # fmt: skip


LANDMARK_SOURCES: Final[Mapping[str, str]] = {
    "pelvis": "middle of the hips, as Human3.6M's root",
    "hip": "SMPL hip: head of bone upperleg01",
    "knee": "SMPL knee: head of bone lowerleg01",
    "ankle": "SMPL ankle: head of bone foot",
    "spine": "head of bone spine02, carried by SMPL's spine2",
    "neck": "SMPL neck: head of bone neck01, the base of the neck",
    "nose": "most forward vertex of the head's midline",
    "head_top": "mean of the vertices within 15 mm of the head's apex",
    "shoulder": "SMPL shoulder: head of bone upperarm01",
    "elbow": "SMPL elbow: head of bone lowerarm01",
    "wrist": "SMPL wrist: head of bone wrist",
    "thorax": "middle of the shoulders",
}
"""What each of the 18 joints stands for on the open body."""


@dataclass(frozen=True, kw_only=True)
class BodyArrays:
    """A body in SMPL's file form, without pose blend shapes (they are zero).

    Attributes:
        v_template: (V, 3) metres.
        shapedirs: (V, 3, 10) metres for one standard deviation.
        J_regressor: (24, V).
        weights: (V, 24).
        f: (F, 3).
        joint_regressor_18: (18, V), for posed vertices.
        mirror_vertices: (V,).
        face_vertex_ids: (5,) nose, right eye, left eye, right ear, left ear.
    """

    v_template: Float32
    shapedirs: npt.NDArray[np.float16]
    J_regressor: Float32
    weights: Float32
    f: npt.NDArray[np.uint16]
    joint_regressor_18: Float32
    mirror_vertices: npt.NDArray[np.uint16]
    face_vertex_ids: npt.NDArray[np.uint16]

    def as_file(self) -> dict[str, Array]:
        """Return the arrays under SMPL's own names, with the kinematic tree."""
        tree = np.array([SMPL_PARENTS, range(len(SMPL_PARENTS))], dtype=np.int32)
        return {**vars(self), "kintree_table": tree}


def _split_side(name: str) -> tuple[str, str]:
    """Split ``upperleg01.L`` into (``upperleg01``, ``left_``)."""
    sides = {".L": "left_", ".R": "right_"}
    return (name[:-2], sides[name[-2:]]) if name[-2:] in sides else (name, "")


def _owner(bone: str) -> int:
    base, side = _split_side(bone)
    for prefix, joint in _OWNER:
        if base.startswith(prefix):
            return SMPL_JOINTS.index(joint if joint in SMPL_JOINTS else side + joint)
    raise AssetError(f"no joint takes anny's bone {bone!r}", remedy="check anny's version")


def _bones_of(joint: str) -> list[str]:
    side, _, base = joint.rpartition("_")
    suffix = {"left": ".L", "right": ".R", "": ""}[side]
    group = {"hand": _KNUCKLES, "foot": _TOE_ROOTS}.get(base)
    return [name + suffix for name in (group or (_BONE_OF_JOINT[base],))]


class _Rig:
    """A population's joints and skinning, merged to SMPL's 24 joints and made symmetric."""

    def __init__(self, people: Population) -> None:
        index = {name: i for i, name in enumerate(people.bone_labels)}
        mirror_V = people.mirror_V
        swap = np.array((-1.0, 1.0, 1.0))
        joints_SJ3 = np.stack(
            [
                people.bones_SN3[:, [index[b] for b in _bones_of(name)]].mean(axis=1)
                for name in SMPL_JOINTS
            ],
            axis=1,
        )
        spine_S3 = people.bones_SN3[:, index["spine02"]]
        weights_VJ = np.zeros((len(mirror_V), len(SMPL_JOINTS)))
        for bone, column in index.items():
            weights_VJ[:, _owner(bone)] += people.weights_VN[:, column]
        weights_VJ += weights_VJ[mirror_V][:, MIRROR_SMPL_JOINTS]
        vertices_SV3 = people.vertices_SV3
        self.mirror_V = mirror_V
        self.weights_VJ = weights_VJ / weights_VJ.sum(axis=1, keepdims=True)
        self.vertices_SV3 = (vertices_SV3 + vertices_SV3[:, mirror_V] * swap) / 2
        self.joints_SJ3 = (joints_SJ3 + joints_SJ3[:, MIRROR_SMPL_JOINTS] * swap) / 2
        self.mid_torso_S3 = spine_S3 * (0.0, 1.0, 1.0)
        rows = {side: index[f"finger2-1.{side}"] for side in "LR"}
        ends = {side: index[f"finger5-1.{side}"] for side in "LR"}
        knuckles_S3 = people.bones_SN3[:, rows["L"]] - people.bones_SN3[:, ends["L"]]
        mirrored_S3 = people.bones_SN3[:, rows["R"]] - people.bones_SN3[:, ends["R"]]
        self.left_knuckle_row_S3 = (knuckles_S3 + mirrored_S3 * swap) / 2


def _rest_rotations(joints_J3: Float, left_knuckle_row_3: Float) -> Float:
    """Compute world rotations (24, 3, 3) from one subject's pose to the rest pose."""
    turn = [Rotation.identity()] * len(SMPL_JOINTS)
    swap = np.array((-1.0, 1.0, 1.0))
    for joint in (1, 2, 4, 5, 16, 17, 18, 19):
        child = SMPL_PARENTS.index(joint)
        goal = {1: THIGH_DIRECTION, 4: SHIN_DIRECTION}.get(min(joint, MIRROR_SMPL_JOINTS[joint]))
        turn[joint] = aim(
            goal or ARM_DIRECTION,
            joints_J3[child] - joints_J3[joint],
            sign=side_sign(joint),
        )
    for wrist in (20, 21):
        sign = side_sign(wrist)
        row = left_knuckle_row_3 * (swap if sign < 0 else 1.0)
        along = joints_J3[wrist + 2] - joints_J3[wrist]
        # The hand points along the arm; what freedom is left turns the palm down, index in front.
        flat, _ = Rotation.align_vectors(
            [(sign, 0.0, 0.0), (0.0, 0.0, 1.0)], [along, row], weights=[np.inf, 1.0]
        )
        turn[wrist] = turn[wrist + 2] = flat
    return np.stack([rotation.as_matrix() for rotation in turn])


def _to_rest(rig: _Rig) -> tuple[Float, Float, Float]:
    """Vertices (S, V, 3), joints (S, 24, 3) and mid-torso (S, 3) in rest pose, pelvis at 0."""
    vertices_SV3 = np.empty_like(rig.vertices_SV3)
    joints_SJ3 = np.empty_like(rig.joints_SJ3)
    torso_S3 = np.empty_like(rig.mid_torso_S3)
    for s, joints_J3 in enumerate(rig.joints_SJ3):
        turn_J33 = _rest_rotations(joints_J3, rig.left_knuckle_row_S3[s])
        moved_J3 = np.zeros_like(joints_J3)
        for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
            bone_3 = joints_J3[joint] - joints_J3[parent]
            moved_J3[joint] = moved_J3[parent] + turn_J33[parent] @ bone_3
        shift_J3 = moved_J3 - np.einsum("jab,jb->ja", turn_J33, joints_J3)
        blend_V33 = np.einsum("vj,jab->vab", rig.weights_VJ, turn_J33)
        vertices_SV3[s] = np.einsum("vab,vb->va", blend_V33, rig.vertices_SV3[s])
        vertices_SV3[s] += rig.weights_VJ @ shift_J3
        joints_SJ3[s] = moved_J3
        torso_S3[s] = rig.mid_torso_S3[s] + shift_J3[SMPL_JOINTS.index("spine2")]
    return vertices_SV3, joints_SJ3, torso_S3


def _vertex_areas(vertices_V3: Float, faces_F3: Int64) -> Float:
    a, b, c = np.moveaxis(vertices_V3[faces_F3], 1, 0)
    area_F = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    area_V = np.zeros(len(vertices_V3))
    for corner in range(3):
        np.add.at(area_V, faces_F3[:, corner], area_F / 3)
    return area_V


def _standard_scores(vertices_SV3: Float, area_V: Float) -> tuple[Float, Float]:
    """Compute β of each subject (S, 10), of unit variance, and each component's share of variance.

    Principal components of the surface, with vertices weighted by the area around them, so that the
    dense meshes of face and hands don't dominate the trunk.
    """
    n_subjects = len(vertices_SV3)
    centred = (vertices_SV3 - vertices_SV3.mean(axis=0)) * np.sqrt(area_V)[:, None]
    flat = centred.reshape(n_subjects, -1)
    variance, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(variance)[::-1][:N_BETAS]
    scores_SK = vectors[:, order] * np.sqrt(n_subjects - 1)
    height_S = np.ptp(vertices_SV3[:, :, 1], axis=1)
    lean = (height_S - height_S.mean()) @ scores_SK
    scores_SK *= np.where(lean < 0, -1.0, 1.0)  # positive is the taller side
    return scores_SK, variance[order] / variance.sum()


def _directions(samples_SX: Float, scores_SK: Float) -> Float:
    """Compute least-squares directions (K, ...) of a sampled quantity on the scores.

    The scores are uncorrelated with unit variance, so this is a product.
    """
    centred = samples_SX - samples_SX.mean(axis=0)
    flat = scores_SK.T @ centred.reshape(len(centred), -1) / (len(centred) - 1)
    return np.asarray(flat).reshape(-1, *samples_SX.shape[1:])


def _linear(samples_SX: Float, scores_SK: Float) -> Float:
    """Compute template and directions (11, ...) of a sampled quantity."""
    mean = samples_SX.mean(axis=0)
    return np.concatenate([mean[None], _directions(samples_SX, scores_SK)])


def _in_steps(weights_VJ: Float, mirror_V: Int64, x_V: Float) -> Float:
    """Round weights to steps of 1/1024 with sum one, mirrored from the left half."""
    steps_VJ = np.round(weights_VJ * WEIGHT_STEPS)
    central = np.array([joint == mirrored for joint, mirrored in enumerate(MIRROR_SMPL_JOINTS)])
    midline_V = mirror_V == np.arange(len(mirror_V))
    # What rounding lost goes to the leading joint; on the midline to a joint without sides.
    allowed_VJ = np.where(midline_V[:, None] & ~central, -1.0, weights_VJ)
    lead_V = allowed_VJ.argmax(axis=1)
    steps_VJ[np.arange(len(steps_VJ)), lead_V] += WEIGHT_STEPS - steps_VJ.sum(axis=1)
    right_V = x_V < 0
    steps_VJ[right_V] = steps_VJ[mirror_V[right_V]][:, MIRROR_SMPL_JOINTS]
    return np.asarray(steps_VJ / WEIGHT_STEPS)


def _mirrored_exactly(array_V3K: Float, mirror_V: Int64, x_V: Float) -> Float:
    """Copy the left half onto the right, bit by bit; midline vertices get x = 0."""
    swap = np.array((-1.0, 1.0, 1.0)).reshape(3, *[1] * (array_V3K.ndim - 2))
    out = array_V3K.copy()
    right_V = x_V < 0
    out[right_V] = out[mirror_V[right_V]] * swap
    out[mirror_V == np.arange(len(mirror_V)), 0] = 0.0
    return out


def _landmarks(full: PosedBody, torso_K3: Float) -> dict[Joint, tuple[int, Float]]:
    """The 18 joints' sources on the full mesh, but for pelvis and thorax (means of others).

    Hip, knee, ankle, shoulder, elbow, wrist and neck are SMPL's kinematic joints (heads of anny's
    bones); the spine is the head of anny's bone spine02, carried by SMPL's spine2, at 44 % of the
    way from hips to neck (Human3.6M's joint 12 sits at 47 %); the nose is the most forward vertex
    of the head's midline; the head top is the mean of the vertices within 15 mm of the apex.
    """
    points: dict[Joint, tuple[int, Float]] = {}
    for joint, name in KINEMATIC_TWIN.items():
        index = SMPL_JOINTS.index(name)
        points[joint] = (index, full.joints_JK3[index])
    spine2 = SMPL_JOINTS.index("spine2")
    torso_V = fit_rest_point(full, spine2, torso_K3)
    points[Joint.SPINE] = (spine2, _regressed(full, torso_V[None])[:, 0])

    head = SMPL_JOINTS.index("head")
    shape_VK3 = np.concatenate(
        [full.v_template_V3[:, None], np.moveaxis(full.shapedirs_V3K, 2, 1)], axis=1
    )
    on_head_V = full.weights_VJ[:, head] > 0.9
    midline_V = on_head_V & (full.mirror_V == np.arange(len(full.mirror_V)))
    forward_V = np.where(midline_V, full.v_template_V3[:, 2], -np.inf)
    points[Joint.NOSE] = (head, shape_VK3[int(forward_V.argmax())])
    height_V = np.where(on_head_V, full.v_template_V3[:, 1], -np.inf)
    apex_V = np.linalg.norm(full.v_template_V3 - full.v_template_V3[height_V.argmax()], axis=1)
    top_V = on_head_V & (apex_V < 0.015)
    top_V |= top_V[full.mirror_V]
    points[Joint.HEAD_TOP] = (head, shape_VK3[top_V].mean(axis=0) * (0.0, 1.0, 1.0))
    return points


def _poses(clips_F72: Floating, n_poses: int, random: np.random.Generator) -> tuple[Float, Float]:
    """Draw real poses with 0.15 rad of jitter on every joint, and shapes of the population."""
    theta = clips_F72[random.integers(len(clips_F72), size=n_poses)].astype(np.float64)
    theta[:, 3:] += random.normal(scale=0.15, size=theta[:, 3:].shape)
    return theta, random.normal(size=(n_poses, N_BETAS)).clip(-2.5, 2.5)


def _regressed(body: PosedBody, regressor_JV: Float) -> Float:
    """Compute template and shape directions (11, 24, 3) of the regressed rest joints."""
    shapes_OV3 = np.concatenate([body.v_template_V3[None], np.moveaxis(body.shapedirs_V3K, 2, 0)])
    return np.asarray(np.einsum("jv,kvc->kjc", regressor_JV, shapes_OV3))


def _joint_gap_mm(one_KJ3: Float, other_KJ3: Float, betas_PK: Float) -> dict[str, float]:
    """Compute the mean distance of two linear joint sets over shapes."""
    gap = one_KJ3 - other_KJ3
    gap_PJ3 = gap[0] + np.einsum("pk,kjc->pjc", betas_PK, gap[1:])
    mean_J = 1000 * np.linalg.norm(gap_PJ3, axis=2).mean(axis=0)
    return dict(zip(SMPL_JOINTS, mean_J.round(3).tolist(), strict=True))


def build_bodies(
    full: Population, lite: Population, clips_F72: Floating, *, seed: int
) -> tuple[BodyArrays, BodyArrays, dict[str, Any]]:
    """Build both resolutions of the open body, with one β space, and measure the fit.

    Args:
        full: The population on the full mesh.
        lite: The same subjects on the coarse mesh.
        clips_F72: Real poses to fit the posed regressor on, axis-angle in radians.
        seed: Seed of the choice of poses and shapes.
    """
    rigs = {"full": _Rig(full), "lite": _Rig(lite)}
    rested = {name: _to_rest(rig) for name, rig in rigs.items()}
    vertices_SV3, joints_SJ3, torso_S3 = rested["full"]
    area_V = _vertex_areas(vertices_SV3.mean(axis=0), full.faces_F3)
    scores_SK, shares_K = _standard_scores(vertices_SV3, area_V)
    bones_KJ3 = _linear(joints_SJ3, scores_SK)

    bodies: dict[str, PosedBody] = {}
    for name, rig in rigs.items():
        linear_KV3 = _linear(rested[name][0], scores_SK)
        x_V = linear_KV3[0, :, 0]
        template_V3 = _mirrored_exactly(linear_KV3[0], rig.mirror_V, x_V)
        directions = _mirrored_exactly(np.moveaxis(linear_KV3[1:], 0, 2), rig.mirror_V, x_V)
        bodies[name] = PosedBody(
            v_template_V3=template_V3.astype(np.float32).astype(np.float64),
            shapedirs_V3K=directions.astype(np.float16).astype(np.float64),
            weights_VJ=_in_steps(rig.weights_VJ, rig.mirror_V, x_V),
            joints_JK3=np.moveaxis(bones_KJ3, 0, 1),
            mirror_V=rig.mirror_V,
        )
    # anny's bones drift a little against the skin as the phenotype changes. As in SMPL, the body's
    # joints are what the regressor of its full mesh gives; everything after is held to those.
    rest_JV = {"full": fit_rest_regressor(bodies["full"])}
    joints_KJ3 = _regressed(bodies["full"], rest_JV["full"])
    pelvis_K3 = np.zeros((len(joints_KJ3), 3))
    pelvis_K3[0, 1:] = joints_KJ3[0, 0, 1:]  # the mean body's; its x is 0 by symmetry
    joints_KJ3 = joints_KJ3 - pelvis_K3[:, None]
    for name, body in bodies.items():
        moved_V3 = (body.v_template_V3 - pelvis_K3[0]).astype(np.float32).astype(np.float64)
        joints_JK3 = np.moveaxis(joints_KJ3, 0, 1)
        bodies[name] = replace(body, v_template_V3=moved_V3, joints_JK3=joints_JK3)
    rest_JV["lite"] = fit_rest_regressor(bodies["lite"])
    landmarks = _landmarks(bodies["full"], _linear(torso_S3, scores_SK) - pelvis_K3)
    random = np.random.default_rng(seed)
    fit_on, judge_on = _poses(clips_F72, 300, random), _poses(clips_F72, 300, random)

    arrays: dict[str, BodyArrays] = {}
    report: dict[str, Any] = {
        "variance_share": [round(float(share), 5) for share in shares_K],
        "height_m_percentiles_0_5_50_95_100": np.percentile(
            np.ptp(vertices_SV3[:, :, 1], axis=1), [0, 5, 50, 95, 100]
        )
        .round(3)
        .tolist(),
    }
    face_points_53 = bodies["full"].v_template_V3[list(full.face_vertices)]
    for name, people in (("full", full), ("lite", lite)):
        body = bodies[name]
        posed_NV = fit_posed_regressor(body, landmarks, *fit_on)
        _, face_V = cKDTree(body.v_template_V3).query(face_points_53)
        arrays[name] = BodyArrays(
            v_template=body.v_template_V3.astype(np.float32),
            shapedirs=body.shapedirs_V3K.astype(np.float16),
            J_regressor=rest_JV[name].astype(np.float32),
            weights=body.weights_VJ.astype(np.float32),
            f=people.faces_F3.astype(np.uint16),
            joint_regressor_18=posed_NV.astype(np.float32),
            mirror_vertices=body.mirror_V.astype(np.uint16),
            face_vertex_ids=face_V.astype(np.uint16),
        )
        fitted_KJ3 = _regressed(body, rest_JV[name])
        report[name] = {
            "rest_joints_to_anny_bones_mm": _joint_gap_mm(
                fitted_KJ3, bones_KJ3 - pelvis_K3[:, None], judge_on[1]
            ),
            "rest_joints_to_full_mesh_mm": _joint_gap_mm(fitted_KJ3, joints_KJ3, judge_on[1]),
            "posed_joint_error_mm": posed_error_mm(body, posed_NV, landmarks, *judge_on),
            "nonzeros_rest": (rest_JV[name] > 0).sum(axis=1).tolist(),
            "nonzeros_posed": (posed_NV > 0).sum(axis=1).tolist(),
        }
    return arrays["full"], arrays["lite"], report
