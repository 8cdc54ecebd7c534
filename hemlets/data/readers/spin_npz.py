"""The npz form of SPIN (Kolotouros et al. 2019), used by many projects.

One row per person: ``imgname``, ``center`` and ``scale`` (a square of scale × 200 px), and
optionally ``part`` (u, v, confidence), ``S`` (x, y, z, confidence in metres), ``pose``,
``shape`` and ``has_smpl``. ``part`` and ``S`` have SPIN's 24 joints, or 17 in Human3.6M's or
MPI-INF-3DHP's order. ``openpose`` holds detections, not annotations, and is not read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import DataError
from hemlets.core.pickles import load_pickle
from hemlets.core.skeleton import Joint
from hemlets.data.readers.assemble import AGREE, Sequence3D, assemble
from hemlets.data.readers.boxes import from_centre_scale
from hemlets.data.readers.cameras3d import CENTRE_TO_CORNER, MM_PER_M, Camera
from hemlets.data.readers.contract import (
    Dataset,
    ImageRef,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.files3d import npz_names, numbers, read_npz, relative_path, require
from hemlets.data.readers.human36m_official import is_left_out, split_of
from hemlets.data.readers.image_names import ImageFinder
from hemlets.data.readers.joint_map import JointMap
from hemlets.data.readers.maps3d import HUMAN36M_17, MPI_TEST_17, SPIN_24
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.split_names import named_splits

_FIELDS: Final = ("imgname", "center", "scale", "part", "S", "pose", "shape", "has_smpl")
_ROOT_AT_ORIGIN_MM: Final = 1.0
_MAPS17: Final = {"human36m": HUMAN36M_17, "mpi_inf_3dhp": MPI_TEST_17}
_H36M_NAME: Final = re.compile(r"(S\d+)_(\w+(?: \d+)?)\.(\d{8})_(\d{6})\.(?:jpg|png)")
_BATCH: Final = 20_000


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Fields of a row that come from its image's name.

    Attributes:
        split, subject, clip, action, camera_id: Fields of the table.
        frame: Frame number within the clip.
        person: Distinguishes rows of one clip and frame.
        camera: The calibrated camera, if known.
    """

    split: str
    subject: str
    clip: str
    frame: int
    action: str = ""
    camera_id: str = ""
    person: str = ""
    camera: Camera | None = None


def camera_from_pickle(entry: Any, *, transposed: bool, where: str) -> Camera:
    """Convert a camera of the accompanying pickles (R, T in metres, c, f, k, p, w, h).

    Args:
        entry: One camera of the file.
        transposed: Whether R rotates the camera frame to the world and T is its position.
        where: The file and camera, for messages.

    Raises:
        DataError: A value is missing, or the camera is implausible.
    """
    if not isinstance(entry, dict):
        raise DataError("the camera is no record", where=where, expected="R, T, c, f, w, h")
    require(entry, ("R", "T", "c", "f", "w", "h"), where=where)
    flat = {
        name: np.ravel(numbers(np.ravel(entry[name]), (None,), where=f"{where}, {name}"))
        for name in ("R", "T", "c", "f", "k", "p", "w", "h")
        if name in entry
    }
    if len(flat["R"]) != 9 or len(flat["T"]) != 3 or len(flat["c"]) != 2 or len(flat["f"]) != 2:
        raise DataError(
            "the camera's values have other lengths", where=where, expected="9, 3, 2, 2"
        )
    k = np.pad(flat.get("k", np.zeros(0)), (0, 3))[:3]
    p = np.pad(flat.get("p", np.zeros(0)), (0, 2))[:2]
    rotation, translation = flat["R"].reshape(3, 3), flat["T"] * MM_PER_M
    if transposed:
        rotation = rotation.T
        translation = -rotation @ translation
    return Camera(
        rotation_33=rotation,
        translation_3_mm=translation,
        intrinsics_4_px=np.concatenate([flat["f"], flat["c"]]),
        distortion_5=np.array([k[0], k[1], p[0], p[1], k[2]]),
        size=(int(flat["w"][0]), int(flat["h"][0])),
    ).require_sane(where=where)


def _map_of(points: Array | None, default: JointMap | None, where: str) -> JointMap:
    if points is None or points.shape[1] == SPIN_24.size:
        return SPIN_24
    if points.shape[1] == 17 and default is not None:
        return default
    raise DataError(
        f"the file has {points.shape[1]} joints",
        where=where,
        expected="24 of SPIN, or 17 with the setting joints=human36m or joints=mpi_inf_3dhp",
    )


def _confident(fields: dict[str, Any], name: str, coordinates: int, rows: int, where: str) -> Any:
    if name not in fields:
        return None
    values = numbers(fields[name], (None, None, coordinates + 1), where=f"{where}: {name}")
    if len(values) != rows:
        raise DataError.damaged(
            f"{len(values)} rows for {rows} images", f"{where}: {name}", "one for each image"
        )
    return values


def read_rows(
    path: Path,
    source: str,
    naming: Any,
    options: ReadOptions,
    quarantine: Quarantine,
    *,
    map17: JointMap | None = None,
    finder: ImageFinder,
    pixel_shift: float = 0.0,
) -> Iterator[SourceRows]:
    """Yield the rows of one npz file, a batch per clip and camera.

    Args:
        path: The file.
        source: Name of the dataset.
        naming: Returns an image's `Naming` by its path, or None to leave it out.
        options: Options of the reader.
        quarantine: Gets damaged rows.
        map17: Joint map of files with 17 joints.
        finder: Finds the images.
        pixel_shift: Added to pixels and principal points, so that they count from the corner.

    Raises:
        DataError: The file is damaged, and the quarantine refuses.
    """
    people = _people(path, map17)
    groups: dict[tuple[str, str, str, str], list[_Member]] = {}
    for row, name in enumerate(people.names):
        try:
            relative = relative_path(name, where=f"{path}, row {row}, imgname")
            image = finder.find(relative)
            named = naming(image)
            if named is None:
                quarantine.skip("image that the dataset's protocol leaves out")
                continue
            if named.split not in options.splits:
                quarantine.skip_split("row", named.split)
                continue
        except DataError as error:
            quarantine.report(
                error.what, file=path, row=row, field="imgname", remedy=error.remedy or ""
            )
            continue
        group = groups.setdefault((named.split, named.clip, named.camera_id, named.person), [])
        group.append(_Member(row=row, image=image, naming=named))
    for members in groups.values():
        for start in range(0, len(members), _BATCH):
            batch = members[start : start + _BATCH]
            yield from assemble(_sequence(people, batch, source, pixel_shift), quarantine)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Member:
    """A row of the file, its image, and the fields from the image's name."""

    row: int
    image: str
    naming: Naming


@dataclass(frozen=True, kw_only=True, eq=False)
class _People:
    """Checked arrays of a file with N rows; None for arrays that it lacks."""

    path: Path
    names: Array
    part_NJ3: Array | None
    part_map: JointMap
    spatial_NJ4: Array | None
    spatial_map: JointMap
    box_N4_px: Array
    pose_N72: Array | None
    shape_N10: Array | None
    has_smpl_N: Array | None


def _people(path: Path, map17: JointMap | None) -> _People:
    fields = read_npz(path, _FIELDS)
    require(fields, ("imgname", "center", "scale"), where=path, held=npz_names(path))
    names = np.asarray(fields["imgname"])
    if names.dtype.kind not in "US" or names.ndim != 1:
        raise DataError("imgname is not text", where=f"{path}: imgname", expected="a list of names")
    rows = len(names)
    part = _confident(fields, "part", 2, rows, str(path))
    spatial = _confident(fields, "S", 3, rows, str(path))
    pose = _optional(fields, "pose", (rows, 72), path)
    if part is None and spatial is None and pose is None:
        require(fields, ("part",), where=path)
    centre = numbers(fields["center"], (rows, 2), where=f"{path}: center")
    scale = numbers(np.ravel(fields["scale"]), (rows,), where=f"{path}: scale")
    known = None
    if "has_smpl" in fields:
        known = numbers(np.ravel(fields["has_smpl"]), (rows,), where=f"{path}: has_smpl") > 0
    return _People(
        path=path,
        names=names.astype(str),
        part_NJ3=part,
        part_map=_map_of(part, map17, f"{path}: part"),
        spatial_NJ4=spatial,
        spatial_map=_map_of(spatial, map17, f"{path}: S"),
        box_N4_px=from_centre_scale(centre, scale),
        pose_N72=pose,
        shape_N10=_optional(fields, "shape", (rows, 10), path),
        has_smpl_N=known,
    )


def _sequence(people: _People, batch: list[_Member], source: str, shift: float) -> Sequence3D:
    at = np.array([member.row for member in batch])
    known = batch[0].naming
    camera = known.camera
    joints2d, valid2d = _joints(people.part_NJ3, at, people.part_map)
    joints3d, valid3d = _joints(people.spatial_NJ4, at, people.spatial_map)
    joints3d = joints3d * MM_PER_M
    # Joints relative to the pelvis are not in a camera frame, so the table can't hold them.
    has_3d = people.spatial_NJ4 is not None and not _is_relative(joints3d, valid3d)
    return Sequence3D(
        file=people.path,
        source=source,
        split=known.split,
        subject=known.subject,
        clip=known.clip,
        family=known.subject or known.clip,
        action=known.action,
        camera_id=known.camera_id,
        person=known.person,
        frames_F=np.array([member.naming.frame for member in batch]),
        rows_F=at,
        images=[ImageRef(member.image) for member in batch],
        joints2d_FJ2_px=joints2d + shift,
        valid2d_FJ=valid2d,
        joints3d_FJ3_mm=joints3d if has_3d else None,
        valid3d_FJ=valid3d if has_3d else None,
        intrinsics_px=None
        if camera is None
        else camera.intrinsics_4_px + np.array([0, 0, shift, shift]),
        distortion_5=None if camera is None else camera.distortion_5,
        size=(0, 0) if camera is None else camera.size,
        box_F4_px=people.box_N4_px[at] + shift,
        theta_F243=None if people.pose_N72 is None else people.pose_N72[at].reshape(-1, 24, 3),
        betas_F10=None if people.shape_N10 is None else people.shape_N10[at],
        smpl_valid_F=None if people.has_smpl_N is None else people.has_smpl_N[at],
        gender="" if people.pose_N72 is None else "neutral",
        reprojection_limit=None if camera is None else AGREE,
    )


def _optional(fields: dict[str, Any], name: str, shape: tuple[int, ...], path: Path) -> Any:
    return numbers(fields[name], shape, where=f"{path}: {name}") if name in fields else None


def _joints(values: Any, at: Array, joint_map: JointMap) -> tuple[Array, Array]:
    if values is None:
        size = (len(at), len(Joint))
        return np.zeros((*size, 2)), np.zeros(size, bool)
    return joint_map.apply(values[at, :, :-1], values[at, :, -1] > 0)


def _is_relative(joints_FJ3_mm: Array, valid_FJ: Array) -> bool:
    pelvis = joints_FJ3_mm[valid_FJ[:, Joint.PELVIS], Joint.PELVIS]
    return bool(len(pelvis) and (np.linalg.norm(pelvis, axis=1) < _ROOT_AT_ORIGIN_MM).all())


def _plain_naming(
    path: Path, people: Counter[str], owners: dict[tuple[str, int], str]
) -> Callable[[str], Naming]:
    """Name rows by folder and trailing number, further images of the same two by their own name.

    Args:
        path: The npz file.
        people: Number of people by image, of all files.
        owners: First image of each clip and frame, of all files.
    """
    splits = named_splits(path.stem)
    if len(splits) > 1:
        raise DataError(
            f"the file's name says {' and '.join(splits)}",
            where=path,
            remedy="name the file after one split: train, val or test",
        )
    split = splits[0] if splits else "train"

    def naming(name: str) -> Naming:
        file = PurePosixPath(name.removeprefix("images/"))
        digits = re.search(r"(\d+)$", file.stem)
        folder = str(file.parent)
        clip = file.stem if folder == "." else folder.replace("/", "_")
        # The table's frames have 32 bits; photographs may be numbered beyond.
        frame = int(digits[1]) % 2**31 if digits else 0
        person = [file.stem] if owners.setdefault((clip, frame), name) != name else []
        person += [str(people[name])] if people[name] else []
        people[name] += 1
        return Naming(split=split, subject="", clip=clip, frame=frame, person="_".join(person))

    return naming


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of all npz files in a folder.

    The split is a whole word of the file's name (test, val; else train). Settings: ``joints``
    names the order of files with 17 joints.
    """
    map17 = _MAPS17.get(options.settings.get("joints", ""))
    people: Counter[str] = Counter()
    owners: dict[tuple[str, int], str] = {}
    finder = ImageFinder(root)
    for path in sorted(root.glob("*.npz")):
        with quarantine.guard(path):
            yield from read_rows(
                path,
                "spin_npz",
                _plain_naming(path, people, owners),
                options,
                quarantine,
                map17=map17,
                finder=finder,
            )


def read_human36m(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield rows of Human3.6M in this form, with cameras from ``cameras.pkl`` if it exists."""
    cameras = _human36m_cameras(root / "cameras.pkl", quarantine)
    # Two files of a folder often hold the same images in different joint sets.
    seen: set[str] = set()

    def naming(name: str) -> Naming | None:
        match = _H36M_NAME.fullmatch(PurePosixPath(name).name)
        if match is None:
            raise DataError(
                f"the image name {name!r} is not Human3.6M's",
                expected="S1_Directions_1.54138969_000001.jpg",
                remedy="name the images as the dataset does",
            )
        subject, action, camera, frame = match.groups()
        action = action.replace("_", " ")
        repeated = match[0] in seen
        seen.add(match[0])
        if repeated or is_left_out(subject, action, camera, options):
            return None
        return Naming(
            split=split_of(subject, where=name),
            subject=subject,
            clip=f"{subject}_{action}",
            # Images are numbered from 1.
            frame=int(frame) - 1,
            action=action.split(" ")[0],
            camera_id=camera,
            camera=cameras.get((subject, camera)),
        )

    finder = ImageFinder(root)
    for path in sorted(root.glob("*h36m*.npz")):
        with quarantine.guard(path):
            yield from read_rows(
                path, "human36m", naming, options, quarantine,
                map17=HUMAN36M_17, finder=finder, pixel_shift=CENTRE_TO_CORNER,
            )  # fmt: skip


def _human36m_cameras(path: Path, quarantine: Quarantine) -> dict[tuple[str, str], Camera]:
    if not path.is_file():
        return {}
    cameras: dict[tuple[str, str], Camera] = {}
    with quarantine.guard(path):
        entries = load_pickle(path)
        if not isinstance(entries, dict):
            raise DataError("the cameras are no table", where=path, expected="by (subject, camera)")
        for key, entry in entries.items():
            place = f"{path}: {key}"
            with quarantine.guard(place):
                cameras[key] = camera_from_pickle(entry, transposed=True, where=place)
    return cameras


DATASET = Dataset(
    name="spin_npz",
    title="SPIN-style npz",
    paper="Kolotouros, Pavlakos, Black, Daniilidis: SPIN, ICCV 2019",
    licence="that of the dataset whose images the file names",
    document="constants.py and datasets/preprocess of the published SPIN code",
    supervision=(
        Supervision.JOINTS_3D,
        Supervision.JOINTS_2D,
        Supervision.RELATIONS,
        Supervision.SMPL,
    ),
    layout=(
        LayoutEntry(pattern="*.npz", what="imgname, center, scale, and part, S, pose or shape"),
        LayoutEntry(pattern="images/*", what="the images that imgname names", required=False),
    ),
    joints=(
        "SPIN's 14 (pelvis), 16 (spine), 12 (neck), 17 (Human3.6M's nose), 18 (Human3.6M's head "
        "top) and its limbs 0 to 11; the thorax is the middle of the shoulders"
    ),
    conventions=(
        "S in metres in the camera frame. Pixels as the file has them: its makers do not say what "
        "they count from, so nothing is added. Boxes are annotated: a square of scale × 200 px."
    ),
    faults=(
        "files whose S is relative to the pelvis have no camera frame: their 3D is not taken",
        "files saved with Python objects are refused: save them again with plain arrays",
    ),
    reader="hemlets.data.readers.spin_npz:read",
    settings=("joints",),
)
