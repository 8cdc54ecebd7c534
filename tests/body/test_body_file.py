"""SMPL's pickles become body files; anything else is refused by name, and never run."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from scipy import sparse

from hemlets.body import BodyModel, read_body_arrays
from hemlets.body.body_file import convert_smpl
from hemlets.core.errors import AssetError, DataError
from hemlets.core.skeleton import SMPL_PARENTS


class Ch:
    """Stands in for chumpy's array while a pickle is written."""

    def __init__(self, values):
        self.x = np.asarray(values)


@pytest.fixture
def chumpy(monkeypatch):
    """chumpy as it was when SMPL's files were made; gone again when they are read."""

    def dump(path, content):
        with monkeypatch.context() as patch:
            module = types.ModuleType("chumpy.ch")
            module.Ch = Ch
            patch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
            patch.setitem(sys.modules, "chumpy.ch", module)
            patch.setattr(Ch, "__module__", "chumpy.ch")
            path.write_bytes(pickle.dumps(content, protocol=2))
        return path

    return dump


@pytest.fixture
def content(lite_body):
    """The lite body as SMPL's own files are laid out."""
    arrays = lite_body.arrays
    parents = np.array([2**32 - 1, *SMPL_PARENTS[1:]], np.uint32)
    return {
        "v_template": Ch(arrays["v_template"].astype(np.float64)),
        "shapedirs": Ch(arrays["shapedirs"].astype(np.float64)),
        "posedirs": np.zeros((lite_body.n_vertices, 3, 207)),
        "J_regressor": sparse.csc_matrix(arrays["J_regressor"].astype(np.float64)),
        "weights": Ch(arrays["weights"].astype(np.float64)),
        "kintree_table": np.stack([parents, np.arange(24, dtype=np.uint32)]),
        "f": arrays["f"].astype(np.uint32),
        "bs_style": "lbs",
    }


def regressor_file(tmp_path, lite_body, rows=17):
    path = tmp_path / "regressor.npy"
    np.save(path, lite_body.arrays["joint_regressor_18"][:rows].astype(np.float64))
    return path


def test_a_converted_pickle_is_the_same_body(tmp_path, chumpy, content, lite_body):
    source = chumpy(tmp_path / "smpl.pkl", content)
    target = tmp_path / "smpl.npz"
    facts = convert_smpl(source, target, regressor=regressor_file(tmp_path, lite_body))
    assert (facts.n_vertices, facts.n_betas, facts.pose_blends) == (1229, 10, False)
    converted = BodyModel.load(target)
    theta, betas = 0.2 * torch.ones(1, 72), torch.linspace(-1, 1, 10)[None]
    ours, theirs = converted(theta, betas), lite_body(theta, betas)
    torch.testing.assert_close(ours.vertices_BV3_mm, theirs.vertices_BV3_mm, atol=0.01, rtol=0)
    torch.testing.assert_close(ours.joints18_B183_mm, theirs.joints18_B183_mm, atol=0.1, rtol=0)
    assert converted.arrays["joint_regressor_h36m"].shape == (17, 1229)


def test_fewer_shape_coefficients_can_be_kept(tmp_path, chumpy, content, lite_body):
    source, target = chumpy(tmp_path / "smpl.pkl", content), tmp_path / "smpl.npz"
    rows = regressor_file(tmp_path, lite_body, 18)
    convert_smpl(source, target, regressor=rows, n_betas=4)
    assert BodyModel.load(target).n_betas == 4


def test_more_shape_coefficients_than_there_are_cannot_be_kept(tmp_path, chumpy, content):
    source = chumpy(tmp_path / "smpl.pkl", content)
    with pytest.raises(AssetError, match="300 shape coefficients are wanted, the body has 10"):
        convert_smpl(source, tmp_path / "smpl.npz", n_betas=300)


def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    source = tmp_path / "smpl.pkl"
    source.write_bytes(pickle.dumps({"v_template": Evil()}))
    with pytest.raises(DataError, match="not admitted"):
        convert_smpl(source, tmp_path / "smpl.npz")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "smpl.npz").exists()


def test_a_truncated_pickle_is_refused(tmp_path, chumpy, content):
    source = chumpy(tmp_path / "smpl.pkl", content)
    source.write_bytes(source.read_bytes()[:5000])
    with pytest.raises(DataError, match="damaged"):
        convert_smpl(source, tmp_path / "smpl.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("weights"), "lacks weights"),
        (lambda c: c.update(v_template=c["v_template"].x * 1000), "in metres"),
        (lambda c: c.update(weights=c["weights"].x * 0.5), "sums to 0.5"),
        (lambda c: c.update(kintree_table=np.zeros((2, 52), np.uint32)), r"\(2, 52\)"),
        (lambda c: c["kintree_table"].__setitem__((0, 5), 9), "not SMPL's"),
        (lambda c: c.update(f=c["f"] + 1229), "names vertices that the mesh lacks"),
        (lambda c: c["v_template"].x.__setitem__(3, np.nan), "not finite"),
        (lambda c: c.update(weights="many"), "holds no numbers"),
        (lambda c: c.update(J_regressor=c["J_regressor"][:, :600]), "J_regressor has shape"),
    ],
)
def test_what_is_no_smpl_body_is_refused_by_name(tmp_path, chumpy, content, change, message):
    content = {key: Ch(v.x.copy()) if isinstance(v, Ch) else v for key, v in content.items()}
    change(content)
    source = chumpy(tmp_path / "smpl.pkl", content)
    with pytest.raises(AssetError, match=message):
        convert_smpl(source, tmp_path / "smpl.npz")
    assert not (tmp_path / "smpl.npz").exists()


def test_a_regressor_of_another_mesh_is_refused(tmp_path, chumpy, content):
    source = chumpy(tmp_path / "smpl.pkl", content)
    np.save(tmp_path / "other.npy", np.ones((17, 6890)))
    with pytest.raises(AssetError, match=r"\(17, 6890\)"):
        convert_smpl(source, tmp_path / "smpl.npz", regressor=tmp_path / "other.npy")


def test_a_truncated_body_file_is_refused(tmp_path, lite_body):
    file = tmp_path / "body.npz"
    np.savez(file, **lite_body.arrays)
    file.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(AssetError, match="can't be read"):
        read_body_arrays(file)


def test_what_is_no_archive_is_refused_without_numpys_advice_to_load_it_unsafely(tmp_path):
    (tmp_path / "body.npz").write_bytes(b"\xff\xd8\xff" + bytes(500))
    with pytest.raises(AssetError, match=r"it is no \.npz") as raised:
        read_body_arrays(tmp_path / "body.npz")
    assert "allow_pickle" not in str(raised.value)


def test_a_pickle_given_as_a_body_file_is_told_how_to_convert(tmp_path):
    (tmp_path / "smpl.pkl").write_bytes(pickle.dumps({"v_template": 1}))
    with pytest.raises(AssetError, match="hemlets body convert"):
        BodyModel.load(tmp_path / "smpl.pkl")


def test_a_single_array_is_no_body_file(tmp_path):
    np.save(tmp_path / "body.npy", np.zeros(3))
    with pytest.raises(AssetError, match="single array"):
        read_body_arrays(tmp_path / "body.npy")
