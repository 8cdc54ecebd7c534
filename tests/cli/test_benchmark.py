"""Predictions in, figures and pages out, through the command itself."""

from __future__ import annotations

import dataclasses
import html
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hemlets.cli import main
from hemlets.cli.benchmark import _print
from hemlets.data.table import Annotations, ShardWriter, encode_jpeg
from hemlets.evaluation.scoring.summary import Summary

from ..evaluation.layouts import (
    annotations_of,
    human36m,
    layout_of,
    predictions_of,
    with_info,
    written,
)

TABLES = ("human36m-p1", "human36m-p2", "humaneva", "mpi_inf_3dhp", "surreal", "up3d", "threedpw",
          "open")  # fmt: skip


@pytest.fixture
def scored(tmp_path):
    def score(protocol, name="out", annotations=None, noise_mm=20.0, extra=(), **info):
        rows = layout_of(protocol) if annotations is None else annotations
        folder = tmp_path / name
        folder.mkdir()
        files = written(folder, rows, with_info(predictions_of(rows, noise_mm=noise_mm), **info))
        code = main(
            ["benchmark", "score", str(files[0]), "--annotations", str(files[1]), "--protocol",
             protocol, "--out", str(folder), "--resamples", "200", *extra]
        )  # fmt: skip
        return code, folder

    return score


def page_of(folder):
    return html.unescape((folder / "report.html").read_text())


def paper_rows(page):
    """The paper's rows beside ours."""
    return re.findall(r'<tr class="paper">.*?</tr>', page, re.S)


def cells_by_action(page):
    """Texts of the table that has a column for each action."""
    (table,) = (t for t in re.findall(r"<table.*?</table>", page, re.S) if ">WalkT.</th>" in t)
    return [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", table, re.S)]


def paper_notes(page):
    """What the page says on the paper, a note for each cell that is not compared."""
    (notes,) = re.findall(r'<div class="paper">.*?</div>', page, re.S)
    return re.findall(r"<li>(.*?)</li>", notes, re.S)


def given_in(page):
    """The red box on what the predictor was given of the truth."""
    return re.findall(r'<div class="given">.*?</div>', page, re.S)


@pytest.mark.parametrize("protocol", TABLES)
def test_one_command_scores_each_protocol_of_the_papers_tables(protocol, scored):
    code, folder = scored(protocol)
    assert code == 0
    stored = json.loads((folder / "benchmark.json").read_text())
    page = (folder / "report.html").read_text()
    assert all(metric["figure"]["mean"] is not None for metric in stored["metrics"])
    for table in stored["tables"]:
        for cell in table["cells"]:
            assert f">{cell['title']}<" in page
    assert not re.search(r"(src|href)='?\"?https?:", page)


def test_what_a_predictions_file_of_others_lacks_is_said_before_the_annotations_are(
    tmp_path, capsys
):
    pq.write_table(pa.table({"sample_id": ["a"]}), tmp_path / "theirs.parquet")
    code = main(
        ["benchmark", "score", str(tmp_path / "theirs.parquet"), "--annotations",
         str(tmp_path / "none.parquet"), "--protocol", "open"]
    )  # fmt: skip
    assert code == 1
    assert "docs/howto/predictions.md lists" in capsys.readouterr().err


def test_table_1_has_the_papers_15_actions_in_its_order_and_their_mean(scored):
    _, folder = scored("human36m-p1")
    (table,) = json.loads((folder / "benchmark.json").read_text())["tables"]
    titles = [cell["title"] for cell in table["cells"]]
    assert titles == [
        "Direct",
        "Discuss",
        "Eating",
        "Greet",
        "Phone",
        "Photo",
        "Pose",
        "Purch.",
        "Sitting",
        "SittingD.",
        "Smoke",
        "Wait",
        "WalkD.",
        "Walk",
        "WalkT.",
    ]
    means = [cell["figure"]["mean"] for cell in table["cells"]]
    assert table["average"]["mean"] == pytest.approx(np.mean(means))
    assert ".mean-of-15-groups/" in table["average_name"]


def test_the_papers_cell_stands_beside_ours_where_the_protocol_is_the_same(scored):
    page = page_of(scored("human36m-p1")[1])
    row = next(row for row in paper_rows(page) if "Ours, as printed" in row)
    assert ">34.4<" in row
    assert ">39.9<" in row
    assert {"34.4", "39.9"} <= set(cells_by_action(page))
    assert not any("not compared" in note for note in paper_notes(page))


def test_the_papers_cell_is_withheld_where_one_thing_differs(scored):
    page = page_of(scored("human36m-p1", flip_test=False)[1])
    assert not paper_rows(page)
    assert "39.9" not in cells_by_action(page)
    (note,) = (n for n in paper_notes(page) if n.startswith("Table 1, Ours, Avg (39.9)"))
    assert "not compared, because" in note
    assert "(flip test: ours no, the paper's yes)" in note


def test_the_ambiguous_32_1_of_protocol_2_never_stands_beside_ours(scored):
    page = page_of(scored("human36m-p2")[1])
    assert not paper_rows(page)
    assert "32.1" not in cells_by_action(page)
    (note,) = (n for n in paper_notes(page) if n.startswith("Table 1, Ours, Avg (32.1)"))
    assert "not compared, because" in note
    assert "its alignment is not stated" in note
    assert "alignment: ours similarity, the paper's ambiguous" in note


def test_a_given_box_and_depth_are_told_in_red(scored, capsys):
    _, folder = scored("human36m-p1", depth_source="ground-truth-root")
    (given,) = given_in(page_of(folder))
    assert "box was the annotated one" in given
    assert "true depth was given" in given
    assert "depth:ground-truth-root" in capsys.readouterr().out


def test_a_detectors_box_and_a_bone_length_prior_give_nothing_away(scored):
    page = page_of(scored("human36m-p1", box_source="detector")[1])
    assert not given_in(page)


def test_a_figure_of_fewer_samples_than_there_are_says_of_how_many(scored, capsys):
    _, folder = scored("human36m-p1")
    stored = json.loads((folder / "benchmark.json").read_text())
    stored["metrics"][0]["figure"] |= {"mean": None, "low": None, "high": None, "samples": 0}
    _print(Summary.from_mapping(stored, where="benchmark.json"))
    assert f"0 of {stored['samples']} samples have what it needs" in capsys.readouterr().out


def test_a_wrong_table_ends_with_a_message_and_no_report(scored, capsys):
    code, folder = scored("human36m-p1", annotations=human36m("S1", split="train"))
    assert code == 1
    said = capsys.readouterr().err
    assert "no annotated sample is of the protocol human36m-p1" in said
    assert "60 rows: they are of a subject that the protocol trains on" in said
    assert not (folder / "report.html").exists()


def test_an_unknown_protocol_is_answered_with_the_nearest_one(scored, capsys, tmp_path):
    rows = layout_of("open")
    files = written(tmp_path, rows, predictions_of(rows))
    code = main(["benchmark", "score", str(files[0]), "--annotations", str(files[1]),
                 "--protocol", "human36-p1"])  # fmt: skip
    assert code == 2
    assert "did you mean 'human36m-p1'?" in capsys.readouterr().err


def test_subjects_of_the_training_stop_the_benchmark(scored, tmp_path, capsys):
    training = tmp_path / "training.parquet"
    human36m("S9", actions=["Eating"], split="train", seed=3).write(training)
    code, folder = scored("human36m-p1", extra=["--training", str(training)])
    assert code == 1
    assert "share the subjects S9" in capsys.readouterr().err
    assert not (folder / "report.html").exists()


def with_images(rows, folder, seed):
    rng = np.random.default_rng(seed)
    images = [
        np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((20, 20, 1))).astype(np.uint8)
        for _ in range(len(rows))
    ]
    ShardWriter.write(folder / "0", list(rows.sample_id), [encode_jpeg(i) for i in images])


def test_nearly_the_same_images_stop_the_benchmark(scored, tmp_path, capsys):
    test, train = layout_of("open"), annotations_of("mpii", [("c", "z")] * 2, split="train", seed=9)
    test_folder, train_folder = tmp_path / "test", tmp_path / "train"
    for rows, folder in ((test, test_folder), (train, train_folder)):
        folder.mkdir()
        # The same seed: the same pictures under other hashes.
        with_images(rows, folder, seed=5)
    train.write(tmp_path / "training.parquet")
    extra = ["--training", tmp_path / "training.parquet", "--training-shards", train_folder,
             "--shards", test_folder]  # fmt: skip
    code, _ = scored("open", extra=[str(value) for value in extra])
    assert code == 1
    assert "8 pairs of nearly the same image (a/x/00000 and c/z/00000" in capsys.readouterr().err


def test_the_report_shows_the_worst_samples_as_pictures(scored, tmp_path):
    rows, folder = layout_of("open"), tmp_path / "shards"
    folder.mkdir()
    with_images(rows, folder, seed=5)
    code, out = scored("open", extra=["--shards", str(folder), "--pictures", "3"])
    assert code == 0
    page = (out / "report.html").read_text()
    assert page.count("<figure>") == 3
    worst = json.loads((out / "benchmark.json").read_text())["worst"]
    assert f"<figcaption>{worst[0]['sample_id']}" in page


def test_two_runs_stand_side_by_side_with_the_change(scored, tmp_path, capsys):
    one = scored("human36m-p1", "one", noise_mm=20)[1]
    other = scored("human36m-p1", "other", noise_mm=30, model_version="model-2")[1]
    capsys.readouterr()
    page = tmp_path / "compare.html"
    assert main(["compare", str(one), str(other), "--out", str(page)]) == 0
    assert "(+50.0 %)" in capsys.readouterr().out
    text = page.read_text()
    assert "model-1" in text
    assert "model-2, WalkT." in text


def test_runs_of_different_protocols_are_not_put_in_one_column(scored, tmp_path, capsys):
    one = scored("human36m-p1", "one")[1]
    other = scored("human36m-p1", "other", flip_test=False)[1]
    assert main(["compare", str(one), str(other), "--out", str(tmp_path / "c.html")]) == 1
    said = capsys.readouterr().err
    assert "don't belong in one column" in said
    assert "flip:no" in said
    assert not (tmp_path / "c.html").exists()


def test_something_else_than_a_run_is_refused(capsys, tmp_path):
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 1
    assert "no benchmark in this folder" in capsys.readouterr().err


def test_the_protocols_are_listed(capsys):
    assert main(["benchmark", "protocols"]) == 0
    said = capsys.readouterr().out
    assert "human36m-p1" in said
    assert "mpii-pckh" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("nothing.parquet", "rows.parquet"), "PREDICTIONS nothing.parquet"),
        ((".", "rows.parquet"), "this is a folder"),
        (("rows.parquet", "."), "name annotations.parquet"),
        (("rows.parquet", "rows.parquet", "--shards", "none"), "without --shards"),
        (("rows.parquet", "rows.parquet", "--out", "rows.parquet"), "--out rows.parquet"),
        (("rows.parquet", "rows.parquet", "--seed", "-1"), "'--seed'"),
    ],
)
def test_a_path_that_is_wrong_is_told_by_its_argument(given, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "annotations.parquet").write_bytes(b"")
    predictions_of(layout_of("open")).write(tmp_path / "rows.parquet")
    predictions, annotations, *more = given
    command = ["benchmark", "score", predictions, "--annotations", annotations, *more]
    assert main([*command, "--protocol", "open"]) == 2
    assert said in capsys.readouterr().err


def test_a_run_alone_and_a_page_in_a_folders_place_are_refused_before_anything_is_read(
    tmp_path, capsys
):
    assert main(["compare", "one"]) == 2
    assert main(["compare", "one", "two", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "two runs or more" in said
    assert f"--out {tmp_path}" in said


def wrong_subject(rows, predictions):
    return Annotations.concatenate([rows, human36m("S5", actions=["Walking"], each=1)]), None


def missing_action(rows, predictions):
    return rows, predictions.take(np.flatnonzero(rows.action != "Eating"))


def metres_for_millimetres(rows, predictions):
    joints = predictions.joints3d_mm.copy()
    joints[17] /= 1000
    return rows, dataclasses.replace(predictions, joints3d_mm=joints)


REFUSALS = {
    wrong_subject: (
        "error: 1 prediction can't count (S5/Walking/00000): they are of a subject that the "
        "protocol trains on",
        "remedy: remove these rows",
    ),
    missing_action: (
        "error: 8 samples have no prediction (S9/Eating/00008, S9/Eating/00009",
        "no sample of action Eating is predicted",
    ),
    metres_for_millimetres: (
        "error: 1 predicted pose is in metres",
        "predictions.parquet: S9/Phoning/00017",
        "expected: millimetres",
    ),
}


@pytest.mark.parametrize("spoil", REFUSALS)
def test_spoiled_predictions_are_refused_with_the_rows_named(spoil, tmp_path, capsys):
    rows = layout_of("human36m-p1")
    rows, predictions = spoil(rows, predictions_of(rows))
    files = written(tmp_path, rows, predictions or predictions_of(rows))
    code = main(["benchmark", "score", str(files[0]), "--annotations", str(files[1]),
                 "--protocol", "human36m-p1", "--out", str(tmp_path / "out")])  # fmt: skip
    said = capsys.readouterr().err

    assert code == 1
    assert all(part in " ".join(said.split()) for part in REFUSALS[spoil])
    assert not (tmp_path / "out").exists()


def test_a_sample_that_was_predicted_twice_is_refused_with_its_row_named(tmp_path, capsys):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = layout_of("human36m-p1")
    files = written(tmp_path, rows, predictions_of(rows))
    # No writer of ours would write such a file.
    table = pq.read_table(files[0])
    pq.write_table(pa.concat_tables([table, table.slice(5, 1)]), files[0])
    code = main(["benchmark", "score", str(files[0]), "--annotations", str(files[1]),
                 "--protocol", "human36m-p1", "--out", str(tmp_path / "out")])  # fmt: skip
    said = capsys.readouterr().err

    assert code == 1
    assert "1 sample is predicted more than once" in said
    assert "S9/Discussion/00005" in said
