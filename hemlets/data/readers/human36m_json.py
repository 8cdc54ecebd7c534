"""Human3.6M in the JSON annotations that integral regression and RootNet publish.

``Human36M_subject1_data.json`` is COCO's form (images, annotations with boxes), ``_camera.json``
has R, t, f, c by camera and ``_joint_3d.json`` the world's 17 joints in millimetres by action, take
and frame. There x_cam = R x_world + t, and the cameras have no distortion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.errors import DataError
from hemlets.core.files import read_json
from hemlets.data.readers.assemble import Sequence3D, assemble
from hemlets.data.readers.cameras3d import CENTRE_TO_CORNER, Camera
from hemlets.data.readers.contract import ImageRef, ReadOptions, SourceRows
from hemlets.data.readers.files3d import numbers, relative_path, require
from hemlets.data.readers.human36m_official import CAMERAS, TEST_STEP, TRAIN_STEP, split_of
from hemlets.data.readers.maps3d import HUMAN36M_17
from hemlets.data.readers.quarantine import Quarantine

_ACTIONS: Final = {
    2: "Directions", 3: "Discussion", 4: "Eating", 5: "Greeting", 6: "Phoning", 7: "Posing",
    8: "Purchases", 9: "Sitting", 10: "SittingDown", 11: "Smoking", 12: "Photo", 13: "Waiting",
    14: "Walking", 15: "WalkDog", 16: "WalkTogether",
}  # fmt: skip
"""Numbers of the actions as metadata.xml lists them."""

# Drifting (action, take) of S9 and the corrupt (action, take, camera) of S11: the same sequences
# as in the official form.
_DRIFTING: Final = frozenset(((5, 2), (10, 2), (13, 1)))
_CORRUPT: Final = (2, 2, 1)
_IMAGE: Final = (
    "id", "file_name", "width", "height", "action_idx", "subaction_idx", "cam_idx", "frame_idx",
)  # fmt: skip


def found(root: Path) -> bool:
    """Return whether a folder holds the JSON form."""
    return any(root.glob("annotations/Human36M_subject*_joint_3d.json"))


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of the JSON form, one batch per take and camera."""
    for path in sorted(root.glob("annotations/Human36M_subject*_data.json")):
        with quarantine.guard(path):
            yield from _read_subject(root, path, options, quarantine)


def _read_subject(
    root: Path, path: Path, options: ReadOptions, quarantine: Quarantine
) -> Iterator[SourceRows]:
    subject = "S" + path.stem.removeprefix("Human36M_subject").removesuffix("_data")
    split = split_of(subject, where=str(path))
    if split not in options.splits:
        quarantine.skip_split("subject", split)
        return
    step = options.frame_step or (TRAIN_STEP if split == "train" else TEST_STEP)
    stem = path.name.removesuffix("_data.json")
    cameras = _cameras(path.with_name(f"{stem}_camera.json"))
    joints = read_json(path.with_name(f"{stem}_joint_3d.json"))
    for (action, take, cam), rows in _by_take(path, read_json(path), step).items():
        drifts = subject == "S9" and (action, take) in _DRIFTING
        corrupt = subject == "S11" and (action, take, cam) == _CORRUPT
        if corrupt or (drifts and options.settings.get("drifting") == "exclude"):
            quarantine.skip("sequence that is corrupt or drifts")
            continue
        with quarantine.guard(path):
            if cam not in cameras:
                raise DataError(
                    f"camera {cam} is missing", where=f"{path}: cam_idx",
                    expected=", ".join(map(str, sorted(cameras))),
                    remedy="fetch the subject's camera file again",
                )  # fmt: skip
            yield from assemble(
                _sequence(
                    root, path, subject, split, (action, take, cam), rows, cameras[cam], joints
                ),
                quarantine,
            )


def _cameras(path: Path) -> dict[int, Camera]:
    cameras = {}
    for name, values in read_json(path).items():
        place = f"{path}: camera {name}"
        require(values, ("R", "t", "f", "c"), where=place)
        focal, centre = (numbers(values[k], (2,), where=f"{place}, {k}") for k in ("f", "c"))
        cameras[int(name)] = Camera(
            rotation_33=numbers(values["R"], (3, 3), where=f"{place}, R"),
            translation_3_mm=numbers(values["t"], (3,), where=f"{place}, t"),
            intrinsics_4_px=np.concatenate([focal, centre + CENTRE_TO_CORNER]),
            distortion_5=np.zeros(5),
        ).require_sane(where=place)
    return cameras


def _by_take(path: Path, data: Any, step: int) -> dict[tuple[int, int, int], list[dict[str, Any]]]:
    require(data, ("images", "annotations"), where=path)
    boxes = {a["image_id"]: a["bbox"] for a in data["annotations"]}
    takes: dict[tuple[int, int, int], list[dict[str, Any]]] = {}
    for row, image in enumerate(data["images"]):
        require(image, _IMAGE, where=f"{path}, images[{row}]")
        if image["frame_idx"] % step == 0:
            key = (int(image["action_idx"]), int(image["subaction_idx"]), int(image["cam_idx"]))
            takes.setdefault(key, []).append(
                {**image, "row": row, "bbox": boxes.get(image["id"], (0, 0, 0, 0))}
            )
    return takes


def _sequence(
    root: Path,
    path: Path,
    subject: str,
    split: str,
    key: tuple[int, int, int],
    rows: list[dict[str, Any]],
    camera: Camera,
    joints: Mapping[str, Any],
) -> Sequence3D:
    action, take, cam = key
    frames = np.array([row["frame_idx"] for row in rows])
    points = joints.get(str(action), {}).get(str(take), {})
    missing = [int(frame) for frame in frames if str(frame) not in points]
    if missing:
        raise DataError(
            f"there are no 3D joints of frame {missing[0]} (and {len(missing) - 1} more)",
            where=f"{path}: action {action}, take {take}",
            expected="3D joints of every image",
            remedy="fetch the subject's joint_3d file again",
        )
    world = numbers(
        [points[str(frame)] for frame in frames], (None, 17, 3), where=f"{path}: joint_3d"
    )
    joints3d, valid = HUMAN36M_17.apply(camera.to_camera(world))
    box = numbers([row["bbox"] for row in rows], (None, 4), where=f"{path}: bbox")
    size = (int(rows[0]["width"]), int(rows[0]["height"]))
    name = CAMERAS[cam - 1] if 1 <= cam <= len(CAMERAS) else str(cam)
    images = "images/" if (root / "images").is_dir() else ""
    with np.errstate(invalid="ignore"):
        joints2d = camera.project(joints3d)
    return Sequence3D(
        file=path,
        source="human36m",
        split=split,
        subject=subject,
        clip=f"{subject}_{_ACTIONS.get(action, str(action))}-{take}",
        family=subject,
        action=_ACTIONS.get(action, str(action)),
        camera_id=name,
        frames_F=frames,
        rows_F=np.array([row["row"] for row in rows]),
        images=[
            ImageRef(
                images + relative_path(row["file_name"], where=f"{path}, images[{row['row']}]")
            )
            for row in rows
        ],
        joints2d_FJ2_px=joints2d,
        valid2d_FJ=valid & np.isfinite(joints2d).all(-1),
        joints3d_FJ3_mm=joints3d,
        valid3d_FJ=valid,
        intrinsics_px=camera.intrinsics_4_px,
        size=size,
        box_F4_px=np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], 1),
    )
