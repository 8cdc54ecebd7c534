"""Ordinal depth (Pavlakos et al. 2018): which of two joints is nearer, for LSP and MPII images.

The release holds two folders of the same form, one with LSP's joints and one with MPII's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hemlets.core.arrays import Array, Bool
from hemlets.core.errors import DataError
from hemlets.data.readers.contract import Dataset, LayoutEntry, ReadOptions, SourceRows, Supervision
from hemlets.data.readers.files3d import read_mat, require
from hemlets.data.readers.joint_map import JointMap
from hemlets.data.readers.lsp import lsp_split
from hemlets.data.readers.maps2d import LSP, MPII
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.relations import relations_from_order
from hemlets.data.readers.stills import CHUNK, Stills, images_below, still_rows

DATASET: Final = Dataset(
    name="ordinal",
    title="Ordinal depth for LSP and MPII",
    paper="Pavlakos et al., CVPR 2018",
    licence="Ordinal depth annotations: README and LICENSE beside the files (research)",
    document="README of lsp-mpii-ordinal",
    supervision=(Supervision.RELATIONS, Supervision.JOINTS_2D),
    layout=(
        LayoutEntry(
            pattern="lsp_dataset_original/joints.mat|mpii_upis1h/joints.mat",
            what="2D joints: 3 × 14 × N for LSP, 3 × 16 × N for MPII",
        ),
        LayoutEntry(
            pattern="lsp_dataset_original/ordinal.mat|mpii_upis1h/ordinal.mat",
            what="the order in depth, ord: N × 14 × 14 and N × 16 × 16",
        ),
        LayoutEntry(
            pattern="lsp_dataset_original/images/*|mpii_upis1h/images/*",
            what="the images, numbered from 1",
        ),
    ),
    joints="as in LSP (14) and MPII (16). Of the 14 parts LSP's joints make 9: head, arms and "
    "legs; MPII's make all",
    conventions="ord at (i, j) is 1 where joint i is farther away than joint j, -1 where it is "
    "nearer, 0 where both are as deep and NaN where nobody said. So a part's relation is ord at "
    "(parent, child). Only kinematically connected parts are taken. Pixels count from 1: 0.5 is "
    "taken off. The third value of a joint is LSP's flag for hidden, and for MPII's one for seen.",
    faults=(
        "people saw a difference or none, and knew no limit of 30°: relations near 0 are biased",
        "a pair whose two directions contradict each other is unknown",
        "LSP's second thousand is its test set",
    ),
    reader="hemlets.data.readers.ordinal:read",
)


@dataclass(frozen=True, kw_only=True)
class _Half:
    """One of the two folders."""

    name: str
    folder: str
    joint_map: JointMap
    flag_means_hidden: bool
    names: tuple[str, ...]


_HALVES: Final = (
    _Half(
        name="lsp",
        folder="lsp_dataset_original",
        joint_map=LSP,
        flag_means_hidden=True,
        names=("im{:04d}.jpg", "im{:05d}.jpg"),
    ),
    _Half(
        name="mpii",
        folder="mpii_upis1h",
        joint_map=MPII,
        flag_means_hidden=False,
        names=("{:05d}_full.jpg", "{:05d}_image.png", "{:05d}.png", "{:05d}.jpg", "im{:05d}.jpg"),
    ),
)


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of both folders, or of the only one."""
    taken: set[str] = set()
    for half in _HALVES:
        if (root / half.folder).is_dir():
            with quarantine.guard(half.folder):
                yield from _half_rows(root, half, options, quarantine, taken)


def _half_rows(
    root: Path, half: _Half, options: ReadOptions, quarantine: Quarantine, taken: set[str]
) -> Iterator[SourceRows]:
    joints_NS3, order_NSS = _arrays(root / half.folder, half)
    present = images_below(root, f"{half.folder}/images/")
    pattern = _image_pattern(half, present)
    split = np.array(
        [lsp_split(row) if half.name == "lsp" else "train" for row in range(len(joints_NS3))]
    )
    file = f"{half.folder}/ordinal.mat"
    known = np.isin(order_NSS, (-1, 0, 1)) | np.isnan(order_NSS)
    odd = np.asarray(~known.all((1, 2)), bool)
    quarantine.rows(
        odd, "an order is none of -1, 0, 1 and NaN", file=file, field="ord",
        remedy="correct the order",
    )  # fmt: skip
    asked = np.isin(split, sorted(options.splits))
    for name in np.unique(split[~asked]):
        quarantine.skip_split("row", str(name), int((split == name).sum()))
    wanted = np.flatnonzero(~odd & asked)
    for start in range(0, len(wanted), CHUNK):
        rows = wanted[start : start + CHUNK]
        points, flags = joints_NS3[rows, :, :2], joints_NS3[rows, :, 2]
        known = _known(points, flags, half)
        relations = relations_from_order(order_NSS[rows], half.joint_map.targets)
        stills = Stills(
            source=DATASET.name,
            file=f"{half.folder}/joints.mat",
            number_N=rows,
            sample_ids=[f"{DATASET.name}/{half.name}/{row + 1:05d}" for row in rows],
            split=[str(name) for name in split[rows]],
            clips=[_clip(half, int(row)) for row in rows],
            images=[f"{half.folder}/images/{pattern.format(row + 1)}" for row in rows],
            joints_NS2=points - 0.5,
            known_NS=known,
            seen_NS=(flags == 0) if half.flag_means_hidden else (flags == 1),
            joint_map=half.joint_map,
            joints_field="joints",
            columns=relations.columns(),
        )
        yield from still_rows(stills, quarantine, present=present, taken=taken)


def _clip(half: _Half, row: int) -> str:
    # The same clip as in LSP, so that an image is never in training and test both.
    return f"lsp/im{row + 1:04d}" if half.name == "lsp" else f"{DATASET.name}/mpii/{row + 1:05d}"


def _known(points_NS2: Array, flags_NS: Array, half: _Half) -> Bool:
    if half.flag_means_hidden:
        return np.ones(flags_NS.shape, bool)
    # Joints that MPII lacks are at the corner and marked as not seen.
    return np.asarray((flags_NS != 0) | (points_NS2 > 0).any(-1), bool)


def _image_pattern(half: _Half, present: frozenset[str]) -> str:
    """Find the naming pattern of the images among the first 100 numbers."""
    folder = f"{half.folder}/images/"
    for pattern in half.names:
        if any(f"{folder}{pattern.format(number)}" in present for number in range(1, 101)):
            return pattern
    raise DataError(
        "no image has a name that is known",
        where=folder,
        expected=" or ".join(pattern.format(1) for pattern in half.names),
        remedy="unpack the images of the release there",
    )


def _variable(path: Path, name: str) -> Array:
    content = read_mat(path)
    require(content, (name,), where=path)
    return np.asarray(content[name])


def _arrays(folder: Path, half: _Half) -> tuple[Array, Array]:
    """Read joints (N, S, 3) and order (N, S, S) of a folder.

    Raises:
        DataError: A file is damaged, or the two files do not match.
    """
    joints, order = (
        _variable(folder / "joints.mat", "joints"),
        _variable(folder / "ordinal.mat", "ord"),
    )
    size = half.joint_map.size
    for array, name, good, expected in (
        (joints, "joints.mat: joints", joints.shape[:2] == (3, size), f"3 × {size} × N"),
        (order, "ordinal.mat: ord", order.shape[1:] == (size, size), f"N × {size} × {size}"),
    ):
        if array.ndim != 3 or not good or array.dtype.kind not in "fiu":
            raise DataError.damaged(
                f"the array has shape {' × '.join(map(str, array.shape))}, type {array.dtype}",
                f"{folder / name}",
                f"{expected}, numbers",
            )
    if joints.shape[2] != len(order):
        raise DataError(
            f"there are {joints.shape[2]} people in joints.mat and {len(order)} in ordinal.mat",
            where=folder,
            expected="as many in both",
            remedy="take both files from one release",
        )
    return joints.transpose(2, 1, 0).astype(np.float64), order.astype(np.float64)
