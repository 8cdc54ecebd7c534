"""3D joints as a body: size, symmetry, proportions, and left from right.

Exchanged labels show in three ways, each with an expectation of its own:

- of one pair of joints: bones no longer fit. Knees exchanged, thighs and shins run across; they
  become unequal, too long, or pass through each other.
- of whole arms or legs: every bone keeps its length, but shoulders and hips point opposite ways.
- of the whole body: only what lies in front tells. The nose stands out of the head's axis to
  the front, and knees bend to the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from data_checks.columns.base import Array, Column, Columns, Float
from data_checks.datasets import DATASETS
from hemlets.core.skeleton import (
    FLIP_PARTS,
    JOINTS,
    N_JOINTS,
    N_PARTS,
    PART_CHILD,
    PART_PARENT,
    PARTS,
    Joint,
)
from hemlets.data.table import Annotations

# Parts that make up a standing skeleton from head top to ankle, and their usual share of that
# height, after Drillis and Contini (1966) and adapted to joints that lie between the bones' ends.
_STANDING_SHARE = {
    "head": 0.165, "torso": 0.29, "left_thigh": 0.25, "right_thigh": 0.25,
    "left_shin": 0.26, "right_shin": 0.26, "left_upper_arm": 0.17, "right_upper_arm": 0.17,
    "left_forearm": 0.15, "right_forearm": 0.15,
}  # fmt: skip
_NAMES = tuple(part.name for part in PARTS)
_LARGE = [_NAMES.index(name) for name in _STANDING_SHARE]
_SHARES = np.array(list(_STANDING_SHARE.values()))
_LEFT = [i for i, name in enumerate(_NAMES) if name.startswith("left_")]
_RIGHT = [FLIP_PARTS[i] for i in _LEFT]

_PAIRS = tuple(
    (Joint[f"LEFT_{name}"], Joint[f"RIGHT_{name}"])
    for name in ("HIP", "KNEE", "ANKLE", "SHOULDER", "ELBOW", "WRIST")
)

_MIN_GROUP = 20
_LENGTH_NOISE = 0.03
_SYMMETRY_NOISE = 0.02
_CLEAR_GAIN = 12.0
"""In squared standard deviations; true labels of 3,000 posed bodies stay below 1.5."""
_CROSSING_GAIN = 4.0
_CROSSING_MM = 25.0
"""Two thighs, shins or arms whose axes come this near pass through each other."""

_NOSE_MM = 80.0
_KNEE_MM = 100.0


def anatomy_columns(table: Annotations, reference: Reference, rows: Array) -> Columns:
    """Expectations of 3D joints that need neither camera nor body model.

    Args:
        table: Some rows.
        reference: What is usual in the whole table.
        rows: Numbers of the rows in the whole table.
    """
    joints_NJ3 = known_joints(table)
    lengths_NP = bone_lengths(joints_NJ3)
    return {
        "skeleton_size": _size(lengths_NP),
        "bones_symmetric": _symmetry(lengths_NP),
        "bones_in_proportion": _proportion(_rigid(lengths_NP, table)),
        "left_right_pair": _pairs(joints_NJ3, lengths_NP, reference.at(rows, lengths_NP)),
        "left_right_limb": _limbs(joints_NJ3),
        "left_right_body": _facing(joints_NJ3),
    }


def known_joints(table: Annotations) -> Float:
    """3D joints (N, 18, 3) in mm with NaN where they are not annotated or not finite."""
    joints_NJ3 = table.joints3d_mm.astype(np.float64)
    known_NJ = table.valid3d & np.isfinite(joints_NJ3).all(2)
    return np.where(known_NJ[..., None], joints_NJ3, np.nan)


def bone_lengths(joints_NJ3: Float) -> Float:
    """Lengths (N, 14) of the parts, in the joints' unit."""
    bones_NP3 = joints_NJ3[:, PART_CHILD] - joints_NJ3[:, PART_PARENT]
    return np.asarray(np.linalg.norm(bones_NP3, axis=2))


def skeleton_size(lengths_NP: Float) -> Float:
    """Head top to ankle along the bones, from whichever of them are known; NaN without any."""
    known_NP = np.isfinite(lengths_NP[:, _LARGE])
    shares_N = (known_NP * _SHARES).sum(1)
    total_N = np.nansum(lengths_NP[:, _LARGE], axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(shares_N > 0, total_N / shares_N, np.nan)


def _size(lengths_NP: Float) -> Column:
    size_N = skeleton_size(lengths_NP)

    def observed(row: int) -> str:
        size = size_N[row]
        for unit, factor in (("metres", 1000.0), ("centimetres", 10.0)):
            if 900 <= size * factor <= 2600:
                return (
                    f"the skeleton measures {size:.3g}: these look like {unit}, "
                    f"which are {size * factor:,.0f} mm"
                )
        return f"the skeleton measures {size:,.4g} mm from head to ankles"

    return Column(values=size_N, observed=observed)


def _symmetry(lengths_NP: Float) -> Column:
    left, right = lengths_NP[:, _LEFT], lengths_NP[:, _RIGHT]
    # A bone of length 0 compares as one of 1e-9 mm: a huge ratio rather than a division by zero.
    ratio_NS = (np.maximum(left, right) + 1e-9) / (np.minimum(left, right) + 1e-9)
    worst_N = _nanmax(ratio_NS)

    def observed(row: int) -> str:
        side = int(np.nanargmax(ratio_NS[row]))
        name = _NAMES[_LEFT[side]].removeprefix("left_").replace("_", " ")
        return f"left {name} {left[row, side]:.4g} mm, right {name} {right[row, side]:.4g} mm"

    return Column(values=worst_N, observed=observed)


def _rigid(lengths_NP: Float, table: Annotations) -> Float:
    """The lengths, NaN for parts that bend in the row's dataset."""
    sources_N = table.source.astype(str)
    rigid_NP = lengths_NP.copy()
    for source in np.unique(sources_N):
        facts = DATASETS.get(str(source))
        for name in facts.bending if facts else ():
            rigid_NP[sources_N == source, _NAMES.index(name)] = np.nan
    return rigid_NP


def _proportion(lengths_NP: Float) -> Column:
    share_NB = lengths_NP[:, _LARGE] / _SHARES
    with np.errstate(divide="ignore"):
        log_NB = np.log(share_NB + 1e-9)
    usual_N1 = _nanmedian(log_NB)[:, None]
    factor_NB = np.exp(np.abs(log_NB - usual_N1))

    def observed(row: int) -> str:
        bone = int(np.nanargmax(factor_NB[row]))
        usual = float(np.exp(usual_N1[row, 0]) * _SHARES[bone])
        name = _NAMES[_LARGE[bone]].replace("_", " ")
        return f"{name} {lengths_NP[row, _LARGE[bone]]:.4g} mm where about {usual:.4g} mm is usual"

    return Column(values=_nanmax(factor_NB), observed=observed)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Lengths of bones that are usual for each row's subject or source, and their noise.

    Attributes:
        groups: (N, 2) source and subject of each row as numbers, -1 where one has few rows.
        usual: (G, 14) log lengths of each group; a source's are relative to the row's size.
        noise: (G, 14) standard deviations of the logs.
    """

    groups: npt.NDArray[np.int32]
    usual: Float
    noise: Float

    @classmethod
    def of(cls, lengths_NP: Array, sources: Array, subjects: Array) -> Reference:
        """Learn what is usual from a whole table.

        Args:
            lengths_NP: Lengths (N, 14) in mm, NaN where unknown.
            sources: (N,) source of each row, as text or numbers.
            subjects: (N,) subject of each row, told apart between sources.
        """
        with np.errstate(divide="ignore"):
            log_NP = np.log(lengths_NP + np.asarray(1e-9, lengths_NP.dtype))
        size_N = _row_size(log_NP)
        groups = np.full((len(log_NP), 2), -1, np.int32)
        usual: list[Float] = []
        noise: list[Float] = []
        for kind, names in enumerate((sources, subjects)):
            _, group_N = np.unique(names, return_inverse=True)
            order = np.argsort(group_N, kind="stable")
            edges = np.flatnonzero(np.diff(group_N[order])) + 1
            for rows in np.split(order, edges):
                if len(rows) < _MIN_GROUP:
                    continue
                relative = log_NP[rows] - (size_N[rows, None] if kind == 0 else 0)
                middle_P = _nanmedian(relative.T)
                spread_P = 1.48 * _nanmedian(np.abs(relative - middle_P).T)
                groups[rows, kind] = len(usual)
                usual.append(middle_P)
                noise.append(np.maximum(spread_P, _LENGTH_NOISE))
        unknown = np.full((1, N_PARTS), np.nan)
        # The last one stands for "no group": it is what index -1 finds.
        return cls(
            groups=groups,
            usual=np.concatenate([np.reshape(usual, (-1, N_PARTS)), unknown]),
            noise=np.concatenate([np.reshape(noise, (-1, N_PARTS)), unknown]),
        )

    def at(self, rows: Array, lengths_NP: Float) -> Expected:
        """What is usual at some rows.

        Args:
            rows: Numbers of the rows.
            lengths_NP: Their bones' lengths.
        """
        source, subject = self.groups[rows].T
        with np.errstate(divide="ignore"):
            size_N1 = _row_size(np.log(lengths_NP + 1e-9))[:, None]
        own = (subject >= 0)[:, None]
        return Expected(
            usual=np.where(own, self.usual[subject], self.usual[source] + size_N1),
            noise=np.where(own, self.noise[subject], self.noise[source]),
        )


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Log lengths of bones (N, 14) that are usual at some rows, and their noise."""

    usual: Float
    noise: Float

    def misfit(self, lengths_NP: Float, parts: list[int]) -> Float:
        """How badly pairs of bones fit, in squared standard deviations, per row.

        Left and right share a deviation from what is usual, so their mean counts once; their
        difference counts by itself.
        """
        mirrored = [FLIP_PARTS[part] for part in parts]
        with np.errstate(divide="ignore"):
            left, right = (
                np.log(lengths_NP[:, parts] + 1e-9),
                np.log(lengths_NP[:, mirrored] + 1e-9),
            )
        difference = (left - right) / (2 * _SYMMETRY_NOISE)
        mean = ((left + right) / 2 - self.usual[:, parts]) / self.noise[:, parts]
        return np.asarray(np.nansum(difference**2 + np.nan_to_num(mean) ** 2, axis=1))


def _row_size(log_NP: Float) -> Float:
    # The median over bones: a size that four wrong bones of ten would shift hides them.
    return _nanmedian(log_NP[:, _LARGE] - np.log(_SHARES).astype(log_NP.dtype))


@dataclass(frozen=True)
class _Exchange:
    """What exchanging one pair of joints would do to each row: joints (N, 18, 3)."""

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
        """By how much the bones fit better once the pair is exchanged."""
        left = self.pair[0]
        parts = [i for i in _LEFT if left in (PART_PARENT[i], PART_CHILD[i])]
        swapped_NP = bone_lengths(self._swapped)
        return self.expected.misfit(self.lengths, parts) - self.expected.misfit(swapped_NP, parts)

    @cached_property
    def uncrosses(self) -> Array:
        """Whether limbs that pass through each other stop doing so."""
        return _crossing(self.joints, self.pair) & ~_crossing(self._swapped, self.pair)

    @cached_property
    def known(self) -> Array:
        return np.asarray(np.isfinite(self.joints[:, list(self.pair)]).all((1, 2)))


def _pairs(joints_NJ3: Float, lengths_NP: Float, expected: Expected) -> Column:
    exchanges = [_Exchange(pair, joints_NJ3, lengths_NP, expected) for pair in _PAIRS]
    gain_NX = np.stack([e.gain for e in exchanges], 1)
    crossing_NX = np.stack([e.uncrosses for e in exchanges], 1)
    known_NX = np.stack([e.known for e in exchanges], 1)
    suspect_NX = known_NX & ((gain_NX > _CLEAR_GAIN) | (crossing_NX & (gain_NX > _CROSSING_GAIN)))

    def observed(row: int) -> str:
        best = int(np.argmax(np.where(suspect_NX[row], gain_NX[row], -np.inf)))
        left, right = (JOINTS[joint] for joint in _PAIRS[best])
        return f"{left} and {right} fit the bones better when exchanged: they look swapped"

    return Column(values=suspect_NX.sum(1).astype(np.float64), observed=observed)


def _crossing(joints_NJ3: Float, pair: tuple[Joint, Joint]) -> Array:
    """Whether a left and a right bone at the pair's joints pass through each other."""
    crossing_N = np.zeros(len(joints_NJ3), bool)
    for part in _LEFT:
        parent, child = PART_PARENT[part], PART_CHILD[part]
        if pair[0] not in (parent, child) or "hip" in _NAMES[part] or "clavicle" in _NAMES[part]:
            continue
        twin = FLIP_PARTS[part]
        distance_N = _segment_distance(
            joints_NJ3[:, parent], joints_NJ3[:, child],
            joints_NJ3[:, PART_PARENT[twin]], joints_NJ3[:, PART_CHILD[twin]],
        )  # fmt: skip
        crossing_N |= np.nan_to_num(distance_N, nan=np.inf) < _CROSSING_MM
    return crossing_N


def _segment_distance(a_N3: Float, b_N3: Float, c_N3: Float, d_N3: Float) -> Float:
    """Shortest distance between segments a–b and c–d (Ericson 2005, section 5.1.9)."""
    u, v, w = b_N3 - a_N3, d_N3 - c_N3, a_N3 - c_N3
    uu, vv, uv = _dot(u, u) + 1e-12, _dot(v, v) + 1e-12, _dot(u, v)
    uw, vw = _dot(u, w), _dot(v, w)
    s = np.clip((uv * vw - uw * vv) / np.maximum(uu * vv - uv * uv, 1e-12), 0, 1)
    t = np.clip((uv * s + vw) / vv, 0, 1)
    s = np.clip((uv * t - uw) / uu, 0, 1)
    return np.asarray(np.linalg.norm(w + s[:, None] * u - t[:, None] * v, axis=1))


def _limbs(joints_NJ3: Float) -> Column:
    up_N3 = _unit(joints_NJ3[:, Joint.THORAX] - joints_NJ3[:, Joint.PELVIS])
    shoulders_N3 = joints_NJ3[:, Joint.LEFT_SHOULDER] - joints_NJ3[:, Joint.RIGHT_SHOULDER]
    hips_N3 = joints_NJ3[:, Joint.LEFT_HIP] - joints_NJ3[:, Joint.RIGHT_HIP]
    cosine_N = _dot(_unit(_across(shoulders_N3, up_N3)), _unit(_across(hips_N3, up_N3)))
    angle_N = np.degrees(np.arccos(np.clip(cosine_N, -1, 1)))

    def observed(row: int) -> str:
        return (
            f"shoulders and hips are turned against each other by {angle_N[row]:.0f} degrees: "
            "both arms or both legs look swapped"
        )

    return Column(values=angle_N, observed=observed)


def _facing(joints_NJ3: Float) -> Column:
    up_N3 = joints_NJ3[:, Joint.THORAX] - joints_NJ3[:, Joint.PELVIS]

    def front_of(left: Joint, right: Joint) -> Float:
        return _unit(np.cross(joints_NJ3[:, left] - joints_NJ3[:, right], up_N3))

    chest_N3 = front_of(Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER)
    pelvis_N3 = front_of(Joint.LEFT_HIP, Joint.RIGHT_HIP)
    head_N3 = _unit(joints_NJ3[:, Joint.HEAD_TOP] - joints_NJ3[:, Joint.NECK])
    nose_N3 = _across(joints_NJ3[:, Joint.NOSE] - joints_NJ3[:, Joint.NECK], head_N3)
    clues = [_dot(nose_N3, chest_N3) / _NOSE_MM]
    for side in ("LEFT", "RIGHT"):
        hip_N3 = joints_NJ3[:, Joint[f"{side}_HIP"]]
        leg_N3 = _unit(joints_NJ3[:, Joint[f"{side}_ANKLE"]] - hip_N3)
        knee_N3 = _across(joints_NJ3[:, Joint[f"{side}_KNEE"]] - hip_N3, leg_N3)
        clues.append(np.clip(_dot(knee_N3, pelvis_N3) / _KNEE_MM, -1, 1))
    clues_NC = np.stack(clues, 1)
    score_N = np.where(np.isfinite(clues_NC).any(1), np.nansum(clues_NC, axis=1), np.nan)

    def observed(row: int) -> str:
        return (
            "nose and knees point to the back of shoulders and hips "
            f"(score {score_N[row]:.2f}): left and right of the whole body look swapped"
        )

    return Column(values=score_N, observed=observed)


def _dot(a_N3: Float, b_N3: Float) -> Float:
    return np.asarray((a_N3 * b_N3).sum(1))


def _unit(vector_N3: Float) -> Float:
    return np.asarray(vector_N3 / (np.linalg.norm(vector_N3, axis=1, keepdims=True) + 1e-9))


def _across(vector_N3: Float, axis_N3: Float) -> Float:
    """The part of a vector that is perpendicular to a unit axis."""
    return np.asarray(vector_N3 - _dot(vector_N3, axis_N3)[:, None] * axis_N3)


def _nanmax(values_NK: Float) -> Float:
    filled = np.where(np.isnan(values_NK), -np.inf, values_NK).max(1)
    return np.where(np.isneginf(filled), np.nan, filled)


def _nanmedian(values_NK: Float) -> Float:
    """Median along the last axis; NaN for rows that hold nothing else."""
    ordered = np.sort(values_NK, axis=1)
    count_N = np.isfinite(ordered).sum(1)
    last = np.maximum(count_N, 1)
    row = np.arange(len(ordered))
    middle = (ordered[row, (last - 1) // 2] + ordered[row, last // 2]) / 2
    return np.asarray(np.where(count_N > 0, middle, np.nan), np.float64)
