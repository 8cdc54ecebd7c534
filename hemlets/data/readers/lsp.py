"""Leeds Sports Pose (LSP) and its extended training set (LSPET): 14 joints of athletes in stills.

Both have one ``joints.mat`` and a folder of images numbered from 1, but the axes and the meaning of
the third value differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.core.arrays import Array, Bool
from hemlets.core.errors import ConfigError, DataError
from hemlets.data.readers.contract import Dataset, LayoutEntry, ReadOptions, SourceRows, Supervision
from hemlets.data.readers.files3d import read_mat, require
from hemlets.data.readers.maps2d import LSP
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.stills import CHUNK, Stills, images_below, still_rows

_LAYOUT: Final = (
    LayoutEntry(pattern="joints.mat", what="the joints"),
    LayoutEntry(pattern="images/im*.jpg|images/im*.png", what="the images, numbered from 1"),
)
_JOINTS: Final = (
    "ankles, knees, hips, wrists, elbows, shoulders, neck and head top, person-centric; pelvis, "
    "thorax, spine and nose are not annotated. The neck sits lower than MPII's upper neck"
)

LSP_DATASET: Final = Dataset(
    name="lsp",
    title="Leeds Sports Pose",
    paper="Johnson and Everingham, BMVC 2010",
    licence="Leeds Sports Pose: README (research, images of Flickr's users)",
    document="README.txt of lsp_dataset",
    supervision=(Supervision.JOINTS_2D,),
    layout=_LAYOUT,
    joints=_JOINTS,
    conventions="joints is 3 × 14 × 2,000: x, y and a flag which is 1 where the joint is hidden. "
    "Pixels count from 1 and name a pixel's centre: 0.5 is taken off. The first 1,000 images are "
    "for training, the others for testing. Boxes go around the joints.",
    faults=("hidden joints were placed by guess: they are valid, but not seen",),
    reader="hemlets.data.readers.lsp:read_lsp",
)

LSPET_DATASET: Final = Dataset(
    name="lspet",
    title="Leeds Sports Pose Extended",
    paper="Johnson and Everingham, CVPR 2011",
    licence="Leeds Sports Pose Extended Training: README (research, images of Flickr's users)",
    document="README.txt of lspet_dataset",
    supervision=(Supervision.JOINTS_2D,),
    layout=_LAYOUT,
    joints=_JOINTS,
    conventions="joints is 14 × 3 × 10,000: x, y and a flag which is 1 where the joint is seen. "
    "Pixels count from 1 and name a pixel's centre: 0.5 is taken off. All are for training, "
    "but for those that the setting validation_from=251 holds out. Boxes go around the joints "
    "that are seen.",
    faults=(
        "where the flag is 0 the position means nothing (many lie outside the image): not valid",
        "annotated by the crowd: some people have left and right swapped or joints astray; a "
        "relabelled version in PNG, HR-LSPET, is read as well",
    ),
    reader="hemlets.data.readers.lsp:read_lspet",
    settings=("validation_from",),
)

_LSP_TRAIN: Final = 1000


def lsp_split(number: int) -> str:
    """Return the split of an LSP image, counted from 0, by the dataset's README."""
    return "train" if number < _LSP_TRAIN else "test"


def read_lsp(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of LSP."""
    values = _joints(root / "joints.mat", axes=(2, 1, 0), other="LSPET", name="LSP")
    hidden = values[..., 2]
    split = np.array([lsp_split(number) for number in range(len(values))])
    yield from _rows(
        root, options, quarantine, LSP_DATASET, values, split,
        known=np.ones(hidden.shape, bool), seen=hidden == 0, digits=4,
    )  # fmt: skip


def read_lspet(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of LSPET.

    Settings: with ``validation_from`` = N, images from number N on (``im00251.jpg`` is number 251)
    are for validation.
    """
    number = options.settings.get("validation_from", "")
    if number and not (number.isdecimal() and int(number)):
        raise ConfigError(
            f"validation_from is {number!r}", where="validation_from", expected="1 or more"
        )
    values = _joints(root / "joints.mat", axes=(2, 0, 1), other="LSP", name="LSPET")
    seen = values[..., 2] == 1
    training = int(number) - 1 if number else len(values)
    split = np.where(np.arange(len(values)) < training, "train", "validation")
    yield from _rows(
        root, options, quarantine, LSPET_DATASET, values, split,
        known=seen, seen=seen, digits=5,
    )  # fmt: skip


def _joints(path: Path, *, axes: tuple[int, int, int], other: str, name: str) -> Array:
    """Read the file's joints as (N, 14, 3)."""
    content = read_mat(path)
    require(content, ("joints",), where=path)
    joints = np.asarray(content["joints"])
    shapes = {(2, 1, 0): "3 × 14 × N", (2, 0, 1): "14 × 3 × N"}
    if joints.dtype.kind not in "fiu":
        raise DataError.damaged(
            f"joints holds values of type {joints.dtype}", f"{path}: joints", "numbers"
        )
    turned = joints.transpose(axes) if joints.ndim == 3 else np.zeros((0, 0, 0))
    if turned.shape[1:] != (LSP.size, 3) or not len(turned):
        swapped = joints.ndim == 3 and (joints.shape[1], joints.shape[0]) in ((3, 14), (14, 3))
        hint = f"; this is the form of {other}" if swapped and len(turned) else ""
        raise DataError(
            f"joints has shape {' × '.join(map(str, joints.shape))}{hint}",
            where=f"{path}: joints",
            expected=f"{shapes[axes]}, as {name} has it",
            remedy=f"read the folder as {other.lower()}" if hint else "fetch the file again",
        )
    return np.asarray(turned, np.float64)


def _image_name(stem: str, present: frozenset[str]) -> str:
    """Return the image of a number: a JPEG, or HR-LSPET's PNG without one."""
    names = f"images/{stem}.jpg", f"images/{stem}.png"
    return next((name for name in names if name in present), names[0])


def _rows(
    root: Path,
    options: ReadOptions,
    quarantine: Quarantine,
    dataset: Dataset,
    values_NS3: Array,
    split: npt.NDArray[np.str_],
    *,
    known: Bool,
    seen: Bool,
    digits: int,
) -> Iterator[SourceRows]:
    flags = values_NS3[..., 2]
    odd = np.asarray(~np.isin(flags, (0, 1)).all(1), bool)
    quarantine.rows(
        odd, "a flag is neither 0 nor 1", file="joints.mat", field="joints, third value",
        remedy="correct the flag",
    )  # fmt: skip
    asked = np.isin(split, sorted(options.splits))
    for name in np.unique(split[~asked]):
        quarantine.skip_split("row", str(name), int((split == name).sum()))
    wanted = np.flatnonzero(~odd & asked)
    present = images_below(root, "images/")
    taken: set[str] = set()
    for start in range(0, len(wanted), CHUNK):
        rows = wanted[start : start + CHUNK]
        stems = [f"im{row + 1:0{digits}d}" for row in rows]
        stills = Stills(
            source=dataset.name,
            file="joints.mat",
            number_N=rows,
            sample_ids=[f"{dataset.name}/{stem}" for stem in stems],
            split=[str(name) for name in split[rows]],
            clips=[f"{dataset.name}/{stem}" for stem in stems],
            images=[_image_name(stem, present) for stem in stems],
            # Pixels count from 1 at their centres.
            joints_NS2=values_NS3[rows, :, :2] - 0.5,
            known_NS=known[rows],
            seen_NS=seen[rows],
            joint_map=LSP,
            joints_field="joints",
        )
        yield from still_rows(stills, quarantine, present=present, taken=taken)
