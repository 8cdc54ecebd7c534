"""The damage catalogue of 3D forms: refused, or left out by name; no other row is lost."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.skeleton import Joint
from hemlets.data.readers import (
    amass,
    contract,
    human36m,
    humaneva,
    mpi_inf_3dhp,
    surreal,
    threedpw,
    up3d,
)
from hemlets.data.readers.contract import Dataset, ImageRef, ReadOptions, SourceRows
from hemlets.data.readers.files3d import read_mat, read_npz
from hemlets.data.readers.quarantine import Quarantine


def rows_of(parts: list[Any]) -> int:
    return sum(len(part) for part in parts)


def cut(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


class RunsACommand:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


Damage = Callable[[Any, Path], Any]


def h36m(**own: Any) -> Damage:
    return lambda w, root: w.human36m(root, **{k: f(w) for k, f in own.items()})


def swapped(w: Any) -> Any:
    return w.standing_body()[..., [0, 2, 1]]


def shifted(w: Any) -> Any:
    body = w.standing_body()
    body[..., 0] += np.linspace(0, 3000, len(body))[:, None]
    return np.roll(body, 4, 0)


def threedpw_with(**own: Any) -> Damage:
    return lambda w, root: w.threedpw(root, **own)


def after(writer: str, change: Callable[[Path, Any], None], **own: Any) -> Damage:
    def damage(w: Any, root: Path) -> Path:
        file: Path = getattr(w, writer)(root, **own)
        change(file, w)
        return file

    return damage


def spin_with(**own: Any) -> Damage:
    return lambda w, root: w.spin(root / "h36m.npz", **own)


def no_mono(file: Path, w: Any) -> None:
    (file.parents[1] / "D3_Positions_mono" / file.name).unlink()


def surreal_with(**own: Any) -> Damage:
    def damage(w: Any, root: Path) -> Path:
        from scipy.io import savemat

        root.mkdir(exist_ok=True)
        n = 5
        fields = {
            "joints2D": np.ones((2, 24, n)), "joints3D": np.ones((3, 24, n)),
            "pose": np.zeros((72, n)), "shape": np.zeros((10, n)), "camLoc": np.ones((3, 1)),
            "zrot": np.zeros((n, 1)), "gender": np.ones((n, 1)),
        } | own  # fmt: skip
        savemat(root / "01_01_c0001_info.mat", {k: v for k, v in fields.items() if v is not None})
        return root / "01_01_c0001_info.mat"

    return damage


OBJECTS = np.array([{"a": 1}], object)

# What is wrong, with which dataset, how it comes about, and what the message says.
WHOLE_FILE: dict[str, tuple[Dataset, Damage, str]] = {
    "a truncated CDF": (human36m.DATASET, after("human36m", lambda f, w: cut(f)), "CDF|Pose"),
    "an empty CDF": (
        human36m.DATASET, after("human36m", lambda f, w: f.write_bytes(b"")), "CDF file is damaged",
    ),
    "text in place of a CDF": (
        human36m.DATASET, after("human36m", lambda f, w: f.write_text("<html>")), "CDF",
    ),
    "a CDF of another variable": (
        human36m.DATASET,
        after("human36m", lambda f, w: w.cdf(f, np.ones((3, 64)), "Angles")),
        "no variable Pose",
    ),
    "a CDF of another width": (
        human36m.DATASET, after("human36m", lambda f, w: w.cdf(f, np.ones((3, 62)))), "shape",
    ),
    "2D without 3D": (human36m.DATASET, after("human36m", no_mono), "no 3D positions"),
    "lengths of 2D and 3D that differ": (
        human36m.DATASET, h36m(joints3d=lambda w: w.standing_body(7)), "12 frames in 2D, 7 in 3D",
    ),
    "swapped axes": (human36m.DATASET, h36m(joints3d=swapped), "far from the 2D|behind"),
    "metres for millimetres": (
        human36m.DATASET, h36m(joints3d=lambda w: w.standing_body() / 1000), "not that of a body",
    ),
    "centimetres for millimetres": (
        human36m.DATASET, h36m(joints3d=lambda w: w.standing_body() / 10), "not that of a body",
    ),
    "negative depth": (
        human36m.DATASET,
        h36m(joints3d=lambda w: w.standing_body() * [1, 1, -1]),
        "behind the camera",
    ),
    "a shifted frame index": (human36m.DATASET, h36m(joints3d=shifted), "far from the 2D"),
    "left and right permuted": (
        human36m.DATASET,
        h36m(joints3d=lambda w: w.standing_body()[:, [0, 4, 5, 6, 1, 2, 3, *range(7, 18)]]),
        "far from the 2D",
    ),
    "an unknown subject": (
        human36m.DATASET, lambda w, root: w.human36m(root, "S2"), "no positions of a subject 'S2'",
    ),
    "an unknown camera": (
        human36m.DATASET, lambda w, root: w.human36m(root, camera="1"), "no camera '1'",
    ),
    "a frame without 3D in JSON": (
        human36m.DATASET,
        lambda w, root: w.human36m_json(root, frame_idx=999),
        "no 3D joints of frame 999",
    ),
    "a camera that JSON lacks": (
        human36m.DATASET, lambda w, root: w.human36m_json(root, cam_idx=3), "camera 3 is missing",
    ),
    "a path out of the folder in JSON": (
        human36m.DATASET,
        lambda w, root: w.human36m_json(root, file_name="../../etc/passwd"),
        "leads out of",
    ),
    "JSON that breaks off": (
        human36m.DATASET, after("human36m_json", lambda f, w: cut(f)), "not JSON",
    ),
    "a truncated npz": (
        human36m.DATASET, after("human36m_npz", lambda f, w: cut(f)), "npz file is damaged",
    ),
    "an npz of Python objects": (
        human36m.DATASET, spin_with(imgname=OBJECTS, part=None), "Python objects",
    ),
    "rows that differ between arrays": (
        human36m.DATASET, spin_with(part=np.ones((5, 17, 3))), "5 rows for 12 images",
    ),
    "text in place of numbers": (
        human36m.DATASET, spin_with(center=np.full((12, 2), "x")), "the values are",
    ),
    "a joint set nobody knows": (
        human36m.DATASET, spin_with(part=np.ones((12, 21, 3)), S=None), "21 joints",
    ),
    "a missing column": (human36m.DATASET, spin_with(center=None), "lacks center"),
    "a truncated mat": (
        mpi_inf_3dhp.DATASET, after("mpi_train", lambda f, w: cut(f)), "MATLAB file is damaged",
    ),
    "a camera that the calibration lacks": (
        mpi_inf_3dhp.DATASET,
        after("mpi_train", lambda f, w: w.calibration(f.parent / "camera.calibration", range(3))),
        "camera 4 is missing",
    ),
    "no camera file at all": (
        mpi_inf_3dhp.DATASET,
        after("mpi_train", lambda f, w: (f.parent / "camera.calibration").unlink()),
        "no camera file",
    ),
    "an image height that the centre lies outside of": (
        mpi_inf_3dhp.DATASET,
        after(
            "mpi_train",
            lambda f, w: w.calibration(f.parent / "camera.calibration", size="1024 204"),
        ),
        "lies outside 1024×204",
    ),
    "a truncated HDF5": (
        mpi_inf_3dhp.DATASET, after("mpi_test", lambda f, w: cut(f)), "HDF5 file is damaged",
    ),
    "HDF5 of other axes": (
        mpi_inf_3dhp.DATASET,
        lambda w, root: w.mpi_test(root, annot3=np.ones((12, 1, 3, 17))),
        "shape",
    ),
    "HDF5 arrays of other lengths": (
        mpi_inf_3dhp.DATASET,
        lambda w, root: w.mpi_test(root, valid_frame=np.ones((5, 1))),
        "frames",
    ),
    "an unknown activity": (
        mpi_inf_3dhp.DATASET,
        lambda w, root: w.mpi_test(root, activity_annotation=np.full((12, 1), 40.0)),
        "activity 40",
    ),
    "a calibration of other numbers": (
        humaneva.DATASET, lambda w, root: w.humaneva(root, cal="1 2 3"), "3 numbers",
    ),
    "a rotation that mirrors": (
        humaneva.DATASET,
        lambda w, root: w.humaneva(
            root, cal="9 9 9 9 0  0 0 0 0 0  1 0 0 0 1 0 0 0 -1  0 0 0  0 0 0"
        ),
        "mirrors",
    ),
    "a sequence of another name": (
        threedpw.DATASET, threedpw_with(sequence="outdoors_00"), "holds the sequence outdoors_00",
    ),
    "a sequence name that climbs out": (
        threedpw.DATASET, threedpw_with(sequence="../../tmp/x"), "no name of a sequence",
    ),
    "a person too few": (threedpw.DATASET, threedpw_with(genders=[]), "of 0 people"),
    "poses of another length": (
        threedpw.DATASET, threedpw_with(poses=[np.zeros((3, 72))]), "shape",
    ),
    "a camera pose that is no rotation": (
        threedpw.DATASET, threedpw_with(cam_poses=np.ones((12, 4, 4))), "no rotation",
    ),
    "an unknown gender": (threedpw.DATASET, threedpw_with(genders=["x"]), "gender 'x'"),
    "a fit with no focal length": (
        up3d.DATASET, lambda w, root: w.up3d(root, f=-1.0), "focal length is -1",
    ),
    "clip arrays of other lengths": (
        surreal.DATASET, surreal_with(pose=np.zeros((72, 4))), "frames",
    ),
    "clip axes in another order": (
        surreal.DATASET, surreal_with(joints3D=np.ones((24, 3, 5))), "shape",
    ),
    "a camera place that is missing": (
        surreal.DATASET, surreal_with(camLoc=None), "lacks camLoc",
    ),
}  # fmt: skip


@pytest.fixture
def forms(written: SimpleNamespace) -> SimpleNamespace:
    written.human36m_npz = lambda root: written.spin(root / "h36m.npz")
    return written


@pytest.mark.parametrize("what", WHOLE_FILE)
def test_a_damaged_file_is_refused_by_name(
    forms: SimpleNamespace, tmp_path: Path, what: str
) -> None:
    dataset, damage, message = WHOLE_FILE[what]
    damage(forms, tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        forms.read_all(dataset, tmp_path)
    assert str(tmp_path) in (caught.value.where or "")


@pytest.mark.parametrize("what", WHOLE_FILE)
def test_a_damaged_file_is_left_out_where_a_quarantine_is_given(
    forms: SimpleNamespace, tmp_path: Path, what: str
) -> None:
    dataset, damage, _ = WHOLE_FILE[what]
    damage(forms, tmp_path)
    quarantine = Quarantine()
    parts = forms.read_all(dataset, tmp_path, quarantine)
    assert quarantine.items
    assert all(item.file and item.what for item in quarantine.items)
    for part in parts:
        assert np.isfinite(np.asarray(part.columns["joints2d_px"])).all()


def test_a_damaged_file_costs_no_other_file_a_row(forms: SimpleNamespace, tmp_path: Path) -> None:
    for action in ("Eating", "Walking", "Walking 1"):
        file = forms.human36m(tmp_path, action=action)
        if action == "Walking":
            cut(file)
    quarantine = Quarantine()
    parts = forms.read_all(human36m.DATASET, tmp_path, quarantine)
    assert rows_of(parts) == 2 * forms.FRAMES
    (item,) = quarantine.items
    assert item.file.endswith("Walking.54138969.cdf")
    assert "fetch the file again" in item.remedy


ROWS: dict[str, tuple[Callable[[np.ndarray], None], str, str]] = {
    "not a number": (lambda j: j.__setitem__((3, 5, 1), np.nan), "not finite", "joints3d_mm"),
    "infinite": (lambda j: j.__setitem__((3, 5, 1), np.inf), "not finite", "joints3d_mm"),
    "behind the camera": (
        lambda j: j.__setitem__((3, slice(None), 2), -j[3, :, 2]), "behind", "joints3d_mm",
    ),
    "collapsed to a point": (
        lambda j: j.__setitem__((3, slice(None)), j[3, :1]), "length", "joints3d_mm",
    ),
    "in another place": (
        lambda j: j.__setitem__((3, slice(None), 0), j[3, :, 0] + 900), "far from", "joints3d_mm",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ROWS)
def test_a_damaged_row_is_left_out_alone(forms: SimpleNamespace, tmp_path: Path, what: str) -> None:
    change, message, field = ROWS[what]
    joints = forms.standing_body()
    change(joints)
    forms.human36m(tmp_path, joints3d=joints)
    quarantine = Quarantine()
    (rows,) = forms.read_all(human36m.DATASET, tmp_path, quarantine)
    assert rows.columns["frame"].tolist() == [f for f in range(forms.FRAMES) if f != 3]
    (item,) = quarantine.items
    assert (item.row, item.field) == (3, field)
    assert message in item.what
    assert item.remedy
    with pytest.raises(DataError, match="row 3"):
        forms.read_all(human36m.DATASET, tmp_path)


def test_a_row_with_a_path_out_of_the_folder_is_left_out_alone(
    forms: SimpleNamespace, tmp_path: Path
) -> None:
    names = [f"S1_Walking_1.54138969_{i:06d}.jpg" for i in range(1, 13)]
    names[2], names[5], names[7] = "/etc/passwd", "S1/../../x.jpg", "C:\\x\\y.jpg"
    forms.spin(tmp_path / "h36m.npz", imgname=np.array(names))
    quarantine = Quarantine()
    parts = forms.read_all(human36m.DATASET, tmp_path, quarantine)
    assert rows_of(parts) == 9
    assert [(item.row, item.field) for item in quarantine.items] == [
        (2, "imgname"), (5, "imgname"), (7, "imgname"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "writer", "target"),
    [
        (human36m.DATASET, "human36m_npz", "cameras.pkl"),
        (threedpw.DATASET, "threedpw", "sequenceFiles/validation/downtown_walk_00.pkl"),
        (up3d.DATASET, "up3d", "00001_body.pkl"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_planted_pickle_does_not_run(
    forms: SimpleNamespace,
    tmp_path: Path,
    dataset: Dataset,
    writer: str,
    target: str,
    protocol: int,
) -> None:
    getattr(forms, writer)(tmp_path)
    marker = tmp_path / "ran"
    (tmp_path / target).write_bytes(pickle.dumps({"poses": RunsACommand(marker)}, protocol))
    with pytest.raises(DataError, match="nothing of it was run"):
        forms.read_all(dataset, tmp_path)
    quarantine = Quarantine()
    forms.read_all(dataset, tmp_path, quarantine)
    assert target.rpartition("/")[2] in quarantine.items[0].file + quarantine.items[0].what
    assert not marker.exists()


def test_a_pickle_within_an_npz_does_not_run(tmp_path: Path) -> None:
    marker, file = tmp_path / "ran", tmp_path / "h36m.npz"
    np.savez(file, positions_3d=np.array(RunsACommand(marker), object))
    with pytest.raises(DataError, match="Python objects"):
        read_npz(file)
    assert not marker.exists()


def test_an_npz_that_would_unpack_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (25_000_000,)}
    )
    file = tmp_path / "bomb.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("part.npy", header.getvalue() + bytes(200_000_000))
    assert file.stat().st_size < 400_000
    with pytest.raises(DataError, match="would unpack to 200,0"):
        read_npz(file)


def test_a_mat_that_would_unpack_to_far_more_is_refused_unread(tmp_path: Path) -> None:
    from scipy.io import savemat

    file = tmp_path / "01_01_c0001_info.mat"
    savemat(file, {"joints2D": np.zeros((2, 60_000_000), np.uint8)}, do_compression=True)
    with pytest.raises(DataError, match="would unpack to 120,000,000"):
        read_mat(file)


def test_a_planted_camera_file_of_3dhp_does_not_run(forms: SimpleNamespace, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    forms.spin(tmp_path / "3dhp_train.npz")
    (tmp_path / "cameras_train.pkl").write_bytes(pickle.dumps(RunsACommand(marker)))
    with pytest.raises(DataError, match="nothing of it was run"):
        forms.read_all(mpi_inf_3dhp.DATASET, tmp_path)
    assert not marker.exists()


def test_a_reader_without_its_library_says_how_to_get_it(
    forms: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms.human36m(tmp_path)
    monkeypatch.setitem(sys.modules, "cdflib", None)
    with pytest.raises(ConfigError, match=r"cdflib is needed[\s\S]*hemlets\[data\]"):
        forms.read_all(human36m.DATASET, tmp_path)


def test_an_array_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("part.npy", header.getvalue() + bytes(80))
    with pytest.raises(DataError, match="has shape"):
        read_npz(tmp_path / "a.npz")


def test_an_npz_that_lies_about_its_size_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez_compressed(file, part=np.arange(1000.0))
    data = bytearray(file.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    file.write_bytes(data)
    with pytest.raises(DataError):
        read_npz(file)


def test_cameras_that_declare_entities_are_refused(forms: SimpleNamespace, tmp_path: Path) -> None:
    file = forms.human36m(tmp_path)
    text = '<!DOCTYPE a [<!ENTITY x "y">]><a><w0>&x;</w0></a>'
    (file.parents[3] / "metadata.xml").write_text(text)
    with pytest.raises(DataError, match="entities"):
        forms.read_all(human36m.DATASET, tmp_path)


@pytest.mark.parametrize(
    "text", ["<a><w0>[1 2 3]</w0></a>", "<a></a>", "<a", "<a><w0>[x]</w0></a>"]
)
def test_a_damaged_metadata_file_is_refused(
    forms: SimpleNamespace, tmp_path: Path, text: str
) -> None:
    file = forms.human36m(tmp_path)
    (file.parents[3] / "metadata.xml").write_text(text)
    with pytest.raises(DataError, match=r"metadata\.xml"):
        forms.read_all(human36m.DATASET, tmp_path)


def test_a_camera_with_focal_length_zero_is_refused(forms: SimpleNamespace, tmp_path: Path) -> None:
    forms.human36m(tmp_path)
    forms.metadata_xml(tmp_path, at264=0.0)
    with pytest.raises(DataError, match="focal lengths"):
        forms.read_all(human36m.DATASET, tmp_path)


def test_hdf5_that_links_to_another_file_is_not_followed(
    forms: SimpleNamespace, tmp_path: Path
) -> None:
    import h5py

    file = forms.mpi_test(tmp_path, annot3=None)
    with h5py.File(tmp_path / "elsewhere.h5", "w") as other:
        other["annot3"] = np.ones((12, 1, 17, 3))
    with h5py.File(file, "a") as store:
        store["annot3"] = h5py.ExternalLink(str(tmp_path / "elsewhere.h5"), "annot3")
    with pytest.raises(DataError, match="lacks annot3"):
        forms.read_all(mpi_inf_3dhp.DATASET, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trans": np.full((12, 3), 1200.0)}, "m away"),
        ({"trans": np.zeros((3, 3))}, "12 poses and 3 positions"),
        ({"poses": np.zeros((12, 50))}, "50 values"),
        ({"poses": np.full((12, 156), np.nan)}, "not finite"),
        ({"mocap_framerate": np.array(0.0)}, "frame rate is 0"),
        ({"mocap_framerate": None}, "lacks mocap_framerate"),
        ({"poses": OBJECTS}, "Python objects"),
    ],
)
def test_a_damaged_motion_is_refused(
    forms: SimpleNamespace, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    forms.amass(tmp_path, **change)
    forms.amass(tmp_path, "SFU")
    with pytest.raises(DataError, match=message):
        list(amass.read_clips(tmp_path))
    quarantine = Quarantine()
    assert [clip.split for clip in amass.read_clips(tmp_path, None, quarantine)] == ["validation"]
    assert len(quarantine.items) == 1


def test_a_motion_that_is_not_finite_is_named_by_file_row_and_field(
    forms: SimpleNamespace, tmp_path: Path
) -> None:
    trans = np.zeros((12, 3))
    trans[7:9, 1] = np.inf
    forms.amass(tmp_path, trans=trans)
    (path,) = tmp_path.rglob("*_poses.npz")
    with pytest.raises(DataError, match="2 of 12 rows") as caught:
        amass.read_motion(path)
    assert caught.value.where == f"{path}, row 7, trans"
    assert caught.value.remedy


def test_a_reader_that_gives_a_wrong_column_is_told_of_which_rows() -> None:
    for columns, message, name in (
        ({}, "left out a required column", "sample_id"),
        (dict.fromkeys(contract._REQUIRED, ()) | {"sample_id": ("a", "b")}, "shape", "sample_id"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            SourceRows(columns=columns, images=(ImageRef("S1/walk.mp4", 3),))
        assert caught.value.where == f"rows of S1/walk.mp4#3: {name}"


def test_an_unknown_setting_is_refused(forms: SimpleNamespace, tmp_path: Path) -> None:
    forms.human36m(tmp_path)
    with pytest.raises(ConfigError, match="no setting 'drift'"):
        list(human36m.DATASET.read(tmp_path, ReadOptions(settings={"drift": "exclude"})))


def test_a_joint_without_2d_has_no_2d_in_the_table(forms: SimpleNamespace, tmp_path: Path) -> None:
    part = np.ones((12, 17, 3)) * 500
    part[:, :, :2] = forms.spread(human36m_map(), forms.pixels(forms.standing_body()))
    part[:, 16, 2] = 0
    part[:, 16, :2] = np.nan
    forms.spin(tmp_path / "h36m.npz", part=part)
    (rows,) = forms.read_all(human36m.DATASET, tmp_path)
    assert not np.asarray(rows.columns["valid2d"])[:, Joint.RIGHT_WRIST].any()
    assert not np.asarray(rows.columns["joints2d_px"])[:, Joint.RIGHT_WRIST].any()


def human36m_map() -> Any:
    from hemlets.data.readers.maps3d import HUMAN36M_17

    return HUMAN36M_17


@pytest.mark.parametrize(
    ("form", "module", "reason"),
    [
        ("human36m", human36m, "sequence of the split"),
        ("human36m_json", human36m, "subject of the split"),
        ("mpi_train", mpi_inf_3dhp, "part of the split train"),
        ("humaneva", humaneva, "sequence of the split"),
        ("threedpw", threedpw, "sequence of the split"),
        ("up3d", up3d, "list of the split"),
    ],
)
def test_what_is_of_another_split_is_counted_by_its_split(
    forms: SimpleNamespace, tmp_path: Path, form: str, module: Any, reason: str
) -> None:
    getattr(forms, form)(tmp_path)
    quarantine = Quarantine()
    assert rows_of(forms.read_all(module.DATASET, tmp_path, quarantine)) > 0
    options = contract.ReadOptions(splits=frozenset({"gate"}))
    assert rows_of(list(module.DATASET.read(tmp_path, options, quarantine))) == 0
    assert any(reason in skipped for skipped in quarantine.skipped), quarantine.skipped


def test_a_motion_in_degrees_is_refused_by_what_it_looks_like(
    forms: SimpleNamespace, tmp_path: Path
) -> None:
    forms.amass(tmp_path, poses=np.full((12, 156), 60.0))
    (path,) = tmp_path.rglob("*_poses.npz")
    with pytest.raises(DataError, match="look like degrees"):
        amass.read_motion(path)
