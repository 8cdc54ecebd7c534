"""The joint sets that papers average over, by the name that metric names carry."""

from __future__ import annotations

from typing import Final

from hemlets.core.skeleton import N_JOINTS, Joint

_LSP = (
    Joint.RIGHT_ANKLE, Joint.RIGHT_KNEE, Joint.RIGHT_HIP,
    Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE,
    Joint.RIGHT_WRIST, Joint.RIGHT_ELBOW, Joint.RIGHT_SHOULDER,
    Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST,
    Joint.NECK, Joint.HEAD_TOP,
)  # fmt: skip


def _ordered(*joints: int) -> tuple[int, ...]:
    return tuple(sorted(int(joint) for joint in joints))


_LIMBS: Final = tuple(joint for joint in _LSP if joint not in (Joint.NECK, Joint.HEAD_TOP))

JOINT_SETS: Final[dict[str, tuple[int, ...]]] = {
    "13j-limbs-pelvis": _ordered(*_LIMBS, Joint.PELVIS),
    "13j-no-head-top": _ordered(*_LIMBS, Joint.NECK),
    "14j": _ordered(*_LSP),
    "16j": _ordered(*_LSP, Joint.PELVIS, Joint.THORAX),
    "17j": tuple(joint for joint in range(N_JOINTS) if joint != Joint.THORAX),
    "17j-no-pelvis": tuple(joint for joint in range(N_JOINTS) if joint != Joint.PELVIS),
    "18j": tuple(range(N_JOINTS)),
}
"""13j-limbs-pelvis: what HumanEva's 15 and ours share. 13j-no-head-top: SMPL's joints among LSP's.
14j: LSP's (Johnson & Everingham 2010), which are also MPI-INF-3DHP's "relevant" ones.
16j: MPII's (Andriluka et al. 2014). 17j: Human3.6M's, as the authors' released evaluator takes
them. 17j-no-pelvis: all of ours that root alignment doesn't make right. 18j: all of ours."""
