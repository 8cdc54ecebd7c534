"""Fast figures on validation samples during training; the benchmark decides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import roma
import torch
from torch import Tensor

from hemlets.core.arrays import Floating
from hemlets.core.skeleton import N_JOINTS, Joint
from hemlets.data.table import Annotations
from hemlets.data.transforms import Crop
from hemlets.models import DecodedVolume, HemletsPosh, PoseNetwork, ShapeNetwork, ShapeOutput
from hemlets.models.codecs import VolumeSpec, crop_views, into_view
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.codecs.decode import lengths_at_depth, metric_joints, undistorted_px
from hemlets.models.crops import joints_in_images
from hemlets.training.row_crops import row_crops
from hemlets.training.shape_samples import ShapeSamples, has_body_and_joints

NOISE_M: Final = 0.05
"""Standard deviation of the noise of a joint coordinate, metres, in :func:`validate_shape`."""


def validate(
    network: PoseNetwork | HemletsPosh,
    annotations: Annotations,
    shards: Path,
    *,
    precision: torch.dtype,
    device: torch.device,
    batch_size: int = 32,
    shrink: int = 1,
) -> dict[str, float]:
    """Compute errors on annotated 3D samples with ground-truth boxes.

    Returns:
        ``bone_length_mm``: mean summed part length of predicted skeletons at their true distance.
        ``mpjpe_mm``: 18 joints, pelvis-aligned; root depth from the predicted part lengths of the
        other half of the samples. ``joints_px`` of the crop; ``depth_mm`` relative to the pelvis.
        Of the whole model also ``theta_deg`` (mean geodesic over 24 rotations) and ``betas``.
        Figures without an annotated sample are left out.
    """
    pose = network.pose if isinstance(network, HemletsPosh) else network
    volume = pose.config.volume
    a = annotations
    errors: dict[str, list[Floating]] = {}
    image_px, depth_mm = np.zeros((len(a), N_JOINTS, 2)), np.zeros((len(a), N_JOINTS))
    was_training = network.training
    network.eval()
    batches = row_crops(
        a, shards, crop_px=volume.crop_px, device=device, shrink=shrink, batch_size=batch_size
    )
    for part, crops, image_B3HW in batches:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, precision, enabled=precision != torch.float32),
        ):
            decoded, body = _run(network, image_B3HW)
        found = joints_in_images(decoded.voxel_BJ3, volume, crops)
        image_px[part], depth_mm[part] = found.image_px_BJ2, found.depth_mm_BJ
        true_px = zip(crops, a.joints2d_px[part], strict=True)
        target_px = np.stack([crop.to_crop(joints) for crop, joints in true_px])
        pixel_error = np.linalg.norm(found.crop_px_BJ2 - target_px, axis=-1)
        batch_errors = {"joints_px": pixel_error[a.valid2d[part]]}
        if body is not None:
            batch_errors |= _body_errors(body, a, part, crops)
        for name, values in batch_errors.items():
            errors.setdefault(name, []).append(values)
    network.train(was_training)
    joined = {name: np.concatenate([v.ravel() for v in values]) for name, values in errors.items()}
    joined |= _metric_errors(image_px, depth_mm, a)
    return {name: float(values.mean()) for name, values in joined.items() if values.size}


def _run(
    network: PoseNetwork | HemletsPosh, image_B3HW: Tensor
) -> tuple[DecodedVolume, ShapeOutput | None]:
    if isinstance(network, HemletsPosh):
        output = network(image_B3HW)
        return output.decoded, output.shape
    return network.decode(network(image_B3HW)), None


def _body_errors(
    body: ShapeOutput, a: Annotations, part: slice, crops: Sequence[Crop]
) -> dict[str, Floating]:
    """Compute angles of rotations and differences of β where they are known."""
    known = a.smpl_valid[part]
    centres = np.array([crop.centre_px for crop in crops])
    truth = into_view(
        roma.rotvec_to_rotmat(torch.from_numpy(a.theta[part].copy())),
        crop_views(centres, a.camera[part], a.camera_valid[part]),
    )
    angle = roma.rotmat_geodesic_distance(body.rotation_BR33.cpu(), truth)
    difference = np.abs(body.betas_BS.cpu().numpy() - a.betas[part])
    return {"theta_deg": np.rad2deg(angle.numpy())[known], "betas": difference[known]}


def _metric_errors(
    image_px_BJ2: Floating, depth_mm_BJ: Floating, a: Annotations
) -> dict[str, Floating]:
    """Compute errors in millimetres and predicted part lengths of all samples."""
    truth3d = a.joints3d_mm - a.joints3d_mm[:, [Joint.PELVIS]]
    valid = a.valid3d & a.valid3d[:, [Joint.PELVIS]]
    relative = depth_mm_BJ - depth_mm_BJ[:, [Joint.PELVIS]]
    errors: dict[str, Floating] = {"depth_mm": np.abs(relative - truth3d[..., 2])[valid]}
    whole = valid.all(1) & a.camera_valid
    if whole.any():
        lens = a.column("distortion")[whole]
        straight_px = undistorted_px(image_px_BJ2[whole], a.camera[whole], lens)
        args = straight_px, depth_mm_BJ[whole], a.camera[whole]
        lengths = lengths_at_depth(*args, a.joints3d_mm[whole, Joint.PELVIS, 2])
        errors["bone_length_mm"] = lengths.sum(-1)
        if len(lengths) > 1:
            errors["mpjpe_mm"] = _held_out_errors(*args, lengths, truth3d[whole])
    return errors


def _held_out_errors(
    image_px_BJ2: Floating,
    depth_mm_BJ: Floating,
    camera_B4: Floating,
    lengths_BK: Floating,
    true_BJ3: Floating,
) -> Floating:
    """Compute joint errors (B, 18); each half of the samples is calibrated on the other half.

    A sample's own true distance must not decide where its skeleton is placed.
    """
    errors = np.zeros(true_BJ3.shape[:2])
    odd = np.arange(len(true_BJ3)) % 2 == 1
    for scored in (odd, ~odd):
        bones = BoneLengths.measured(lengths_BK[~scored])
        joints, _ = metric_joints(
            image_px_BJ2[scored], depth_mm_BJ[scored], camera_B4[scored], bones
        )
        errors[scored] = np.linalg.norm(joints - true_BJ3[scored], axis=-1)
    return errors


def validate_shape(
    network: ShapeNetwork, annotations: Annotations, volume: VolumeSpec, *, device: torch.device
) -> dict[str, float]:
    """Evaluate the shape network on annotated joints without images.

    Returns:
        ``theta_deg`` (mean geodesic over 24 rotations) and ``betas`` from exact joints, and
        ``theta_deg_noisy`` with noise of 50 mm; nothing without a row with body and all joints.
    """
    if not has_body_and_joints(annotations).any():
        return {}
    samples = ShapeSamples(annotations, volume, seed=0, augmentation=None)
    batch = samples.batch(np.arange(len(samples)), 0).to(device)
    noise = torch.randn(batch.joints_BJ3_m.shape, generator=torch.Generator().manual_seed(0))
    noisy = batch.joints_BJ3_m + NOISE_M * noise.to(device)
    features = torch.zeros(len(samples), network.feature_channels, device=device)
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        exact = network(batch.joints_BJ3_m, features)
        rough = network(noisy - noisy[:, [Joint.PELVIS]], features)
    network.train(was_training)

    def degrees(found: ShapeOutput) -> float:
        angle = roma.rotmat_geodesic_distance(found.rotation_BR33, batch.rotation_BR33)
        return float(torch.rad2deg(angle).mean())

    return {
        "theta_deg": degrees(exact),
        "theta_deg_noisy": degrees(rough),
        "betas": float((exact.betas_BS - batch.betas_BS).abs().mean()),
    }
