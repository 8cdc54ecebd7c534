"""Joint maps held against independent facts, on real files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hemlets.core.skeleton import PARTS, Joint
from hemlets.data.readers import human36m, mpi_inf_3dhp, surreal
from hemlets.data.readers.cameras3d import project
from hemlets.data.readers.contract import Dataset, SourceRows
from hemlets.data.readers.human36m_official import read_cameras
from hemlets.data.readers.quarantine import Quarantine

# Adults' lengths, wide enough for every subject and for SMPL's shapes.
LENGTHS_MM = {
    "thigh": (300, 560), "shin": (320, 540), "upper_arm": (200, 380), "forearm": (190, 330),
    "torso": (350, 620), "hip": (50, 180), "clavicle": (100, 230), "head": (90, 330),
}  # fmt: skip


@pytest.fixture(params=["human36m", "mpi_inf_3dhp", "surreal"])
def real(request: pytest.FixtureRequest, samples: Path, written: SimpleNamespace) -> Any:
    datasets: dict[str, Dataset] = {
        "human36m": human36m.DATASET, "mpi_inf_3dhp": mpi_inf_3dhp.DATASET,
        "surreal": surreal.DATASET,
    }  # fmt: skip
    dataset = datasets[request.param]
    return dataset.name, written.read_all(dataset, samples / request.param)


def reprojection(rows: SourceRows) -> np.ndarray:
    """Distances in pixels of joints that are known in 2D and 3D."""
    c = {name: np.asarray(value) for name, value in rows.columns.items()}
    seen = project(c["joints3d_mm"], c["camera"][:, None], c["distortion"][:, None])
    known = c["valid2d"] & c["valid3d"]
    return np.linalg.norm(seen - c["joints2d_px"], axis=2)[known]


# Mean and worst. Human3.6M: OpenCV's model of the dataset's lens, and a thorax that is the middle
# of the shoulders in space and in the image. SURREAL: rounded 2D joints.
LIMITS_PX = {"human36m": (0.05, 0.5), "mpi_inf_3dhp": (0.5, 3.0), "surreal": (0.5, 1.5)}


def test_3d_joints_land_on_the_2d_annotation(real: Any) -> None:
    name, rows = real
    distance = np.concatenate([reprojection(part) for part in rows])
    print(f"{name}: {distance.mean():.3f} px in the mean, {distance.max():.3f} at most")
    assert distance.mean() < LIMITS_PX[name][0]
    assert distance.max() < LIMITS_PX[name][1]


def test_bones_have_the_lengths_of_adults_and_are_symmetric(real: Any) -> None:
    _, rows = real
    joints = np.concatenate([part.columns["joints3d_mm"] for part in rows])
    valid = np.concatenate([part.columns["valid3d"] for part in rows])
    lengths: dict[str, Any] = {}
    for part in PARTS:
        if valid[:, [part.parent, part.child]].all():
            bone = np.linalg.norm(joints[:, part.parent] - joints[:, part.child], axis=1)
            kind = part.name.removeprefix("left_").removeprefix("right_")
            low, high = LENGTHS_MM[kind]
            assert ((bone > low) & (bone < high)).all(), (part.name, bone)
            lengths[part.name] = bone
    for side in ("thigh", "shin", "upper_arm", "forearm"):
        ratio = lengths[f"left_{side}"] / lengths[f"right_{side}"]
        # 3DHP's markerless capture errs: in one of the two frames a thigh is a third too short.
        better_half = np.sort(np.abs(ratio - 1))[: (len(ratio) + 1) // 2]
        assert (better_half < 0.15).all(), (side, ratio)


def facing(joints_FJ3: np.ndarray) -> np.ndarray:
    """Where the front points: from left to right hip, crossed with upwards."""
    right = joints_FJ3[:, Joint.RIGHT_HIP] - joints_FJ3[:, Joint.LEFT_HIP]
    up = joints_FJ3[:, Joint.THORAX] - joints_FJ3[:, Joint.PELVIS]
    return np.cross(up, right)


def test_left_and_right_agree_with_where_the_nose_and_knees_point(real: Any) -> None:
    # Knees bend forwards and the nose is in front, whatever the labels say.
    _, rows = real
    joints = np.concatenate([part.columns["joints3d_mm"] for part in rows])
    valid = np.concatenate([part.columns["valid3d"] for part in rows])
    front = facing(joints)
    votes = []
    if valid[:, Joint.NOSE].all():
        votes.append(joints[:, Joint.NOSE] - joints[:, Joint.NECK])
    for side in ("LEFT", "RIGHT"):
        hip, knee, ankle = (joints[:, Joint[f"{side}_{n}"]] for n in ("HIP", "KNEE", "ANKLE"))
        bent = knee - (hip + ankle) / 2
        votes.append(bent)
    score = sum(np.einsum("fc,fc->f", front, vote) for vote in votes)
    assert np.mean(np.asarray(score) > 0) > 0.9


def test_surreals_toes_point_forwards_once_left_and_right_are_swapped(samples: Path) -> None:
    from scipy.io import loadmat

    raw = loadmat(samples / "surreal/01_01_c0001_info.mat")
    world = raw["joints3D"].transpose(2, 1, 0)
    camera = (world - raw["camLoc"].ravel()) @ surreal._CAMERA_FROM_WORLD.T
    toes = camera[:, [10, 11]].mean(1) - camera[:, [7, 8]].mean(1)
    across = camera[:, 2] - camera[:, 1]
    up = camera[:, 12] - camera[:, 0]
    # With the file's own names the toes point backwards: the picture is a mirror image.
    assert (np.einsum("fc,fc->f", np.cross(up, across), toes) < 0).all()


def test_surreals_theta_poses_a_body_as_its_joints_stand(
    samples: Path, written: SimpleNamespace
) -> None:
    import torch
    from scipy.spatial.transform import Rotation

    from hemlets.body import BodyModel

    (rows,) = written.read_all(surreal.DATASET, samples / "surreal", frame_step=20)
    c = rows.columns
    theta = torch.tensor(np.asarray(c["theta"])).float()
    body = BodyModel.load()(theta, torch.zeros(1, 10)).joints18_B183_mm.numpy()
    known = np.asarray(c["valid3d"])[0]
    for posed, stands in zip(body[:, known], np.asarray(c["joints3d_mm"])[:, known], strict=True):
        turn, _ = Rotation.align_vectors(stands - stands.mean(0), posed - posed.mean(0))
        assert np.degrees(turn.magnitude()) < 6


def test_human36m_cameras_of_metadata_and_of_the_pickle_are_the_same(samples: Path) -> None:
    from hemlets.core.pickles import load_pickle
    from hemlets.data.readers.spin_npz import camera_from_pickle

    own = read_cameras(samples / "human36m/metadata.xml")
    assert len(own) == 44
    for key, entry in load_pickle(samples / "human36m/cameras.pkl").items():
        other = camera_from_pickle(entry, transposed=True, where=str(key))
        assert np.allclose(own[key].rotation_33, other.rotation_33, atol=1e-6)
        assert np.allclose(own[key].translation_3_mm, other.translation_3_mm, atol=1e-3)
        assert np.allclose(own[key].distortion_5, other.distortion_5)
        assert np.allclose(own[key].intrinsics_4_px[2:], other.intrinsics_4_px[2:] + 0.5)
        assert own[key].size == other.size


def test_human36m_cameras_look_at_the_room_from_where_they_stand(samples: Path) -> None:
    for camera in read_cameras(samples / "human36m/metadata.xml").values():
        middle = camera.to_camera(np.array([0.0, 0.0, 1000.0]))
        assert 3000 < middle[2] < 7000
        assert np.abs(camera.project(middle) - 500).max() < 300


def test_the_camera_file_with_a_height_of_204_is_put_right(
    samples: Path, written: SimpleNamespace
) -> None:
    rows = written.read_all(mpi_inf_3dhp.DATASET, samples / "mpi_inf_3dhp")
    assert {int(part.columns["image_height"][0]) for part in rows} == {2048}


def test_one_image_in_two_files_gives_one_row(samples: Path, written: SimpleNamespace) -> None:
    rows = written.read_all(human36m.DATASET, samples / "human36m")
    names = [name for part in rows for name in part.columns["sample_id"]]
    assert len(names) == len(set(names)) == 2


def test_real_files_leave_nothing_in_quarantine(samples: Path, written: SimpleNamespace) -> None:
    for dataset in (human36m.DATASET, mpi_inf_3dhp.DATASET, surreal.DATASET):
        quarantine = Quarantine()
        written.read_all(dataset, samples / dataset.name, quarantine)
        assert quarantine.items == []
