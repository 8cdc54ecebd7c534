"""Synthetic samples and predictions in the real datasets' layouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hemlets.body import BodyModel
from hemlets.core.skeleton import N_JOINTS, N_PARTS, Joint
from hemlets.data.table import Annotations
from hemlets.evaluation import (
    Predictions,
    PredictionsInfo,
    SampleScores,
    Summary,
    Truth,
    load_protocol,
    score,
    split_protocol,
    summarise,
)

H36M_ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "TakingPhoto", "Posing",
    "Purchases", "Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking",
    "WalkTogether",
)  # fmt: skip

POSE_MM = np.zeros((N_JOINTS, 3))
for _joint, _place in {
    Joint.RIGHT_HIP: (-130, 0, 0), Joint.RIGHT_KNEE: (-130, 440, 0),
    Joint.RIGHT_ANKLE: (-130, 890, 0), Joint.LEFT_HIP: (130, 0, 0), Joint.LEFT_KNEE: (130, 440, 0),
    Joint.LEFT_ANKLE: (130, 890, 0), Joint.SPINE: (0, -230, 0), Joint.NECK: (0, -500, 0),
    Joint.NOSE: (0, -600, -100), Joint.HEAD_TOP: (0, -700, 0), Joint.LEFT_SHOULDER: (150, -480, 0),
    Joint.LEFT_ELBOW: (150, -200, 0), Joint.LEFT_WRIST: (150, -200, -250),
    Joint.RIGHT_SHOULDER: (-150, -480, 0), Joint.RIGHT_ELBOW: (-150, -200, 0),
    Joint.RIGHT_WRIST: (-150, 50, 0), Joint.THORAX: (0, -480, 0),
}.items():  # fmt: skip
    POSE_MM[_joint] = _place


def annotations_of(
    source: str,
    groups: Sequence[tuple[str, str]],
    *,
    each: int = 4,
    step: int = 64,
    split: str = "test",
    seed: int = 0,
    lacking: Sequence[Joint] = (),
) -> Annotations:
    """``each`` frames of every (subject, action), a person standing about in front of a camera.

    ``lacking`` are joints that the dataset doesn't annotate.
    """
    rng = np.random.default_rng(seed)
    subject = [s for s, _ in groups for _ in range(each)]
    action = [a for _, a in groups for _ in range(each)]
    count = len(subject)
    known = ~np.isin(np.arange(N_JOINTS), lacking)
    joints = POSE_MM + rng.normal(0, 30, (count, N_JOINTS, 3)) + [0, 0, 4000]
    pixels = joints[..., :2] / joints[..., 2:] * 1000 + 500
    return Annotations.from_columns(
        {
            "sample_id": [
                f"{s}/{a}/{i:05d}" for i, (s, a) in enumerate(zip(subject, action, strict=True))
            ],
            "source": [source] * count,
            "split": [split] * count,
            "subject": subject,
            "clip": action,
            "family": action,
            "frame": np.tile(np.arange(each) * step, len(groups)),
            "action": action,
            "camera_id": ["54138969"] * count,
            "shard": ["0"] * count,
            "shard_row": np.arange(count),
            "image_hash": [f"{split}{seed}-{i}" for i in range(count)],
            "image_width": np.full(count, 1000),
            "image_height": np.full(count, 1000),
            "box_xyxy": np.concatenate([pixels.min(1), pixels.max(1)], 1),
            "head_px": np.full(count, 50.0),
            "joints2d_px": pixels,
            "joints3d_mm": joints,
            "valid2d": np.tile(known, (count, 1)),
            "valid3d": np.tile(known, (count, 1)),
            "visible": np.ones((count, N_JOINTS), bool),
            "truncated": np.zeros((count, N_JOINTS), bool),
            "camera": np.tile([1000, 1000, 500, 500], (count, 1)),
            "camera_valid": np.ones(count, bool),
            "relations": np.zeros((count, N_PARTS), np.int8),
            "relations_valid": np.zeros((count, N_PARTS), bool),
            "theta": np.zeros((count, 24, 3)),
            "betas": np.zeros((count, 10)),
            "transl_mm": np.zeros((count, 3)),
            "smpl_valid": np.ones(count, bool),
            "transl_valid": np.zeros(count, bool),
            "mask": [b""] * count,
        }
    )


LAYOUTS = {
    "human36m-p1": ("human36m", [(s, a) for s in ("S9", "S11") for a in H36M_ACTIONS]),
    "human36m-p2": ("human36m", [("S11", a) for a in H36M_ACTIONS]),
    "human36m-pa": ("human36m", [(s, a) for s in ("S9", "S11") for a in H36M_ACTIONS]),
    "humaneva": ("humaneva", [(s, a) for s in ("S1", "S2", "S3") for a in ("Walking", "Jog")]),
    "mpi_inf_3dhp": (
        "mpi_inf_3dhp",
        [(f"TS{i}", a) for i, a in enumerate(("Stand/Walk", "Exercise", "Sit On Chair",
                                              "Crouch/Reach", "On the Floor", "Sports"), 1)],
    ),
    "threedpw": ("threedpw", [("courtyard_0", ""), ("courtyard_1", "")]),
    "surreal": ("surreal", [("01_01", ""), ("01_02", "")]),
    "up3d": ("up3d", [("", "")]),
    "open": ("open-rendered", [("a", "x"), ("b", "y")]),
    "lsp-pck": ("lsp", [("", "")]),
    "lspet-pck": ("lspet", [("", "")]),
    "mpii-pckh": ("mpii", [("", "walking")]),
}  # fmt: skip
"""Source and (subject, action) pairs by protocol, as the readers spell them."""

_LACKING = {
    "humaneva": (Joint.SPINE, Joint.NECK, Joint.NOSE, Joint.HEAD_TOP),
    "threedpw": (Joint.NOSE, Joint.HEAD_TOP),
    "surreal": (Joint.NOSE, Joint.HEAD_TOP),
}


def layout_of(protocol: str, **more) -> Annotations:
    """Samples of a protocol as its dataset has them."""
    source, groups = LAYOUTS[protocol]
    more.setdefault("split", load_protocol(protocol).split)
    return annotations_of(source, groups, lacking=_LACKING.get(source, ()), **more)


def human36m(*subjects: str, actions: Sequence[str] = H36M_ACTIONS, **more) -> Annotations:
    return annotations_of("human36m", [(s, a) for s in subjects for a in actions], **more)


INFO = PredictionsInfo(
    model_version="model-1",
    data_version="data-1",
    split="test",
    precision="float32",
    depth_source="bone-length-prior",
    box_source="ground-truth",
    flip_test=True,
    code_version="abc1234",
)


def predictions_of(
    annotations: Annotations,
    *,
    noise_mm: float = 20.0,
    seed: int = 1,
    info: PredictionsInfo = INFO,
) -> Predictions:
    """The truth, moved to the pelvis, with noise on every joint but the pelvis.

    They are of the split of the first sample, whatever ``info`` says.
    """
    split = str(annotations.column("split")[0])
    info = PredictionsInfo.model_validate(info.model_dump() | {"split": split})
    rng = np.random.default_rng(seed)
    true, count = annotations.joints3d_mm, len(annotations)
    noise = rng.normal(0, 1, true.shape) * noise_mm
    noise[:, Joint.PELVIS] = 0
    return Predictions(
        info=info,
        sample_id=annotations.sample_id,
        joints3d_mm=(true - true[:, [Joint.PELVIS]] + noise).astype(np.float32),
        root_mm=true[:, Joint.PELVIS],
        joints2d_px=(annotations.joints2d_px + 0.1 * noise[..., :2]).astype(np.float32),
        confidence=np.full((count, N_JOINTS), 0.9, np.float32),
        theta=annotations.theta,
        betas=annotations.betas,
        box_xyxy=annotations.box_xyxy,
        flags=((),) * count,
    )


def with_info(predictions: Predictions, **values) -> Predictions:
    info = PredictionsInfo.model_validate(predictions.info.model_dump() | values)
    return replace(predictions, info=info)


def written(folder: Path, annotations: Annotations, predictions: Predictions) -> tuple[Path, Path]:
    """Both as files: predictions and annotations."""
    files = folder / "predictions.parquet", folder / "annotations.parquet"
    predictions.write(files[0])
    annotations.write(files[1])
    return files


def scored(
    predictions: Predictions, annotations: Annotations, *, body: BodyModel | None = None
) -> SampleScores:
    """Scores of a whole split, as a retraining has them."""
    protocol = split_protocol(predictions.info.split)
    return score(predictions, Truth.of(annotations, protocol), protocol, body=body)


def summarised(
    predictions: Predictions, annotations: Annotations, *, body: BodyModel | None = None
) -> Summary:
    return summarise(scored(predictions, annotations, body=body), resamples=100)
