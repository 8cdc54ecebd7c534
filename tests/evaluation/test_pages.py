"""The pages that people read: each figure explained in words, on screen and on paper."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hemlets.annotations import Annotations
from hemlets.errors import DataError
from hemlets.evaluation.benchmark import score_file
from hemlets.evaluation.compare_page import compare_html
from hemlets.evaluation.gallery import worst_samples
from hemlets.evaluation.meanings import MEANINGS, explain
from hemlets.evaluation.names import MetricName
from hemlets.evaluation.page import page_html
from hemlets.evaluation.protocols import load_protocol, protocol_names
from hemlets.evaluation.results import write_results
from hemlets.evaluation.side_by_side import compare_runs, read_run
from hemlets.evaluation.summary import Summary, summarise_protocol
from hemlets.evaluation.truth import Truth
from hemlets.synthetic.people import SOURCE

from .layouts import annotations_of, human36m, predictions_of, with_info, written


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
    scores = score_file(files[0], Truth.read(files[1], protocol), protocol)
    summary = summarise_protocol(scores, resamples=100)
    write_results(folder, scores, summary)
    return summary


@pytest.fixture
def rows() -> Annotations:
    return rendered([("kick", 3), ("kick", 9), ("kick", 20), ("run+kick", 4), ("jump", 0)])


def test_the_open_protocol_is_of_the_people_that_are_rendered() -> None:
    assert load_protocol("open").datasets == (SOURCE,)


def test_intervals_of_the_open_benchmark_are_over_stretches_of_clips_not_samples(
    rows, tmp_path
) -> None:
    protocol = load_protocol("open")
    sequence = Truth.of(rows, protocol).sequence
    named = [sequence.words[code] for code in sequence.codes]
    assert named == ["kick@0", "kick@0", "kick@1", "run@0", "jump@0"]
    assert summarised(tmp_path, rows).sequences == 4


def test_the_page_says_what_a_sequence_is_and_that_few_are_too_few(rows, tmp_path) -> None:
    page = page_html(summarised(tmp_path, rows))
    assert "up to 15 frames in a row of one motion clip" in page
    assert "With only 4 of them the intervals are too narrow" in page


@pytest.mark.parametrize("protocol", protocol_names())
def test_every_figure_of_every_protocol_is_explained_without_codes(protocol) -> None:
    for measure in load_protocol(protocol).measures:
        assert measure.key in MEANINGS
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
    assert "over 21 rotations" in of["21r"]
    assert "over 6,890 points of the body's surface" in of["6890v"]
    assert "over pelvis on" in of["pelvis"]


def test_pictures_come_with_their_legend_and_captions_with_their_unit(rows, tmp_path) -> None:
    summary = summarised(tmp_path, rows)
    (first, caption), *_ = worst_samples(summary, 3)
    assert re.fullmatch(rf"{re.escape(first)}: \d+\.\d mm.*", caption)
    assert "open dots: the truth" in page_html(summary, [(caption, b"png")])
    assert "open dots: the truth" not in page_html(summary)


def test_a_part_that_is_all_samples_is_not_where_it_is_worst(rows, tmp_path) -> None:
    page = page_html(summarised(tmp_path, rows))
    worst = page.split("Where it is worst")[1].split("<details>")[0]
    assert "No such part is left" in worst


def test_what_is_folded_on_screen_is_unfolded_on_paper(rows, tmp_path) -> None:
    printed = page_html(summarised(tmp_path, rows)).split("@media print")[1].split("</style>")[0]
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
        assert MEANINGS["mpjpe_mm"] in seen
        assert "A sequence is a clip of one subject" in page

    def test_its_charts_shrink_with_the_paper_instead_of_being_cut_off(self, tmp_path) -> None:
        page = compare_html(compare_runs(self.runs(tmp_path)))
        charts = re.findall(r"<svg[^>]*>", page)
        assert charts
        assert all("viewBox=" in chart for chart in charts)

    def test_what_differs_is_told_once_and_not_once_a_figure(self, tmp_path) -> None:
        with pytest.raises(DataError) as error:
            compare_runs(self.runs(tmp_path, box_source="detector"))
        assert error.value.where == "two has box:detector, one box:ground-truth"
