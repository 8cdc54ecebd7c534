"""Read untrusted container files of datasets: npz, mat, HDF5, CDF.

No pickle is run, sizes are checked before anything is unpacked, and damage is a `DataError` that
names the file and the field.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import ConfigError, DataError

MAX_UNPACKED_BYTES: Final = 8_000_000_000
"""Larger files are refused by their headers; real ones unpack to about 2 GB at most."""

_MAX_RATIO: Final = 400
_RATIO_FREE_BYTES: Final = 50_000_000
_NAME: Final = re.compile(r"[\w][\w .()+-]*")
_MAT_BYTES: Final = {
    "int8": 1, "uint8": 1, "logical": 1, "char": 2, "int16": 2, "uint16": 2,
    "int32": 4, "uint32": 4, "single": 4,
}  # fmt: skip
_AGAIN: Final = "fetch the file again"


def relative_path(name: str, *, where: str) -> str:
    """Check a file name found in a dataset's file: it must stay in the dataset's folder.

    Raises:
        DataError: It is absolute, leads out by ``..`` or holds control characters.
    """
    text = str(name).replace("\\", "/").removeprefix("./")
    parts = PurePosixPath(text).parts
    if (
        not parts
        or text.startswith("/")
        or ".." in parts
        or ":" in parts[0]
        or not text.isprintable()
    ):
        raise DataError(
            f"the file name {name!r} leads out of the dataset's folder",
            where=where,
            expected="a path relative to the dataset's folder",
            remedy="don't use this file; fetch it again from the dataset's own page",
        )
    return str(PurePosixPath(text))


def sequence_name(name: object, *, where: str) -> str:
    """Check a sequence's or action's name from a dataset's file, so that it is safe in a path.

    Raises:
        DataError: It holds more than letters, digits, spaces and ``_.()+-``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        raise DataError.damaged(
            f"the name {str(name)[:80]!r} is no name of a sequence",
            where,
            "letters, digits, spaces, _ . ( ) + -",
        )
    return name


def require(
    fields: Mapping[str, Any],
    names: Sequence[str],
    *,
    where: Path | str,
    held: Sequence[str] | None = None,
) -> None:
    """Refuse a file without the fields that a reader needs.

    Args:
        fields: Fields that were read.
        names: Names of the needed fields.
        where: The file.
        held: Names of all fields of the file, where not all were read.

    Raises:
        DataError: Shows the missing fields and those of the file.
    """
    missing = [name for name in names if name not in fields]
    if missing:
        found = sorted(map(str, fields if held is None else held))
        raise DataError(
            f"the file lacks {', '.join(missing)}",
            where=where,
            expected=", ".join(names),
            remedy=f"it holds: {', '.join(found[:12]) or 'nothing'}",
        )


def numbers(value: object, shape: tuple[int | None, ...], *, where: str) -> Array:
    """Convert a field to float64 of a shape; None in the shape is any length.

    Raises:
        DataError: It is not an array of numbers, or of another shape.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iufb":
        raise DataError.damaged(f"the values are {array.dtype}", where, "numbers")
    fits = len(shape) == array.ndim and all(
        side in (None, found) for side, found in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = " × ".join("any" if side is None else str(side) for side in shape)
        raise DataError(f"the array has shape {array.shape}", where=where, expected=wanted)
    return array.astype(np.float64)


def _check_size(unpacked: int, packed: int, path: Path | str) -> None:
    bomb = unpacked > _RATIO_FREE_BYTES and unpacked > _MAX_RATIO * max(packed, 1)
    if unpacked > MAX_UNPACKED_BYTES or bomb:
        raise DataError(
            f"{packed:,} bytes would unpack to {unpacked:,}",
            where=path,
            expected=f"at most {MAX_UNPACKED_BYTES:,} bytes and {_MAX_RATIO} times the file",
            remedy="don't use this file; fetch it again from the dataset's own page",
        )


def read_npz(path: Path, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Read arrays of an npz file; refuse arrays of Python objects, which would be pickles.

    Args:
        path: The file.
        names: Names of the wanted arrays; missing ones are left out. All where None.

    Raises:
        DataError: The file is absent, damaged, a bomb, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
            wanted = {n: m for n, m in members.items() if names is None or n in names}
            _check_size(sum(m.file_size for m in wanted.values()), path.stat().st_size, path)
            return {
                name: _read_npy(archive.read(member), f"{path}: {name}")
                for name, member in wanted.items()
            }
    except FileNotFoundError as error:
        raise DataError.missing("the file", path) from error
    except DataError:
        raise
    # zip, zlib and NumPy raise various errors for damage.
    except Exception as error:
        raise _damaged("npz", path, error) from error


def npz_names(path: Path) -> list[str]:
    """Names of an npz file's arrays.

    Raises:
        DataError: The file is absent or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except FileNotFoundError as error:
        raise DataError.missing("the file", path) from error
    except (OSError, zipfile.BadZipFile) as error:
        raise _damaged("npz", path, error) from error


def _read_npy(data: bytes, where: str) -> Array:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = (
        np.lib.format.read_array_header_1_0
        if version[0] == 1
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = header(stream)
    if dtype.hasobject:
        raise DataError(
            "the array holds Python objects, which would be a pickle",
            where=where,
            expected="numbers or text",
            remedy="save it again with plain arrays",
        )
    if prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise DataError.damaged(f"the array has shape {shape}, but {len(data)} bytes", where)
    return np.asarray(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))


def read_mat(path: Path) -> dict[str, Any]:
    """Read the variables of a MATLAB file up to version 7, structs as records.

    Raises:
        DataError: The file is absent, damaged or of version 7.3 (which is HDF5).
    """
    from scipy.io import loadmat, whosmat

    try:
        unpacked = sum(prod(shape) * _MAT_BYTES.get(kind, 8) for _, shape, kind in whosmat(path))
        _check_size(unpacked, path.stat().st_size, path)
        variables: dict[str, Any] = loadmat(path, squeeze_me=False, struct_as_record=True)
    except FileNotFoundError as error:
        raise DataError.missing("the file", path) from error
    except NotImplementedError as error:
        raise DataError(
            "the file is MATLAB 7.3, this form is an older one",
            where=path,
            expected="MATLAB up to version 7",
            remedy="save it again with -v7",
        ) from error
    except DataError:
        raise
    # The parser raises various errors for damage.
    except Exception as error:
        raise _damaged("MATLAB", path, error) from error
    return {name: value for name, value in variables.items() if not name.startswith("__")}


def _damaged(kind: str, path: Path, error: BaseException) -> DataError:
    text = str(error) or type(error).__name__
    return DataError(
        f"the {kind} file is damaged: {text[:200]}",
        where=path,
        expected="a whole file",
        remedy=_AGAIN,
    )


def read_hdf5(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read arrays of a MATLAB 7.3 file, in MATLAB's order of axes.

    Args:
        path: The file.
        names: Names of the wanted arrays; missing ones are left out. A cell array gives a list.

    Raises:
        DataError: The file is absent or damaged.
    """
    h5py = _imported("h5py", path)
    if not path.is_file():
        raise DataError.missing("the file", path)
    try:
        with h5py.File(path, "r") as store:
            # A link could lead to a file outside the dataset.
            wanted = [n for n in names if store.get(n, getlink=True).__class__ is h5py.HardLink]
            total = sum(store[n].size * store[n].dtype.itemsize for n in wanted)
            _check_size(total, path.stat().st_size, path)
            return {name: _hdf5_value(h5py, store, store[name]) for name in wanted}
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise _damaged("HDF5", path, error) from error


def _imported(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name} is needed to read this file and is not installed",
            where=path,
            remedy="install hemlets with its extra: pip install hemlets[data]",
        ) from error


def _hdf5_value(h5py: Any, store: Any, node: Any) -> Any:
    if h5py.check_ref_dtype(node.dtype) is not None:
        return [np.asarray(store[ref]).T for ref in np.asarray(node).ravel()]
    # HDF5 has MATLAB's axes in reverse order.
    return np.asarray(node).T


def read_cdf(path: Path, name: str) -> Array:
    """Read one variable of a CDF file, without an axis of records of length 1.

    Raises:
        DataError: The file is absent or damaged, or has no such variable.
    """
    cdflib = _imported("cdflib", path)
    if not path.is_file():
        raise DataError.missing("the file", path)
    try:
        store = cdflib.CDF(path)
        found = store.cdf_info().zVariables + store.cdf_info().rVariables
        if name not in found:
            raise DataError(
                f"the CDF file has no variable {name}", where=path, expected=name,
                remedy=f"it has: {', '.join(found) or 'none'}",
            )  # fmt: skip
        about = store.varinq(name)
        cells = prod(int(side) for side in np.ravel(about.Dim_Sizes)) * (about.Last_Rec + 1)
        _check_size(cells * 8, path.stat().st_size, path)
        values = np.asarray(store.varget(name))
    except DataError:
        raise
    # The CDF library checks little: damage raises various errors.
    except Exception as error:
        raise _damaged("CDF", path, error) from error
    return values[0] if values.ndim == 3 and len(values) == 1 else values
