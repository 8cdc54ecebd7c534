"""Quick figures on validation samples while a stage trains. The benchmark is the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import roma
import torch

from hemlets.annotations import Annotations, ShardReader, decode_image
from hemlets.codecs import soft_argmax
from hemlets.inference.decode import metric_joints
from hemlets.inference.predictor import normalise
from hemlets.models import HemletsPosh, PoseNetwork
from hemlets.models.posh import nominal_metres
from hemlets.skeleton import Joint
from hemlets.training.objectives import shrunk
from hemlets.transforms import square_crop

__all__ = ["validate"]


def validate(
    network: PoseNetwork | HemletsPosh,
    annotations: Annotations,
    shards: Path,
    *,
    bone_length_mm: float,
    precision: torch.dtype,
    device: torch.device,
    batch_size: int = 64,
    shrink: int = 1,
) -> dict[str, float]:
    """Errors on annotated 3D samples with ground-truth boxes.

    Returns:
        ``mpjpe_mm`` (18 joints, pelvis-aligned, root depth from bone lengths), ``joints_px``
        (of the crop), ``depth_mm`` (relative to the pelvis) and, of the whole model,
        ``theta_deg`` (mean geodesic over 24 rotations) and ``betas``. A figure without any
        annotated sample is left out.
    """
    posh = network if isinstance(network, HemletsPosh) else None
    pose = network.pose if isinstance(network, HemletsPosh) else network
    volume = pose.config.volume
    reader = ShardReader(shards)
    a = annotations
    crops = [square_crop(box, volume.crop_px) for box in a.box_xyxy]
    errors: dict[str, list[npt.NDArray[np.floating]]] = {}
    was_training = network.training
    network.eval()
    for start in range(0, len(a), batch_size):
        rows = range(start, min(start + batch_size, len(a)))
        pixels = np.stack(
            [
                crops[i].extract(
                    decode_image(
                        reader.jpeg(a.shard[i], int(a.shard_row[i]), a.sample_id[i]),
                        where=a.sample_id[i],
                    )
                )
                for i in rows
            ]
        )
        part = slice(rows.start, rows.stop)
        with (
            torch.inference_mode(),
            torch.autocast(device.type, precision, enabled=precision != torch.float32),
        ):
            output = pose(shrunk(normalise(torch.from_numpy(pixels).to(device)), shrink))
            with torch.autocast(device.type, enabled=False):
                voxel = soft_argmax(output.volume_BJDHW, volume.cells)
                if posh is not None:
                    body = posh.shape(nominal_metres(voxel, volume), output.feature_BC)
                    truth = roma.rotvec_to_rotmat(torch.from_numpy(a.theta[part].copy()))
                    angle = roma.rotmat_geodesic_distance(body.rotation_BR33.cpu(), truth)
                    known = a.smpl_valid[part]
                    errors.setdefault("theta_deg", []).append(np.rad2deg(angle.numpy())[known])
                    difference = np.abs(body.betas_BS.cpu().numpy() - a.betas[part])
                    errors.setdefault("betas", []).append(difference[known])
        crop_px, depth = volume.from_voxels(voxel.double().cpu())
        points = crop_px.numpy()
        image_px = np.stack([crops[i].to_image(points[i - start]) for i in rows])
        camera = np.where(a.camera_valid[part][:, None], a.camera[part], 1.0)
        joints, _ = metric_joints(image_px, depth.numpy(), camera, bone_length_mm)
        truth3d = a.joints3d_mm[part] - a.joints3d_mm[part][:, [Joint.PELVIS]]
        valid = a.valid3d[part] & a.valid3d[part][:, [Joint.PELVIS]]
        metric = valid & a.camera_valid[part][:, None]
        error = np.linalg.norm(joints - truth3d, axis=-1)
        target_px = np.stack([crops[i].to_crop(a.joints2d_px[i]) for i in rows])
        relative = depth.numpy() - depth.numpy()[:, [Joint.PELVIS]]
        errors.setdefault("mpjpe_mm", []).append(error[metric])
        errors.setdefault("depth_mm", []).append(np.abs(relative - truth3d[..., 2])[valid])
        pixel_error = np.linalg.norm(points - target_px, axis=-1)
        errors.setdefault("joints_px", []).append(pixel_error[a.valid2d[part]])
    network.train(was_training)
    joined = {k: np.concatenate([v.reshape(-1) for v in values]) for k, values in errors.items()}
    return {name: float(values.mean()) for name, values in joined.items() if values.size}
