"""A data version's recipe knows every module that its bytes come from."""

import pytest

from hemlets.core.code_hash import code_hash, imported_modules


@pytest.mark.parametrize(
    ("reader", "shared"),
    [
        ("human36m", {"spin_npz", "human36m_json", "human36m_official", "maps3d", "joint_map"}),
        ("surreal", {"assemble", "boxes", "cameras3d", "files3d", "maps3d", "smpl3d"}),
        ("coco", {"stills", "maps2d", "joint_map", "boxes"}),
    ],
)
def test_modules_that_a_reader_shares_or_imports_when_called_count(reader, shared):
    found = imported_modules(f"hemlets.data.readers.{reader}")
    assert {f"hemlets.data.readers.{name}" for name in shared} <= found.keys()
    assert "hemlets.core.skeleton" in found
    assert found[f"hemlets.data.readers.{reader}"].name == f"{reader}.py"


def test_a_pickle_s_reader_and_the_annotation_table_count():
    found = imported_modules("hemlets.data.readers.spin_npz")
    assert {"hemlets.core.pickles", "hemlets.data.table.table"} <= found.keys()


def test_readers_of_other_datasets_do_not_count():
    assert "hemlets.data.readers.humaneva" not in imported_modules("hemlets.data.readers.coco")


def test_how_files_are_written_and_faults_told_does_not_count():
    assert (
        not {"hemlets.core.files", "hemlets.core.errors"}
        & imported_modules("hemlets.data.readers.coco").keys()
    )


def test_a_change_of_a_shared_module_changes_the_hash(tmp_path, monkeypatch):
    before = code_hash("hemlets.data.readers.coco")
    changed = tmp_path / "boxes.py"
    shared = "hemlets.data.readers.boxes"
    found = imported_modules("hemlets.data.readers.coco")
    changed.write_bytes(found[shared].read_bytes() + b"# another margin\n")
    monkeypatch.setattr(
        "hemlets.core.code_hash.imported_modules", lambda *_: found | {shared: changed}
    )
    assert code_hash("hemlets.data.readers.coco") != before
