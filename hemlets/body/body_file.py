"""Read and check body files; convert SMPL's own pickles.

A body file is an ``.npz`` of SMPL's arrays under their usual names, in metres, without Python
objects: ``v_template``, ``shapedirs``, ``J_regressor``, ``weights``, ``kintree_table``, ``f``, and
optionally ``posedirs``, ``joint_regressor_18`` and ``joint_regressor_h36m``.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import AssetError
from hemlets.core.files import atomic_path, sha256_file
from hemlets.core.skeleton import N_JOINTS, SMPL_JOINTS, SMPL_PARENTS, Joint

Arrays = Mapping[str, Array]

_N_SMPL_JOINTS: Final = len(SMPL_JOINTS)
_N_POSE_BLENDS: Final = 9 * (_N_SMPL_JOINTS - 1)
_N_HUMAN36M: Final = 17
_REQUIRED: Final = ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")
_HEIGHT_M: Final = (1.0, 2.5)
_SUM_TOLERANCE: Final = 1e-3
_ANOTHER: Final = "give another file, or none for the open body"


@dataclass(frozen=True, kw_only=True)
class BodyFacts:
    """Facts about a body file.

    Attributes:
        n_vertices: Vertices of the mesh.
        n_faces: Triangles.
        n_betas: Shape coefficients.
        pose_blends: Whether it has pose blend shapes.
        height_m: Height of the mean body at rest.
        joints: Source of the 18 joints, for messages.
    """

    n_vertices: int
    n_faces: int
    n_betas: int
    pose_blends: bool
    height_m: float
    joints: str


def read_body_arrays(path: str | PathLike[str]) -> dict[str, Array]:
    """Read the arrays of a body file and check them against each other.

    Raises:
        AssetError: The file is unreadable, or an array is missing or has the wrong shape.
    """
    file = Path(path)
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        pickled = file.suffix.lower() in (".pkl", ".pickle")
        # NumPy's own message names an option that would run code of the file.
        is_npz = isinstance(error, OSError | KeyError | zipfile.BadZipFile | zlib.error)
        raise AssetError(
            f"the body file can't be read: {error if is_npz else 'it is no .npz'}",
            where=file,
            expected="an .npz in SMPL's form, without Python objects",
            remedy=f"convert it: hemlets body convert {file} smpl.npz" if pickled else _ANOTHER,
        ) from error
    except TypeError as error:
        raise AssetError(
            "the body file holds a single array, not an archive of them",
            where=file,
            expected="an .npz in SMPL's form",
            remedy=_ANOTHER,
        ) from error
    check_body_arrays(arrays, where=str(file))
    return arrays


def check_body_arrays(arrays: Arrays, *, where: str) -> BodyFacts:
    """Check that arrays form a body.

    Raises:
        AssetError: An array is missing, has another shape, or has impossible values.
    """
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing:
        raise AssetError(
            f"the body lacks {', '.join(missing)}", where=where, expected=", ".join(_REQUIRED)
        )
    template, shapes = arrays["v_template"], arrays["shapedirs"]
    n_vertices = len(template)
    n_betas = shapes.shape[-1] if shapes.ndim == 3 else 0
    expected: dict[str, tuple[int, ...]] = {
        "v_template": (n_vertices, 3),
        "shapedirs": (n_vertices, 3, max(n_betas, 1)),
        "J_regressor": (_N_SMPL_JOINTS, n_vertices),
        "weights": (n_vertices, _N_SMPL_JOINTS),
        "kintree_table": (2, _N_SMPL_JOINTS),
        "f": (len(arrays["f"]), 3),
        "posedirs": (n_vertices, 3, _N_POSE_BLENDS),
        "joint_regressor_18": (N_JOINTS, n_vertices),
        "joint_regressor_h36m": (_N_HUMAN36M, n_vertices),
        "mirror_vertices": (n_vertices,),
    }
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise AssetError(
                f"{name} has shape {arrays[name].shape}", where=where, expected=str(shape)
            )
    for name in ("v_template", "shapedirs", "posedirs"):
        if name in arrays and not np.isfinite(arrays[name]).all():
            raise AssetError(f"{name} is not finite", where=where, expected="finite numbers")
    if tuple(int(p) for p in arrays["kintree_table"][0][1:]) != SMPL_PARENTS[1:]:
        raise AssetError(
            "the kinematic tree is not SMPL's",
            where=where,
            expected="24 joints, each with SMPL's parent; SMPL-H and SMPL-X are other models",
        )
    _check_sums(arrays, where)
    faces = arrays["f"]
    if not len(faces) or int(faces.min()) < 0 or int(faces.max()) >= n_vertices:
        raise AssetError(
            "f names vertices that the mesh lacks", where=where, expected=f"0 to {n_vertices - 1}"
        )
    return BodyFacts(
        n_vertices=n_vertices,
        n_faces=len(faces),
        n_betas=n_betas,
        pose_blends="posedirs" in arrays and bool(np.any(arrays["posedirs"])),
        height_m=_height(template, where),
        joints="a regressor in the file" if "joint_regressor_18" in arrays else "SMPL's own joints",
    )


def _check_sums(arrays: Arrays, where: str) -> None:
    for name in ("J_regressor", "weights", "joint_regressor_18", "joint_regressor_h36m"):
        if name not in arrays:
            continue
        sums = np.asarray(arrays[name], np.float64).sum(1)
        worst = int(np.abs(sums - 1).argmax())
        # Written so that a sum which is not a number is refused, too.
        if not abs(sums[worst] - 1) < _SUM_TOLERANCE:
            raise AssetError(
                f"row {worst} of {name} sums to {sums[worst]:.4f}",
                where=where,
                expected="rows of weights that sum to 1",
            )


def _height(template_V3: Array, where: str) -> float:
    extent = np.ptp(np.asarray(template_V3, np.float64), axis=0)
    height = float(extent[1])
    if not _HEIGHT_M[0] <= height <= _HEIGHT_M[1]:
        raise AssetError(
            f"the body at rest is {height:.3g} high along y",
            where=where,
            expected=f"{_HEIGHT_M[0]:g} to {_HEIGHT_M[1]:g} metres, y up",
            remedy="body files are in metres" if height > 100 else _ANOTHER,
        )
    return height


def convert_smpl(
    source: Path, target: Path, *, regressor: Path | None = None, n_betas: int = 10
) -> BodyFacts:
    """Convert a licensed SMPL pickle to a body file.

    The pickle is read as data; nothing in it is executed. Chumpy is not needed.

    Args:
        source: ``basicModel_neutral_lbs_10_207_0_v1.1.0.pkl`` or a similar file.
        target: The ``.npz`` to write.
        regressor: A ``.npy`` of shape (17, V), Human3.6M's joints as in ``J_regressor_h36m.npy``,
            or (18, V), the project's. Without one, joints of SMPL's own are used.
        n_betas: Shape coefficients to retain.

    Raises:
        DataError: The pickle is damaged or holds anything but arrays.
        AssetError: Its content is no SMPL body.
    """
    from hemlets.core.pickles import load_pickle

    found = load_pickle(source)
    if not isinstance(found, dict):
        raise AssetError(
            f"the pickle holds a {type(found).__name__}",
            where=source,
            expected="a dictionary of SMPL's arrays",
        )
    arrays = {
        name: _dense(found[name], name, source)
        for name in (*_REQUIRED, "posedirs")
        if name in found
    }
    _require_betas(arrays, n_betas, source)
    if regressor is not None:
        arrays |= _regressors(regressor, len(arrays["v_template"]))
    # Root's parent is 2³² − 1 in the pickle.
    if "kintree_table" in arrays:
        table = arrays["kintree_table"].astype(np.int64)
        arrays["kintree_table"] = np.where(table > 2**31, -1, table).astype(np.int32)
    check_body_arrays(arrays, where=str(source))
    arrays_out = {"f": arrays["f"].astype(np.uint32), "kintree_table": arrays["kintree_table"]}
    arrays_out |= {k: v.astype(np.float32) for k, v in arrays.items() if k not in arrays_out}
    arrays_out["source_sha256"] = np.array(sha256_file(source))
    with atomic_path(target) as scratch, scratch.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays_out)
    return check_body_arrays(read_body_arrays(target), where=str(target))


def _require_betas(arrays: dict[str, Array], n_betas: int, source: Path) -> None:
    shapes = arrays.get("shapedirs")
    if shapes is None or shapes.ndim != 3:
        return
    if not 1 <= n_betas <= shapes.shape[2]:
        raise AssetError(
            f"{n_betas} shape coefficients are wanted, the body has {shapes.shape[2]}",
            where=source,
            expected=f"1 to {shapes.shape[2]}",
        )
    arrays["shapedirs"] = shapes[:, :, :n_betas]


def _dense(values: Any, name: str, source: Path) -> Array:
    array = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    if array.dtype.kind not in "fiu":
        raise AssetError(f"{name} holds no numbers", where=source, expected="an array of numbers")
    return array


def _regressors(file: Path, n_vertices: int) -> dict[str, Array]:
    try:
        rows = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AssetError(f"the regressor can't be read: {error}", where=file) from error
    if not isinstance(rows, np.ndarray) or rows.shape not in (
        (_N_HUMAN36M, n_vertices),
        (N_JOINTS, n_vertices),
    ):
        shape = getattr(rows, "shape", "unknown")
        raise AssetError(
            f"the regressor has shape {shape}",
            where=file,
            expected=f"(17, {n_vertices}) or (18, {n_vertices})",
            remedy="it must belong to the same mesh as the body",
        )
    rows = rows.astype(np.float64)
    rows = rows / rows.sum(1, keepdims=True)
    if len(rows) == _N_HUMAN36M:
        thorax = rows[[Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]].mean(0, keepdims=True)
        return {
            "joint_regressor_h36m": rows,
            "joint_regressor_18": np.concatenate([rows, thorax]),
        }
    return {"joint_regressor_18": rows}
