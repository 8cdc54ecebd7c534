"""The hash of a result's code covers every module and file that the result comes from."""

import pytest

from hemlets.core.code_hash import (
    _data_hash,
    _files_beside,
    _sources,
    code_hash,
    imported_modules,
)


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


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project of three packages that hashes are taken of."""
    files = {
        "hemlets/__init__.py": "",
        "hemlets/crop.py": "SIZE = 256",
        "hemlets/files.py": "",
        "flows/__init__.py": "",
        "flows/score.py": "def score():\n    from hemlets.crop import SIZE\n    return SIZE",
        "flows/typed.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from flows.score import score",
        "flows/page/__init__.py": "",
        "flows/page/write.py": "NAME = 'page.html'",
        "flows/page/templates/page.html": "<p>",
        "hemlets/body.py": "FILES = ('body/lite.npz', 'not/there.npz')",
        "hemlets/assets/body/lite.npz": "vertices",
        "hemlets/assets/body/full.npz": "more vertices",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("hemlets.core.code_hash._ROOT", tmp_path)
    start_process_anew()
    yield tmp_path
    start_process_anew()


def start_process_anew():
    for cached in (_sources, _files_beside, _data_hash):
        cached.cache_clear()


def changed(project, file, *modules):
    """Whether a change of a file changes the hash that the next process computes."""
    before = code_hash(*modules)
    (project / file).write_text("changed = True")
    start_process_anew()
    return code_hash(*modules) != before


def test_a_change_of_a_module_that_a_function_imports_changes_the_hash(project):
    assert changed(project, "hemlets/crop.py", "flows.score")


def test_a_change_of_another_module_does_not(project):
    assert not changed(project, "flows/page/write.py", "flows.score")


def test_an_import_for_type_checkers_alone_does_not_count(project):
    assert not changed(project, "flows/score.py", "flows.typed")


def test_the_data_files_of_a_module_count(project):
    assert changed(project, "flows/page/templates/page.html", "flows.page.write")


def test_an_asset_counts_where_a_module_names_it(project):
    assert not changed(project, "hemlets/assets/body/full.npz", "hemlets.body")
    assert changed(project, "hemlets/assets/body/lite.npz", "hemlets.body")


def test_compiled_files_do_not_count(project):
    before = code_hash("flows.page.write")
    (project / "flows/page/write.pyc").write_text("compiled")
    start_process_anew()
    assert code_hash("flows.page.write") == before


def test_code_that_changes_after_the_first_hash_changes_no_later_one(project):
    code_hash("flows.page.write")
    before = code_hash("flows.score")
    (project / "flows/score.py").write_text("pulled = 'during the training'")
    assert code_hash("flows.score") == before
    start_process_anew()
    assert code_hash("flows.score") != before
