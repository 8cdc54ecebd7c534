"""Tables 1-8 of the paper, each by one command from predictions files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from hemlets.cli import main
from hemlets.data.table import Annotations

from .layouts import annotations_of, human36m, layout_of, predictions_of, with_info

ACTIONS = ["Direct.", "Discuss", "Eating", "Greet", "Phone", "Photo", "Pose", "Purch.", "Sitting",
           "SittingD.", "Smoke", "Wait", "WalkD.", "Walk", "WalkT.", "Avg"]  # fmt: skip
SURFACES = ["surface", "joints"]
HEADS = {
    1: [f"Protocol {n}: {a}" for n in (1, 2) for a in ACTIONS],
    2: [f"Mean error: {a} {s}" for a in ("Walking", "Jogging") for s in ("S1", "S2", "S3")]
    + ["Mean error: Avg"],
    3: ["3DPCK: Studio GS", "3DPCK: Studio no GS", "3DPCK: Outdoor", "3DPCK: all", "AUC: all"],
    4: ["3D data alone: MPJPE", "and 2D-only data: MPJPE"],
    5: ["Error: MPJPE"],
    6: [f"{data}: {what}" for data in ("SURREAL", "UP-3D") for what in SURFACES]
    + ["3DPW: reconstruction error"],
    7: [f"{of}: {what}" for of in ("Foreground", "Parts") for what in ("accuracy", "F1")],
    8: ["Error: surface", "Error: joints"],
}


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


def test_table_1_is_protocols_1_and_2_by_the_15_actions_from_one_file(files, tmp_path):
    predictions, annotations = files("human36m-p1")
    code, rows = table(1, predictions, "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert rows[0][1:] == HEADS[1]
    ours = [float(cell) for cell in cells(rows, "model-1")]
    assert ours[15] == pytest.approx(np.mean(ours[:15]), abs=0.06)
    printed = cells(rows, "HEMlets Pose, as printed")
    assert (printed[0], printed[15], printed[31]) == ("34.4", "39.9", "withheld")
    assert printed[1:15] == ["missing"] * 14
    assert "human36m-p2.every64" in rows[1][17]


def test_protocol_2_of_table_1_is_what_scoring_subject_11_alone_gives(files, tmp_path):
    rows = human36m("S9", "S11")
    predictions, annotations = files("human36m-p1", rows)
    _, whole = table(1, predictions, "--annotations", annotations, out=tmp_path)
    alone = tmp_path / "alone.parquet"
    predictions_of(rows).take(np.flatnonzero(rows.subject == "S11")).write(alone)
    main(["benchmark", "score", str(alone), "--annotations", annotations, "--protocol",
          "human36m-p2", "--out", str(tmp_path), "--resamples", "100"])  # fmt: skip
    (scored,) = json.loads((tmp_path / "benchmark.json").read_text())["tables"]
    expected = [cell["figure"]["mean"] for cell in scored["cells"]] + [scored["average"]["mean"]]
    assert cells(whole, "model-1")[16:] == [f"{value:.1f}" for value in expected]
    assert whole[1][32] == scored["average_name"]


@pytest.mark.parametrize(("number", "name"), [(2, "humaneva"), (3, "mpi_inf_3dhp")])
def test_a_table_of_one_dataset_has_the_papers_columns(number, name, files, tmp_path):
    predictions, annotations = files(name)
    code, rows = table(number, predictions, "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert rows[0][1:] == HEADS[number]
    assert all(float(cell) > 0 for cell in cells(rows, "model-1"))
    # Its source doesn't tell how it was measured.
    assert set(cells(rows, "HEMlets Pose, as printed")) == {"missing", "withheld"}


def test_table_4_is_four_supervisions_by_two_columns(files, tmp_path):
    names = ("baseline", "2d-heatmaps", "hemlets", "full")
    given = []
    for place, name in enumerate(names):
        for setting in ("", ":2d"):
            noise = 40 - 5 * place - (2 if setting else 0)
            path, annotations = files("human36m-p1", noise_mm=noise, model_version=name)
            given += ["--row", f"{name}{setting}={path}"]
    code, rows = table(4, *given, "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert rows[0][1:] == HEADS[4]
    titles = ["Baseline", "w/ 2D heatmaps", "w/ HEMlets", "Full"]
    assert [row[0] for row in rows[2:]] == [
        title for name in titles for title in (name, f"{name}, as printed")
    ]
    ours = np.array([[float(cell) for cell in cells(rows, title)] for title in titles])
    assert (np.diff(ours, axis=0) < 0).all()
    assert (ours[:, 1] < ours[:, 0]).all()
    assert cells(rows, "Full, as printed") == ["missing"] * 2


def test_table_5_takes_a_file_a_row_and_shows_which_rows_were_not_predicted(files, tmp_path):
    path, annotations = files("open")
    code, rows = table(5, "--row", f"relations={path}", "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert rows[0][1:] == HEADS[5]
    assert cells(rows, "no relations") == ["–"]
    assert float(cells(rows, "relations of annotators, some wrong")[0]) > 0
    assert "mpjpe_mm/open/" in rows[1][1]


def test_table_6_takes_a_file_of_each_dataset(files, tmp_path):
    given = []
    for name in ("surreal", "up3d", "threedpw"):
        path, annotations = files(name)
        given += [path, "--annotations", annotations]
    code, rows = table(6, *given, out=tmp_path)
    assert code == 0
    assert rows[0][1:] == HEADS[6]
    assert [float(cell) for cell in cells(rows, "model-1")][:4] == [0.0] * 4
    assert cells(rows, "HEMlets PoSh, as printed") == ["missing"] * 5


def test_table_8_has_the_two_oracle_rows_and_says_what_was_given(files, tmp_path, capsys):
    given = []
    for name, depth in (("predicted", "bone-length-prior"), ("true-shape", "oracle-shape"),
                        ("true-pose", "oracle-pose")):  # fmt: skip
        path, annotations = files("up3d", depth_source=depth)
        given += ["--row", f"{name}={path}"]
    code, rows = table(8, *given, "--annotations", annotations, out=tmp_path)
    assert code == 0
    assert rows[0][1:] == HEADS[8]
    assert [row[0] for row in rows[2::2]] == [
        "predicted pose and shape", "true shape put in", "true pose put in",
    ]  # fmt: skip
    assert "depth:oracle-pose" in rows[1][1]
    assert "given to true pose put in" in capsys.readouterr().out
    assert "helped by the truth" in (tmp_path / "table8.html").read_text()


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
    assert found[0][1:] == HEADS[7]
    foreground, parts = cells(found, "model-1")[:2], cells(found, "model-1")[2:]
    assert all(0 < float(cell) <= 100 for cell in foreground)
    assert parts == ["–", "–"]


def test_the_page_has_the_papers_row_in_grey_and_what_every_column_means(files, tmp_path):
    predictions, annotations = files("human36m-p1")
    table(1, predictions, "--annotations", annotations, out=tmp_path)
    page = (tmp_path / "table1.html").read_text()
    assert '<tr class="paper"><td>HEMlets Pose, as printed</td>' in page
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
        (["5", "--row", "none"], "expected: ROW=FILE"),
        (["5", "--row", "none={file}", "--row", "none={file}"], "2 files are for the same cells"),
        (["5", "--row", "none=nowhere.parquet"], "there is no such file"),
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
    code, _ = table(5, "--row", f"none={one}", "--row", f"full-3d={other}",
                    "--annotations", annotations, out=tmp_path)  # fmt: skip
    assert code == 1
    assert "not of one kind" in capsys.readouterr().err


def test_a_training_subjects_predictions_are_refused_in_a_table_too(files, tmp_path, capsys):
    rows = Annotations.concatenate([human36m("S9", "S11"), human36m("S5", actions=["Eating"])])
    predictions, annotations = files("human36m-p1", rows)
    code, _ = table(1, predictions, "--annotations", annotations, out=tmp_path)
    assert code == 1
    assert "4 predictions can't count (S5/Eating/00000" in capsys.readouterr().err
