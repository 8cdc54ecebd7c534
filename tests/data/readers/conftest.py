"""Folders of 2D datasets in their own forms.

The MATLAB and JSON files are synthetic: written with SciPy and the standard library after each
dataset's own document, around one drawn person who faces the camera.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemlets.core.skeleton import Joint
from hemlets.data.table import encode_jpeg

PERSON_PX = {
    Joint.HEAD_TOP: (100.0, 20.0), Joint.NOSE: (100.0, 40.0), Joint.NECK: (100.0, 55.0),
    Joint.THORAX: (100.0, 62.0), Joint.PELVIS: (100.0, 130.0),
    Joint.RIGHT_SHOULDER: (80.0, 65.0), Joint.RIGHT_ELBOW: (70.0, 95.0),
    Joint.RIGHT_WRIST: (66.0, 125.0), Joint.LEFT_SHOULDER: (120.0, 65.0),
    Joint.LEFT_ELBOW: (130.0, 95.0), Joint.LEFT_WRIST: (134.0, 125.0),
    Joint.RIGHT_HIP: (90.0, 131.0), Joint.RIGHT_KNEE: (88.0, 165.0),
    Joint.RIGHT_ANKLE: (87.0, 200.0), Joint.LEFT_HIP: (110.0, 131.0),
    Joint.LEFT_KNEE: (112.0, 165.0), Joint.LEFT_ANKLE: (113.0, 200.0),
}  # fmt: skip
"""From the image's corner."""

MPII_ORDER = (
    Joint.RIGHT_ANKLE, Joint.RIGHT_KNEE, Joint.RIGHT_HIP, Joint.LEFT_HIP, Joint.LEFT_KNEE,
    Joint.LEFT_ANKLE, Joint.PELVIS, Joint.THORAX, Joint.NECK, Joint.HEAD_TOP, Joint.RIGHT_WRIST,
    Joint.RIGHT_ELBOW, Joint.RIGHT_SHOULDER, Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW,
    Joint.LEFT_WRIST,
)  # fmt: skip
LSP_ORDER = (
    *MPII_ORDER[:6], *MPII_ORDER[10:16], Joint.NECK, Joint.HEAD_TOP,
)  # fmt: skip
COCO_NAMES = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip

Folder = Callable[..., Path]


def _write_images(folder: Path, names: Sequence[str]) -> None:
    jpeg = encode_jpeg(np.full((220, 200, 3), 90, np.uint8))
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)


def structs(rows: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, Any]:
    """A MATLAB struct array, as SciPy writes one."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    array = np.zeros((1, len(rows)), dtype=[(name, "O") for name in names])
    for index, row in enumerate(rows):
        for name in names:
            array[0, index][name] = row.get(name, np.zeros((0, 0)))
    return array


@pytest.fixture(scope="session")
def person_px() -> dict[Joint, tuple[float, float]]:
    return PERSON_PX


@pytest.fixture(scope="session")
def matlab_structs() -> Callable[..., Any]:
    return structs


@pytest.fixture
def mpii_json(tmp_path: Path) -> Folder:
    """A folder of MPII's JSON form with three people, changed before it is written."""

    def write(change: Callable[[list[Any]], None] = lambda rows: None, name: str = "mpii") -> Path:
        # Pixels count from 1 at their centres.
        joints = [[x + 0.5, y + 0.5] for x, y in (PERSON_PX[joint] for joint in MPII_ORDER)]
        rows: list[Any] = [
            {
                "image": f"00000000{number}.jpg",
                "joints": json.loads(json.dumps(joints)),
                "joints_vis": [1] * 16,
                "center": [100.5, 110.5],
                "scale": 0.9,
            }
            for number in (1, 2, 3)
        ]
        _write_images(tmp_path / "images", [row["image"] for row in rows])
        change(rows)
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        return tmp_path

    return write


@pytest.fixture
def mpii_mat(tmp_path: Path) -> Folder:
    """A folder of MPII's official form: two training images, the first with two people."""

    def write(change: Callable[[dict[str, Any]], None] = lambda person: None) -> Path:
        from scipy.io import savemat

        def person(flag: Any) -> dict[str, Any]:
            points = [
                {
                    "x": PERSON_PX[joint][0] + 0.5,
                    "y": PERSON_PX[joint][1] + 0.5,
                    "id": float(number),
                    "is_visible": np.zeros((0, 0)) if number in (8, 9) else flag,
                }
                for number, joint in enumerate(MPII_ORDER)
            ]
            return {
                "x1": 85.0, "y1": 20.0, "x2": 115.0, "y2": 60.0,
                "annopoints": points, "scale": 0.9, "objpos": structs([{"x": 100.5, "y": 110.5}]),
            }  # fmt: skip

        people = [person(1.0), person("1"), person(0.0)]
        people[0]["annopoints"][0]["is_visible"] = 0.0
        change(people[0])
        for one in people:
            one["annopoints"] = structs([{"point": structs(one["annopoints"])}])

        def image(name: str, rects: Any, video: float) -> dict[str, Any]:
            named = structs([{"name": name}])
            return {"image": named, "annorect": rects, "frame_sec": 3.0, "vididx": video}

        test_person = {"scale": 1.0, "objpos": structs([{"x": 50.0, "y": 50.0}])}
        release = {
            "annolist": structs(
                [
                    image("000000001.jpg", structs(people[:2]), 7.0),
                    image("000000009.jpg", structs([test_person]), 8.0),
                    image("000000002.jpg", structs(people[2:]), 7.0),
                    image("000000003.jpg", np.zeros((0, 0)), 9.0),
                ]
            ),
            "img_train": np.array([[1.0, 0.0, 1.0, 1.0]]),
            "act": structs([{"act_name": "curling", "cat_name": "sports", "act_id": 1.0}] * 4),
        }
        savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
        _write_images(tmp_path / "images", ["000000001.jpg", "000000002.jpg", "000000003.jpg"])
        return tmp_path

    return write


@pytest.fixture
def lsp_mat(tmp_path: Path) -> Folder:
    """A folder of LSP's or LSPET's form with three people."""

    def write(
        change: Callable[[Any], Any] = lambda joints: joints,
        *,
        extended: bool = False,
        people: int = 3,
        images: bool = True,
    ) -> Path:
        from scipy.io import savemat

        flag = 1.0 if extended else 0.0
        one = [[x + 0.5, y + 0.5, flag] for x, y in (PERSON_PX[joint] for joint in LSP_ORDER)]
        joints_NS3 = np.tile(np.array(one), (people, 1, 1))
        joints = joints_NS3.transpose((1, 2, 0) if extended else (2, 1, 0))
        savemat(tmp_path / "joints.mat", {"joints": change(joints)})
        digits = 5 if extended else 4
        count = people if images else 1
        _write_images(
            tmp_path / "images", [f"im{number + 1:0{digits}d}.jpg" for number in range(count)]
        )
        return tmp_path

    return write


@pytest.fixture
def coco_json(tmp_path: Path) -> Folder:
    """A folder of COCO's form with three people and a crowd."""

    def write(
        change: Callable[[dict[str, Any]], None] = lambda content: None, name: str = "train2017"
    ) -> Path:
        keypoints: list[float] = []
        for keypoint in COCO_NAMES:
            joint = Joint.__members__.get(keypoint.upper())
            # The middle of pixel 100 lies at 100.5.
            x, y = PERSON_PX[joint] if joint is not None else (100.0, 38.0)
            keypoints += [x - 0.5, y - 0.5, 2]
        content: dict[str, Any] = {
            "images": [
                {"id": number, "file_name": f"{number:012d}.jpg", "width": 200, "height": 220}
                for number in (1, 2, 3)
            ],
            "annotations": [
                {
                    "id": 10 + number, "image_id": number, "category_id": 1, "iscrowd": 0,
                    "num_keypoints": 17, "keypoints": list(keypoints),
                    "bbox": [60.0, 15.0, 80.0, 195.0],
                }
                for number in (1, 2, 3)
            ],
            "categories": [{"id": 1, "name": "person", "keypoints": COCO_NAMES}],
        }  # fmt: skip
        crowd = dict(content["annotations"][0], id=99, iscrowd=1)
        content["annotations"].append(crowd)
        change(content)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        path = tmp_path / "annotations" / f"person_keypoints_{name}.json"
        path.write_text(json.dumps(content))
        _write_images(tmp_path / name, [f"{number:012d}.jpg" for number in (1, 2, 3)])
        return tmp_path

    return write


@pytest.fixture
def ordinal_mat(tmp_path: Path) -> Folder:
    """A folder of the ordinal release with three people in each half, no order told yet."""

    def write(
        change: Callable[[str, Any], Any] = lambda half, order: order,
        change_joints: Callable[[str, Any], Any] = lambda half, joints: joints,
    ) -> Path:
        from scipy.io import savemat

        for half, folder, joints_of, image, flag in (
            ("lsp", "lsp_dataset_original", LSP_ORDER, "im{:04d}.jpg", 0.0),
            ("mpii", "mpii_upis1h", MPII_ORDER, "{:05d}_full.jpg", 1.0),
        ):
            one = [[x + 0.5, y + 0.5, flag] for x, y in (PERSON_PX[joint] for joint in joints_of)]
            joints = np.tile(np.array(one), (3, 1, 1)).transpose(2, 1, 0)
            order = np.full((3, len(joints_of), len(joints_of)), np.nan)
            base = tmp_path / folder
            _write_images(base / "images", [image.format(number) for number in (1, 2, 3)])
            savemat(base / "joints.mat", {"joints": change_joints(half, joints)})
            savemat(base / "ordinal.mat", {"ord": change(half, order)})
        return tmp_path

    return write
