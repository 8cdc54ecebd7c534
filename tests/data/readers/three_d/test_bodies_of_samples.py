"""Real rows with SMPL labels the whole way: reader, annotation table, body model, picture.

With ``HEMLETS_SAMPLE_PICTURES`` naming a folder the pictures are kept there, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from hemlets.body import BodyModel
from hemlets.core.skeleton import Joint
from hemlets.data.readers.catalogue import find
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.table import Annotations, ShardReader, decode_image
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig, SplitCut
from hemlets.inference.types import BodyEstimate, Camera
from hemlets.reports.drawing import PlacedBody, place_body, png, prediction_picture, render_mesh

Image = npt.NDArray[np.uint8]

UNCUT = SplitCut(validation=0, gate=0)
CAMERA_FROM_Z_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
LIMBS = [joint for joint in Joint if joint not in (Joint.NOSE, Joint.HEAD_TOP)]


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def labelled(table: Annotations, row: int) -> BodyEstimate:
    """A row's own labels in the form of a prediction."""
    joints = np.where(table.valid3d[row, :, None], table.joints3d_mm[row], np.nan)
    return BodyEstimate(
        joints3d_mm=joints - joints[Joint.PELVIS], root_mm=joints[Joint.PELVIS],
        joints2d_px=np.where(table.valid2d[row, :, None], table.joints2d_px[row], np.nan),
        confidence=np.ones(len(Joint), np.float32),
        theta=table.theta[row], betas=table.betas[row],
        box_xyxy=tuple(float(v) for v in table.box_xyxy[row]),
        camera=Camera(**dict(zip(("fx", "fy", "cx", "cy"), map(float, table.camera[row]),
                                 strict=True))),
    )  # fmt: skip


def drawn(
    body: BodyModel, image: Image, estimate: BodyEstimate
) -> tuple[PlacedBody, npt.NDArray[np.bool_]]:
    """The body where the label puts it, and its silhouette; both views are drawn."""
    placed = place_body(body, estimate.theta, estimate.betas, estimate.root_mm)
    size = image.shape[1], image.shape[0]
    mesh = render_mesh(placed.vertices_V3_mm, placed.faces_F3, estimate.camera, size)
    picture = prediction_picture(image, estimate, placed)
    pictures = os.environ.get("HEMLETS_SAMPLE_PICTURES")
    if pictures:
        Path(pictures).mkdir(parents=True, exist_ok=True)
        (Path(pictures) / f"{estimate.model_version}.png").write_bytes(png(picture))
    # The body shows in both halves: on the image, and from the side beside it.
    photo = cv2.resize(image, None, fx=(f := picture.shape[0] / size[1]), fy=f)
    left = picture[:, : photo.shape[1]].astype(int)
    assert (np.abs(left - photo[:, : left.shape[1]]).max(-1) > 40).mean() > 0.01
    assert picture[:, photo.shape[1] :].std() > 20
    return placed, mesh.mask > 0.5


def share_inside(mask: npt.NDArray[np.bool_], joints_J2_px: npt.NDArray[np.float32]) -> float:
    """Share of the known joints within the image that lie on the body, or 1 % beside it."""
    reach = max(1, round(0.01 * max(mask.shape)))
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8))
    points = joints_J2_px[np.isfinite(joints_J2_px).all(1)]
    column, row = np.floor(points).astype(int).T
    seen = (column >= 0) & (column < mask.shape[1]) & (row >= 0) & (row < mask.shape[0])
    return float(near[row[seen], column[seen]].mean())


def test_human36ms_rows_are_bodies_on_their_photographs(
    samples: Path, tmp_path: Path, body: BodyModel
) -> None:
    ingest(
        find("human36m"), samples / "human36m", tmp_path / "data", IngestConfig(cut=UNCUT),
        options=ReadOptions(frame_step=1),
    )  # fmt: skip
    table = Annotations.read(tmp_path / "data/annotations.parquet")
    reader = ShardReader(tmp_path / "data/shards")
    assert len(table) == 2
    assert table.smpl_valid.all()
    for row in range(len(table)):
        name = str(table.sample_id[row])
        jpeg = reader.jpeg(table.shard[row], int(table.shard_row[row]), name)
        image = decode_image(jpeg, where=name)
        estimate = labelled(table, row)
        placed, mask = drawn(body, image, estimate)
        assert share_inside(mask, estimate.joints2d_px[LIMBS]) > 0.85
        # Another body than the one that the labels are of, with its own bones.
        gap = np.linalg.norm(placed.joints_J3_mm - table.joints3d_mm[row], axis=1)[LIMBS]
        assert gap.mean() < 90


def test_surreals_rows_are_bodies_before_their_camera(
    samples: Path, tmp_path: Path, body: BodyModel
) -> None:
    ingest(
        find("surreal"), samples / "surreal", tmp_path / "data",
        IngestConfig(images="none", cut=UNCUT), options=ReadOptions(frame_step=40),
    )  # fmt: skip
    table = Annotations.read(tmp_path / "data/annotations.parquet")
    assert len(table) >= 3
    assert table.smpl_valid.all()
    for row in range(len(table)):
        estimate = labelled(table, row)
        size = int(table.image_height[row]), int(table.image_width[row]), 3
        _, mask = drawn(body, np.full(size, 120, np.uint8), estimate)
        # Ankles and the other wrist lie beyond a body whose bones are shorter.
        assert share_inside(mask, estimate.joints2d_px[LIMBS]) > 0.5


def mosh_rows(folder: Path) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    with np.load(folder / "mosh/mosh.npz") as file:
        yield from zip(file["pose"].reshape(-1, 24, 3), file["shape"], strict=True)


def test_moshs_poses_are_bodies_before_any_camera(samples: Path, body: BodyModel) -> None:
    camera = Camera(fx=500, fy=500, cx=160, cy=160)
    root = np.array([0, 0, 4_000], np.float32)
    for row, (theta, betas) in enumerate(mosh_rows(samples)):
        # Motion capture has z up.
        theta[0] = (Rotation.from_matrix(CAMERA_FROM_Z_UP) * Rotation.from_rotvec(theta[0])
                    ).as_rotvec()  # fmt: skip
        placed = place_body(body, theta, betas, root)
        points = placed.joints_J3_mm[:, :2] / placed.joints_J3_mm[:, 2:] * 500 + 160
        estimate = BodyEstimate(
            joints3d_mm=placed.joints_J3_mm - root, root_mm=root, joints2d_px=points,
            confidence=np.ones(len(Joint), np.float32), theta=theta.astype(np.float32),
            betas=betas.astype(np.float32), box_xyxy=(0, 0, 320, 320), camera=camera,
            model_version=f"mosh-{row}",
        )  # fmt: skip
        _, mask = drawn(body, np.full((320, 320, 3), 120, np.uint8), estimate)
        assert share_inside(mask, points) == 1
        above_feet = placed.joints_J3_mm[Joint.LEFT_ANKLE] - placed.joints_J3_mm[Joint.NECK]
        # The third crawls, the others stand.
        assert (above_feet[1] > 1000) == (row != 2)
