from pathlib import Path

import numpy as np
import pytest

from hemlets.body import BodyModel
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, RenderedPerson, render_person
from hemlets.data.table import encode_jpeg
from hemlets.models.codecs.bones import BoneLengths

BONES = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace and current folder of the test's own."""
    home = tmp_path / "workspace"
    monkeypatch.setenv("HEMLETS_HOME", str(home))
    monkeypatch.delenv("HEMLETS_DEBUG", raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return home


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real but untrained model of the smallest size."""
    import torch

    from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
    from hemlets.models.model_folder import save_model

    torch.manual_seed(0)
    pose = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=16)
    shape = ShapeNetworkConfig(hidden=32, blocks=0)
    model = HemletsPosh(pose, shape)
    with torch.no_grad():
        model.pose.volume_head.weight.mul_(100)
    folder = tmp_path_factory.mktemp("model") / "whole"
    save_model(
        folder,
        {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()},
        pose=pose,
        shape=shape,
        bones=BONES,
        training={"note": "test"},
    )
    return folder


@pytest.fixture(scope="session")
def person() -> RenderedPerson:
    config = OpenDataConfig(image_px=160, occluder_probability=0.0)
    return render_person(config, MotionLibrary.bundled(), BodyModel.load(), "test", 0)


@pytest.fixture
def photo(person: RenderedPerson, tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(person.jpeg)
    return path


@pytest.fixture
def another(tmp_path: Path) -> Path:
    path = tmp_path / "another.jpg"
    path.write_bytes(encode_jpeg(np.full((90, 120, 3), 90, np.uint8)))
    return path


@pytest.fixture
def two_people(tmp_path: Path) -> Path:
    """A photo in which the detector finds two people, the larger one on the left."""
    golden = Path(__file__).parents[1] / "models" / "golden" / "two_people.png"
    path = tmp_path / "two_people.png"
    path.write_bytes(golden.read_bytes())
    return path
