"""The parametric body: SMPL's θ (24 rotations) and β (10) → mesh and joints.

Works with any file of SMPL's form (Loper et al. 2015): the bundled open body, at two resolutions
with one β space, or a licensed SMPL file.

Units and frames: files are in metres; all outputs are in millimetres. Axes are SMPL's, x to the
body's left, y up, z to the front, with the file's own origin (for the open body: its kinematic
pelvis at β = 0). θ's first rotation is about the kinematic pelvis.

Shape suffixes: B batch, V vertices, F faces, J = 24 kinematic joints, N = 18 project joints,
K = 10 shape coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hemlets.assets import asset_path
from hemlets.body.body_file import Arrays, check_body_arrays, read_body_arrays
from hemlets.body.kinematics import pose_skeleton
from hemlets.body.rotations import rotation_matrices
from hemlets.core.arrays import Array, Float32
from hemlets.core.errors import AssetError, InputError
from hemlets.core.skeleton import N_JOINTS, SMPL_JOINTS, Joint

Resolution = Literal["full", "lite"]

N_SMPL_JOINTS: Final = len(SMPL_JOINTS)
MM_PER_M: Final = 1000.0

_ASSETS: Final[Mapping[Resolution, str]] = {
    "full": "body/open_body.npz",
    "lite": "body/open_body_lite.npz",
}

# A licensed SMPL mesh brings no 18-joint regressor: its own joints stand in, nose and head top are
# vertices of its well-known 6,890.
_SMPL_N_VERTICES: Final = 6890
_SMPL_NOSE: Final = 332
_SMPL_HEAD_TOP: Final = 411
_SMPL_TWIN: Final[Mapping[Joint, str]] = {
    Joint.RIGHT_HIP: "right_hip", Joint.RIGHT_KNEE: "right_knee", Joint.RIGHT_ANKLE: "right_ankle",
    Joint.LEFT_HIP: "left_hip", Joint.LEFT_KNEE: "left_knee", Joint.LEFT_ANKLE: "left_ankle",
    Joint.SPINE: "spine2", Joint.NECK: "neck",
    Joint.LEFT_SHOULDER: "left_shoulder", Joint.LEFT_ELBOW: "left_elbow",
    Joint.LEFT_WRIST: "left_wrist",
    Joint.RIGHT_SHOULDER: "right_shoulder", Joint.RIGHT_ELBOW: "right_elbow",
    Joint.RIGHT_WRIST: "right_wrist",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """Posed bodies, in millimetres and the model's axes and origin.

    Attributes:
        vertices_BV3_mm: The skin.
        joints24_B243_mm: SMPL's kinematic joints, `hemlets.core.skeleton.SMPL_JOINTS`.
        joints18_B183_mm: The project's joints, `hemlets.core.skeleton.Joint`, regressed from the
            posed vertices. Joint 0 is the middle of the hips, not SMPL's pelvis.
    """

    vertices_BV3_mm: Tensor
    joints24_B243_mm: Tensor
    joints18_B183_mm: Tensor


class BodyModel(nn.Module):
    """A body of SMPL's form as a differentiable function of pose and shape.

    Build one with `load`. Pose blend shapes are applied if the file has them; the open body has
    none, which saves the costliest product of SMPL's forward pass.

    Args:
        arrays: SMPL's arrays under their usual names, in metres.
        where: Their source, for messages.
    """

    v_template_V3: Tensor
    shapedirs_V3K: Tensor
    J_regressor_JV: Tensor
    weights_VJ: Tensor
    joint_regressor_NV: Tensor
    mirror_vertices: Tensor
    faces_F3: Tensor
    _posedirs_P3V: Tensor | None

    def __init__(self, arrays: Arrays, *, where: str = "arrays") -> None:
        super().__init__()
        check_body_arrays(arrays, where=where)
        self._arrays = dict(arrays)

        # Not persistent: the body is a separate asset, not part of a network's weights.
        def real(name: str, values: npt.ArrayLike) -> None:
            tensor = torch.tensor(np.asarray(values, dtype=np.float32))
            self.register_buffer(name, tensor, persistent=False)

        def whole(name: str, values: npt.ArrayLike) -> None:
            tensor = torch.tensor(np.asarray(values, dtype=np.int64))
            self.register_buffer(name, tensor, persistent=False)

        real("v_template_V3", arrays["v_template"])
        real("shapedirs_V3K", arrays["shapedirs"][:, :, :10])
        real("J_regressor_JV", arrays["J_regressor"])
        real("weights_VJ", arrays["weights"])
        real("joint_regressor_NV", _regressor_18(arrays, where=where))
        whole("faces_F3", arrays["f"])
        whole("mirror_vertices", arrays.get("mirror_vertices", np.empty(0)))
        posedirs = arrays.get("posedirs")
        if posedirs is not None and np.any(posedirs):
            real("_posedirs_P3V", posedirs.reshape(-1, posedirs.shape[-1]).T)
        else:
            self._posedirs_P3V = None

    @classmethod
    def load(
        cls, path: str | PathLike[str] | None = None, *, resolution: Resolution = "lite"
    ) -> BodyModel:
        """Load the open body, or the user's body file.

        Args:
            path: An ``.npz`` of SMPL's form; None for the open body.
            resolution: Of the open body: ``"lite"`` (1,229 vertices) or ``"full"`` (13,718).

        Raises:
            AssetError: The file can't be used.
        """
        file = asset_path(_ASSETS[resolution]) if path is None else Path(path)
        return cls(read_body_arrays(file), where=str(file))

    @classmethod
    def named(cls, name: str, given: Path | None = None) -> BodyModel:
        """Load the body that a model was trained on.

        Args:
            name: In the model's card: ``open-body-lite`` or ``open-body``.
            given: A body file, which is taken instead.

        Raises:
            AssetError: The body does not come with the project, and no file was given.
        """
        if given is not None:
            return cls.load(given)
        if name == "open-body-lite":
            return cls.load(resolution="lite")
        if name == "open-body":
            return cls.load(resolution="full")
        raise AssetError(
            f"the model was trained on the body {name!r}, which does not come with hemlets",
            where="--body",
            remedy="name its file with --body",
        )

    @property
    def n_vertices(self) -> int:
        """V."""
        return len(self.v_template_V3)

    @property
    def n_betas(self) -> int:
        """Number of the file's shape coefficients, at most 10."""
        return int(self.shapedirs_V3K.shape[-1])

    @property
    def arrays(self) -> dict[str, Array]:
        """Copy of the file's arrays by their SMPL names, in metres."""
        return dict(self._arrays)

    @property
    def pose_blend_shapes(self) -> Tensor | None:
        """Pose blend shapes (207, V, 3) in metres; None if the body has none."""
        if self._posedirs_P3V is None:
            return None
        return self._posedirs_P3V.view(-1, self.n_vertices, 3)

    def forward(self, pose: Tensor, betas_BK: Tensor) -> Body:
        """Pose a batch of bodies.

        Args:
            pose: Axis-angle (B, 72) or (B, 24, 3) in radians, or rotation matrices (B, 24, 3, 3);
                each joint relative to its parent, the first relative to the model's axes.
            betas_BK: Shape (B, 10) or (1, 10), in standard deviations.

        Raises:
            InputError: β has another number of coefficients than the body.
        """
        if betas_BK.shape[-1] != self.n_betas:
            raise InputError(
                f"β has {betas_BK.shape[-1]} coefficients",
                where="betas",
                expected=f"{self.n_betas}, as the body file has them",
            )
        rot_BJ33 = _rotation_matrices(pose)
        n_batch = len(rot_BJ33)
        betas_BK = betas_BK.expand(n_batch, -1)
        shaped_BV3 = self.v_template_V3 + torch.einsum("bk,vck->bvc", betas_BK, self.shapedirs_V3K)
        rest_BJ3 = torch.einsum("bvc,jv->bjc", shaped_BV3, self.J_regressor_JV)
        if self._posedirs_P3V is not None:
            identity = torch.eye(3, dtype=rot_BJ33.dtype, device=rot_BJ33.device)
            feature_BP = (rot_BJ33[:, 1:] - identity).flatten(1)
            shaped_BV3 = shaped_BV3 + (feature_BP @ self._posedirs_P3V).view_as(shaped_BV3)
        joints_BJ3, world_BJ33, shift_BJ3 = pose_skeleton(rot_BJ33, rest_BJ3)
        moves_BJ34 = torch.cat([world_BJ33, shift_BJ3[..., None]], -1)
        vertices_BV3 = self._skin(shaped_BV3, moves_BJ34)
        return Body(
            vertices_BV3_mm=vertices_BV3 * MM_PER_M,
            joints24_B243_mm=joints_BJ3 * MM_PER_M,
            joints18_B183_mm=self.regress_joints18(vertices_BV3) * MM_PER_M,
        )

    def _skin(self, shaped_BV3: Tensor, moves_BJ34: Tensor) -> Tensor:
        """Apply linear blend skinning, row by row of the blended transforms.

        Blending (B, 12, J) × (J, V) keeps vertices innermost, so that a few long multiply-adds
        follow instead of V small matrix products.
        """
        rows_B12J = moves_BJ34.flatten(2).transpose(1, 2)
        blend_B34V = (rows_B12J @ self.weights_VJ.T).view(-1, 3, 4, self.n_vertices)
        shaped_B3V = shaped_BV3.transpose(1, 2)
        posed_B3V = blend_B34V[:, :, 3]
        for axis in range(3):
            posed_B3V = torch.addcmul(posed_B3V, blend_B34V[:, :, axis], shaped_B3V[:, None, axis])
        return posed_B3V.transpose(1, 2)

    def regress_joints18(self, vertices_BV3: Tensor) -> Tensor:
        """Regress the project's 18 joints (B, 18, 3) from posed vertices."""
        return torch.matmul(self.joint_regressor_NV, vertices_BV3)


def _rotation_matrices(pose: Tensor) -> Tensor:
    if pose.shape[1:] == (N_SMPL_JOINTS, 3, 3):
        return pose
    if pose.shape[1:] not in ((3 * N_SMPL_JOINTS,), (N_SMPL_JOINTS, 3)):
        raise ValueError(
            f"pose has shape {tuple(pose.shape)}; expected (B, 72), (B, 24, 3) or (B, 24, 3, 3)"
        )
    return rotation_matrices(pose.reshape(-1, N_SMPL_JOINTS, 3))


def _regressor_18(arrays: Arrays, *, where: str) -> Float32:
    if "joint_regressor_18" in arrays:
        return np.asarray(arrays["joint_regressor_18"], dtype=np.float32)
    n_vertices = len(arrays["v_template"])
    if n_vertices != _SMPL_N_VERTICES:
        raise AssetError(
            "the body has no joint_regressor_18 and is not SMPL's own mesh",
            where=where,
            expected=f"an array joint_regressor_18 of shape (18, {n_vertices})",
            remedy="add the array; its rows are weights that sum to 1, one a joint of JOINTS",
        )
    own_JV = np.asarray(arrays["J_regressor"], dtype=np.float32)
    regressor_NV = np.zeros((N_JOINTS, n_vertices), dtype=np.float32)
    for joint, name in _SMPL_TWIN.items():
        regressor_NV[joint] = own_JV[SMPL_JOINTS.index(name)]
    regressor_NV[Joint.NOSE, _SMPL_NOSE] = 1.0
    regressor_NV[Joint.HEAD_TOP, _SMPL_HEAD_TOP] = 1.0
    hips, shoulders = [Joint.LEFT_HIP, Joint.RIGHT_HIP], [Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]
    regressor_NV[Joint.PELVIS] = regressor_NV[hips].mean(axis=0)
    regressor_NV[Joint.THORAX] = regressor_NV[shoulders].mean(axis=0)
    total_N1 = regressor_NV.sum(axis=1, keepdims=True)
    return np.asarray(regressor_NV / total_N1, dtype=np.float32)
