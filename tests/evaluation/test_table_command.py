"""Tables 1-8 of the paper, each by one command from predictions files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from hemlets.cli import main
from hemlets.data.table import Annotations
from hemlets.evaluation.paper import paper_tables
from hemlets.evaluation.paper.table import paper_table

from .layouts import annotations_of, human36m, layout_of, predictions_of, with_info

PAPER = {
    # Rows of the paper: title, first and last value. Columns: as the paper heads them.
    1: {
        "sections": {"Protocol #1": 12, "Protocol #2": 8, "PA MPJPE": 4},
        "columns": ["Direct", "Discuss", "Eating", "Greet", "Phone", "Photo", "Pose", "Purch.",
                    "Sitting", "SittingD.", "Smoke", "Wait", "WalkD.", "Walk", "WalkT.", "Avg"],
        "cells": [("Protocol #1", "LinKDE et al. [14]", "132.7", "162.1"),
                  ("Protocol #1", "Chen et al. [9]", "41.1", "46.3"),
                  ("Protocol #1", "Ours", "34.4", "39.9"),
                  ("Protocol #2", "Martinez et al. [23]", "39.5", "47.7"),
                  ("Protocol #2", "Ours", "29.1", "32.1"),
                  ("PA MPJPE", "Dabral et al. [10]", "28.0", "36.3"),
                  ("PA MPJPE", "Ours", "21.6", "27.9")],
    },
    2: {
        "sections": {"": 6},
        "columns": ["Walking S1", "Walking S2", "Walking S3", "Jogging S1", "Jogging S2",
                    "Jogging S3", "Avg"],
        "cells": [("", "Simo-Serra et al. [40]", "65.1", "56.7"), ("", "Ours", "13.5", "15.2")],
    },
    3: {
        "sections": {"": 4},
        "columns": ["Studio GS", "Studio no GS", "Outdoor", "All", "All"],
        "cells": [("", "Mehta et al. [24]", "70.8", "31.7"), ("", "Ours", "75.6", "38.0")],
    },
    4: {
        "sections": {"": 4},
        "columns": ["MPJPE", "MPJPE"],
        "cells": [("", "Baseline", "47.1", "55.3"), ("", "w/ 2D heatmaps", "44.2", "49.9"),
                  ("", "w/ HEMlets", "42.6", "46.0"), ("", "Full", "39.9", "45.1")],
    },
    5: {
        "sections": {"": 4},
        "columns": ["3DPCK"],
        "cells": [("", "Base", "75.3", "75.3"), ("", "w/ Ordinal [30]", "76.1", "76.1"),
                  ("", "w/ FBI [38]", "76.9", "76.9"),
                  ("", "w/ FBI [38] + Ordinal [30]", "76.5", "76.5")],
    },
    6: {
        "sections": {"": 9},
        "columns": ["Pro.#1", "Pro. #2", "surface", "joint", "surface", "joint", "Rec. Error"],
        "cells": [("", "HMR [16]", "88.0", "81.3"), ("", "SPIN (SPIN*) [18]", "-", "66.3 (59.2*)"),
                  ("", "Ours", "39.9", "58.8")],
    },
    7: {
        "sections": {"": 9},
        "columns": ["Accuracy", "F1", "Accuracy", "F1"],
        "cells": [("", "BodyNet [46]", "92.80", "-"), ("", "Ours", "92.30", "0.71"),
                  ("", "Ours*", "93.67", "0.74")],
    },
    8: {
        "sections": {"": 3},
        "columns": ["Rec. Error"],
        "cells": [("", "Proposed model", "58.8", "58.8"),
                  ("", "w/ groundtruth shape βgt", "57.2", "57.2"),
                  ("", "w/ groundtruth pose θgt", "9.4", "9.4")],
    },
}  # fmt: skip
"""The schema of the paper's Tables 1-8, written down from its text."""


@pytest.mark.parametrize("number", PAPER)
def test_every_table_has_the_papers_rows_columns_and_cells(number) -> None:
    paper, expected = paper_table(number), PAPER[number]
    for section, count in expected["sections"].items():
        rows = [row for row in paper.printed if row.block == section]
        assert len(rows) == count
        blocks = paper.blocks_of(rows[0])
        assert [title for block in blocks for title in block.titles] == expected["columns"]
    for section, method, first, last in expected["cells"]:
        (row,) = (r for r in paper.printed if (r.block, r.method) == (section, method))
        assert (row.values[0], row.values[-1]) == (first, last)
        assert len(row.values) == len(expected["columns"])
    if paper.rows:
        assert [row.title for row in paper.rows] == [row.method for row in paper.printed]


def test_every_printed_cell_is_in_the_papers_text() -> None:
    file = Path(__file__).parents[3] / "shared" / "paper.txt"
    if not file.exists():
        pytest.skip(f"the paper's text is not at {file}")
    text = file.read_text()
    for table in paper_tables():
        for row in table.printed:
            assert f"{row.method} " in text
            # Tables 4, 5 and 8 have text between a row's title and its values.
            assert " ".join(row.values) in text


@pytest.mark.parametrize(
    ("number", "head"),
    [(2, "Approach"), (3, "Approach"), (4, "Method"), (5, "Dataset"), (6, "Approach"),
     (7, "Approach"), (8, "Method")],
)  # fmt: skip
def test_the_methods_column_is_headed_as_in_the_paper(number, head) -> None:
    paper = paper_table(number)
    assert paper.head == head
    assert head not in [block.title for block in paper.blocks]


def test_the_mean_of_humanevas_row_is_printed_and_flagged_not_recomputed() -> None:
    row = next(row for row in paper_table(2).printed if row.own)
    assert round(np.mean([float(value) for value in row.values[:-1]]), 1) == 15.7
    assert row.values[-1] == "15.2"
    assert "15.7" in row.quirk


@pytest.fixture
def files(tmp_path):
    """Writes predictions and annotations of a protocol's layout; gives their names."""

    def write(name, rows=None, noise_mm=20.0, **info):
        rows = layout_of(name) if rows is None else rows
        paths = tmp_path / f"{name}.parquet", tmp_path / f"{name}-truth.parquet"
        number = len(list(tmp_path.glob("*.parquet")))
        paths = paths[0].with_stem(f"{name}-{number}"), paths[1]
        predicted = predictions_of(rows, noise_mm=noise_mm)
        (with_info(predicted, **info) if info else predicted).write(paths[0])
        rows.write(paths[1])
        return str(paths[0]), str(paths[1])

    return write


def table(number, *arguments, out):
    code = main(["benchmark", "table", str(number), *arguments, "--out", str(out),
                 "--resamples", "100"])  # fmt: skip
    if code:
        return code, []
    with (out / f"table{number}.csv").open() as stream:
        return code, list(csv.reader(stream))


def cells(rows, title):
    return next(row[1:] for row in rows if row[0] == title)


def test_table_1_is_three_blocks_by_the_15_actions_from_one_file(files, tmp_path):
    predictions, annotations = files("human36m-p1")
    code, rows = table(1, predictions, "--annotations", annotations, out=tmp_path)
    assert code == 0
    heads = [place for place, row in enumerate(rows) if row[0] == ""]
    titles = list(PAPER[1]["sections"])
    for place, title in zip(heads, titles, strict=True):
        assert rows[place][1:] == [f"{title}: {column}" for column in PAPER[1]["columns"]]
    ours = [float(cell) for cell in cells(rows, "model-1")]
    assert ours[15] == pytest.approx(np.mean(ours[:15]), abs=0.06)
    assert cells(rows, "Ours, as printed")[15] == "39.9"
    page = (tmp_path / "table1.html").read_text()
    assert "39.9†" not in page
    assert "32.1†" in page
    assert "27.9†" in page


def test_protocol_2_of_table_1_is_scored_in_both_readings(files, tmp_path):
    rows = human36m("S9", "S11")
    predictions, annotations = files("human36m-p1", rows)
    _, whole = table(1, predictions, "--annotations", annotations, out=tmp_path)
    alone = tmp_path / "alone.parquet"
    predictions_of(rows).take(np.flatnonzero(rows.subject == "S11")).write(alone)
    readings = {
        "S11 alone, as the text has it": ("human36m-p2", str(alone)),
        "S9 and S11, as the rivals' own papers have it": ("human36m-pa", predictions),
    }
    for reading, (protocol, file) in readings.items():
        main(["benchmark", "score", file, "--annotations", annotations, "--protocol",
              protocol, "--out", str(tmp_path), "--resamples", "100"])  # fmt: skip
        (scored,) = json.loads((tmp_path / "benchmark.json").read_text())["tables"]
        expected = [cell["figure"]["mean"] for cell in scored["cells"]]
        expected.append(scored["average"]["mean"])
        assert cells(whole, f"model-1 ({reading})") == [f"{value:.1f}" for value in expected]


@pytest.mark.parametrize(("number", "name"), [(2, "humaneva"), (3, "mpi_inf_3dhp")])
def test_a_table_of_one_dataset_has_the_papers_columns(number, name, files, tmp_path):
    predictions, annotations = files(name)
    code, rows = table(number, predictions, "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert [head.partition(": ")[2] for head in rows[0][1:]] == PAPER[number]["columns"]
    assert all(float(cell) > 0 for cell in cells(rows, "model-1"))
    # The paper doesn't state how these were measured.
    assert "†" in (tmp_path / f"table{number}.html").read_text()


def test_table_4_is_four_supervisions_by_two_columns(files, tmp_path):
    names = ("baseline", "2d-heatmaps", "hemlets", "full")
    given = []
    for place, name in enumerate(names):
        for setting in ("", ":h36m-only"):
            noise = 40 - 5 * place - (2 if setting else 0)
            path, annotations = files("human36m-p1", noise_mm=noise, model_version=name)
            given += ["--row", f"{name}{setting}={path}"]
    code, rows = table(4, *given, "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert rows[0] == ["", "Supervision", "H3.6M #1: MPJPE", "H3.6M #1*: MPJPE"]
    titles = ["Baseline", "w/ 2D heatmaps", "w/ HEMlets", "Full"]
    assert [row[0] for row in rows[2:]] == [
        title for name in titles for title in (f"{name}, as printed", f"{name}, this project")
    ]
    ours = np.array(
        [[float(cell) for cell in cells(rows, f"{title}, this project")[1:]] for title in titles]
    )
    assert (np.diff(ours, axis=0) < 0).all()
    assert (ours[:, 1] < ours[:, 0]).all()
    assert cells(rows, "Full, as printed") == ["L3D_λ + LHEM + L2D", "39.9", "45.1"]


def test_table_5_is_3dpck_of_3dhp_and_shows_which_rows_were_not_predicted(files, tmp_path):
    path, annotations = files("mpi_inf_3dhp")
    code, rows = table(5, "--row", f"fbi={path}", "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert rows[0][1:] == ["MPI-INF-3DHP: 3DPCK"]
    assert cells(rows, "Base, this project") == ["–"]
    assert float(cells(rows, "w/ FBI [38], this project")[0]) > 50
    assert "pck3d_150mm_pct/mpi_inf_3dhp/14j/" in rows[1][1]


def test_table_6_takes_a_file_of_each_dataset(files, tmp_path):
    given = []
    for name in ("human36m-p1", "surreal", "up3d", "threedpw"):
        path, annotations = files(name)
        given += [path, "--annotations", annotations]
    code, rows = table(6, *given, out=tmp_path)
    assert code == 0
    assert [head.partition(": ")[2] for head in rows[0][1:]] == PAPER[6]["columns"]
    ours = [float(cell) for cell in cells(rows, "model-1")]
    assert min(ours[:2]) > 20
    # The bodies are the true ones, whatever the pose network's joints are.
    assert ours[2:] == [0.0] * 5
    assert "mesh_pa_mpjpe_mm/threedpw/14j/root:centroid/align:similarity" in rows[1][7]


def test_table_8_has_the_two_oracle_rows_and_says_what_was_given(files, tmp_path, capsys):
    given = []
    for name, depth in (("predicted", "bone-length-prior"),
                        ("true-shape", "bone-length-prior.true-shape"),
                        ("true-pose", "bone-length-prior.true-pose")):  # fmt: skip
        path, annotations = files("threedpw", depth_source=depth)
        given += ["--row", f"{name}={path}"]
    code, rows = table(8, *given, "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert rows[0][1:] == ["3DPW: Rec. Error"]
    assert [row[0].removesuffix(", as printed") for row in rows[2::2]] == [
        "Proposed model", "w/ groundtruth shape βgt", "w/ groundtruth pose θgt",
    ]  # fmt: skip
    assert "depth:bone-length-prior.true-pose" in rows[1][1]
    said = capsys.readouterr().out
    assert "given to w/ groundtruth pose θgt" in said
    assert "The true pose θ was put in" in said
    assert "true depth" not in said
    page = (tmp_path / "table8.html").read_text()
    assert "helped by the truth" in page
    # A printed row is compared with ours of the same row alone.
    (note,) = (n for n in page.split("<li>") if n.startswith("† w/ groundtruth shape"))
    assert "bone-length-prior.true-shape" in note
    assert "true-pose" not in note
    assert note.count("joints:") == 1


def with_masks(rows: Annotations) -> Annotations:
    """Each person as a rectangle, which nothing needs to be right about."""
    import cv2

    mask = np.zeros((1000, 1000), np.uint8)
    mask[200:900, 400:600] = 255
    png = cv2.imencode(".png", mask)[1].tobytes()
    kept = {name: rows.column(name) for name in rows.table.column_names}
    return Annotations.from_columns(kept | {"mask": [png] * len(rows)})


def test_table_7_counts_pixels_and_has_no_parts_where_the_truth_knows_none(files, tmp_path):
    rows = with_masks(annotations_of("up3d", [("", "")], each=2))
    path, annotations = files("up3d", rows)
    code, found = table(7, path, "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert [head.partition(": ")[2] for head in found[0][1:]] == PAPER[7]["columns"]
    accuracy, f1, *parts = cells(found, "model-1")
    assert 0 < float(accuracy) <= 100
    # As printed: a share of 1 with two decimals.
    assert 0 < float(f1) <= 1
    assert len(f1) == 4
    assert parts == ["–", "–"]


def test_the_page_has_the_papers_row_in_grey_and_what_every_column_means(files, tmp_path):
    predictions, annotations = files("human36m-p1")
    table(1, predictions, "--annotations", annotations, out=tmp_path)
    page = (tmp_path / "table1.html").read_text()
    assert '<tr class="paper"><td>Ours, as printed</td>' in page
    assert "alignment: ours similarity, the paper&#39;s ambiguous" in page
    assert "Human3.6M&#39;s 17 joints" in page
    assert "://" not in page.partition("<body>")[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["9"], "the paper has no table 9"),
        (["4"], "--row baseline=FILE"),
        (["4", "{file}"], "names none"),
        (["4", "--row", "ful={file}"], "did you mean 'full'?"),
        (["4", "--row", "full:3d={file}"], "has no setting '3d'"),
        (["5", "--row", "fbi"], "expected: ROW=FILE"),
        (["5", "--row", "fbi={file}", "--row", "fbi={file}"], "2 files are for the same cells"),
        (["5", "--row", "fbi=nowhere.parquet"], "there is no such file"),
        (["2", "{file}"], "no sample of table 2's protocols"),
    ],
)
def test_what_a_table_can_not_take_is_told(arguments, said, files, tmp_path, capsys):
    file, annotations = files("open")
    number, *rest = [part.format(file=file) for part in arguments]
    code, _ = table(number, *rest, "--annotations", annotations, out=tmp_path)
    assert code in (1, 2)
    assert said in capsys.readouterr().err


def test_rows_that_were_predicted_otherwise_are_not_put_in_one_column(files, tmp_path, capsys):
    one, annotations = files("open")
    other, _ = files("open", flip_test=False)
    code, _ = table(5, "--row", f"base={one}", "--row", f"fbi={other}",
                    "--annotations", annotations, out=tmp_path)  # fmt: skip
    assert code == 1
    assert "not of one kind" in capsys.readouterr().err


def test_a_training_subjects_predictions_are_refused_in_a_table_too(files, tmp_path, capsys):
    rows = Annotations.concatenate([human36m("S9", "S11"), human36m("S5", actions=["Eating"])])
    predictions, annotations = files("human36m-p1", rows)
    code, _ = table(1, predictions, "--annotations", annotations, out=tmp_path)
    assert code == 1
    assert "4 predictions can't count (S5/Eating/00000" in capsys.readouterr().err
