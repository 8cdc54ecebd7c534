"""Quick figures on validation samples while a stage trains. The benchmark is the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import roma
import torch

from hemlets.annotations import Annotations, ShardReader, decode_image
from hemlets.codecs import soft_argmax
from hemlets.inference.decode import length_at_depth, metric_joints
from hemlets.inference.predictor import normalise
from hemlets.models import HemletsPosh, PoseNetwork
from hemlets.models.posh import nominal_metres
from hemlets.skeleton import N_JOINTS, Joint
from hemlets.training.objectives import shrunk
from hemlets.transforms import square_crop

__all__ = ["validate"]


def validate(
    network: PoseNetwork | HemletsPosh,
    annotations: Annotations,
    shards: Path,
    *,
    precision: torch.dtype,
    device: torch.device,
    batch_size: int = 64,
    shrink: int = 1,
) -> dict[str, float]:
    """Errors on annotated 3D samples with ground-truth boxes.

    Returns:
        ``bone_length_mm``, the mean summed bone length of the predicted skeletons at their true
        distance; ``mpjpe_mm`` (18 joints, pelvis-aligned, root depth from that length),
        ``joints_px`` (of the crop), ``depth_mm`` (relative to the pelvis) and, of the whole
        model, ``theta_deg`` (mean geodesic over 24 rotations) and ``betas``. A figure without
        any annotated sample is left out.
    """
    posh = network if isinstance(network, HemletsPosh) else None
    pose = network.pose if isinstance(network, HemletsPosh) else network
    volume = pose.config.volume
    reader = ShardReader(shards)
    a = annotations
    crops = [square_crop(box, volume.crop_px) for box in a.box_xyxy]
    errors: dict[str, list[npt.NDArray[np.floating]]] = {}
    image_px, depth_mm = np.zeros((len(a), N_JOINTS, 2)), np.zeros((len(a), N_JOINTS))
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
        image_px[part] = np.stack([crops[i].to_image(points[i - start]) for i in rows])
        depth_mm[part] = depth.numpy()
        target_px = np.stack([crops[i].to_crop(a.joints2d_px[i]) for i in rows])
        pixel_error = np.linalg.norm(points - target_px, axis=-1)
        errors.setdefault("joints_px", []).append(pixel_error[a.valid2d[part]])
    network.train(was_training)
    truth3d = a.joints3d_mm - a.joints3d_mm[:, [Joint.PELVIS]]
    valid = a.valid3d & a.valid3d[:, [Joint.PELVIS]]
    relative = depth_mm - depth_mm[:, [Joint.PELVIS]]
    errors["depth_mm"] = [np.abs(relative - truth3d[..., 2])[valid]]
    whole = valid.all(1) & a.camera_valid
    if whole.any():
        args = image_px[whole], depth_mm[whole], a.camera[whole]
        lengths = length_at_depth(*args, a.joints3d_mm[whole, Joint.PELVIS, 2])
        errors["bone_length_mm"] = [lengths]
        joints, _ = metric_joints(*args, float(lengths.mean()))
        errors["mpjpe_mm"] = [np.linalg.norm(joints - truth3d[whole], axis=-1)]
    joined = {k: np.concatenate([v.reshape(-1) for v in values]) for k, values in errors.items()}
    return {name: float(values.mean()) for name, values in joined.items() if values.size}
