"""Feeding: what a step sees depends on the seed and the step alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import torch

from hemlets.body import BodyModel, mirror_theta
from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import FLIP_JOINTS, FLIP_PARTS, Joint
from hemlets.data.table import FIELDS, Annotations
from hemlets.data.transforms import Augmentation, AugmentationConfig
from hemlets.models.codecs import VolumeSpec
from hemlets.training import batches as module
from hemlets.training.batches import Batch, Loader, Samples

VOLUME = VolumeSpec(crop_px=64, cells=16)
STILL = np.ones(3, np.float32)


@dataclass
class Sized:
    count: int

    def __len__(self) -> int:
        return self.count


def _loader(count: int = 50, **changes: Any) -> Loader:
    return Loader(Sized(count), **({"batch_size": 8, "seed": 1} | changes))  # type: ignore[arg-type]


def _samples(data: Path, annotations: Annotations | None = None, **changes: Any) -> Samples:
    table = Annotations.read(data / "annotations.parquet") if annotations is None else annotations
    return Samples(table, data / "shards", VOLUME, **({"seed": 0, "augmentation": None} | changes))


def _with(data: Path, **columns: Any) -> Annotations:
    table = Annotations.read(data / "annotations.parquet")
    return Annotations.from_columns({f.name: table.column(f.name) for f in FIELDS} | columns)


def _drawn(data: Path, monkeypatch: pytest.MonkeyPatch, **draw: Any) -> Batch:
    """A batch of four under one given augmentation."""
    values: dict[str, Any] = {
        "angle_rad": 0.0,
        "scale": 1.0,
        "flip": False,
        "shift": (0.0, 0.0),
        "gain_3": STILL,
    }
    monkeypatch.setattr(module, "draw_augmentation", lambda *_: Augmentation(**(values | draw)))
    return _samples(data, augmentation=AugmentationConfig()).batch(np.arange(4), 0)


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_exactly_the_batch_of_one_process(world_size: int) -> None:
    whole = _loader()
    parts = [_loader(rank=rank, world_size=world_size) for rank in range(world_size)]
    for step in range(13):
        shared = np.concatenate([part.indices(step)[0] for part in parts])
        assert sorted(shared) == sorted(whole.indices(step)[0])
        assert len(set(shared)) == 8


def test_an_epoch_sees_no_sample_twice() -> None:
    loader = _loader()
    seen = np.concatenate([loader.indices(step)[0] for step in range(loader.steps_an_epoch)])
    assert len(set(seen)) == len(seen) == 48


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    assert np.array_equal(_loader().indices(9)[0], _loader().indices(9)[0])
    assert not np.array_equal(_loader(seed=2).indices(9)[0], _loader().indices(9)[0])
    assert not np.array_equal(_loader().indices(0)[0], _loader().indices(6)[0])
    assert [_loader().indices(step)[1] for step in (0, 5, 6, 12)] == [0, 0, 1, 2]


@pytest.mark.parametrize("changes", [{"world_size": 3}, {"batch_size": 51}])
def test_a_batch_that_does_not_fit_is_a_configuration_error(changes: Any) -> None:
    with pytest.raises(ConfigError, match=r"training\.batch_size"):
        _loader(**changes)


def test_batches_from_the_middle_equal_those_of_a_run_from_the_start(data: Path) -> None:
    loader = Loader(_samples(data, augmentation=AugmentationConfig()), batch_size=8, seed=5)
    unbroken = list(loader.batches(0, 4))
    resumed = list(loader.batches(2, 4))
    for a, b in zip(unbroken[2:], resumed, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_an_image_of_another_sample_stops_the_batch(data: Path) -> None:
    from hemlets.core.errors import DataError

    rows = np.arange(72, dtype=np.int32)[::-1].copy()
    with pytest.raises(DataError, match="holds sample figure-0071"):
        _samples(data, _with(data, shard_row=rows)).batch(np.array([0]), 0)


def test_targets_are_voxels_of_the_crop_and_depth_relative_to_the_pelvis(data: Path) -> None:
    table = Annotations.read(data / "annotations.parquet")
    batch = _samples(data).batch(np.array([3]), 0)
    left, top, right, bottom = table.box_xyxy[3]
    side = 1.2 * max(right - left, bottom - top)
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    expected = (table.joints2d_px[3] - middle) * 16 / side + 8
    np.testing.assert_allclose(batch.voxel_BJ3[0, :, :2], expected, atol=1e-4)
    depth = table.joints3d_mm[3, :, 2] - table.joints3d_mm[3, Joint.PELVIS, 2]
    np.testing.assert_allclose(batch.voxel_BJ3[0, :, 2], (depth + 1000) / 125, atol=1e-4)


def test_depth_is_unknown_where_the_pelvis_is(data: Path) -> None:
    valid = np.ones((72, 18), bool)
    valid[0, Joint.PELVIS] = False
    known = _samples(data, _with(data, valid3d=valid)).batch(np.array([0, 1]), 0).known3d_BJ
    assert known.sum(1).tolist() == [0, 18]


def test_a_part_with_an_end_unknown_in_the_image_is_masked(data: Path) -> None:
    # Its triplet would hold a Gaussian at a joint that nobody placed.
    valid = np.ones((72, 18), bool)
    valid[0, Joint.LEFT_WRIST] = False
    batch = _samples(data, _with(data, valid2d=valid)).batch(np.array([0]), 0)
    from hemlets.core.skeleton import PARTS

    unknown = {p.name for p, k in zip(PARTS, batch.relation_known_BK[0], strict=True) if not k}
    assert unknown == {"left_forearm"}


@pytest.mark.parametrize("scale", [0.75, 1.25])
def test_a_person_is_larger_by_the_scale_that_is_drawn_in_the_image_and_no_deeper(
    data: Path, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    plain, scaled = _samples(data).batch(np.arange(4), 0), _drawn(data, monkeypatch, scale=scale)
    in_image = (scaled.voxel_BJ3[..., :2] - 8) / (plain.voxel_BJ3[..., :2] - 8)
    torch.testing.assert_close(in_image, torch.full_like(in_image, scale), atol=1e-3, rtol=0)
    assert torch.equal(scaled.voxel_BJ3[..., 2], plain.voxel_BJ3[..., 2])
    # The figure's own colours cover more or fewer pixels by the square; grey 90 and black are not.
    figure = [(b.image_BHW3.float().std(-1) > 12).sum() for b in (plain, scaled)]
    assert float(figure[1] / figure[0]) == pytest.approx(scale**2, rel=0.25)


def test_flipping_relabels_joints_parts_and_rotations(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _samples(data).batch(np.arange(4), 0)
    flipped = _drawn(data, monkeypatch, flip=True)
    expected = plain.voxel_BJ3[:, list(FLIP_JOINTS)].clone()
    expected[..., 0] = 16 - expected[..., 0]
    torch.testing.assert_close(flipped.voxel_BJ3, expected, atol=1e-4, rtol=0)
    assert torch.equal(flipped.relation_BK, plain.relation_BK[:, list(FLIP_PARTS)])
    assert torch.equal(flipped.betas_BS, plain.betas_BS)
    torch.testing.assert_close(
        flipped.rotation_BR33, mirror_theta(plain.rotation_BR33), atol=1e-6, rtol=0
    )


def test_flipping_an_image_mirrors_its_pixels(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _samples(data).batch(np.arange(4), 0).image_BHW3.int()
    flipped = _drawn(data, monkeypatch, flip=True).image_BHW3.flip(2).int()
    assert (plain - flipped).abs().max() <= 2  # of 255: the warp's rounding


@pytest.mark.parametrize("augmented", [True, False])
def test_a_flipped_body_is_the_mirror_image_of_the_body(
    data: Path, monkeypatch: pytest.MonkeyPatch, augmented: bool
) -> None:
    body = BodyModel.load()
    plain = _samples(data).batch(np.arange(4), 0)
    theta = _drawn(data, monkeypatch, flip=True).rotation_BR33 if augmented else (
        mirror_theta(plain.rotation_BR33)
    )  # fmt: skip
    mirrored = body(theta, plain.betas_BS).joints18_B183_mm
    expected = body(plain.rotation_BR33, plain.betas_BS).joints18_B183_mm[:, list(FLIP_JOINTS)]
    expected = expected * torch.tensor([-1.0, 1.0, 1.0])
    relative = [j - j[:, [Joint.PELVIS]] for j in (mirrored, expected)]
    torch.testing.assert_close(*relative, atol=0.05, rtol=0)


def test_turning_the_image_turns_the_body(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = BodyModel.load()
    angle = 0.4
    plain = _samples(data).batch(np.arange(4), 0)
    turned = _drawn(data, monkeypatch, angle_rad=angle)
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, angle]))
    before = body(plain.rotation_BR33, plain.betas_BS).joints18_B183_mm
    after = body(turned.rotation_BR33, plain.betas_BS).joints18_B183_mm
    relative = [j - j[:, [Joint.PELVIS]] for j in (after, before @ turn.T)]
    torch.testing.assert_close(*relative, atol=0.05, rtol=0)
    # The same turn, seen in the crop: x right, y down.
    middle = plain.voxel_BJ3[..., :2] - 8
    seen = middle @ turn[:2, :2].T + 8
    torch.testing.assert_close(turned.voxel_BJ3[..., :2], seen, atol=1e-4, rtol=0)


@pytest.mark.parametrize("flip", [False, True])
def test_relations_keep_their_sign_in_a_mirrored_crop_and_change_sides(
    data: Path, monkeypatch: pytest.MonkeyPatch, flip: bool
) -> None:
    table = Annotations.read(data / "annotations.parquet")
    batch = _drawn(data, monkeypatch, flip=flip)
    expected = table.relations[:4][:, list(FLIP_PARTS)] if flip else table.relations[:4]
    assert len(set(np.unique(expected))) > 1
    np.testing.assert_array_equal(batch.relation_BK, expected)
