"""Small datasets in the real containers (CDF, mat, HDF5, pickle, npz).

They are synthetic: one standing body of plausible size that leans from frame to frame, seen by a
made-up camera, written after each dataset's own document.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hemlets.core.skeleton import Joint
from hemlets.data.readers.cameras3d import project
from hemlets.data.readers.contract import Dataset, ReadOptions, SourceRows
from hemlets.data.readers.joint_map import JointMap
from hemlets.data.readers.maps3d import (
    HUMAN36M_17,
    HUMAN36M_32,
    HUMANEVA15,
    MPI_TEST_17,
    MPI_TRAIN_28,
    SMPL_24,
)
from hemlets.data.readers.quarantine import Quarantine, or_refuse

FRAMES = 12
FOCAL, CENTRE = 1100.0, 500.0

_BODY = {
    Joint.PELVIS: (0, 0, 0), Joint.RIGHT_HIP: (-130, 0, 0), Joint.LEFT_HIP: (130, 0, 0),
    Joint.RIGHT_KNEE: (-140, 440, 30), Joint.LEFT_KNEE: (140, 440, -60),
    Joint.RIGHT_ANKLE: (-150, 880, 60), Joint.LEFT_ANKLE: (150, 880, 60),
    Joint.SPINE: (0, -240, 0), Joint.NECK: (0, -560, 10), Joint.NOSE: (0, -640, -90),
    Joint.HEAD_TOP: (0, -760, 0), Joint.LEFT_SHOULDER: (160, -480, 0),
    Joint.LEFT_ELBOW: (260, -230, -80), Joint.LEFT_WRIST: (280, -60, -260),
    Joint.RIGHT_SHOULDER: (-160, -480, 0), Joint.RIGHT_ELBOW: (-280, -220, 40),
    Joint.RIGHT_WRIST: (-300, 20, 60), Joint.THORAX: (0, -480, 0),
}  # fmt: skip


def standing_body(frames: int = FRAMES) -> np.ndarray:
    """A body (F, 18, 3) in millimetres in the camera frame, facing the camera."""
    joints = np.array([_BODY[joint] for joint in Joint], float)
    lean = np.linspace(0, 0.2, frames)[:, None]
    moved = np.tile(joints, (frames, 1, 1))
    moved[..., 0] += lean * joints[:, 1]
    return moved + np.array([100.0, 50.0, 4500.0])


def spread(joint_map: JointMap, joints_FJC: np.ndarray, **fill: float) -> np.ndarray:
    """The dataset's joints of which the map takes these 18; others at the pelvis."""
    made = np.tile(joints_FJC[:, [Joint.PELVIS]], (1, joint_map.size, 1))
    for joint, (first, second) in enumerate(zip(joint_map.first, joint_map.second, strict=True)):
        if first == second and first >= 0:
            made[:, first] = joints_FJC[:, joint]
    return made


def pixels(joints_FJ3: np.ndarray, shift: float = 0.0) -> np.ndarray:
    return project(joints_FJ3, np.array([FOCAL, FOCAL, CENTRE, CENTRE])) + shift


def metadata_xml(folder: Path, **change: float) -> None:
    values = np.zeros(300)
    for camera in range(4):
        inner = 264 + 9 * camera
        values[inner : inner + 4] = (FOCAL, FOCAL, CENTRE, CENTRE)
    for index, value in change.items():
        values[int(index.removeprefix("at"))] = value
    text = " ".join(repr(float(v)) for v in values)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.xml").write_text(f"<a><w0>[{text}]</w0></a>")


def cdf(path: Path, values: np.ndarray, name: str = "Pose") -> None:
    import cdflib.cdfwrite

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cdflib.cdfwrite.CDF(str(path), cdf_spec={"Majority": "row_major"}, delete=True)
    spec = {
        "Variable": name, "Data_Type": 45, "Num_Elements": 1, "Rec_Vary": True,
        "Var_Type": "zVariable", "Dim_Sizes": list(values.shape),
    }  # fmt: skip
    writer.write_var(spec, var_data=values[None].astype(np.float64))
    writer.close()


def human36m(
    root: Path, subject: str = "S1", action: str = "Walking 1", camera: str = "54138969", **own: Any
) -> Path:
    """The official form of one sequence; ``own`` replaces joints2d or joints3d."""
    metadata_xml(root)
    joints = own.get("joints3d", standing_body())
    points = own.get("joints2d", pixels(standing_body()))
    features = root / subject / "MyPoseFeatures"
    file = features / "D2_Positions" / f"{action}.{camera}.cdf"
    cdf(file, spread(HUMAN36M_32, points).reshape(len(points), -1))
    mono = features / "D3_Positions_mono" / f"{action}.{camera}.cdf"
    cdf(mono, spread(HUMAN36M_32, joints).reshape(len(joints), -1))
    return file


def human36m_json(root: Path, subject: int = 9, **image: Any) -> Path:
    folder = root / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    joints = spread(HUMAN36M_17, standing_body())
    images = [
        {
            "id": i, "file_name": f"s_09_act_05_subact_02_ca_01/{i + 1:06d}.jpg", "width": 1000,
            "height": 1002, "action_idx": 5, "subaction_idx": 2, "cam_idx": 1, "frame_idx": i,
        }
        for i in range(FRAMES)
    ]  # fmt: skip
    images[3] |= image
    boxes = [{"image_id": i, "bbox": [300.0, 200.0, 400.0, 600.0]} for i in range(FRAMES)]
    stem = folder / f"Human36M_subject{subject}"
    camera = {"R": np.eye(3).tolist(), "t": [0, 0, 0], "f": [FOCAL] * 2, "c": [CENTRE] * 2}
    Path(f"{stem}_data.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    Path(f"{stem}_camera.json").write_text(json.dumps({"1": camera}))
    points = {"5": {"2": {str(i): joints[i].tolist() for i in range(FRAMES)}}}
    Path(f"{stem}_joint_3d.json").write_text(json.dumps(points))
    return Path(f"{stem}_data.json")


def spin(path: Path, **own: Any) -> Path:
    """A SPIN-style npz of Human3.6M with 17 joints and a camera pickle beside it."""
    joints = standing_body()
    one = np.ones((FRAMES, 17, 1))
    part = spread(HUMAN36M_17, pixels(joints))
    spatial = spread(HUMAN36M_17, joints) / 1000
    fields = {
        "imgname": np.array([f"S1_Walking_1.54138969_{5 * i + 1:06d}.jpg" for i in range(FRAMES)]),
        "center": np.tile((520.0, 510.0), (FRAMES, 1)),
        "scale": np.full(FRAMES, 2.2),
        "part": np.concatenate([part, one], 2),
        "S": np.concatenate([spatial, one], 2),
    } | own
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})
    camera = {
        "R": np.eye(3), "T": np.zeros((3, 1)), "c": np.full((2, 1), CENTRE),
        "f": np.full((2, 1), FOCAL), "k": np.zeros((3, 1)), "p": np.zeros((2, 1)),
        "w": 1000, "h": 1002,
    }  # fmt: skip
    (path.parent / "cameras.pkl").write_bytes(pickle.dumps({("S1", "54138969"): camera}, 2))
    return path


def calibration(path: Path, cameras: range = range(14), size: str = "2048 2048") -> None:
    blocks = [
        f"name {c}\n  sensor 10 10\n  size {size}\n  animated 0\n"
        f"  intrinsic {FOCAL} 0 {CENTRE} 0 0 {FOCAL} {CENTRE} 0 0 0 1 0 0 0 0 1\n"
        "  extrinsic 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n  radial 0\n"
        for c in cameras
    ]
    path.write_text("Skeletool Camera Calibration File V1.0\n" + "".join(blocks))


def mpi_train(root: Path, **own: Any) -> Path:
    from scipy.io import savemat

    folder = root / "S1" / "Seq1"
    folder.mkdir(parents=True, exist_ok=True)
    joints = own.get("joints3d", standing_body())
    cells2d, cells3d = np.empty((14, 1), object), np.empty((14, 1), object)
    for camera in range(14):
        points = own.get("joints2d", pixels(standing_body()))
        cells2d[camera, 0] = spread(MPI_TRAIN_28, points).reshape(len(points), -1)
        cells3d[camera, 0] = spread(MPI_TRAIN_28, joints).reshape(len(joints), -1)
    savemat(folder / "annot.mat", {"annot2": cells2d, "annot3": cells3d, "univ_annot3": cells3d})
    calibration(folder / "camera.calibration")
    return folder / "annot.mat"


def mpi_test(root: Path, **own: Any) -> Path:
    import h5py

    folder = root / "mpi_inf_3dhp_test_set" / "TS1"
    folder.mkdir(parents=True, exist_ok=True)
    joints = spread(MPI_TEST_17, standing_body())
    valid = np.ones((FRAMES, 1))
    valid[2] = 0
    fields = {
        "annot2": spread(MPI_TEST_17, pixels(standing_body()))[:, None],
        "annot3": joints[:, None],
        "univ_annot3": (joints * 1.1)[:, None],
        "valid_frame": valid,
        "activity_annotation": np.full((FRAMES, 1), 3.0),
    } | own
    with h5py.File(folder / "annot_data.mat", "w") as store:
        for name, value in fields.items():
            if value is not None:
                store[name] = value
    return folder / "annot_data.mat"


def humaneva(root: Path, **own: Any) -> Path:
    from scipy.io import savemat

    joints = own.get("joints3d", standing_body())
    points = spread(HUMANEVA15, pixels(standing_body()))
    folder = root / "Validate" / "S1"
    folder.mkdir(parents=True, exist_ok=True)
    world = spread(HUMANEVA15, joints)
    world[4] = np.nan
    savemat(
        folder / "Walking_1.mat", {"poses_3d": world, "poses_2d": np.tile(points, (3, 1, 1, 1))}
    )
    cameras = root / "S1" / "Calibration_Data"
    cameras.mkdir(parents=True, exist_ok=True)
    text = f"{FOCAL} {FOCAL}\n{CENTRE - 200} {CENTRE - 300}\n0\n0 0 0 0 0\n"
    text += "1 0 0\n0 1 0\n0 0 1\n0 0 0\n"
    shift = f"{200 / FOCAL * 4500} {300 / FOCAL * 4500} 0\n"
    for name in ("C1", "C2", "C3"):
        (cameras / f"{name}.cal").write_text(own.get("cal", text + shift))
    return folder / "Walking_1.mat"


def threedpw(root: Path, **own: Any) -> Path:
    joints = spread(SMPL_24, standing_body()) / 1000
    detections = np.zeros((FRAMES, 3, 18))
    detections[:, :2, 2] = pixels(standing_body())[:, Joint.RIGHT_SHOULDER]
    detections[:, :2, 3] = pixels(standing_body())[:, Joint.RIGHT_ELBOW]
    detections[:, 2, 2:4] = 0.9
    valid = np.ones(FRAMES, int)
    valid[0] = 0
    turn = np.tile(np.eye(4), (FRAMES, 1, 1))
    turn[:, :3, 3] = (0, 0, 1.0)
    fields = {
        "sequence": "downtown_walk_00",
        "betas": [np.full(10, 0.5)], "poses": [np.zeros((FRAMES, 72))],
        "trans": [joints[:, 0] - np.array([0.0, -0.2, 0.0])], "genders": ["m"],
        "poses2d": [detections], "jointPositions": [joints.reshape(FRAMES, 72)],
        "cam_poses": turn, "campose_valid": [valid], "img_frame_ids": np.arange(FRAMES),
        "cam_intrinsics": np.array([[FOCAL, 0, CENTRE], [0, FOCAL, CENTRE], [0, 0, 1]]),
    } | own  # fmt: skip
    file = root / "sequenceFiles" / "validation" / "downtown_walk_00.pkl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(fields, 2))
    return file


def up3d(root: Path, images: int = 3, **own: Any) -> Path:
    from PIL import Image

    root.mkdir(parents=True, exist_ok=True)
    for i in range(images):
        Image.new("RGB", (300, 400)).save(root / f"{i:05d}_image.png")
        points = np.stack([np.linspace(80, 200, 14), np.linspace(50, 350, 14), np.ones(14)])
        points[2, 3] = 0
        np.save(root / f"{i:05d}_joints.npy", points)
        fit = {
            "pose": np.full(72, 0.1), "betas": np.zeros(10), "t": np.array([0, 0.2, 9.0]),
            "rt": np.zeros(3), "f": 900.0, "trans": np.zeros(3),
        } | own  # fmt: skip
        (root / f"{i:05d}_body.pkl").write_bytes(pickle.dumps(fit, 2))
    (root / "train.txt").write_text("".join(f"/{i:05d}_image.png\n" for i in range(images - 1)))
    (root / "test.txt").write_text(f"/{images - 1:05d}_image.png\n")
    return root / "00000_body.pkl"


def amass(root: Path, subset: str = "CMU", **own: Any) -> Path:
    folder = root / subset / "01"
    folder.mkdir(parents=True, exist_ok=True)
    poses = np.zeros((FRAMES, 156))
    poses[:, 0] = np.pi / 2
    fields = {
        "poses": poses, "trans": np.tile((0.0, 0, 1.2), (FRAMES, 1)), "betas": np.zeros(16),
        "gender": np.array("male"), "mocap_framerate": np.array(120.0),
    } | own  # fmt: skip
    np.savez(folder / "01_01_poses.npz", **{k: v for k, v in fields.items() if v is not None})
    return folder / "01_01_poses.npz"


def read_all(
    dataset: Dataset, root: Path, quarantine: Quarantine | None = None, **options: Any
) -> list[SourceRows]:
    """Every row of a dataset, all frames unless said otherwise."""
    from importlib import import_module

    module, function = dataset.reader.split(":")
    options.setdefault("frame_step", 1)
    reader = getattr(import_module(module), function)
    return list(reader(root, ReadOptions(**options), or_refuse(quarantine)))


@pytest.fixture
def written() -> SimpleNamespace:
    """The writers of every form, and what was written."""
    names = (
        "human36m", "human36m_json", "spin", "mpi_train", "mpi_test", "humaneva", "threedpw",
        "up3d", "amass", "calibration", "metadata_xml", "cdf", "standing_body", "pixels", "spread",
        "read_all", "FRAMES", "FOCAL", "CENTRE",
    )  # fmt: skip
    return SimpleNamespace(**{name: globals()[name] for name in names})
