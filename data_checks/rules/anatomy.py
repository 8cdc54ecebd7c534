"""Anatomy: 3D joints as a body, its size, symmetry, proportions, and left and right.

Exchanged labels show in three ways, each with a rule of its own:

- of one pair of joints: bones no longer fit. Knees exchanged, thighs and shins run across; they
  become unequal, too long, or pass through each other.
- of whole arms or legs: every bone keeps its length, but shoulders and hips point opposite ways.
- of the whole body: only what lies in front shows it. The nose stands out of the head's axis to
  the front, and knees bend to the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_checks.datasets import DATASETS
from data_checks.proportions import (
    LARGE,
    LEFT,
    NAMES,
    RIGHT,
    SHARES,
    Expected,
    left_parts_at,
    log_lengths,
    median,
    standing_height,
)
from data_checks.rows import Rows, bone_lengths, once
from data_checks.rule import Measured, Severity, largest, numbers, rule
from data_checks.rules.body import BODY_LIMIT_MM, body_matches_joints
from hemlets.core.arrays import Array, Float
from hemlets.core.skeleton import (
    FLIP_PARTS,
    JOINTS,
    N_JOINTS,
    PART_CHILD,
    PART_PARENT,
    Joint,
)

_PAIRS = tuple(
    (Joint[f"LEFT_{name}"], Joint[f"RIGHT_{name}"])
    for name in ("HIP", "KNEE", "ANKLE", "SHOULDER", "ELBOW", "WRIST")
)

_CLEAR_GAIN = 12.0
"""In squared standard deviations; true labels of 3,000 posed bodies stay below 1.5."""
_CROSSING_GAIN = 4.0
_CROSSING_MM = 25.0
"""Two thighs, shins or arms whose axes come this near pass through each other."""

_NOSE_MM = 80.0
_KNEE_MM = 100.0


@rule("3D joints", "joints3d_mm", at_least=1.0)
def depth_positive(rows: Rows) -> Measured:
    """Every joint lies in front of the camera.

    A joint behind the camera has no projection; the frame's axes are probably wrong.
    """
    depth_NJ = rows.joints3d[..., 2]
    behind = largest(
        -depth_NJ,
        lambda row, joint: f"{JOINTS[joint]} has depth {depth_NJ[row, joint]:,.1f} mm",
    )
    return numbers(-behind.values, behind.observed)


@rule("3D joints", "joints3d_mm", at_least=900, at_most=2600)
def skeleton_size(rows: Rows) -> Measured:
    """Head to ankles along the bones measures 900 to 2,600 mm.

    Metres or centimetres in place of millimetres, or a joint far off.
    """
    size_N = standing_height(rows.lengths)

    def observed(row: int) -> str:
        size = size_N[row]
        for unit, factor in (("metres", 1000.0), ("centimetres", 10.0)):
            if 900 <= size * factor <= 2600:
                return (
                    f"the skeleton measures {size:.3g}: these look like {unit}, "
                    f"which are {size * factor:,.0f} mm"
                )
        return f"the skeleton measures {size:,.4g} mm from head to ankles"

    return numbers(size_N, observed)


@once
def _markerless(rows: Rows) -> Array:
    """Rows (N,) whose 3D joints were found without markers.

    Single frames of such datasets have a hip or knee off by decimetres. That is their noise, and
    no reason to refuse all other rows: they have a rule of their own.
    """
    return np.isin(rows.sources, [name for name, facts in DATASETS.items() if facts.markerless])


@once
def _proven(rows: Rows) -> Array:
    """Rows (N,) whose labels the posed body proves.

    Rules about left and right are guesses from what bodies usually look like; a contorted person
    could break them.
    """
    distance_N = rows.measured(body_matches_joints).values
    return np.asarray(distance_N <= BODY_LIMIT_MM)


@once
def _symmetry(rows: Rows) -> Measured:
    left, right = rows.lengths[:, LEFT], rows.lengths[:, RIGHT]

    def observed(row: int, side: int) -> str:
        name = NAMES[LEFT[side]].removeprefix("left_").replace("_", " ")
        return f"left {name} {left[row, side]:.4g} mm, right {name} {right[row, side]:.4g} mm"

    return largest(np.exp(np.abs(log_lengths(left) - log_lengths(right))), observed)


@once
def _proportion(rows: Rows) -> Measured:
    lengths_NP = rows.lengths.copy()
    for source, mask_N in rows.of_source.items():
        for name in DATASETS[source].bending if source in DATASETS else ():
            lengths_NP[mask_N, NAMES.index(name)] = np.nan
    log_NB = log_lengths(lengths_NP[:, LARGE] / SHARES)
    usual_N1 = median(log_NB)[:, None]

    def observed(row: int, bone: int) -> str:
        usual = float(np.exp(usual_N1[row, 0]) * SHARES[bone])
        name = NAMES[LARGE[bone]].replace("_", " ")
        return f"{name} {lengths_NP[row, LARGE[bone]]:.4g} mm where about {usual:.4g} mm is usual"

    return largest(np.exp(np.abs(log_NB - usual_N1)), observed)


@once
def _pairs(rows: Rows) -> Measured:
    """Pairs of joints per row that fit the bones clearly better when exchanged."""
    expected = rows.census.reference.at(rows.numbers, rows.lengths)
    exchanges = [_Exchange(pair, rows.joints3d, rows.lengths, expected) for pair in _PAIRS]
    gain_NX = np.stack([e.gain for e in exchanges], 1)
    crossing_NX = np.stack([e.uncrosses for e in exchanges], 1)
    known_NX = np.stack([e.known for e in exchanges], 1)
    suspect_NX = known_NX & ((gain_NX > _CLEAR_GAIN) | (crossing_NX & (gain_NX > _CROSSING_GAIN)))

    def observed(row: int) -> str:
        best = int(np.argmax(np.where(suspect_NX[row], gain_NX[row], -np.inf)))
        left, right = (JOINTS[joint] for joint in _PAIRS[best])
        return f"{left} and {right} fit the bones better when exchanged: they look swapped"

    return numbers(suspect_NX.sum(1), observed)


@rule("3D joints", "joints3d_mm", at_most=1.2)
def bones_symmetric(rows: Rows) -> Measured:
    """Left and right bones differ in length by at most 20 %.

    A joint is at the wrong place, or left and right are exchanged for one joint.
    """
    return _symmetry(rows).where(~_markerless(rows))


@rule("3D joints", "joints3d_mm", at_most=1.8)
def bones_in_proportion(rows: Rows) -> Measured:
    """No large bone is longer or shorter than usual for this skeleton by a factor of 1.8.

    A joint is at the wrong place or carries another joint's name.
    """
    return _proportion(rows).where(~_markerless(rows))


@rule("3D joints", "joints3d_mm", at_most=0)
def left_right_pair(rows: Rows) -> Measured:
    """Exchanging the left and right joint of a pair does not fit the bones clearly better.

    The left and right labels of one pair of joints are swapped.
    """
    return _pairs(rows).where(~_markerless(rows) & ~_proven(rows))


@rule("3D joints", "joints3d_mm", severity=Severity.WARN, at_most=0)
def markerless_body_plausible(rows: Rows) -> Measured:
    """Without markers: bones are symmetric, in proportion and fit their labels.

    A joint is far off in this frame; markerless capture has such frames.
    """
    found = [
        (bones_symmetric, _symmetry(rows)),
        (bones_in_proportion, _proportion(rows)),
        (left_right_pair, _pairs(rows).where(~_proven(rows))),
    ]
    failed_NC = np.stack([rule.fails(measured.values) for rule, measured in found], 1)
    return numbers(
        failed_NC.sum(1), lambda row: found[int(np.argmax(failed_NC[row]))][1].observed(row)
    ).where(_markerless(rows))


@rule("3D joints", "joints3d_mm", at_most=110)
def left_right_limb(rows: Rows) -> Measured:
    """Shoulders and hips are turned against each other by at most 110 degrees.

    The left and right labels of both arms or both legs are swapped.
    """
    joints = rows.joints3d
    up_N3 = _unit(joints[:, Joint.THORAX] - joints[:, Joint.PELVIS])
    shoulders_N3 = joints[:, Joint.LEFT_SHOULDER] - joints[:, Joint.RIGHT_SHOULDER]
    hips_N3 = joints[:, Joint.LEFT_HIP] - joints[:, Joint.RIGHT_HIP]
    cosine_N = _dot(_unit(_across(shoulders_N3, up_N3)), _unit(_across(hips_N3, up_N3)))
    angle_N = np.degrees(np.arccos(np.clip(cosine_N, -1, 1)))
    return numbers(
        angle_N,
        lambda row: (
            f"shoulders and hips are turned against each other by {angle_N[row]:.0f} degrees: "
            "both arms or both legs look swapped"
        ),
    ).where(~_proven(rows))


@rule("3D joints", "joints3d_mm", at_least=-1)
def left_right_body(rows: Rows) -> Measured:
    """Nose and knees point to the side that shoulders and hips call the front.

    The left and right labels of the whole body are swapped.
    """
    joints = rows.joints3d
    up_N3 = joints[:, Joint.THORAX] - joints[:, Joint.PELVIS]

    def front_of(left: Joint, right: Joint) -> Float:
        return _unit(np.cross(joints[:, left] - joints[:, right], up_N3))

    pelvis_N3 = front_of(Joint.LEFT_HIP, Joint.RIGHT_HIP)
    head_N3 = _unit(joints[:, Joint.HEAD_TOP] - joints[:, Joint.NECK])
    nose_N3 = _across(joints[:, Joint.NOSE] - joints[:, Joint.NECK], head_N3)
    clues = [_dot(nose_N3, front_of(Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER)) / _NOSE_MM]
    for side in ("LEFT", "RIGHT"):
        hip_N3 = joints[:, Joint[f"{side}_HIP"]]
        leg_N3 = _unit(joints[:, Joint[f"{side}_ANKLE"]] - hip_N3)
        knee_N3 = _across(joints[:, Joint[f"{side}_KNEE"]] - hip_N3, leg_N3)
        clues.append(np.clip(_dot(knee_N3, pelvis_N3) / _KNEE_MM, -1, 1))
    clues_NC = np.stack(clues, 1)
    score_N = np.where(np.isfinite(clues_NC).any(1), np.nansum(clues_NC, axis=1), np.nan)
    return numbers(
        score_N,
        lambda row: (
            "nose and knees point to the back of shoulders and hips "
            f"(score {score_N[row]:.2f}): left and right of the whole body look swapped"
        ),
    ).where(~_proven(rows))


@dataclass(frozen=True)
class _Exchange:
    """Each row with one pair of joints exchanged: joints (N, 18, 3), lengths (N, 14)."""

    pair: tuple[Joint, Joint]
    joints: Float
    lengths: Float
    expected: Expected

    @cached_property
    def _swapped(self) -> Float:
        order = np.arange(N_JOINTS)
        order[list(self.pair)] = order[list(self.pair)[::-1]]
        return self.joints[:, order]

    @cached_property
    def gain(self) -> Float:
        """How much better (N,) the bones fit with the pair exchanged."""
        parts = left_parts_at(self.pair[0])
        swapped_NP = bone_lengths(self._swapped)
        return self.expected.misfit(self.lengths, parts) - self.expected.misfit(swapped_NP, parts)

    @cached_property
    def uncrosses(self) -> Array:
        """Whether limbs (N,) that pass through each other stop doing so."""
        return _crossing(self.joints, self.pair[0]) & ~_crossing(self._swapped, self.pair[0])

    @cached_property
    def known(self) -> Array:
        return np.asarray(np.isfinite(self.joints[:, list(self.pair)]).all((1, 2)))


def _crossing(joints_NJ3: Float, left: Joint) -> Array:
    """Whether a left bone at a joint and its mirror image pass through each other (N,)."""
    crossing_N = np.zeros(len(joints_NJ3), bool)
    for part in left_parts_at(left):
        if "hip" in NAMES[part] or "clavicle" in NAMES[part]:
            continue
        distance_N = segment_distance(
            *(joints_NJ3[:, end] for p in (part, FLIP_PARTS[part])
              for end in (PART_PARENT[p], PART_CHILD[p]))
        )  # fmt: skip
        crossing_N |= np.nan_to_num(distance_N, nan=np.inf) < _CROSSING_MM
    return crossing_N


def segment_distance(a_N3: Float, b_N3: Float, c_N3: Float, d_N3: Float) -> Float:
    """Shortest distance (N,) between segments a–b and c–d (Ericson 2005, section 5.1.9)."""
    u, v, w = b_N3 - a_N3, d_N3 - c_N3, a_N3 - c_N3
    uu, vv, uv = _dot(u, u) + 1e-12, _dot(v, v) + 1e-12, _dot(u, v)
    uw, vw = _dot(u, w), _dot(v, w)
    s = np.clip((uv * vw - uw * vv) / np.maximum(uu * vv - uv * uv, 1e-12), 0, 1)
    t = np.clip((uv * s + vw) / vv, 0, 1)
    s = np.clip((uv * t - uw) / uu, 0, 1)
    return np.asarray(np.linalg.norm(w + s[:, None] * u - t[:, None] * v, axis=1))


def _dot(a_N3: Float, b_N3: Float) -> Float:
    return np.asarray((a_N3 * b_N3).sum(1))


def _unit(vector_N3: Float) -> Float:
    return np.asarray(vector_N3 / (np.linalg.norm(vector_N3, axis=1, keepdims=True) + 1e-9))


def _across(vector_N3: Float, axis_N3: Float) -> Float:
    """Component of a vector that is perpendicular to a unit axis."""
    return np.asarray(vector_N3 - _dot(vector_N3, axis_N3)[:, None] * axis_N3)
