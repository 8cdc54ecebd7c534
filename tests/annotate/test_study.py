"""Agreement, the study of quality and the simulated annotators that it must see through."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hemlets.annotation.agreement import (
    agreement,
    dawid_skene,
    decide_votes,
    krippendorff_alpha,
)
from hemlets.annotation.answers import Event
from hemlets.annotation.labelled import Labelled, read_labelled
from hemlets.annotation.questions import FBI, ORDINAL
from hemlets.annotation.store import AnswerStore
from hemlets.annotation.study import Study, measured_rates, study, suspicions
from hemlets.data.weak_labels import Annotator, read_annotators
from hemlets.reports.annotation_page import annotation_html

ASKED = [question.name for question in FBI]
KNOWN = Annotator(tilt_deg=(0.0, 20.0, 30.0, 90.0), skip=(0.5, 0.3, 0.08), error=(0.35, 0.2, 0.074))


Label = Callable[..., None]


def people(count: int, seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"gold/{i}": rng.normal(0, 300, (18, 3)) for i in range(count)}


def labelled_by(
    label_tasks: Label, rates: Annotator, truth: dict[str, np.ndarray], tmp_path: Path
) -> list[Labelled]:
    with AnswerStore(tmp_path / "log.sqlite", source="simulated") as store:
        rng = np.random.default_rng(11)
        label_tasks(store, truth, rates, "robot", rng)
        return read_labelled(store, dict.fromkeys(truth, ASKED))


@pytest.fixture(scope="module")
def simulated(label_tasks: Label, tmp_path_factory: pytest.TempPathFactory) -> Study:
    truth = people(250)
    labelled = labelled_by(label_tasks, KNOWN, truth, tmp_path_factory.mktemp("study"))
    return study(labelled, truth, "fbi")


def test_the_study_recovers_the_rates_of_a_simulated_annotator(simulated: Study) -> None:
    """Each known rate is inside the interval of 99 % or so of its bin's share."""
    for number, rates in enumerate(simulated.bins):
        known = min(max(number - 1, 0), 2)
        for share, rate in ((rates.error, KNOWN.error[known]), (rates.skip, KNOWN.skip[known])):
            assert share.of > 50
            deviation = np.sqrt(rate * (1 - rate) / share.of)
            assert abs(share.hits / share.of - rate) < 3.3 * deviation, (number, share, rate)
    low, high = simulated.steep.error.interval
    assert low < 0.074 < high
    low, high = simulated.steep.skip.interval
    assert low < 0.08 < high
    assert simulated.steep.error.interval[1] < simulated.flat.error.interval[0]


def test_ordinal_and_fbi_are_compared_by_the_same_study(
    label_tasks: Label, simulated: Study, tmp_path: Path
) -> None:
    """Both schemes on the same people: rates are recovered; 91 pairs take 6.5 times as long."""
    truth = people(60)
    rates = read_annotators()["ordinal"].model_copy(update={"level_deg": None})
    asked = [question.name for question in ORDINAL]
    with AnswerStore(tmp_path / "log.sqlite", source="simulated", mode="ordinal") as store:
        label_tasks(store, truth, rates, "robot", np.random.default_rng(2))
        labelled = read_labelled(store, dict.fromkeys(truth, asked))
    found = study(labelled, truth, "ordinal")
    rate, share = rates.error[-1], found.steep.error
    deviation = np.sqrt(rate * (1 - rate) / share.of)
    assert abs(share.hits / share.of - rate) < 3.3 * deviation
    assert found.steep.skip.hits == 0
    assert found.steep.error.of == found.steep.skip.of
    assert set(found.parts) == set(asked)
    assert found.image_s is not None
    assert simulated.image_s is not None
    assert found.image_s["mean"] / simulated.image_s["mean"] == pytest.approx(91 / 14, rel=0.1)
    page = annotation_html(found, source="people")
    assert "1 minute" in page or "60" in page


def test_another_annotator_is_seen_to_be_another(
    label_tasks: Label, simulated: Study, tmp_path: Path
) -> None:
    truth = people(250)
    worse = KNOWN.model_copy(update={"error": (0.35, 0.2, 0.15)})
    found = study(labelled_by(label_tasks, worse, truth, tmp_path), truth, "fbi")
    assert found.steep.error.interval[0] > simulated.steep.error.interval[1]


def test_measured_rates_are_read_by_the_simulation_of_training(
    simulated: Study, tmp_path: Path
) -> None:
    path = tmp_path / "rates.toml"
    path.write_text(measured_rates(simulated))
    read = read_annotators(path)["fbi"]
    assert read.tilt_deg == tuple(float(edge) for edge in range(0, 91, 10))
    assert read.error[5] == pytest.approx(0.074, abs=0.03)
    assert "250 images" in read.source


def test_a_bin_without_an_answer_is_joined_to_its_neighbour(
    label_tasks: Label, tmp_path: Path
) -> None:
    truth = {"gold/0": np.zeros((18, 3))}
    truth["gold/0"][:, 0] = np.arange(18) * 100.0
    truth["gold/0"][:, 2] = np.arange(18) * 1.0
    rates = KNOWN.model_copy(update={"skip": (0.0, 0, 0)})
    labelled = labelled_by(label_tasks, rates, truth, tmp_path)
    found = tomllib.loads(measured_rates(study(labelled, truth, "fbi")))["fbi"]
    assert found["tilt_deg"] == [0.0, 90.0]
    assert len(found["skip"]) == len(found["error"]) == 1


def test_exchanged_sides_are_not_held_against_the_annotator(tmp_path: Path) -> None:
    truth = people(1)
    with AnswerStore(tmp_path / "log.sqlite", source="x") as store:
        for number, kind, question, value in ((1, "flag", "swapped", "on"), (2, "done", "", "")):
            store.add(
                Event(key=f"key-000{number}", task="gold/0", annotator="anna", kind=kind,
                      question=question, value=value), ASKED,
            )  # fmt: skip
        found = study(read_labelled(store, {"gold/0": ASKED}), truth, "fbi")
    assert (found.images, found.gold, found.flags["swapped"]) == (1, 0, 1)


def test_the_page_has_the_papers_figures_beside_and_withholds_what_is_not_measured(
    simulated: Study,
) -> None:
    page = annotation_html(simulated, source="rendered")
    assert "7.4" in page
    assert "&lt; 10" in page
    assert "&lt; 20" in page
    assert f"{100 * simulated.steep.error.mean:.1f}" in page
    empty = annotation_html(study([], {}, "fbi"), source="nothing")
    assert "errors can&#39;t be measured" in empty or "errors can't be measured" in empty


# --- agreement ---


def test_alpha_is_that_of_a_published_example() -> None:
    """Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", C: nominal, 0.743."""
    a = list("1 2 3 3 2 1 4 1 2 . . .".replace(" ", ""))
    b = list("1 2 3 3 2 2 4 1 2 5 . 3".replace(" ", ""))
    c = list(". 3 3 3 2 3 4 2 2 5 1 .".replace(" ", ""))
    d = list("1 2 3 3 2 4 4 1 2 5 1 .".replace(" ", ""))
    units = [[v for v in unit if v != "."] for unit in zip(a, b, c, d, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=0.0005)


def test_alpha_of_chance_is_near_zero_and_of_a_single_annotator_undefined() -> None:
    rng = np.random.default_rng(5)
    units = rng.choice(["F", "B"], (4_000, 2)).tolist()
    assert abs(krippendorff_alpha(units)) < 0.06
    assert np.isnan(krippendorff_alpha([["F"], ["B"]]))


def test_a_contradiction_is_kept_as_one() -> None:
    votes = {("a", "head"): {"anna": "F", "ben": "B"}, ("a", "torso"): {"anna": "F", "ben": "U"}}
    for method in ("majority", "dawid-skene"):
        decided = decide_votes(votes, method)
        assert decided.labels["a", "head"] == "U"
        assert decided.contradictions == {("a", "head"): {"anna": "F", "ben": "B"}}


def test_dawid_skene_learns_whom_to_believe() -> None:
    """Two guessers outvote a good annotator; over many items their guesses are seen as such."""
    rng = np.random.default_rng(2)
    truth = rng.choice(["F", "B"], 1_500)
    other = {"F": "B", "B": "F"}

    def given(right: str, error: float) -> str:
        return other[right] if rng.random() < error else right

    votes = {
        (f"task-{i}", "head"): {
            "good": given(right, 0.03), "fair": given(right, 0.12),
            "guess": given(right, 0.45), "guess2": given(right, 0.45),
        }
        for i, right in enumerate(truth)
    }  # fmt: skip
    believed = dawid_skene(votes)
    counted = decide_votes(votes, "majority").labels
    wrong = {
        name: np.mean(
            [labels[f"task-{i}", "head"] == other[right] for i, right in enumerate(truth)]
        )
        for name, labels in (("believed", believed), ("counted", counted))
    }
    unknown = np.mean([label == "U" for label in believed.values()])
    assert wrong["believed"] < 0.04
    assert wrong["counted"] > 1.3 * wrong["believed"]
    assert unknown < 0.14 < np.mean([label == "U" for label in counted.values()])


def test_nobodys_answer_makes_a_label() -> None:
    votes = {("a", "head"): {"anna": "U", "ben": "U"}}
    assert dawid_skene(votes) == {("a", "head"): "U"}
    assert np.isnan(agreement(votes, unknown=False))


# --- answers that nobody can have meant ---


@pytest.mark.parametrize(
    ("labels", "milliseconds", "says"),
    [
        ("F", 1500, "are the same"), ("U", 1500, "are Unknown"), ("FBU", 90, "less than 200 ms"),
    ],
)  # fmt: skip
def test_answers_without_a_look_are_named(
    tmp_path: Path, labels: str, milliseconds: int, says: str
) -> None:
    tasks = [f"a/{number}" for number in range(8)]
    with AnswerStore(tmp_path / "log.sqlite", source="x") as store:
        for number, task in enumerate(tasks):
            for place, name in enumerate(ASKED):
                store.add(
                    Event(key=f"key-{number:02}-{place:02}", task=task, annotator="anna",
                          kind="answer", question=name, value=labels[place % len(labels)],
                          elapsed_ms=milliseconds), ASKED,
                )  # fmt: skip
        labelled = read_labelled(store, dict.fromkeys(tasks, ASKED))
    (said,) = suspicions(study(labelled, {}, "fbi"))
    assert said.startswith("anna: ")
    assert says in said


def test_an_honest_annotator_is_not_suspected(simulated: Study) -> None:
    assert suspicions(simulated) == []
