"""Pickles of datasets: arrays come out, and nothing that a file asks for runs."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from hemlets.core.errors import DataError
from hemlets.core.pickles import load_pickle

SAMPLES = Path(os.environ["HEMLETS_SAMPLES"])
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

PLAIN: dict[str, Any] = {
    "rows": np.arange(6.0).reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">f4"),
    "text": np.array(["ab", "c"]),
    "bytes": np.array([b"ab"]),
    "flags": np.array([True, False]),
    "objects": np.array([[1, "x"], [None, 2.5]], object),
    "empty": np.zeros((0, 3)),
    "scalar": np.float32(3),
    "dtype": np.dtype("f8"),
    "csc": scipy.sparse.csc_matrix(np.eye(3)),
    "csr": scipy.sparse.csr_matrix(np.eye(3)),
    "coo": scipy.sparse.coo_matrix(np.eye(3)),
    "ordered": collections.OrderedDict(a=1, b=[2]),
    "set": {1, 2},
    "frozen": frozenset([1]),
    "raw": b"\xff\x00",
    "nested": {"a": [(1, "ü"), None, True]},
}


def same(left: Any, right: Any) -> bool:
    if scipy.sparse.issparse(right):
        return type(left) is type(right) and (left != right).nnz == 0
    if isinstance(right, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_of_every_protocol_come_back(name: str, protocol: int) -> None:
    assert same(load_pickle(pickle.dumps(PLAIN[name], protocol)), PLAIN[name])


def test_module_names_of_old_and_new_numpy_are_the_same_arrays() -> None:
    old = pickle.dumps(np.arange(4), 2)
    for name in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        renamed = old.replace(b"numpy._core.multiarray", name).replace(
            b"numpy.core.multiarray", name
        )
        assert load_pickle(renamed).tolist() == [0, 1, 2, 3]


def test_a_shared_and_a_recursive_list_stay_what_they_are() -> None:
    shared: list[Any] = [1]
    pair = load_pickle(pickle.dumps([shared, shared]))
    assert pair[0] is pair[1]
    shared.append(shared)
    own = load_pickle(pickle.dumps(shared))
    assert own[1] is own


@pytest.fixture
def chumpy() -> Any:
    """Modules with chumpy's names, while a pickle is written; chumpy itself needs old Python."""
    ch, reordering = types.ModuleType("chumpy.ch"), types.ModuleType("chumpy.reordering")
    for module, name in ((ch, "Ch"), (reordering, "Select"), (reordering, "Transpose")):
        setattr(module, name, type(name, (), {"__module__": module.__name__}))
    before = {name: sys.modules.get(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    sys.modules |= {
        "chumpy": types.ModuleType("chumpy"), "chumpy.ch": ch, "chumpy.reordering": reordering,
    }  # fmt: skip
    yield types.SimpleNamespace(Ch=ch.Ch, Select=reordering.Select, Transpose=reordering.Transpose)
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


def shell(kind: type, **state: Any) -> Any:
    made = kind()
    made.__dict__.update(state)
    return made


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_smpl_body_with_chumpy_and_sparse_matrices_is_read_without_chumpy(
    chumpy: Any, protocol: int
) -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    all_shapes = shell(chumpy.Ch, x=values, _dirty_vars=set(), _itr=None)
    body = {
        "v_template": shell(chumpy.Ch, x=np.ones((2, 3))),
        "shapedirs": shell(
            chumpy.Select, a=all_shapes, idxs=np.array([0, 5, 23, 2]), preferred_shape=(2, 2)
        ),
        "posedirs": shell(chumpy.Transpose, a=all_shapes, axes=(2, 1, 0)),
        "J_regressor": scipy.sparse.csc_matrix(np.eye(2)),
        "f": np.array([[0, 1, 1]], np.uint32),
        "bs_type": "lrotmin",
    }
    data = pickle.dumps(body, protocol)
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        sys.modules.pop(name)
    read = load_pickle(data)
    assert "chumpy" not in sys.modules
    assert type(read["v_template"]) is np.ndarray
    assert read["shapedirs"].tolist() == [[0.0, 5.0], [23.0, 2.0]]
    assert np.array_equal(read["posedirs"], values.transpose(2, 1, 0))
    assert read["J_regressor"].toarray().tolist() == [[1, 0], [0, 1]]


def test_a_python_2_pickle_has_its_text_and_arrays() -> None:
    data = (
        b"}q\x01(U\x03keyq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
        b"K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02\x85cnumpy\ndtype\nq\x06U\x02i2K\x00K\x01\x87R"
        b"q\x07(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x01\x00\xff\xfftbu."
    )
    assert load_pickle(b"\x80\x02" + data)["key"].tolist() == [1, -1]


def payloads(marker: Path) -> dict[str, bytes]:
    """Pickles that create a file when Python's own reader takes them, by how they do it."""
    command = f"touch {marker}"
    short = command.encode()
    text = b"\x8c" + bytes([len(short)]) + short
    posix = f"c{os.name}\nsystem\n".encode()

    class Reduces:
        def __reduce__(self) -> Any:
            return os.system, (command,)

    return {
        "REDUCE": pickle.dumps({"camera": Reduces()}, 2),
        "STACK_GLOBAL": pickle.dumps([np.arange(3), Reduces()], 4),
        "protocol 0": pickle.dumps(Reduces(), 0),
        "INST": b"(S'" + short + b"'\nios\nsystem\n.",
        "OBJ": b"(" + posix + b"X" + struct.pack("<I", len(short)) + short + b"o.",
        "NEWOBJ": b"\x80\x02" + posix + text + b"\x85\x81.",
        "memoised name": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93"
        + text
        + b"\x85R.",
        "eval": b'cbuiltins\neval\n(S\'__import__("os").system("' + short + b"\")'\ntR.",
        "getattr": b"cbuiltins\ngetattr\n(cos\n__name__\nS'x'\ntR" + text + b"\x85R.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93" + text + b"\x85R.",
        "numpy's own eval": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
        "BUILD with __setstate__": (
            b"c__main__\nX\n)\x81}(S'__setstate__'\ncos\nsystem\nubS'" + short + b"'\nb."
        ),
    }


KINDS = list(payloads(Path("x")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_that_would_run_a_command_runs_nothing(kind: str, tmp_path: Path) -> None:
    marker, file = tmp_path / "ran", tmp_path / "cameras.pkl"
    file.write_bytes(payloads(marker)[kind])
    with pytest.raises(DataError, match="not admitted; nothing of it was run") as caught:
        load_pickle(file)
    assert caught.value.where == str(file)
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["REDUCE", "STACK_GLOBAL", "protocol 0", "INST", "OBJ"])
def test_the_payloads_are_live(kind: str, tmp_path: Path) -> None:
    pickle.loads(payloads(tmp_path / "ran")[kind])
    assert (tmp_path / "ran").exists()


def test_the_name_that_is_refused_is_told() -> None:
    with pytest.raises(DataError, match=r"the name (posix|os)\.system"):
        load_pickle(pickle.dumps(os.system, 2))


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("an extension code", b"\x80\x02\x82\x01."),
        ("a persistent id", b"Pelsewhere\n."),
        ("a binary persistent id", b"K\x01Q."),
        ("a buffer from outside", b"\x80\x05\x97."),
        ("a class as a value", b"cnumpy\nndarray\n."),
        ("an array's state on a class", b"cnumpy\nndarray\n}S'a'\nK\x01sb."),
        ("a call of a number", b"K\x01)R."),
        ("keywords", b"\x80\x04ccollections\nOrderedDict\n)}\x92."),
        ("a list as a key", b"}(]K\x01u."),
    ],
)
def test_other_doors_are_shut(what: str, data: bytes) -> None:
    with pytest.raises(DataError, match="not admitted"):
        load_pickle(data)


def test_a_class_cannot_be_changed_for_the_files_after_it() -> None:
    with pytest.raises(DataError):
        load_pickle(b"cnumpy\nndarray\nN}S'build'\nK\x01s\x86b.")
    assert load_pickle(pickle.dumps(np.arange(3))).tolist() == [0, 1, 2]


def array_of(shape: tuple[int, ...], data: bytes, dtype: str = "f8") -> bytes:
    """An array's pickle with a state that says what one likes."""
    array = np.zeros(1, dtype)
    _, _, state = array.__reduce__()
    out = io.BytesIO()
    pickler = pickle._Pickler(out, 2)
    pickler.framer.start_framing() if hasattr(pickler, "framer") else None
    pickler.write(b"\x80\x02")
    pickler.save(np.zeros(0, dtype).__reduce__()[0])
    pickler.save((np.ndarray, (0,), b"b"))
    pickler.write(b"R")
    pickler.save((1, shape, state[2], False, data))
    pickler.write(b"b.")
    pickler.framer.end_framing()
    return out.getvalue()


@pytest.mark.parametrize("shape", [(10**12,), (2**40, 2**40), (-1,), (3,)])
def test_an_array_larger_than_its_bytes_takes_no_memory(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError):
        load_pickle(array_of(shape, b"\0" * 8))
    assert load_pickle(array_of((1,), b"\0" * 8)).tolist() == [0.0]


def test_a_length_beyond_the_file_takes_no_memory() -> None:
    with pytest.raises(DataError, match="damaged"):
        load_pickle(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.")


def test_keys_that_would_take_years_to_hash_are_refused() -> None:
    nested = b"K\x01" + b"q\x00h\x00\x86" * 60
    with pytest.raises(DataError, match="key"):
        load_pickle(b"\x80\x02}" + nested + b"K\x01s.")


def test_sparse_indices_beyond_the_shape_are_refused() -> None:
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.indices[1] = 1000
    with pytest.raises(DataError, match="damaged"):
        load_pickle(pickle.dumps(matrix))


@pytest.mark.parametrize("cut", [0, 1, 20, 200, -1])
def test_a_truncated_pickle_is_damage_not_a_crash(cut: int) -> None:
    with pytest.raises(DataError, match="damaged"):
        load_pickle(pickle.dumps({"a": np.arange(100.0)}, 2)[:cut])


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.pkl"
    with file.open("wb") as stream:
        stream.truncate(3_000_000_000)
    with pytest.raises(DataError, match=r"3,000,000,000 bytes"):
        load_pickle(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_pickle(tmp_path / "no.pkl")


@pytest.mark.parametrize("name", ["human36m/cameras.pkl", "mpi_inf_3dhp/cameras_train.pkl"])
def test_real_camera_files_are_read_as_python_reads_them(name: str) -> None:
    file = SAMPLES / name
    if not file.exists():
        pytest.skip(f"no real samples at {SAMPLES} (HEMLETS_SAMPLES)")
    read, expected = load_pickle(file), pickle.loads(file.read_bytes())
    assert list(read) == list(expected)
    for key, camera in expected.items():
        assert all(np.array_equal(read[key][field], value) for field, value in camera.items())
