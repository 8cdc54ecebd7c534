"""Datasets' own pickles, read as data.

A pickle is a program: it names functions and calls them. Camera files, 3DPW sequences and SMPL
bodies come as pickles, so they are read by an unpickler that knows a short list of names, each
of which stands for an inert shell of our own. Nothing of what a file names is ever imported.

Admitted: NumPy arrays, dtypes and scalars; SciPy's csc, csr and coo matrices; chumpy's values,
which become plain arrays without chumpy; builtin containers and ``OrderedDict``. All under the
module names of old versions too.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from hemlets.core.errors import DataError

MAX_BYTES: Final = 2_000_000_000
"""Larger files are refused unread."""

_MAX_OPCODES: Final = 50_000_000
_MAX_SPARSE_SIDE: Final = 10_000_000
_REMEDY: Final = "don't open it by other means; fetch the file again from the dataset's own page"
_REFUSED: Final = ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER")
_DTYPE: Final = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SUa]\d{1,6}|O8?|\?)")


class _Refused(Exception):  # noqa: N818 - it becomes a DataError with the file's name
    """The file uses a feature that is not permitted."""


class _Shell:
    """Object of a file: its class name and state."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.state: Any = None


class _Name:
    """Permitted class name of a file. Calling it builds a value or an empty shell."""

    def __init__(self, kind: str, build: Callable[..., Any]) -> None:
        self.kind = kind
        self.build = build


def _raw(data: object) -> bytes:
    # Python 2 wrote the bytes of arrays as text.
    if isinstance(data, str):
        return data.encode("latin1")
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    raise _Refused(f"an array's data is a {type(data).__name__}")


def _shape(value: object) -> tuple[int, ...]:
    sides = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(side, int) and side >= 0 for side in sides) or len(sides) > 16:
        raise _Refused(f"an array has shape {value!r}")
    return sides


def _empty_array(*args: Any) -> _Shell:
    # The first shape and dtype are placeholders; the state that follows has the real ones.
    del args
    return _Shell("array")


def _dtype_shell(spec: Any, *flags: Any) -> _Shell:
    del flags
    shell = _Shell("dtype")
    if not isinstance(spec, str) or not _DTYPE.fullmatch(spec):
        raise _Refused(f"the dtype {str(spec)[:40]!r}")
    shell.state = spec
    return shell


def _dtype_of(shell: Any) -> np.dtype[Any]:
    if not isinstance(shell, _Shell) or shell.kind != "dtype":
        raise _Refused("an array whose dtype is none")
    plain: np.dtype[Any] = np.dtype(shell.state.replace("a", "S"))
    return plain


def _set_dtype_state(shell: _Shell, state: Any) -> None:
    # (version, byte order, subarray, names, fields, size, alignment, flags)
    if not isinstance(state, tuple) or len(state) < 5 or any(v is not None for v in state[2:5]):
        raise _Refused("a structured dtype")
    if state[1] in ("<", ">"):
        shell.state = state[1] + shell.state.lstrip("<>|=")


def _from_bytes(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> Any:
    if len(data) != prod(shape) * dtype.itemsize:
        raise _Refused(f"an array of shape {shape} and dtype {dtype} with {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C").copy(order)  # type: ignore[arg-type]


def _array_of(state: Any) -> Any:
    if not isinstance(state, tuple) or len(state) != 5:
        raise _Refused("an array without a state")
    _, shape, dtype_shell, fortran, data = state
    dtype, sides = _dtype_of(dtype_shell), _shape(shape)
    if dtype.hasobject:
        if not isinstance(data, list) or len(data) != prod(sides):
            raise _Refused("an array of objects of another length than its shape")
        array = np.empty(len(data), object)
        array[:] = [_Later(item) for item in data]
        return array.reshape(sides, order="F" if fortran else "C")
    return _from_bytes(_raw(data), dtype, sides, "F" if fortran else "C")


class _Later:
    """An item of an array of objects, wrapped so that NumPy does not look into it."""

    def __init__(self, item: Any) -> None:
        self.item = item


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C", *rest: Any) -> Any:
    del rest
    plain = _dtype_of(dtype)
    if plain.hasobject:
        raise _Refused("an array of objects in a buffer")
    return _from_bytes(_raw(data), plain, _shape(shape), "F" if order == "F" else "C")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    plain = _dtype_of(dtype)
    if plain.hasobject:
        raise _Refused("a scalar that is an object")
    return _from_bytes(_raw(data), plain, (), "C")[()]


def _encode(text: Any, encoding: Any = "") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("text in an encoding other than latin1")
    return text.encode("latin1")


def _reconstructed(name: Any, base: Any = None, state: Any = None) -> Any:
    del base
    if not isinstance(name, _Name) or state is not None:
        raise _Refused("an object rebuilt from a state")
    return name.build()


def _key(value: Any) -> Any:
    # Hashes of nested tuples are not cached: a small file could request years of hashing.
    flat = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(v, str | bytes | int | float | complex | None) for v in flat):
        raise _Refused(f"a {type(value).__name__} as a key")
    return value


def _container(kind: type) -> Callable[..., Any]:
    def build(*items: Any) -> Any:
        if len(items) > 1 or not all(isinstance(i, list | tuple | dict | set) for i in items):
            raise _Refused(f"a {kind.__name__} that is not made of a container")
        if issubclass(kind, dict):
            pairs = items[0] if items else ()
            pairs = pairs.items() if isinstance(pairs, dict) else pairs
            return kind((_key(key), value) for key, value in pairs)
        if issubclass(kind, set | frozenset):
            return kind(_key(item) for part in items for item in part)
        return kind(*items)

    return build


def _bytes(*data: Any) -> bytes:
    if len(data) > 2 or not all(isinstance(part, str | bytes | bytearray) for part in data):
        raise _Refused("bytes that are not made of bytes")
    return _raw(data[0]) if data else b""


def _table() -> dict[tuple[str, str], _Name]:
    names: dict[tuple[str, str], _Name] = {}

    def admit(modules: str, attribute: str, build: Callable[..., Any]) -> None:
        for module in modules.split():
            names[module, attribute] = _Name(f"{module}.{attribute}", build)

    arrays = "numpy.core.multiarray numpy._core.multiarray numpy.core numpy._core numpy"
    admit(arrays, "_reconstruct", _empty_array)
    admit(arrays, "scalar", _scalar)
    admit("numpy.core.numeric numpy._core.numeric", "_frombuffer", _from_buffer)
    admit("numpy", "ndarray", _empty_array)
    admit("numpy", "dtype", _dtype_shell)
    for form in ("csc", "csr", "coo"):
        modules = f"scipy.sparse scipy.sparse.{form} scipy.sparse._{form}"
        for kind in ("matrix", "array"):
            admit(modules, f"{form}_{kind}", lambda *_, form=form: _Shell(form))
    for kind in ("Ch", "Select", "Reshape", "reshape", "Transpose", "transpose"):
        shell = f"chumpy {kind.lower()}"
        modules = "chumpy.ch chumpy" if kind == "Ch" else "chumpy.reordering chumpy"
        admit(modules, kind, lambda *_, shell=shell: _Shell(shell))
    admit("collections", "OrderedDict", _container(OrderedDict))
    for kind_ in (set, frozenset, list, tuple, dict):
        admit("builtins __builtin__", kind_.__name__, _container(kind_))
    admit("builtins __builtin__", "bytearray", _bytes)
    admit("builtins __builtin__", "bytes", _bytes)
    admit("builtins __builtin__", "object", lambda *_: None)
    admit("_codecs", "encode", _encode)
    admit("copy_reg copyreg", "_reconstructor", _reconstructed)
    admit("copy_reg copyreg", "__newobj__", lambda name, *args: _made(name, args))
    return names


_NAMES: Final[Mapping[tuple[str, str], _Name]] = _table()


def _made(name: Any, args: Any) -> Any:
    if not isinstance(name, _Name) or not isinstance(args, tuple):
        raise _Refused(f"a call of a {type(name).__name__}")
    return name.build(*args)


def _named(module: str, name: str) -> _Name:
    found = _NAMES.get((module, name))
    if found is None:
        raise _Refused(f"the name {module}.{name}"[:200])
    return found


class _Unpickler(pickle._Unpickler):
    """Python's own reader in Python, with the opcodes that call or change something replaced."""

    dispatch: ClassVar[Any] = dict(pickle._Unpickler.dispatch)
    # Of the base class, whose types are not published.
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str, /) -> Any:
        return _named(module, name)

    def get_extension(self, code: int) -> None:
        raise _Refused(f"extension code {code}")

    def persistent_load(self, pid: Any, /) -> Any:
        raise _Refused("a persistent id")

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.append(_made(klass, tuple(args)))

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], args)

    def load_newobj_ex(self) -> None:
        raise _Refused("an object made with keywords")

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, OrderedDict) and not state:
            return
        if not isinstance(target, _Shell):
            raise _Refused(f"a new state for a {type(target).__name__}")
        if target.kind == "dtype":
            _set_dtype_state(target, state)
        elif target.state is None:
            target.state = state
        else:
            raise _Refused("a second state for one object")

    def load_append(self) -> None:
        value = self.stack.pop()
        if not isinstance(self.stack[-1], list):
            raise _Refused(f"appending to a {type(self.stack[-1]).__name__}")
        self.stack[-1].append(value)

    def load_appends(self) -> None:
        items = self.pop_mark()
        if not isinstance(self.stack[-1], list):
            raise _Refused(f"appending to a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._into_dict([key, value])

    def load_setitems(self) -> None:
        self._into_dict(self.pop_mark())

    def _into_dict(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise _Refused(f"setting items of a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._into_dict(items)

    def load_additems(self) -> None:
        items = self.pop_mark()
        if not isinstance(self.stack[-1], set):
            raise _Refused(f"adding to a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(map(_key, items))

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(map(_key, items)))

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_reduce
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.APPEND[0]] = load_append
    dispatch[pickle.APPENDS[0]] = load_appends
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.FROZENSET[0]] = load_frozenset


def _scan(data: bytes) -> None:
    """Refuse by what the file says, before any of it is built."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > _MAX_OPCODES:
            raise _Refused(f"more than {_MAX_OPCODES:,} steps")
        if opcode.name in _REFUSED:
            raise _Refused(f"the opcode {opcode.name}")
        if opcode.name in ("GLOBAL", "INST"):
            _named(*str(argument).split(" ", 1))


class _Plain:
    """Turns shells into values, each object once, so that shared ones stay shared."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        if id(value) in self._done:
            return self._done[id(value)][1]
        if isinstance(value, list | dict):
            return self._fill(value)
        made = value
        if isinstance(value, tuple | set | frozenset):
            made = type(value)(self.of(item) for item in value)
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            made = value
        elif isinstance(value, _Shell):
            made = self._shell(value)
        elif isinstance(value, _Name):
            raise _Refused(f"{value.kind} as a value")
        self._done[id(value)] = (value, made)
        return made

    def _fill(self, value: Any) -> Any:
        made: Any = type(value)()
        # Noted before it is full: a container may hold itself.
        self._done[id(value)] = (value, made)
        if isinstance(value, list):
            made.extend(self.of(item) for item in value)
        else:
            made.update((self.of(key), self.of(item)) for key, item in value.items())
        return made

    def _shell(self, shell: _Shell) -> Any:
        if shell.kind == "dtype":
            return _dtype_of(shell)
        if shell.kind == "array":
            array = _array_of(shell.state)
            if array.dtype.hasobject:
                flat = array.reshape(-1)
                for index, later in enumerate(flat):
                    flat[index] = self.of(later.item)
            return array
        if not isinstance(shell.state, dict):
            raise _Refused(f"a {shell.kind} object without a state")
        state = {key: self.of(v) for key, v in shell.state.items() if key in _STATE[shell.kind]}
        return _chumpy(shell.kind, state) if "chumpy" in shell.kind else _sparse(shell.kind, state)


# Chumpy's states also hold caches and links between terms, which are not read.
_STATE: Final[Mapping[str, tuple[str, ...]]] = {
    "chumpy ch": ("x",),
    "chumpy select": ("a", "idxs", "preferred_shape"),
    "chumpy reshape": ("a", "newshape"),
    "chumpy transpose": ("a", "axes"),
    "csc": ("_shape", "data", "indices", "indptr"),
    "csr": ("_shape", "data", "indices", "indptr"),
    "coo": ("_shape", "data", "row", "col", "coords"),
}


def _chumpy(kind: str, state: dict[str, Any]) -> Any:
    if kind == "chumpy ch":
        return np.asarray(state["x"])
    values = np.asarray(state["a"])
    if kind == "chumpy select":
        chosen = values.ravel()[np.asarray(state["idxs"])]
        shape = state.get("preferred_shape")
        return chosen if shape is None else chosen.reshape(shape)
    if kind == "chumpy reshape":
        return values.reshape(state["newshape"])
    return np.transpose(values, state.get("axes"))


def _sparse(kind: str, state: dict[str, Any]) -> Any:
    from scipy import sparse

    shape = _shape(state["_shape"])
    if len(shape) != 2 or max(shape) > _MAX_SPARSE_SIDE:
        raise _Refused(f"a sparse matrix of shape {shape}")
    if kind == "coo":
        at = state.get("coords") or (state["row"], state["col"])
        return sparse.coo_matrix((state["data"], at), shape=shape)
    make = sparse.csc_matrix if kind == "csc" else sparse.csr_matrix
    matrix = make((state["data"], state["indices"], state["indptr"]), shape=shape)
    # Indices beyond the shape would be followed out of memory by the first product.
    matrix.check_format(full_check=True)
    return matrix


def load_pickle(
    source: str | PathLike[str] | bytes, *, where: str | None = None, max_bytes: int = MAX_BYTES
) -> Any:
    """Read a pickle of any protocol, as plain data.

    Text that Python 2 wrote is read as latin1.

    Args:
        source: The file, or its bytes.
        where: What messages call it; the file's path where omitted.
        max_bytes: Larger files are refused.

    Raises:
        DataError: The file is absent, too large, damaged, or asks for a name that is not
            admitted. Nothing that it names was imported or called.
    """
    place = where or ("bytes" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else _bytes_of(Path(source), place, max_bytes)
    if len(data) > max_bytes:
        raise _too_large(len(data), place, max_bytes)
    try:
        _scan(data)
        unpickler = _Unpickler(io.BytesIO(data), encoding="latin1")
        return _Plain().of(unpickler.load())
    except _Refused as error:
        raise DataError(
            f"the pickle asks for {error}, which is not admitted; nothing of it was run",
            where=place,
            expected="arrays, sparse matrices, chumpy values and builtin containers",
            remedy=_REMEDY,
        ) from None
    # A damaged pickle can fail anywhere in the reader; what fails says nothing to a user.
    except (MemoryError, RecursionError):
        raise DataError("the pickle is nested too deeply or too large", where=place) from None
    except Exception as error:
        raise DataError(
            f"the pickle is damaged: {error or type(error).__name__}",
            where=place,
            expected="a whole pickle",
            remedy="fetch the file again",
        ) from error


def _too_large(size: int, place: str, limit: int) -> DataError:
    return DataError(
        f"the pickle has {size:,} bytes", where=place, expected=f"at most {limit:,} bytes"
    )


def _bytes_of(path: Path, place: str, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise _too_large(size, place, limit)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError("the file does not exist", where=place) from error
    except OSError as error:
        raise DataError(f"the file can't be read: {error.strerror}", where=place) from error
