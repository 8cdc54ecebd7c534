"""UP-3D (Lassner et al. 2017): SMPL fits accepted by annotators, one pickle per image."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import DataError
from hemlets.core.pickles import load_pickle
from hemlets.data.masks import PERSON, as_mask, has_parts
from hemlets.data.readers.assemble import Sequence3D, assemble
from hemlets.data.readers.boxes import from_mask
from hemlets.data.readers.cameras3d import CENTRE_TO_CORNER, MM_PER_M
from hemlets.data.readers.contract import (
    Dataset,
    ImageRef,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.files3d import numbers, relative_path, require
from hemlets.data.readers.maps3d import LSP14
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.smpl3d import rotated_root

_LISTS: Final = {"train": "train", "validation": "val", "test": "test"}
_FIELDS: Final = ("pose", "betas", "t", "rt", "f")
_MAX_BYTES: Final = 100_000_000
_MAX_PIXELS: Final = 50_000_000


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of UP-3D, one per image."""
    folder = root / "up-3d" if (root / "up-3d").is_dir() else root
    for split, name in _LISTS.items():
        listing = folder / f"{name}.txt"
        if not listing.is_file():
            continue
        if split not in options.splits:
            quarantine.skip_split("list", split)
            continue
        for row, line in enumerate(listing.read_text(encoding="utf-8").split("\n")):
            if not line.strip():
                continue
            with quarantine.guard(f"{listing}, row {row}"):
                # The lists write every name with a leading slash.
                image = relative_path(line.strip().removeprefix("/"), where=f"{listing}, row {row}")
                yield from _read_image(root, folder, image, split, quarantine)


def _read_image(
    root: Path, folder: Path, image: str, split: str, quarantine: Quarantine
) -> list[SourceRows]:
    key = image.removesuffix(".png").removesuffix("_image")
    path = folder / f"{key}_body.pkl"
    fields = load_pickle(path, max_bytes=_MAX_BYTES)
    if not isinstance(fields, dict):
        raise DataError("the fit is no record", where=path, expected=", ".join(_FIELDS))
    require(fields, _FIELDS, where=path)
    theta = numbers(np.ravel(fields["pose"]), (72,), where=f"{path}: pose").reshape(1, 24, 3)
    betas = numbers(np.ravel(fields["betas"])[:10], (10,), where=f"{path}: betas")
    shift, turn = (numbers(np.ravel(fields[n]), (3,), where=f"{path}: {n}") for n in ("t", "rt"))
    focal = float(numbers(np.ravel(fields["f"])[:1], (1,), where=f"{path}: f")[0])
    if not np.isfinite(focal) or focal <= 0:
        raise DataError(f"the focal length is {focal}", where=f"{path}: f", expected="positive")
    width, height = _size(folder / image)
    joints_path = folder / f"{key}_joints.npy"
    points = numbers(_array(joints_path), (None, 14), where=f"{joints_path}")
    if len(points) < 3:
        raise DataError("the joints have no visibility", where=joints_path, expected="3 × 14")
    joints2d, valid2d = LSP14.apply(
        points[None, :2].transpose(0, 2, 1) + CENTRE_TO_CORNER, points[None, 2] > 0
    )
    base = "" if folder == root else f"{folder.name}/"
    mask = folder / f"{key}_segmentation.png"
    if not mask.is_file():
        mask = folder / f"{key}_render_light.png"
    box = _mask_box(mask)
    straight = bool(np.allclose(turn, 0.0, atol=1e-6))
    moved = np.ravel(fields.get("trans", np.zeros(3))).astype(np.float64)
    return assemble(
        Sequence3D(
            file=path,
            source="up3d",
            split=split,
            subject="",
            clip=key.replace("/", "_"),
            family=key.replace("/", "_"),
            frames_F=np.zeros(1, int),
            images=[ImageRef(base + image)],
            joints2d_FJ2_px=joints2d,
            valid2d_FJ=valid2d,
            intrinsics_px=np.array([focal, focal, width / 2, height / 2]),
            size=(width, height),
            box_F4_px=None if box is None else np.array([box]),
            box_source="mask",
            theta_F243=theta if straight else rotated_root(theta, _rotation(turn)),
            betas_F10=betas[None],
            # A rotated camera would need the rest pelvis of a licensed body.
            transl_F3_mm=(moved + shift)[None] * MM_PER_M if straight else None,
            gender="neutral",
            masks=(ImageRef(base + mask.name),) if box is not None else (),
        ),
        quarantine,
    )


def _rotation(vector_3: Array) -> Array:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector_3).as_matrix())


def _array(path: Path) -> Array:
    try:
        return np.asarray(
            np.lib.format.read_array(io.BytesIO(path.read_bytes()), allow_pickle=False)
        )
    except FileNotFoundError as error:
        raise DataError("the image's joints do not exist", where=path) from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"the joints are damaged: {error}", where=path) from error


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.size
    except FileNotFoundError as error:
        raise DataError.missing("the image", path) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DataError("the image can't be read", where=path, expected="a PNG") from error


def _mask_box(path: Path) -> tuple[float, float, float, float] | None:
    from PIL import Image

    if not path.is_file() or np.prod(_size(path)) > _MAX_PIXELS:
        return None
    with Image.open(path, formats=("PNG",)) as image:
        pixels = np.asarray(image)
    mask = as_mask(pixels)
    # Pixels to be ignored are no part of the person.
    return from_mask((mask > 0) & ~(has_parts(mask) & (mask == PERSON)))


DATASET = Dataset(
    name="up3d",
    title="UP-3D",
    paper="Lassner et al.: Unite the People, CVPR 2017",
    licence="that of the sources (LSP, LSPET, MPII, FashionPose) and files.is.tuebingen.mpg.de",
    document="README of the UP-3D archive",
    supervision=(Supervision.JOINTS_2D, Supervision.SMPL, Supervision.MASK),
    layout=(
        LayoutEntry(pattern="*_body.pkl|up-3d/*_body.pkl", what="the fit of each image"),
        LayoutEntry(pattern="*_joints.npy|up-3d/*_joints.npy", what="its 14 joints"),
        LayoutEntry(pattern="*_image.png|up-3d/*_image.png", what="the image"),
        LayoutEntry(pattern="*.txt|up-3d/*.txt", what="train.txt, val.txt, test.txt"),
        LayoutEntry(
            pattern="*_segmentation.png|up-3d/*_segmentation.png",
            what="labels of six parts, or the person's pixels above zero",
            required=False,
        ),
        LayoutEntry(
            pattern="*_render_light.png|up-3d/*_render_light.png",
            what="the fitted body rendered on white: the person's pixels where there are no labels",
            required=False,
        ),
    ),
    joints=(
        "LSP's 14: neck, head top and limbs; the thorax is the middle of the shoulders; pelvis, "
        "spine and nose are unknown. 3D joints are not given"
    ),
    conventions=(
        "θ with its root in the camera frame (turned by rt), t and trans in metres, a pinhole of "
        "focal length f with its centre in the image's middle. Joints count from the centre of the "
        "top-left pixel: 0.5 is added. Boxes come from the mask, where there is one, else from the "
        "joints."
    ),
    faults=(
        "fits are SMPLify's, accepted by eye: depth and hands are unreliable",
        "where rt is not zero the translation needs the licensed body and is left unknown",
    ),
    reader="hemlets.data.readers.up3d:read",
)
