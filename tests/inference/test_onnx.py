"""A model as an ONNX file predicts what the model predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hemlets.core.errors import CheckpointError
from hemlets.inference import Camera, PredictionRequest
from hemlets.inference.predictor import Predictor
from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.model_folder import InferenceConfig, save_model

pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install 'hemlets[onnx]'"
)
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'hemlets[onnx]'")


PLAIN: dict[str, object] = {"crop_px": 64}
# On noise it is unsure of everybody, so that second looks are taken.
REFINED: dict[str, object] = {
    "backbone": "movenet_thunder", "crop_px": 128, "keypoints": True, "quarter_level": True,
    "refinement_layers": 2, "refinement_context": True,
}  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[(PLAIN, False), (PLAIN, True), (REFINED, True)],
    ids=["plain", "flip test", "refinement, second looks"],
)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A model folder and the ONNX file of it."""
    from hemlets.inference.onnx import export_onnx

    torch.manual_seed(0)
    changes, flip_test = request.param
    pose = PoseNetworkConfig.from_mapping(
        {"volume_cells": 16, "branch_channels": 16, "fusion_channels": 16, **changes}
    )
    shape = ShapeNetworkConfig(hidden=32, blocks=1)
    model = HemletsPosh(pose, shape)
    nn.init.normal_(model.pose.volume_head.weight, std=0.1)
    if model.pose.refinement is not None:
        nn.init.normal_(model.pose.refinement.correction.weight, std=0.1)
    place = tmp_path_factory.mktemp("onnx")
    save_model(
        place / "model",
        model.state_dict(),
        pose=pose,
        shape=shape,
        bones=BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14),
        inference=InferenceConfig(flip_test=flip_test, second_look=True, follow_joints=True),
        training={},
    )
    export_onnx(place / "model", place / "model.onnx")
    return [place / "model", place / "model.onnx"]


def test_it_is_equal_within_a_tenth_of_a_millimetre_for_any_batch(files: list[Path]) -> None:
    from hemlets.inference.onnx import OnnxPredictor

    folder, file = files
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    camera = Camera(fx=200, fy=210, cx=80, cy=60)
    requests = [
        PredictionRequest(image_HW3=image, box_xyxy=(x, 5.0, x + 70, 110.0), camera=camera)
        for x in (0.0, 30.0, 70.0)
    ]
    torch_one, onnx_one = Predictor.load(folder), OnnxPredictor(file, threads=1)
    assert onnx_one.version == torch_one.version
    for batch in (1, 3):
        expected = torch_one.predict(requests, batch_size=batch)
        for one, other in zip(onnx_one.predict(requests, batch_size=batch), expected, strict=True):
            np.testing.assert_allclose(one.joints3d_mm, other.joints3d_mm, atol=0.1, rtol=0)
            np.testing.assert_allclose(one.joints2d_px, other.joints2d_px, atol=0.01)
            np.testing.assert_allclose(one.root_mm, other.root_mm, rtol=1e-4)
            np.testing.assert_allclose(one.theta, other.theta, atol=1e-3)
            np.testing.assert_allclose(one.betas, other.betas, atol=1e-4)
            np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    from hemlets.inference.onnx import OnnxPredictor

    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.onnx"):
        OnnxPredictor(path)


def test_a_file_with_other_outputs_is_refused(files: list[Path], tmp_path: Path) -> None:
    import onnx

    from hemlets.inference.onnx import OnnxPredictor

    proto = onnx.load(files[1])
    del proto.graph.output[-1]
    onnx.save(proto, tmp_path / "older.onnx")
    with pytest.raises(CheckpointError, match="another version") as caught:
        OnnxPredictor(tmp_path / "older.onnx")
    assert caught.value.where == str(tmp_path / "older.onnx")
