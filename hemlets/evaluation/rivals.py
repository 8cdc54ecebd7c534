"""What other pose networks say about the same crops of people in photographs.

MediaPipe runs in an environment of its own, which ``infra/rivals.sh`` makes. MoveNet Thunder's 2D
keypoints are those of the bundled encoder.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np

from hemlets.core.arrays import Floating
from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import N_JOINTS, Joint
from hemlets.data.readers.maps2d import COCO
from hemlets.data.table import decode_image
from hemlets.data.transforms import Crop, square_crop
from hemlets.evaluation.photos import PhotoAnswers, PhotoPerson

MediaPipeSize = Literal["full", "heavy"]

_SIDE_PX: Final = 512
"""Side of the crops that are handed over."""

_BLAZE: Final = {
    Joint.LEFT_SHOULDER: 11, Joint.RIGHT_SHOULDER: 12, Joint.LEFT_ELBOW: 13,
    Joint.RIGHT_ELBOW: 14, Joint.LEFT_WRIST: 15, Joint.RIGHT_WRIST: 16, Joint.LEFT_HIP: 23,
    Joint.RIGHT_HIP: 24, Joint.LEFT_KNEE: 25, Joint.RIGHT_KNEE: 26, Joint.LEFT_ANKLE: 27,
    Joint.RIGHT_ANKLE: 28,
}  # fmt: skip
"""Landmarks of BlazePose."""


def mediapipe_answers(
    python: Path, size: MediaPipeSize, people: Sequence[PhotoPerson]
) -> PhotoAnswers:
    """Run MediaPipe Pose with its own detector on each person's crop.

    Args:
        python: The interpreter of an environment with MediaPipe, see ``infra/rivals.sh``.
        size: Of the network.
        people: With their boxes.

    Raises:
        ConfigError: The environment can't run it.
    """
    worker = Path(__file__).with_name("mediapipe_worker.py")
    crops = [square_crop(person.box_xyxy, _SIDE_PX) for person in people]
    with tempfile.TemporaryDirectory(prefix="hemlets-rivals-") as scratch:
        folder = Path(scratch)
        names = [f"{number}.png" for number in range(len(people))]
        for name, person, crop in zip(names, people, crops, strict=True):
            cv2.imwrite(str(folder / name), cv2.cvtColor(_cut(person, crop), cv2.COLOR_RGB2BGR))
        (folder / "crops.json").write_text(json.dumps(names), encoding="utf-8")
        try:
            subprocess.run(
                [python, worker, folder, size], check=True, capture_output=True, text=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise ConfigError(
                f"MediaPipe can't run: {said[-1] if said else 'no message'}",
                where=f"--mediapipe {python}",
                expected="the Python of an environment with MediaPipe and its heavy model",
                remedy="make it with infra/rivals.sh",
            ) from error
        answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return _read(f"mediapipe {answer['version']} {size}", answer["people"], crops)


def _read(name: str, answers: Sequence[dict[str, Any]], crops: Sequence[Crop]) -> PhotoAnswers:
    flat, deep, sure = [], [], []
    for found, crop in zip(answers, crops, strict=True):
        image, world, seen = _nothing()
        if found["image"] is not None:
            landmarks, metres = np.array(found["image"]), np.array(found["world"])
            joints, sources = list(_BLAZE), list(_BLAZE.values())
            image[joints] = crop.to_image(landmarks[sources, :2] * crop.size_px)
            seen[joints] = landmarks[sources, 2]
            world[joints] = 1e3 * metres[sources]
        flat.append(image)
        deep.append(world)
        sure.append(seen)
    wall, busy = np.median([found["took_ms"] for found in answers], axis=0)
    return PhotoAnswers(
        name=name, joints2d_px=flat, joints3d_mm=deep, confidence=sure,
        wall_ms=float(wall), busy_ms=float(busy),
    )  # fmt: skip


def thunder_answers(people: Sequence[PhotoPerson]) -> PhotoAnswers:
    """MoveNet Thunder's own 2D keypoints on the crops that hemlets sees."""
    import torch

    from hemlets.models.backbones import MoveNetThunder
    from hemlets.models.backbones.pretrained import backbone_file, load_backbone
    from hemlets.models.crops import network_input

    network = MoveNetThunder().eval()
    load_backbone(network, backbone_file("bundled", "movenet_thunder"))
    flat, deep, sure, took = [], [], [], []
    for person in people:
        crop = square_crop(person.box_xyxy, 256)
        image_HW3 = decode_image(person.image.read_bytes(), where=str(person.image))
        begun, busy = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            pixels = network_input([image_HW3], [crop], torch.device("cpu"))
            keypoints_K3 = network.features(pixels).keypoints_BK3[0].double().numpy()
        took.append((1e3 * (time.perf_counter() - begun), 1e3 * (time.process_time() - busy)))
        image, world, seen = _nothing()
        for source, joint in enumerate(COCO.targets):
            if joint is not None:
                image[joint] = crop.to_image(keypoints_K3[source, :2] * crop.size_px)
                seen[joint] = keypoints_K3[source, 2]
        flat.append(image)
        deep.append(world)
        sure.append(seen)
    wall, busy_ms = np.median(took, axis=0)
    return PhotoAnswers(
        name="movenet thunder", joints2d_px=flat, joints3d_mm=deep, confidence=sure,
        wall_ms=float(wall), busy_ms=float(busy_ms),
    )  # fmt: skip


def _nothing() -> tuple[Floating, Floating, Floating]:
    return (
        np.full((N_JOINTS, 2), np.nan),
        np.full((N_JOINTS, 3), np.nan),
        np.full(N_JOINTS, np.nan),
    )


def _cut(person: PhotoPerson, crop: Crop) -> Any:
    return crop.extract(decode_image(person.image.read_bytes(), where=str(person.image)))
