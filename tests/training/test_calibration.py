"""Images without a person: what they teach; and what predictions are read by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from hemlets.data.table import Annotations, ShardReader, ShardWriter, stored_images
from hemlets.data.transforms import AugmentationConfig, normalise, square_crop
from hemlets.inference.looks import NetworkAnswer
from hemlets.inference.predictor import answer_of
from hemlets.models import (
    HemletsPosh,
    PoseNetwork,
    PoseNetworkConfig,
    PoshOutput,
    ShapeNetworkConfig,
)
from hemlets.models.codecs import PERSON_STATISTIC, VolumeSpec, person_confidence
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.codecs.decode import lengths_at_depth
from hemlets.models.crops import joints_in_images, network_input
from hemlets.models.model_folder import load_model
from hemlets.training.batches import Samples
from hemlets.training.calibration import (
    Calibration,
    CalibrationRows,
    best_threshold,
    calibrate,
    pooled,
)
from hemlets.training.config import LossConfig
from hemlets.training.engine import train
from hemlets.training.objectives import PoseObjective
from hemlets.training.validation import validate
from tests.training.conftest import IMAGE_PX, SHARD, make_columns

CONFIG = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=32)
VOLUME = VolumeSpec(crop_px=64, cells=16)
CPU = torch.device("cpu")


def write_data(folder: Path, splits: list[str]) -> Annotations:
    columns, images = make_columns(np.random.default_rng(7), splits)
    empty = np.array([split.endswith("-background") for split in splits])
    for name, values in columns.items():
        is_label = name.startswith(("joints", "relations", "theta", "betas", "transl", "camera"))
        if is_label or name in ("valid2d", "valid3d", "visible", "smpl_valid"):
            columns[name] = np.where(empty.reshape(-1, *[1] * (np.ndim(values) - 1)), 0, values)
        elif name in ("subject", "clip", "family"):
            columns[name] = np.where(empty, "", np.asarray(values, object))
    grey = cv2.imencode(".png", np.full((IMAGE_PX, IMAGE_PX, 3), 90, np.uint8))[1].tobytes()
    images = [grey if nobody else image for image, nobody in zip(images, empty, strict=True)]
    table = Annotations.from_columns(columns)
    table.write(folder / "annotations.parquet")
    ShardWriter.write(folder / "shards" / SHARD, list(columns["sample_id"]), images)
    return table


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data version of people and of empty images."""
    folder = tmp_path_factory.mktemp("mixed")
    write_data(folder, ["train"] * 20 + ["validation"] * 6 + ["train-background"] * 4
               + ["validation-background"] * 3)  # fmt: skip
    return folder


def samples_of(folder: Path, split: str, augmentation: AugmentationConfig | None = None) -> Samples:
    rows = Annotations.read(folder / "annotations.parquet").split(split)
    return Samples(rows, folder / "shards", VOLUME, seed=0, augmentation=augmentation)


@pytest.mark.parametrize("states", [2, 3, 5])
def test_an_empty_image_wants_heatmaps_without_a_peak_and_nothing_else(
    mixed: Path, states: int
) -> None:
    torch.manual_seed(0)
    network = PoseNetwork(CONFIG.model_copy(update={"states": states}))
    batch = samples_of(mixed, "train-background", AugmentationConfig()).batch(np.arange(4), 0)
    assert batch.absent_B.tolist() == [1.0] * 4
    objective = PoseObjective(network, LossConfig(alpha=0.5))
    output = network(torch.randn(4, 3, 64, 64))
    terms = objective.terms(output, network.decode(output), batch)
    assert output.heatmap_BJHW is not None
    assert output.triplet_BKLHW is not None
    assert terms["heatmaps"].item() == pytest.approx((output.heatmap_BJHW**2).sum().item())
    assert terms["hemlets"].item() == pytest.approx((output.triplet_BKLHW**2).sum().item())
    assert terms["joints"].item() == terms["marginal"].item() == 0.0
    expected = 0.5 * (terms["heatmaps"] + terms["hemlets"])
    assert terms["total"].item() == pytest.approx(expected.item())


def test_a_person_in_the_same_batch_keeps_their_own_targets(mixed: Path) -> None:
    torch.manual_seed(0)
    network = PoseNetwork(CONFIG).eval()
    objective = PoseObjective(network, LossConfig())
    people = samples_of(mixed, "train").batch(np.arange(2), 0)
    empty = samples_of(mixed, "train-background").batch(np.arange(2), 0)
    both = type(people)(*(torch.cat(pair) for pair in zip(people, empty, strict=True)))
    alone, nobody, together = (objective(batch) for batch in (people, empty, both))
    for name, value in together.items():
        assert float(value) == pytest.approx(float(alone[name] + nobody[name]), rel=1e-4), name


def test_training_sees_the_empty_images_and_the_card_tells_the_threshold(
    mixed: Path, job_for: Callable[..., Any], tmp_path: Path
) -> None:
    steps = {"steps": 2, "validate_every": 1, "batch_size": 24}
    # More than the 20 people: the batch is filled with empty images.
    train(job_for(tmp_path, data=mixed, training=steps))
    _, card = load_model(tmp_path / "model")
    person = card.person
    assert person is not None
    assert (person.people, person.backgrounds) == (6, 3)
    assert person.statistic == PERSON_STATISTIC
    assert card.training["families"] == ["standing"]


def test_no_threshold_is_told_where_nothing_trained_the_heatmaps_or_no_image_is_empty(
    mixed: Path, data: Path, job_for: Callable[..., Any], tmp_path: Path
) -> None:
    steps = {"steps": 1, "validate_every": 1}
    train(job_for(tmp_path / "a", data=mixed, training=steps, losses={"supervision": "hemlets"}))
    train(job_for(tmp_path / "b", data=data, training=steps))
    for name in ("a", "b"):
        assert load_model(tmp_path / name / "model")[1].person is None


def test_a_shape_stage_keeps_the_threshold_of_the_pose_network_that_it_starts_from(
    mixed: Path, job_for: Callable[..., Any], tmp_path: Path
) -> None:
    steps = {"steps": 1, "validate_every": 1}
    train(job_for(tmp_path / "pose", data=mixed, training=steps))
    weights = str(tmp_path / "pose" / "model" / "model.safetensors")
    train(job_for(tmp_path / "shape", data=mixed, training=steps, stage="shape", initial=weights))
    before, after = (load_model(tmp_path / name / "model")[1].person for name in ("pose", "shape"))
    assert before is not None
    assert after == before


def look(model: HemletsPosh, folder: Path, split: str, empty: str, *, flip: bool) -> Calibration:
    table = Annotations.read(folder / "annotations.parquet")
    rows = CalibrationRows(
        people=table.split(split),
        backgrounds=table.split(empty),
        other_sources=table.split("nowhere"),
        shares={},
    )
    return look_at(model, folder, rows, flip=flip)


def look_at(
    model: HemletsPosh, folder: Path, rows: CalibrationRows, *, flip: bool = False
) -> Calibration:
    return calibrate(
        model, rows, folder / "shards", flip_test=flip, shrink=1, device=CPU, batch_size=4
    )


@pytest.mark.parametrize("shrink", [1, 2])
def test_the_prepared_network_is_measured_as_the_model_and_leaves_it_as_it_is(
    mixed: Path, shrink: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = HemletsPosh(CONFIG, ShapeNetworkConfig(hidden=32, blocks=0)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = Annotations.read(mixed / "annotations.parquet")
    rows = CalibrationRows(
        people=table.split("validation"), backgrounds=table.split("validation-background"),
        other_sources=table.split("nowhere"), shares={},
    )  # fmt: skip
    measured = []
    for prepared in (True, False):
        if not prepared:
            monkeypatch.setattr("hemlets.training.calibration.can_prepare", lambda _: False)
        found = calibrate(model, rows, mixed / "shards", flip_test=True, shrink=shrink, device=CPU)
        assert found.bones is not None
        assert found.person is not None
        measured.append([*found.bones.mean_mm, *found.bones.spread_mm, found.person.threshold])
    np.testing.assert_allclose(*measured, rtol=0.01)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def with_keypoints(folder: Path, empty: str) -> tuple[HemletsPosh, CalibrationRows]:
    """A model that can look again, with three people and the empty scenes of a split."""
    torch.manual_seed(0)
    config = PoseNetworkConfig(
        backbone="movenet_thunder", crop_px=128, volume_cells=16, branch_channels=16,
        fusion_channels=16, keypoints=True,
    )  # fmt: skip
    model = HemletsPosh(config, ShapeNetworkConfig(hidden=32, blocks=0)).eval()
    table = Annotations.read(folder / "annotations.parquet")
    rows = CalibrationRows(
        people=table.split("validation").take(np.arange(3)),
        backgrounds=table.split(empty),
        other_sources=table.split("nowhere"), shares={},
    )  # fmt: skip
    return model, rows


def test_the_model_is_read_by_its_second_looks_where_it_will_take_them(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = with_keypoints(mixed, "nowhere")
    looked: list[int] = []

    def counted(network: Callable[[Tensor], PoshOutput], crop_B3HW: Tensor) -> NetworkAnswer:
        looked.append(len(crop_B3HW))
        return answer_of(network, crop_B3HW)

    monkeypatch.setattr("hemlets.training.calibration.answer_of", counted)
    for second_look, expected in ((False, [3]), (True, [3, 8, 4])):
        looked.clear()
        calibrate(
            model, rows, mixed / "shards", flip_test=False, shrink=1, device=CPU,
            second_look=second_look,
        )  # fmt: skip
        assert looked == expected


def test_who_is_looked_at_once_has_the_threshold_of_one_look(mixed: Path) -> None:
    model, rows = with_keypoints(mixed, "validation-background")
    once, again = (
        calibrate(
            model, rows, mixed / "shards", flip_test=False, shrink=1, device=CPU, second_look=both
        ).person
        for both in (False, True)
    )
    assert once is not None
    assert again is not None
    assert (once.one_look, again.one_look) == (None, once.threshold)
    assert again.threshold != once.threshold


def test_no_more_crops_are_predicted_at_once_than_fit_into_a_training_steps_memory(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo trains on 32 crops a process in bfloat16; calibration mirrors them, in float32."""
    config = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=16)
    model = HemletsPosh(config, ShapeNetworkConfig(hidden=32, blocks=0)).eval()
    rows = Annotations.read(mixed / "annotations.parquet").split("train").take(np.arange(40) % 20)
    none = rows.take(np.zeros(0, np.int64))
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr("hemlets.training.calibration.can_prepare", lambda precision: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    calibrate(
        model, CalibrationRows(people=rows, backgrounds=none, other_sources=none, shares={}),
        mixed / "shards", flip_test=True, shrink=1, device=CPU,
    )  # fmt: skip
    assert (sum(seen), max(seen)) == (80, 16)
    seen.clear()
    validate(model, rows, mixed / "shards", precision=torch.float32, device=CPU)
    assert (sum(seen), max(seen)) == (40, 32)


def test_the_model_is_read_by_what_it_predicts_with_and_without_the_flip_test(mixed: Path) -> None:
    torch.manual_seed(0)
    model = HemletsPosh(CONFIG, ShapeNetworkConfig(hidden=32, blocks=0))
    plain = look(model, mixed, "validation", "validation-background", flip=False)
    flipped = look(model, mixed, "validation", "validation-background", flip=True)
    for found in (plain, flipped):
        assert found.person is not None
        assert (found.person.people, found.person.backgrounds) == (6, 3)
        assert found.bones is not None
    assert plain.bones != flipped.bones


def test_the_error_rates_are_those_at_the_threshold(mixed: Path) -> None:
    torch.manual_seed(0)
    model = HemletsPosh(CONFIG, ShapeNetworkConfig(hidden=32, blocks=0))
    person = look(model, mixed, "validation", "validation-background", flip=False).person
    assert person is not None
    shares = []
    for split in ("validation", "validation-background"):
        rows = Annotations.read(mixed / "annotations.parquet").split(split)
        images = Samples(rows, mixed / "shards", VOLUME, seed=0, augmentation=None)
        batch = images.batch(np.arange(len(rows)), 0)
        with torch.inference_mode():
            heatmaps = model.eval().pose(normalise(batch.image_BHW3)).heatmap_BJHW
        sure = person_confidence(heatmaps.amax((2, 3)).clamp(0, 1).numpy())
        shares.append(float((sure < person.threshold).mean()))
    assert person.missed == pytest.approx(shares[0])
    assert person.false_alarms == pytest.approx(1 - shares[1])


def test_without_empty_scenes_there_is_no_threshold_and_without_depth_no_length(
    mixed: Path,
) -> None:
    torch.manual_seed(0)
    model = HemletsPosh(CONFIG, ShapeNetworkConfig(hidden=32, blocks=0))
    found = look(model, mixed, "validation", "gate", flip=False)
    assert found.person is None
    assert found.bones is not None
    nobody = look(model, mixed, "validation-background", "gate", flip=False)
    assert nobody == Calibration(None, None)


def test_the_threshold_lies_in_the_middle_of_the_gap() -> None:
    assert best_threshold(np.array([0.7, 0.9, 0.6]), np.array([0.1, 0.2])) == pytest.approx(0.4)


def test_the_threshold_makes_the_mean_of_both_error_rates_least() -> None:
    people, backgrounds = np.array([0.3, 0.5, 0.6, 0.8]), np.array([0.1, 0.2, 0.55, 0.4])
    threshold = best_threshold(people, backgrounds)

    def errors(at: float) -> float:
        return float((people < at).mean() + (backgrounds >= at).mean())

    assert errors(threshold) == min(errors(at) for at in np.linspace(0, 1, 1001)) == 0.5


def test_confidences_that_tell_nothing_still_give_a_threshold() -> None:
    same = np.full(5, 0.5)
    assert 0 <= best_threshold(same, same) <= 1


def test_half_a_person_is_as_much_a_person_as_a_whole_one() -> None:
    half = np.r_[np.full(9, 0.8), np.zeros(9)]
    assert person_confidence(half) == pytest.approx(0.8)
    assert person_confidence(np.full(18, 0.8)) == pytest.approx(0.8)
    assert np.isnan(person_confidence(np.full(18, np.nan)))


class TestTheRowsThatLengthsAreMeasuredOn:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Rendered people in both splits; photographs, in wider boxes, for training alone."""
        folder = tmp_path_factory.mktemp("sources")
        self.write(folder, {"validation": ["sticks"] * 8})
        return folder

    @staticmethod
    def write(folder: Path, splits: dict[str, list[str]], **changes: Any) -> Annotations:
        """``train`` holds 4 sticks, 12 photographs and 6 photographs with 2D joints alone."""
        splits = {"train": ["sticks"] * 4 + ["photos"] * 12 + ["flat"] * 6} | splits
        names = [split for split, sources in splits.items() for _ in sources]
        sources = np.array([source for of_split in splits.values() for source in of_split], object)
        columns, images = make_columns(np.random.default_rng(11), names)
        columns["source"] = sources
        # In a box of twice the side the same voxels lie twice as far apart.
        box, wide = columns["box_xyxy"], (sources == "photos")[:, None]
        centre = np.tile((box[:, :2] + box[:, 2:]) / 2, 2)
        columns["box_xyxy"] = np.where(wide, 2 * box - centre, box)
        columns["valid3d"] = columns["valid3d"] & (sources != "flat")[:, None]
        table = Annotations.from_columns(columns | changes)
        table.write(folder / "annotations.parquet")
        ShardWriter.write(folder / "shards" / SHARD, list(columns["sample_id"]), images)
        return table

    @staticmethod
    def chosen(table: Annotations, count: int = 6) -> CalibrationRows:
        return CalibrationRows.chosen(
            table.split("train"), table.split("validation"), table.split("none"), count
        )

    def test_a_source_without_validation_rows_is_seen_on_an_even_spread_of_its_training_rows(
        self, folder: Path
    ) -> None:
        table = Annotations.read(folder / "annotations.parquet")
        rows = self.chosen(table)
        assert set(rows.people.source) == {"sticks"}
        assert set(rows.people.column("split")) == {"validation"}
        photos = table.sample_id[table.source == "photos"]
        assert list(rows.other_sources.sample_id) == [photos[i] for i in (0, 2, 4, 6, 8, 11)]
        assert rows.shares == {"sticks": 4, "photos": 12}

    def test_one_whose_validation_rows_the_spread_misses_is_not_seen_on_what_it_was_trained_on(
        self, tmp_path: Path
    ) -> None:
        splits = {"validation": ["sticks"] * 9 + ["photos"] + ["sticks"] * 9}
        rows = self.chosen(self.write(tmp_path, splits), count=4)
        assert set(rows.people.source) == {"sticks"}
        found = zip(rows.other_sources.source, rows.other_sources.column("split"), strict=True)
        assert list(found) == [("photos", "validation")]

    def test_sources_count_as_often_as_they_are_trained_on(self, folder: Path) -> None:
        torch.manual_seed(0)
        model = HemletsPosh(CONFIG, ShapeNetworkConfig(hidden=32, blocks=0))
        table = Annotations.read(folder / "annotations.parquet")
        rows = self.chosen(table)
        both = look_at(model, folder, rows)
        assert both.rows == {"sticks": {"validation": 6}, "photos": {"train": 6}}
        alone = {
            source: look_at(
                model,
                folder,
                CalibrationRows(
                    people=part, backgrounds=table.split("none"), other_sources=table.split("none"),
                    shares={},
                ),
            ).bones
            for source, part in (("sticks", rows.people), ("photos", rows.other_sources))
        }  # fmt: skip
        sticks, photos = alone["sticks"], alone["photos"]
        assert both.bones is not None
        assert sticks is not None
        assert photos is not None
        expected = 0.25 * np.array(sticks.mean_mm) + 0.75 * np.array(photos.mean_mm)
        np.testing.assert_allclose(both.bones.mean_mm, expected, rtol=1e-12)
        assert photos.sum_mm > 1.2 * sticks.sum_mm

    def test_one_source_is_measured_to_the_bit_as_if_there_were_no_others_to_think_of(
        self, mixed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hemlets.training.calibration.can_prepare", lambda precision: False)
        torch.manual_seed(0)
        model = HemletsPosh(CONFIG, ShapeNetworkConfig(hidden=32, blocks=0)).eval()
        table = Annotations.read(mixed / "annotations.parquet")
        rows = self.chosen(table, count=64)
        people = table.split("validation")
        crops = [square_crop(box, VOLUME.crop_px) for box in people.box_xyxy]
        found = []
        for start in range(0, len(people), 4):
            part = range(start, min(start + 4, len(people)))
            own = crops[part.start : part.stop]
            images = stored_images(people, part, ShardReader(mixed / "shards"))
            with torch.inference_mode():
                voxels = answer_of(model, network_input(images, own, CPU)).voxel_BJ3
            found.append(joints_in_images(voxels, VOLUME, own))
        pixels = np.concatenate([joints.image_px_BJ2 for joints in found])
        depth_mm = np.concatenate([joints.depth_mm_BJ for joints in found])
        lengths = lengths_at_depth(pixels, depth_mm, people.camera, people.joints3d_mm[:, 0, 2])
        assert look_at(model, mixed, rows).bones == BoneLengths.measured(lengths)

    def test_the_card_says_which_rows_they_were(
        self, folder: Path, job_for: Callable[..., Any], tmp_path: Path
    ) -> None:
        training = {"steps": 1, "validate_every": 1, "validation_samples": 5}
        train(job_for(tmp_path / "pose", data=folder, training=training))
        weights = str(tmp_path / "pose" / "model" / "model.safetensors")
        changes = {"training": training, "stage": "shape", "initial": weights}
        train(job_for(tmp_path / "shape", data=folder, **changes))
        expected = {"photos": {"train": 5}, "sticks": {"validation": 5}}
        for name in ("pose", "shape"):
            card = load_model(tmp_path / name / "model")[1]
            assert card.training["bones_measured_on"] == expected, name


def test_groups_of_skeletons_are_pooled_to_what_they_have_together() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(300, 40, (100, 14)), rng.normal(400, 30, (300, 14))
    found = pooled([(1.0, BoneLengths.measured(one)), (3.0, BoneLengths.measured(other))])
    together = BoneLengths.measured(np.concatenate([one, other]))
    np.testing.assert_allclose(found.mean_mm, together.mean_mm)
    np.testing.assert_allclose(found.spread_mm, together.spread_mm)
