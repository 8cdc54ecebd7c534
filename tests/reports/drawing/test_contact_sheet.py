"""Contact sheets: what is annotated is seen, and what isn't is not."""

from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import InputError
from hemlets.core.skeleton import N_JOINTS, N_PARTS, PARTS, Joint
from hemlets.data.synthetic import OpenDataConfig, build_open_data
from hemlets.data.table import Annotations, ShardReader
from hemlets.reports.drawing.bones import LEFT, RIGHT
from hemlets.reports.drawing.contact_sheet import Tile, contact_sheet, draw_tile, stored_tiles

SIZE = 200
GREY = 90
FOREARM = next(number for number, part in enumerate(PARTS) if part.name == "left_forearm")


def tile(
    joints: dict[Joint, tuple[float, float]], *, hidden: tuple[Joint, ...] = (), **more
) -> Tile:
    """Joints in an image whose crop is shown pixel for pixel."""
    px, valid = np.zeros((N_JOINTS, 2)), np.zeros(N_JOINTS, bool)
    for joint, place in joints.items():
        px[joint], valid[joint] = place, True
    seen = valid.copy()
    seen[list(hidden)] = False
    half = SIZE / 1.35 / 2
    given = {
        "image_HW3": np.full((SIZE, SIZE, 3), GREY, np.uint8),
        "joints2d_px": px,
        "valid2d": valid,
        "visible": seen,
        "box_xyxy": np.array([SIZE / 2 - half] * 2 + [SIZE / 2 + half] * 2),
        "relations": np.zeros(N_PARTS, np.int8),
        "relations_valid": np.zeros(N_PARTS, bool),
    } | more
    return Tile(**given)


def changed(one: Tile) -> np.ndarray:
    """Pixels that differ from the same tile without a joint."""
    empty = tile({}, box_xyxy=one.box_xyxy)
    return (draw_tile(one, SIZE) != draw_tile(empty, SIZE)).any(-1)[:SIZE]


def test_a_joint_is_drawn_where_it_is_in_the_colour_of_its_side():
    for joint, colour in ((Joint.LEFT_WRIST, LEFT), (Joint.RIGHT_WRIST, RIGHT)):
        picture = draw_tile(tile({joint: (80.5, 60.5)}), SIZE)
        assert tuple(picture[60, 80]) == colour
        ys, xs = np.nonzero(changed(tile({joint: (80.5, 60.5)})))
        assert (round(xs.mean()), round(ys.mean())) == (80, 60)


def test_a_hidden_joint_is_open():
    places = {Joint.LEFT_WRIST: (80.5, 60.5), Joint.RIGHT_WRIST: (140.5, 60.5)}
    picture = draw_tile(tile(places, hidden=(Joint.LEFT_WRIST,)), SIZE)
    assert picture[60, 80].max() < GREY
    assert (picture[50:70, 70:90] == LEFT).all(-1).any()
    assert tuple(picture[60, 140]) == RIGHT


def test_where_nobody_says_what_is_hidden_no_joint_is_open():
    places = {Joint.LEFT_WRIST: (80.5, 60.5), Joint.RIGHT_WRIST: (140.5, 60.5)}
    picture = draw_tile(tile(places, visible=np.zeros(N_JOINTS, bool)), SIZE)
    assert tuple(picture[60, 80]) == LEFT
    assert tuple(picture[60, 140]) == RIGHT


def test_a_joint_that_is_not_annotated_is_absent():
    assert not changed(tile({})).any()


def test_a_bone_needs_both_of_its_joints():
    alone = changed(tile({Joint.LEFT_ELBOW: (40.0, 100.0)}))
    both = changed(tile({Joint.LEFT_ELBOW: (40.0, 100.0), Joint.LEFT_WRIST: (160.0, 100.0)}))
    assert not alone[100, 100]
    assert both[100, 100]


def test_a_head_without_a_nose_is_still_joined_to_its_neck():
    joints = {Joint.NECK: (100.0, 150.0), Joint.HEAD_TOP: (100.0, 50.0)}
    assert changed(tile(joints))[100, 100]
    assert not changed(tile(joints | {Joint.NOSE: (160.0, 100.0)}))[100, 100]


@pytest.mark.parametrize(("relation", "colour"), [(1, (255, 225, 60)), (-1, (200, 120, 255))])
def test_a_known_relation_is_written_onto_its_part(relation, colour):
    joints = {Joint.LEFT_ELBOW: (40.0, 100.0), Joint.LEFT_WRIST: (160.0, 100.0)}
    relations, known = np.zeros(N_PARTS, np.int8), np.zeros(N_PARTS, bool)
    relations[FOREARM] = relation
    unknown = draw_tile(tile(joints, relations=relations), SIZE)
    known[FOREARM] = True
    written = draw_tile(tile(joints, relations=relations, relations_valid=known), SIZE)
    near = np.abs(written[85:115, 85:115].astype(int) - colour).max(-1) < 40
    assert near.any()
    assert not (np.abs(unknown[85:115, 85:115].astype(int) - colour).max(-1) < 40).any()


def test_a_relation_of_a_part_without_a_joint_is_not_drawn():
    known = np.ones(N_PARTS, bool)
    assert not changed(tile({}, relations_valid=known)).any()


def test_a_box_far_outside_the_image_or_not_finite_still_gives_a_picture():
    for box in ([np.nan] * 4, [1e9, 1e9, 2e9, 2e9], [5, 5, 5, 5], [-np.inf, 0, np.inf, 9]):
        picture = draw_tile(tile({Joint.NECK: (10.0, 10.0)}, box_xyxy=np.array(box)), SIZE)
        assert picture.shape[1] == SIZE


def test_a_sheet_has_a_grid_of_tiles_and_a_legend():
    one = tile({Joint.NECK: (100.0, 100.0)}, caption=("mpii/1/0", "mpii, train", "curling"))
    sheet = contact_sheet([one] * 5, columns=3, tile_px=SIZE)
    high = draw_tile(one, SIZE).shape[0]
    assert sheet.shape[1] == 3 * SIZE
    assert 2 * high < sheet.shape[0] < 3 * high
    np.testing.assert_array_equal(sheet[high : 2 * high, SIZE : 2 * SIZE], draw_tile(one, SIZE))


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(InputError, match="no sample"):
        contact_sheet([])


@pytest.fixture(scope="module")
def version(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sheet") / "version"
    samples = {"train": 4, "validation": 1, "gate": 1, "test": 1}
    build_open_data(OpenDataConfig.model_validate({"samples": samples, "image_px": 128}), folder)
    return folder


def test_rows_of_a_data_version_come_in_the_order_asked_for_with_their_captions(version):
    table = Annotations.read(version / "annotations.parquet")
    tiles = list(stored_tiles(table, ShardReader(version / "shards"), [3, 0]))
    assert [one.caption[0] for one in tiles] == [table.sample_id[3], table.sample_id[0]]
    np.testing.assert_array_equal(tiles[0].joints2d_px, table.joints2d_px[3])
    assert tiles[0].relations_valid.any()
    assert contact_sheet(tiles).ndim == 3


def test_rows_without_a_stored_image_show_their_skeletons_alone(version, tmp_path):
    table = Annotations.read(version / "annotations.parquet").split("train")
    columns = {name: table.column(name) for name in table.schema.names}
    bare = Annotations.from_columns(columns | {"shard": [""] * len(table)})
    (first,) = stored_tiles(bare, ShardReader(tmp_path), [0])
    assert first.image_HW3.shape == (128, 128, 3)
    assert first.valid2d.any()
    assert first.caption[-1] == "no image is stored"


def test_an_image_that_cannot_be_read_says_so_and_leaves_the_others(version, tmp_path):
    from hemlets.data.table import ShardWriter

    table = Annotations.read(version / "annotations.parquet").split("train")
    shards = ShardReader(version / "shards")
    jpegs = [shards.jpeg(str(table.shard[row]), row) for row in range(4)]
    names = [str(name) for name in table.sample_id]
    ShardWriter.write(tmp_path / str(table.shard[0]), names, [b"no image", *jpegs[1:]])
    first, second = stored_tiles(table, ShardReader(tmp_path), [0, 1])
    assert "not an image" in first.caption[1]
    assert not first.valid2d.any()
    assert second.valid2d.any()
    assert contact_sheet([first, second]).shape[1] > 0
