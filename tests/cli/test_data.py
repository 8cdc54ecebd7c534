"""``hemlets data`` as a person uses it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hemlets.cli import main
from hemlets.data.readers.catalogue import datasets
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import FIELDS, Annotations, decode_image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["data", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def open_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data version of 150 rendered people."""
    folder = tmp_path_factory.mktemp("datasets") / "open-rendered"
    sizes = SplitSizes(train=120, validation=10, gate=10, test=10)
    build_open_data(OpenDataConfig(samples=sizes, image_px=64, background_share=0.0), folder)
    return folder


def relabelled(source: Path, folder: Path, rows: int) -> tuple[Path, list[str]]:
    """A copy of a data version in which some rows have another relation."""
    shutil.copytree(source, folder)
    table = Annotations.read(folder / "annotations.parquet")
    relations = table.relations.copy()
    picked = np.random.default_rng(1).permutation(len(table))[:rows]
    relations[picked, 8] = np.where(relations[picked, 8] == 1, -1, 1)
    columns = {field.name: table.column(field.name) for field in FIELDS}
    Annotations.from_columns(columns | {"relations": relations}).write(
        folder / "annotations.parquet"
    )
    return folder, sorted(table.sample_id[picked])


def test_list_shows_every_dataset_with_its_needs_its_licence_and_where_it_is(run, open_data):
    code, out, _ = run("list", "--root", open_data.parent, "--json")
    assert code == 0
    listed = {row["name"]: row for row in json.loads(out)}
    assert listed.keys() == {dataset.name for dataset in datasets()}
    assert all(row["licence"] and row["needs"] and row["teaches"] for row in listed.values())
    assert listed["open-rendered"]["folder"] == str(open_data)
    assert listed["open-rendered"]["complete"]
    assert listed["mpii"]["folder"] is None


def test_list_names_what_a_folder_lacks(run, tmp_path, monkeypatch) -> None:
    (tmp_path / "sets" / "Open_Rendered").mkdir(parents=True)
    monkeypatch.setenv("HEMLETS_DATA", str(tmp_path / "sets"))
    code, out, _ = run("list")
    assert code == 0
    assert "in part" in out
    assert "annotations.parquet" in out


def test_list_takes_folders_from_the_workspace_s_file(run, open_data, workspace) -> None:
    workspace.mkdir(parents=True)
    (workspace / "data.toml").write_text(f'[folders]\nopen-rendered = "{open_data}"\n')
    _, out, _ = run("list", "--json")
    listed = {row["name"]: row["complete"] for row in json.loads(out)}
    assert listed["open-rendered"]
    (workspace / "data.toml").write_text('rots = ["/data"]\n')
    code, _, err = run("list")
    assert code == 2
    assert "did you mean 'roots'" in err


def test_brackets_and_colons_of_a_path_are_printed_as_they_are(run, open_data, tmp_path) -> None:
    root = tmp_path / "a[" / "b]:100:"
    shutil.copytree(open_data, root / "open-rendered")
    code, out, _ = run("list", "--root", root)
    assert code == 0
    assert "/a[/b]:100:/" in "".join(out.split())


def test_a_folder_of_a_user_who_is_not_there_is_not_found(run, workspace) -> None:
    workspace.mkdir(exist_ok=True)
    (workspace / "data.toml").write_text('[folders]\nmpii = "~nobody-of-this-name/mpii"\n')
    code, _, err = run("list")
    assert code == 0, err


def test_ingest_then_show_then_diff(run, open_data, workspace, tmp_path) -> None:
    code, out, err = run("ingest", "open-rendered", "--from", open_data, "--workers", 1)
    assert code == 0, err
    assert "train" in out
    assert str(workspace / "ingested" / "open-rendered") in out
    code, out, _ = run(
        "show", "open-rendered", "--split", "test", "--count", 6, "--out", tmp_path / "sheet.png"
    )
    assert code == 0
    assert "6 of 10 rows" in out
    sheet = decode_image((tmp_path / "sheet.png").read_bytes())
    assert min(sheet.shape[:2]) > 300
    code, out, _ = run("diff", open_data, "open-rendered")
    assert code == 0
    assert "150 rows → 150 rows" in out


def test_an_earlier_ingest_is_replaced_only_when_told(run, open_data, workspace, tmp_path) -> None:
    folder = workspace / "ingested" / "open-rendered"
    ingest = ("ingest", "open-rendered", "--from", open_data, "--workers", 1)
    assert run(*ingest)[0] == 0
    code, _, err = run(*ingest, "--set", "crop_px=64")
    assert code == 1
    assert "config differ" in err
    assert run(*ingest, "--set", "crop_px=64", "--anew")[0] == 0
    (folder / "thesis.txt").write_text("mine")
    code, _, err = run(*ingest, "--anew")
    assert code == 2
    assert "thesis.txt" in err
    assert (folder / "thesis.txt").exists()


def test_show_draws_the_rows_that_fit(run, open_data, tmp_path) -> None:
    table = Annotations.read(open_data / "annotations.parquet")
    sheet = tmp_path / "sheet.png"
    fits = f"sample_id={table.sample_id[3]}"
    code, out, _ = run("show", open_data, "--where", fits, "--out", sheet)
    assert (code, "1 of 1 rows" in out) == (0, True)
    code, _, err = run("show", open_data, "--where", "splitt=train", "--out", sheet)
    assert code == 2
    assert "expected: FIELD=VALUE" in err
    code, _, err = run("show", open_data, "--where", "subject=nobody", "--out", sheet)
    assert "no row fits" in err


def test_combine_makes_one_version_of_two(run, open_data, tmp_path, workspace) -> None:
    other = tmp_path / "other"
    code, _, err = run(
        "ingest", "open-rendered", "--from", open_data, "--out", other, "--workers", 1
    )
    assert code == 0, err
    both = ("combine", open_data, other)
    code, _, err = run(*both)
    assert code == 1
    assert "150 samples are in more than one part" in err
    code, out, err = run(
        *both,
        "--splits",
        f"{open_data}=train",
        "--splits",
        f"{other}=gate, test",
        "--home",
        workspace,
    )
    assert code == 0, err
    assert "train: 120 rows" in out
    union = Annotations.read(workspace / "ingested" / "combined" / "annotations.parquet")
    assert len(union) == 140
    code, out, _ = run("show", "combined", "--split", "gate", "--out", tmp_path / "sheet.png")
    assert (code, "10 of 10 rows" in out) == (0, True)


def test_combine_names_a_version_that_is_not_given(run, open_data) -> None:
    code, _, err = run("combine", open_data, "--splits", "another=train")
    assert code == 2
    assert "'another' is not among the versions" in err


@pytest.mark.parametrize("content", ["[]", "null", ""])
def test_a_version_whose_provenance_is_damaged_is_named(run, open_data, tmp_path, content) -> None:
    damaged = shutil.copytree(open_data, tmp_path / "damaged")
    (damaged / "version.json").write_text(content)
    code, _, err = run("combine", damaged, "--out", tmp_path / "union")
    assert code == 1
    assert str(damaged / "version.json") in err


def test_diff_names_exactly_the_100_relabelled_rows(run, open_data, tmp_path) -> None:
    other, names = relabelled(open_data, tmp_path / "other", 100)
    code, out, _ = run("diff", open_data, other)
    assert code == 0
    assert "relations changed in 100 rows" in out
    flat = " ".join(out.split())
    assert all(name in flat for name in names)
    _, out, _ = run("diff", open_data, other, "--json")
    assert json.loads(out)["changed"] == {"relations": names}


@pytest.mark.services
def test_versions_are_committed_compared_and_checked_out(
    run, open_data, workspace, tmp_path
) -> None:
    other, _ = relabelled(open_data, tmp_path / "other", 100)
    committed = []
    for folder in (open_data, other):
        code, out, err = run("commit", folder, "--name", "open")
        assert code == 0, err
        committed.append(out.split(",")[0])
    code, out, _ = run("versions")
    assert out.split() == committed
    code, out, err = run("diff", *committed)
    assert code == 0, err
    assert "relations changed in 100 rows" in out
    code, out, _ = run("checkout", committed[0])
    assert code == 0
    table = Annotations.read(Path(out.strip()) / "annotations.parquet")
    expected = Annotations.read(open_data / "annotations.parquet")
    assert np.array_equal(table.relations, expected.relations)
    assert Path(out.strip()) == workspace / "data" / "open"
    code, _, err = run("checkout", "open-000000000000")
    assert code == 1
    assert committed[1] in err


def test_a_file_in_place_of_the_folder_of_pages_is_refused(run, open_data) -> None:
    file = open_data / "version.json"
    code, _, err = run("validate", open_data, "--docs", file)
    assert code == 2
    assert f"--docs {file}" in err


def test_a_remote_that_is_no_place_in_a_bucket_is_named(run, monkeypatch) -> None:
    monkeypatch.setenv("HEMLETS_DATA_REMOTE", "s3://no_bucket!/versions")
    code, _, err = run("versions", "--remote")
    assert code == 2
    assert "where: s3://no_bucket!/versions" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ingest", "human36"), "there is no dataset 'human36'"),
        (("ingest", "mpii"), "--from FOLDER"),
        (("ingest", "mpii", "--from", "nowhere"), "this is no folder"),
        (("ingest", "mpii", "--from", ".", "--set", "crop=3"), "unknown key 'crop'"),
        (("ingest", "mpii", "--from", ".", "--split", "training"), "no split 'training'"),
        (("ingest", "mpii", "--from", ".", "--setting", "box"), "KEY=VALUE"),
        (("ingest", "mpii", "--from", "."), "the folder holds: nothing"),
        (("show", "nothing"), "is no data version"),
        (("show", "nothing", "--seed", "-1"), "'--seed'"),
        (("diff", "nothing", "else"), "is no data version"),
        (("list", "--root", "nowhere"), "this is no folder"),
    ],
)
def test_mistakes_are_told_with_what_would_be_right(run, arguments, message) -> None:
    code, _, err = run(*arguments)
    assert code in (1, 2)
    assert message in err
    assert "Traceback" not in err


def test_help_names_the_sub_commands_without_loading_them(run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in ("list", "ingest", "show", "diff", "commit", "versions", "checkout"):
        assert name in out
