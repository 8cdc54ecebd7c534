"""Motion files: AMASS's npz, and BVH.

Both contain θ and the root translation over time. AMASS's world has z up, BVH's y up; the camera
frame (y down, z forward) is rotated into it, so that a person standing upright in front of a level
camera is upright in the file.

The npz also contains the person confidence of each frame, for which BVH has no field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from hemlets.body.model import MM_PER_M, BodyModel
from hemlets.core.errors import ConfigError
from hemlets.core.files import atomic_path
from hemlets.core.skeleton import SMPL_JOINTS, SMPL_PARENTS
from hemlets.inference.types import BodyEstimate

MOTION_SUFFIXES: Final = (".npz", ".bvh")

FloatArray = npt.NDArray[np.float64]

_TO_Z_UP: Final = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
_TO_Y_UP: Final = np.diag([1.0, -1.0, -1.0])
_CM_PER_M: Final = 100.0
_EULER: Final = "ZXY"
_HAND_CM: Final = 8.0
"""Length of end sites: BVH requires one at every leaf joint."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """One person's motion in the camera frame.

    Attributes:
        fps: Frames per second.
        theta_TJ3: Axis-angles (T, 24, 3), radians.
        betas_K: SMPL β.
        transl_T3_mm: Translation from the body model's output to the camera frame.
        pelvis_T3_mm: SMPL's kinematic pelvis in the camera frame.
        rest_J3_mm: The 24 joints of the shaped body in the rest pose, in the model's axes.
        person_confidence_T: Confidence that each frame shows a person, 0–1; NaN from a network
            without heatmaps.
        person_T: Whether the confidence reaches the model's threshold; None if the model has none.
            Where False, the frame probably shows nobody and its pose has no meaning.
    """

    fps: float
    theta_TJ3: FloatArray
    betas_K: FloatArray
    transl_T3_mm: FloatArray
    pelvis_T3_mm: FloatArray
    rest_J3_mm: FloatArray
    person_confidence_T: FloatArray
    person_T: npt.NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, estimates: Sequence[BodyEstimate], body: BodyModel, fps: float) -> Motion:
        """Build the motion from the predictions of consecutive frames.

        β is the median of all frames'.
        """
        import torch

        betas = np.median(np.stack([e.betas for e in estimates]), axis=0)
        theta = np.stack([e.theta for e in estimates])
        with torch.inference_mode():
            shape = torch.from_numpy(betas.astype(np.float32))[None]
            posed = body(torch.from_numpy(theta.astype(np.float32)), shape)
            rest = body(torch.zeros(1, theta.shape[1] * 3), shape).joints24_B243_mm[0]
        # `root_mm` of a prediction is the middle of the hips, not SMPL's pelvis.
        root = np.stack([e.root_mm for e in estimates])
        transl = root - posed.joints18_B183_mm[:, 0].numpy()
        verdicts = [e.person for e in estimates if e.person is not None]
        return cls(
            fps=fps,
            theta_TJ3=theta.astype(np.float64),
            betas_K=betas.astype(np.float64),
            transl_T3_mm=transl.astype(np.float64),
            pelvis_T3_mm=(posed.joints24_B243_mm[:, 0].numpy() + transl).astype(np.float64),
            rest_J3_mm=rest.numpy().astype(np.float64),
            person_confidence_T=np.array([e.person_confidence for e in estimates]),
            person_T=np.array(verdicts) if len(verdicts) == len(estimates) else None,
        )


def write_motion(path: Path, motion: Motion) -> None:
    """Write a motion in the format of the file's suffix.

    In addition to AMASS's keys, an npz contains ``person_confidence`` per frame and, if the model
    has a threshold, ``person``. Readers of AMASS ignore them.

    Raises:
        ConfigError: Suffix other than ``.npz`` and ``.bvh``.
        WorkspaceError: The file can't be written.
    """
    suffix = path.suffix.lower()
    if suffix not in MOTION_SUFFIXES:
        raise ConfigError(
            f"motion can't be written as {suffix or 'a file without ending'}",
            where=str(path),
            expected=", ".join(MOTION_SUFFIXES),
        )
    with atomic_path(path) as scratch:
        if suffix == ".bvh":
            scratch.write_text(_bvh(motion), encoding="ascii")
        else:
            with scratch.open("wb") as stream:
                np.savez_compressed(stream, allow_pickle=False, **_amass(motion))


def _turned(motion: Motion, world_33: FloatArray) -> tuple[FloatArray, FloatArray]:
    """θ (T, 24, 3) and the pelvis (T, 3) in millimetres, rotated into another world frame."""
    theta = motion.theta_TJ3.copy()
    root = Rotation.from_matrix(world_33) * Rotation.from_rotvec(theta[:, 0])
    theta[:, 0] = root.as_rotvec()
    return theta, motion.pelvis_T3_mm @ world_33.T


def _amass(motion: Motion) -> dict[str, npt.NDArray[Any]]:
    theta, pelvis = _turned(motion, _TO_Z_UP)
    values: dict[str, npt.NDArray[Any]] = {
        "poses": theta.reshape(len(theta), -1),
        # θ rotates about the rest pelvis, which AMASS's trans excludes.
        "trans": (pelvis - motion.rest_J3_mm[0]) / MM_PER_M,
        "betas": motion.betas_K,
        "gender": np.array("neutral"),
        "mocap_framerate": np.array(motion.fps),
        "person_confidence": motion.person_confidence_T,
    }
    if motion.person_T is not None:
        values["person"] = motion.person_T
    return values


def _bvh(motion: Motion) -> str:
    theta, pelvis = _turned(motion, _TO_Y_UP)
    rest_cm = motion.rest_J3_mm / MM_PER_M * _CM_PER_M
    lines = ["HIERARCHY"]
    order: list[int] = []

    def joint(index: int, depth: int) -> None:
        order.append(index)
        pad = "  " * depth
        parent = SMPL_PARENTS[index]
        offset = np.zeros(3) if parent < 0 else rest_cm[index] - rest_cm[parent]
        channels = " ".join(f"{axis}rotation" for axis in _EULER)
        place = "" if parent >= 0 else "Xposition Yposition Zposition "
        lines.append(f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {SMPL_JOINTS[index]}")
        lines.append(f"{pad}{{")
        lines.append(f"{pad}  OFFSET {_numbers(offset)}")
        lines.append(f"{pad}  CHANNELS {6 if parent < 0 else 3} {place}{channels}")
        children = [j for j, p in enumerate(SMPL_PARENTS) if p == index]
        for child in children:
            joint(child, depth + 1)
        if not children:
            tip = offset / max(float(np.linalg.norm(offset)), 1e-9) * _HAND_CM
            lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET {_numbers(tip)}"])
            lines.append(f"{pad}  }}")
        lines.append(f"{pad}}}")

    joint(0, 0)
    angles = Rotation.from_rotvec(theta[:, order].reshape(-1, 3)).as_euler(_EULER, degrees=True)
    rows = np.concatenate([pelvis / MM_PER_M * _CM_PER_M, angles.reshape(len(theta), -1)], axis=1)
    lines += ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1.0 / motion.fps:.8f}"]
    lines += [_numbers(row) for row in rows]
    return "\n".join(lines) + "\n"


def _numbers(values: FloatArray) -> str:
    return " ".join(f"{value:.6f}" for value in values)
