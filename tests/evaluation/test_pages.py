"""The pages that people read: each figure explained in words, on screen and on paper."""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import JOINTS, PARTS
from hemlets.data.synthetic.people import SOURCE
from hemlets.data.table import Annotations
from hemlets.evaluation import read_run
from hemlets.evaluation.metrics.definitions import METRICS
from hemlets.evaluation.metrics.meanings import PREDICTORS, explain, glossary
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.protocols import load_protocol, protocol_names
from hemlets.evaluation.scoring.results import write_results
from hemlets.evaluation.scoring.sample_scores import score
from hemlets.evaluation.scoring.side_by_side import compare_runs
from hemlets.evaluation.scoring.summary import TILT, Summary, summarise
from hemlets.evaluation.scoring.truth import Truth
from hemlets.reports.benchmark_page import benchmark_html
from hemlets.reports.compare_page import compare_html
from hemlets.reports.gallery import worst_samples

from .layouts import annotations_of, human36m, predictions_of, with_info, written

NAME = MetricName(
    key="mpjpe_mm", split="test", over="18j", root="pelvis", align="none", box="ground-truth",
    depth="bone-length-prior", flip="no",
)  # fmt: skip


def rendered(clips: list[tuple[str, int]]) -> Annotations:
    """Rendered people, each of a body of their own, by clip and frame."""
    plain = annotations_of(SOURCE, [(f"body-{i}", "") for i in range(len(clips))], each=1)
    columns = {name: plain.column(name) for name in plain.table.column_names}
    changed = {"clip": [clip for clip, _ in clips], "frame": np.array([f for _, f in clips])}
    return Annotations.from_columns(columns | changed)


def summarised(folder, rows: Annotations, *, noise_mm: float = 30, **info) -> Summary:
    predictions = with_info(predictions_of(rows, noise_mm=noise_mm), **info)
    protocol = load_protocol("open" if rows.column("source")[0] == SOURCE else "human36m-p1")
    files = written(folder, rows, predictions)
    scores = score(files[0], Truth.read(files[1], protocol), protocol)
    summary = summarise(scores, resamples=100)
    write_results(folder, scores, summary)
    return summary


@pytest.fixture
def rows() -> Annotations:
    return rendered([("kick", 3), ("kick", 9), ("kick", 20), ("run+kick", 4), ("jump", 0)])


def test_the_open_protocol_is_of_the_people_that_are_rendered() -> None:
    assert load_protocol("open").datasets == (SOURCE,)


def test_the_open_page_names_the_joints_and_bones_and_says_where_millimetres_come_from(
    rows, tmp_path
) -> None:
    summary = summarised(tmp_path, rows, depth_source="bone-length-prior")
    told = benchmark_html(summary).split("What the words mean</h2>")[1].split("</ul>")[0]

    assert all(joint.replace("_", " ") in told for joint in JOINTS)
    assert "pelvis–thorax, neck–head top and, right and left, thorax–shoulder" in told
    assert "the pelvis&#39; true distance was put in" in told
    assert "The camera&#39;s focal length and principal point were given." in benchmark_html(
        summary
    )


def test_a_page_of_other_people_says_nothing_of_how_ours_are_rendered(tmp_path) -> None:
    page = benchmark_html(summarised(tmp_path, human36m("S9", "S11"), depth_source="true-depth"))

    assert "rendered" not in page
    assert "Metric scale and depth" not in page


def test_bones_are_named_with_their_outer_ends_last() -> None:
    told = glossary(NAME, rendered=False)["Bones"].removeprefix("The 14 are ").rstrip(".")
    middle, sides = told.split(" and, right and left, ")
    assert len(middle.split(", ")) + 2 * len(sides.split(", ")) == len(PARTS)
    assert "elbow–wrist" in sides


def test_an_error_of_all_joints_says_that_the_pelvis_counts_as_right() -> None:
    assert "the pelvis counts with an error of 0" in explain(NAME)
    assert "counts with" not in explain(replace(NAME, over="17j-no-pelvis"))
    assert "counts with" not in explain(replace(NAME, root="centroid", align="similarity"))


def test_intervals_of_the_open_benchmark_are_over_sequences_of_clips_not_samples(
    rows, tmp_path
) -> None:
    protocol = load_protocol("open")
    sequence = Truth.of(rows, protocol).sequence
    named = [sequence.words[code] for code in sequence.codes]
    assert named == ["kick@0", "kick@0", "kick@1", "run@0", "jump@0"]
    assert summarised(tmp_path, rows).sequences == 4


def test_the_page_says_what_a_sequence_is_and_that_few_are_too_few(rows, tmp_path) -> None:
    page = benchmark_html(summarised(tmp_path, rows))
    assert "up to 15 frames in a row of one motion clip" in page
    assert "With only 4 of them the intervals are too narrow" in page


@pytest.mark.parametrize("protocol", protocol_names())
def test_every_figure_of_every_protocol_is_explained_without_codes(protocol) -> None:
    for measure in load_protocol(protocol).measures:
        assert measure.key in METRICS
        name = MetricName(
            key=measure.key, split="test", over=measure.joints or "1229v", root="pelvis",
            align="none", box="ground-truth", depth="bone-length-prior", flip="no",
        )  # fmt: skip
        said = explain(name)
        assert not re.search(r"\b\d+[jrv]\b|no-pelvis|bone-length|ground-truth", said)


def test_surface_points_and_rotations_are_counted_in_words() -> None:
    common = {"split": "test", "root": "none", "align": "none", "box": "mask", "depth": "x"}
    of = {over: explain(MetricName(key="theta_deg", over=over, flip="no", **common))
          for over in ("21r", "6890v", "pelvis")}  # fmt: skip
    assert "over 21 of θ's 24 rotations" in of["21r"]
    assert "over 6,890 points of the body's surface" in of["6890v"]
    assert "over the pelvis alone on" in of["pelvis"]


def posed(rows: Annotations) -> Annotations:
    """The same people with θ, drawn anew for each."""
    theta = np.random.default_rng(0).normal(0, 0.3, (len(rows), 24, 3)).astype(np.float32)
    columns = {name: rows.column(name) for name in rows.table.column_names}
    return Annotations.from_columns(
        columns | {"theta": theta, "smpl_valid": np.ones(len(rows), bool)}
    )


def cells_of(page: str, title: str) -> list[str]:
    """Values in a figure's row, without their intervals."""
    row = next(r for r in page.split("<tr>") if title in r.partition("</td>")[0])
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)[1:]
    return [re.sub(r'<span class="interval">.*|<[^>]*>', "", cell) for cell in cells]


def test_the_rest_poses_error_stands_in_a_column_beside_that_of_theta(rows, tmp_path) -> None:
    summary = summarised(tmp_path, posed(rows))
    by_key = {metric.key: metric for metric in summary.metrics}
    rest = by_key["theta_rest_deg"].figure.mean
    page = benchmark_html(summary)
    assert ">rest pose</th>" in page
    assert 20 < rest < 35
    assert cells_of(page, by_key["theta_deg"].title)[:2] == ["0.0", f"{rest:.1f}"]
    assert cells_of(page, by_key["mpjpe_mm"].title)[1] == ""
    assert by_key["theta_rest_deg"].title not in page.split("Full names")[0]


def test_without_theta_there_is_no_column_of_the_rest_pose(tmp_path) -> None:
    assert "rest pose</th>" not in benchmark_html(summarised(tmp_path, human36m("S9", "S11")))


def test_where_nothing_moves_it_says_so_in_place_of_an_error_of_theta(rows, tmp_path) -> None:
    summary = summarised(tmp_path, rows)
    assert "no joint below the root turns in these samples" in summary.left_out["theta_deg"]
    assert "rest pose</th>" not in benchmark_html(summary)


def test_pictures_come_with_their_legend_and_captions_with_their_unit(rows, tmp_path) -> None:
    summary = summarised(tmp_path, rows)
    (first, caption), *_ = worst_samples(summary, 3)
    assert re.fullmatch(rf"{re.escape(first)}: \d+\.\d mm.*", caption)
    assert "open dots: the truth" in benchmark_html(summary, [(caption, b"png")])
    assert "open dots: the truth" not in benchmark_html(summary)


def test_a_part_that_is_all_samples_is_not_where_it_is_worst(rows, tmp_path) -> None:
    page = benchmark_html(summarised(tmp_path, rows))
    worst = page.split("Where it is worst")[1].split("<details>")[0]
    assert "There is no such part" in worst


def crowd() -> Annotations:
    """40 people in 8 sequences, half of them with few visible joints."""
    rows = rendered([(f"clip{i % 8}", 0) for i in range(40)])
    columns = {name: rows.column(name) for name in rows.table.column_names}
    visible = np.ones((40, 18), bool)
    visible[20:, 4:] = False
    return Annotations.from_columns(columns | {"visible": visible})


def parts_in(page: str) -> list[str]:
    """Parts in the table of where it is worst, in its order."""
    table = page.split("Where it is worst")[1].split("<details>")[0]
    return re.findall(r'<td class="text">(.*?)</td>', table)


def test_every_part_above_the_mean_is_named_and_none_below_it(tmp_path) -> None:
    summary = summarised(tmp_path, crowd())
    known = [p for p in summary.slices if p.by != TILT and p.figure.samples >= 5]
    mean = summary.metrics[0].figure.mean
    worse = sorted((p.figure.mean, p.value) for p in known if p.figure.mean > mean)
    assert worse
    assert len(worse) < len(known)
    assert parts_in(benchmark_html(summary)) == [value for _, value in reversed(worse)]


def test_parts_say_in_their_names_what_was_counted(tmp_path) -> None:
    summary = summarised(tmp_path, crowd())
    counted = {(part.by, part.value): part.figure.samples for part in summary.slices}
    assert counted["visible joints", "all 18"] == 20
    assert counted["visible joints", "0 to 8 of 18"] == 20
    assert counted["joints outside the image", "none"] == 40
    assert "counted for each sample among its 18 joints" in benchmark_html(summary)


def test_fields_that_part_the_samples_alike_are_listed_once(tmp_path) -> None:
    rows = human36m("S9", "S11")
    assert set(rows.column("action")) == set(rows.column("family"))
    by = {part.by for part in summarised(tmp_path, rows).slices}
    assert "action" in by
    assert "family of motions" not in by


def test_errors_by_tilt_stand_apart_and_say_that_they_are_of_bones(rows, tmp_path) -> None:
    page = benchmark_html(summarised(tmp_path, rows))
    tilts = page.split("<h2>Error by tilt of bones")[1].split("<h2>")[0]
    assert "samples with such a bone" in tilts
    assert tilts.count("<tr>") == 4
    assert "tilt" not in page.split("Where it is worst")[1].split("<h2>")[0]


def test_the_page_says_what_a_confidence_is_and_that_no_parameter_was_fitted_to_the_samples(
    rows, tmp_path
) -> None:
    said = benchmark_html(summarised(tmp_path, rows)).split("<h2>Confidence")[1].split("<svg")[0]
    assert "the score of the joint's keypoint, or the height of its 2D heatmap's peak" in said
    assert "the share of votes that agree" in said
    assert "no parameter was fitted to these samples" in said


def test_the_split_is_called_by_its_name_and_the_word_of_full_names_is_explained(
    rows, tmp_path
) -> None:
    page = benchmark_html(summarised(tmp_path, rows))
    assert "test split: 5 samples of 4 sequences" in page
    assert (
        "samples of the test split; in their full names, at the end of this page, “open” " in page
    )
    assert "stretch" not in page


def test_one_sample_is_not_called_samples(tmp_path) -> None:
    page = benchmark_html(summarised(tmp_path, rendered([("kick", 0)])))
    assert "test split: 1 sample of 1 sequence." in page
    assert "From one sequence alone no interval can be drawn" in page


@pytest.mark.parametrize(
    ("version", "given"),
    [("mean-pose", "given nothing of the sample"), ("linear-lifter-from-true-2d", "true 2D joints"),
     ("a1b2c3d4e5f6", "")],
)  # fmt: skip
def test_a_baselines_page_says_what_it_is_given_and_how_it_scales(
    rows, tmp_path, version, given
) -> None:
    page = benchmark_html(summarised(tmp_path, rows, model_version=version))
    said = [text for text in PREDICTORS.values() if escape(text).replace("&#x27;", "&#39;") in page]
    assert len(said) == bool(given)
    assert all(given in text for text in said)


def test_headings_of_tables_are_repeated_on_each_sheet_of_paper(rows, tmp_path) -> None:
    page = benchmark_html(summarised(tmp_path, rows), [("a picture", b"png")])
    assert page.count("<thead>") == page.count("<table")


def test_a_table_of_many_columns_is_set_small_enough_for_paper(tmp_path) -> None:
    page = benchmark_html(summarised(tmp_path, human36m("S9", "S11")))
    assert 'class="wide"' in page
    assert ".wide { font-size: 8px; }" in page


def test_what_is_folded_on_screen_is_unfolded_on_paper(rows, tmp_path) -> None:
    printed = (
        benchmark_html(summarised(tmp_path, rows)).split("@media print")[1].split("</style>")[0]
    )
    assert "details::details-content { content-visibility: visible" in printed


class TestSideBySide:
    def runs(self, tmp_path, **second):
        rows = human36m("S9", "S11")
        for name, noise, info in (("one", 20, {}), ("two", 30, second)):
            folder = tmp_path / name
            folder.mkdir()
            summarised(folder, rows, noise_mm=noise, **info)
        return [read_run(tmp_path / name, name) for name in ("one", "two")]

    def test_the_page_explains_each_figure_in_sight(self, tmp_path) -> None:
        page = compare_html(compare_runs(self.runs(tmp_path)))
        seen = page.split("<details open>")[1].split("</details>")[0]
        assert METRICS["mpjpe_mm"].explanation in seen
        assert "A sequence is a clip of one subject" in page

    def test_the_rest_pose_has_a_column_there_too(self, rows, tmp_path) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            summarised(tmp_path / name, posed(rows))
        found = compare_runs([read_run(tmp_path / name, name) for name in ("one", "two")])
        page = compare_html(found)
        one, two, rest = cells_of(page, "Rotation error, moving joints")
        assert one == two == "0.0"
        assert float(rest) > 20
        assert page.count("Rotation error of the rest pose") == 1

    def test_its_charts_shrink_with_the_paper_instead_of_being_cut_off(self, tmp_path) -> None:
        page = compare_html(compare_runs(self.runs(tmp_path)))
        charts = re.findall(r"<svg[^>]*>", page)
        assert charts
        assert all("viewBox=" in chart for chart in charts)

    def test_what_differs_is_told_once_and_not_once_a_figure(self, tmp_path) -> None:
        with pytest.raises(DataError) as error:
            compare_runs(self.runs(tmp_path, box_source="detector"))
        assert error.value.where == "two has box:detector, one box:ground-truth"
