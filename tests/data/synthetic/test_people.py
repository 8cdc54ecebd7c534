"""A rendered person: repeatable, and annotated as the table says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from hemlets.body.model import BodyModel
from hemlets.core.skeleton import Joint, depth_relations
from hemlets.data.synthetic import (
    MotionLibrary,
    OpenDataConfig,
    RenderedPerson,
    Studio,
    render_person,
)
from hemlets.data.table import FIELDS, decode_image


def mask_of(person: RenderedPerson) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(person.row["mask"], np.uint8), cv2.IMREAD_GRAYSCALE) > 0


def render(
    library: MotionLibrary, body: BodyModel, n: int = 64, **settings: object
) -> list[RenderedPerson]:
    studio = Studio(OpenDataConfig(image_px=96, **settings), library, body)  # type: ignore[arg-type]
    return [studio.person("train", index) for index in range(n)]


def assert_same(left: RenderedPerson, right: RenderedPerson) -> None:
    assert left.jpeg == right.jpeg
    assert left.row.keys() == right.row.keys()
    for name, value in left.row.items():
        assert np.array_equal(value, right.row[name]), name


def test_a_sample_alone_is_the_same_as_among_others(
    config: OpenDataConfig,
    library: MotionLibrary,
    body: BodyModel,
    people: list[RenderedPerson],
) -> None:
    assert_same(render_person(config, library, body, "train", 131), people[131])


def test_a_sample_is_the_same_each_time_it_is_asked_for(
    config: OpenDataConfig, library: MotionLibrary, body: BodyModel
) -> None:
    studio = Studio(config, library, body)
    first = studio.person("gate", 7)
    studio.person("gate", 3)
    assert_same(studio.person("gate", 7), first)


def test_another_seed_split_or_index_gives_another_person(
    config: OpenDataConfig,
    library: MotionLibrary,
    body: BodyModel,
    people: list[RenderedPerson],
) -> None:
    others = [
        render_person(config.model_copy(update={"seed": 1}), library, body, "train", 0),
        render_person(config, library, body, "validation", 0),
        people[1],
    ]
    for other in others:
        assert other.jpeg != people[0].jpeg
        assert not np.array_equal(other.row["betas"], people[0].row["betas"])


def test_the_row_fills_every_required_field_but_the_place_in_a_shard(
    people: list[RenderedPerson],
) -> None:
    fields = {field.name: field for field in FIELDS}
    required = {name for name, field in fields.items() if field.default is None}
    assert people[0].row.keys() <= fields.keys()
    assert required - people[0].row.keys() == {"shard", "shard_row"}
    for name, value in people[0].row.items():
        assert np.shape(value) == fields[name].shape, name


def test_the_stored_image_decodes_to_the_rendered_size(people: list[RenderedPerson]) -> None:
    for person in people[:8]:
        assert decode_image(person.jpeg).shape == person.image.shape == (96, 96, 3)


def test_the_body_model_gives_the_camera_frame_exactly(
    people: list[RenderedPerson], body: BodyModel
) -> None:
    rows = [person.row for person in people[:64]]
    theta, betas, transl = (
        np.stack([row[name] for row in rows]) for name in ("theta", "betas", "transl_mm")
    )
    with torch.no_grad():
        posed = body(torch.from_numpy(theta), torch.from_numpy(betas))
    joints = posed.joints18_B183_mm.numpy() + transl[:, None]
    expected = np.stack([row["joints3d_mm"] for row in rows])
    # The same sum in the same order; threads may round the last bit otherwise.
    assert np.abs(joints - expected).max() < 2e-3


def test_relations_are_equation_1(people: list[RenderedPerson]) -> None:
    for person in people:
        relations, valid = depth_relations(person.row["joints3d_mm"])
        assert np.array_equal(person.row["relations"], relations)
        assert valid.all()
        assert person.row["relations_valid"].all()
    shares = np.stack([person.row["relations"] for person in people])
    for polarity in (-1, 0, 1):
        assert ((shares == polarity).mean(0) > 0.05).all()


def test_truncated_means_outside_the_image_and_is_never_visible(
    people: list[RenderedPerson],
) -> None:
    points = np.stack([person.row["joints2d_px"] for person in people])
    truncated = np.stack([person.row["truncated"] for person in people])
    visible = np.stack([person.row["visible"] for person in people])
    assert np.array_equal(truncated, ~((points >= 0) & (points < 96)).all(-1))
    assert not (truncated & visible).any()
    assert truncated.any()
    assert all(person.row["valid2d"].all() for person in people)


def test_truncation_and_whole_people_are_as_configured(
    library: MotionLibrary, body: BodyModel
) -> None:
    whole = render(library, body, truncation_probability=0.0)
    assert not any(person.row["truncated"].any() for person in whole)
    for person in whole:
        left, top, right, bottom = person.row["box_xyxy"]
        assert 0.54 * 96 <= max(right - left, bottom - top) <= 0.86 * 96
    cut = render(library, body, truncation_probability=1.0)
    assert np.mean([person.row["truncated"].any() for person in cut]) > 0.8
    for person in cut:
        assert (~person.row["truncated"]).sum() >= 8


def test_every_person_is_large_enough_to_be_recognised(people: list[RenderedPerson]) -> None:
    for person in people:
        left, top, right, bottom = person.row["box_xyxy"]
        assert 0 <= left < right <= 96
        assert 0 <= top < bottom <= 96
        assert max(right - left, bottom - top) >= 60 / 160 * 96


def test_the_mask_fits_the_box_where_nothing_stands_in_front(
    library: MotionLibrary, body: BodyModel
) -> None:
    for person in render(library, body, occluder_probability=0.0, truncation_probability=0.0):
        rows, columns = np.nonzero(mask_of(person))
        drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        # Finger tips thinner than a pixel cover less than half of it.
        assert np.abs(drawn - person.row["box_xyxy"]).max() < 4.0
        assert (drawn[:2] >= person.row["box_xyxy"][:2] - 1).all()
        assert (drawn[2:] <= person.row["box_xyxy"][2:] + 1).all()


def test_occluders_hide_joints_and_pixels_but_never_most_of_the_person(
    library: MotionLibrary, body: BodyModel
) -> None:
    free = render(library, body, occluder_probability=0.0, truncation_probability=0.0)
    hidden = render(library, body, occluder_probability=1.0, truncation_probability=0.0)
    lost_joints = 0
    for before, after in zip(free, hidden, strict=True):
        assert np.array_equal(before.row["joints2d_px"], after.row["joints2d_px"])
        assert not (mask_of(after) & ~mask_of(before)).any()
        assert mask_of(after).sum() >= 0.35 * mask_of(before).sum()
        assert not (after.row["visible"] & ~before.row["visible"]).any()
        lost = before.row["visible"] & ~after.row["visible"]
        column, row = np.floor(after.row["joints2d_px"][lost]).astype(int).T
        assert not mask_of(after)[row, column].any()
        lost_joints += lost.sum()
    assert lost_joints > 50


def test_the_nose_is_visible_from_the_front_and_not_from_behind(
    library: MotionLibrary, body: BodyModel
) -> None:
    people = render(library, body, 192, occluder_probability=0.0, truncation_probability=0.0)
    towards, away = [], []
    for person in people:
        joints, visible = person.row["joints3d_mm"], person.row["visible"]
        skull = (joints[Joint.NECK] + joints[Joint.HEAD_TOP]) / 2
        nearer_mm = skull[2] - joints[Joint.NOSE][2]
        if abs(nearer_mm) > 80.0:
            (towards if nearer_mm > 0 else away).append(visible[Joint.NOSE])
    assert min(len(towards), len(away)) > 15
    assert np.mean(towards) > 0.8
    assert np.mean(away) < 0.15


def test_most_joints_are_visible_where_nothing_stands_in_front(
    library: MotionLibrary, body: BodyModel
) -> None:
    people = render(library, body, occluder_probability=0.0, truncation_probability=0.0)
    share = np.mean([person.row["visible"].mean() for person in people])
    assert 0.7 < share < 0.98


def test_people_are_lit_and_stand_out(people: list[RenderedPerson]) -> None:
    brightness = [person.image[mask_of(person)].mean() for person in people]
    assert np.mean(np.array(brightness) < 25) < 0.1
    assert 60 < np.mean(brightness) < 170
    assert np.std(brightness) > 20


def test_headings_distances_and_focal_lengths_vary(people: list[RenderedPerson]) -> None:
    roots = np.stack([person.row["joints3d_mm"][Joint.PELVIS] for person in people])
    right_of = [
        person.row["joints3d_mm"][Joint.LEFT_HIP] - person.row["joints3d_mm"][Joint.RIGHT_HIP]
        for person in people
    ]
    headings = np.arctan2([v[2] for v in right_of], [v[0] for v in right_of])
    counts, _ = np.histogram(headings, bins=8, range=(-np.pi, np.pi))
    assert counts.min() > 8
    assert roots[:, 2].min() < 3200
    assert roots[:, 2].max() > 6300
    focal = np.array([person.row["camera"][0] for person in people])
    assert np.percentile(focal, 95) > 2 * np.percentile(focal, 5)


@pytest.mark.parametrize("field", ["subject", "sample_id", "image_hash"])
def test_names_are_unique(people: list[RenderedPerson], field: str) -> None:
    assert len({person.row[field] for person in people}) == len(people)
