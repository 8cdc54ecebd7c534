from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hemlets.body import BodyModel
from hemlets.core.skeleton import N_JOINTS, Joint, depth_relations
from hemlets.data.table import Annotations
from hemlets.evaluation import Predictions, PredictionsInfo
from hemlets.inference.types import BodyEstimate, Camera

MakeAnnotations = Callable[..., Annotations]
MakePredictions = Callable[..., Predictions]

FOCAL, SIZE = 300.0, 256


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return BodyModel.load(resolution="lite")


@pytest.fixture(scope="session")
def make_annotations(body: BodyModel) -> MakeAnnotations:
    """Posed open bodies in front of a camera, as the renderer would annotate them."""

    def make(
        count: int = 24, *, seed: int = 0, split: str = "test", clips: int = 6, prefix: str = "t"
    ) -> Annotations:
        import torch

        rng = np.random.default_rng(seed)
        theta = rng.normal(0, 0.25, (count, 24, 3))
        facing = Rotation.from_rotvec(rng.uniform(-np.pi, np.pi, (count, 1)) * [0, 1, 0])
        theta[:, 0] = (Rotation.from_rotvec([np.pi, 0, 0]) * facing).as_rotvec()
        betas = rng.normal(0, 1, (count, 10))
        with torch.inference_mode():
            posed = body(
                torch.tensor(theta, dtype=torch.float32), torch.tensor(betas, dtype=torch.float32)
            )
        place = np.stack(
            [rng.uniform(-100, 100, count), rng.uniform(-100, 100, count),
             rng.uniform(2800, 3600, count)], 1,
        )  # fmt: skip
        joints = posed.joints18_B183_mm.numpy().astype(np.float64)
        shift = place - joints[:, Joint.PELVIS]
        joints = joints + shift[:, None]
        pixels = joints[..., :2] / joints[..., 2:] * FOCAL + SIZE / 2
        inside = ((pixels >= 0) & (pixels <= SIZE)).all(-1)
        box = np.concatenate([pixels.min(1) - 8, pixels.max(1) + 8], 1).clip(0, SIZE)
        relations, known = depth_relations(joints)
        clip = np.array([f"{prefix}clip{i % clips}" for i in range(count)], object)
        return Annotations.from_columns(
            {
                "sample_id": np.array([f"{prefix}{seed}-{i:05d}" for i in range(count)], object),
                "source": ["synthetic"] * count,
                "split": [split] * count,
                "subject": ["s"] * count,
                "clip": clip,
                "family": np.array(
                    [f"{prefix}family{i % clips % 3}" for i in range(count)], object
                ),
                "frame": np.arange(count),
                "shard": ["0.arrow"] * count,
                "shard_row": np.arange(count),
                "image_hash": [f"{prefix}{seed}hash{i}" for i in range(count)],
                "image_width": np.full(count, SIZE),
                "image_height": np.full(count, SIZE),
                "box_xyxy": box,
                "joints2d_px": pixels,
                "joints3d_mm": joints,
                "valid2d": np.ones((count, N_JOINTS), bool),
                "valid3d": np.ones((count, N_JOINTS), bool),
                "visible": inside,
                "truncated": ~inside,
                "camera": np.tile([FOCAL, FOCAL, SIZE / 2, SIZE / 2], (count, 1)),
                "camera_valid": np.ones(count, bool),
                "relations": relations,
                "relations_valid": known,
                "theta": theta,
                "betas": betas,
                "transl_mm": shift,
                "smpl_valid": np.ones(count, bool),
                "transl_valid": np.ones(count, bool),
                "mask": [b""] * count,
            }
        )

    return make


@pytest.fixture(scope="session")
def annotations(make_annotations: MakeAnnotations) -> Annotations:
    return make_annotations()


@pytest.fixture(scope="session")
def info() -> PredictionsInfo:
    return PredictionsInfo(
        model_version="model-1",
        data_version="data-1",
        split="test",
        precision="float32",
        depth_source="bone-length-prior",
        box_source="ground-truth",
        flip_test=False,
        code_version="abc1234",
    )


@pytest.fixture(scope="session")
def make_estimates(info: PredictionsInfo) -> Callable[..., list[BodyEstimate]]:
    """The truth plus noise, in the form in which a predictor returns it."""

    def make(annotations: Annotations, *, noise_mm: float = 0.0, seed: int = 1) -> list:
        rng = np.random.default_rng(seed)
        estimates = []
        for row in range(len(annotations)):
            joints = annotations.joints3d_mm[row]
            noise = rng.normal(0, 1, joints.shape) * noise_mm
            noise[Joint.PELVIS] = 0
            estimates.append(
                BodyEstimate(
                    joints3d_mm=(joints - joints[Joint.PELVIS] + noise).astype(np.float32),
                    root_mm=joints[Joint.PELVIS],
                    joints2d_px=annotations.joints2d_px[row],
                    confidence=np.ones(N_JOINTS, np.float32),
                    theta=annotations.theta[row],
                    betas=annotations.betas[row],
                    box_xyxy=tuple(float(v) for v in annotations.box_xyxy[row]),
                    camera=Camera(fx=FOCAL, fy=FOCAL, cx=SIZE / 2, cy=SIZE / 2),
                    model_version=info.model_version,
                )
            )
        return estimates

    return make


@pytest.fixture(scope="session")
def make_predictions(info: PredictionsInfo, make_estimates) -> MakePredictions:
    def make(annotations: Annotations, *, noise_mm: float = 0.0, seed: int = 1) -> Predictions:
        estimates = make_estimates(annotations, noise_mm=noise_mm, seed=seed)
        return Predictions.from_estimates(list(annotations.sample_id), estimates, info)

    return make


@pytest.fixture(scope="session")
def predictions(annotations: Annotations, make_predictions: MakePredictions) -> Predictions:
    return make_predictions(annotations, noise_mm=20.0)
