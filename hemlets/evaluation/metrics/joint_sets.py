"""Joint sets of published metrics, by their names in metric names."""

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
"""13j-limbs-pelvis: joints common to HumanEva's 15 and ours. 13j-no-head-top: SMPL's joints among
LSP's. 14j: LSP's (Johnson & Everingham 2010), also MPI-INF-3DHP's "relevant" joints. 16j: MPII's
(Andriluka et al. 2014). 17j: Human3.6M's, as in the authors' released evaluator. 17j-no-pelvis: all
of ours but the root. 18j: all of ours.
"""
