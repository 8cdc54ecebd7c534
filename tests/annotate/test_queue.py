"""What to label next: the unsure and the unlike, never the gate or the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemlets.annotation.opinions import divergence, relation_probabilities
from hemlets.annotation.queue import (
    Candidates,
    candidates,
    choose,
    groups_of_version,
    read_queue,
    write_queue,
)
from hemlets.annotation.tasks import read_table
from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import PART_CHILD, PART_PARENT, PARTS

from .conftest import MakeVersion


def people(doubt, feature, groups=None) -> Candidates:
    count = len(doubt)
    return Candidates(
        names=tuple(f"p{number}" for number in range(count)),
        doubt_ND=np.array(doubt, float).reshape(count, -1),
        feature_NC=np.array(feature, float).reshape(count, -1),
        groups=tuple(groups or [("", "")] * count),
    )


def test_the_unsure_come_first() -> None:
    found = people([0.1, 0.9, 0.5, 0.7], np.eye(4))
    assert choose(found, 4) == ["p1", "p3", "p2", "p0"]


def test_the_like_of_somebody_labelled_come_later() -> None:
    found = people([0.5, 0.9, 0.8, 0.1], [[0, 0], [5, 5], [0, 5], [5, 5.01]])
    assert choose(found, 1) == ["p1"]
    assert choose(found, 1, labelled=["p3"]) == ["p2"]


def test_the_choice_spreads_over_people_and_clips() -> None:
    rng = np.random.default_rng(1)
    groups = [("anna", f"clip-{i}") for i in range(30)] + [("ben", f"clip-{i}") for i in range(30)]
    doubt = np.concatenate([np.linspace(0.6, 0.7, 30), np.linspace(0.5, 0.6, 30)])
    feature = rng.normal(size=(60, 8))

    def of_ben(chosen: list[str]) -> int:
        return sum(int(name[1:]) >= 30 for name in chosen)

    spread = of_ben(choose(people(doubt, feature, groups), 20))
    alone = of_ben(choose(people(doubt, feature), 20))
    assert alone < 3 < spread


def test_who_is_labelled_is_not_chosen_again_and_nobody_twice() -> None:
    found = people(np.arange(10), np.eye(10))
    chosen = choose(found, 99, labelled=["p9", "elsewhere"])
    assert sorted(chosen) == [f"p{number}" for number in range(9)]


@pytest.mark.parametrize("split", ["validation", "gate", "test"])
def test_only_people_of_the_training_split_are_candidates(
    make_version: MakeVersion, split: str
) -> None:
    opinion = {"entropy": 1.0, "disagreement": 0.1, "feature": [0.0, 1.0]}
    opinions = {f"sample/{number}": opinion for number in range(6)}
    for kind, count in (("train", 6), (split, 0)):
        groups = groups_of_version(read_table(make_version(split=kind)))
        assert len(candidates(groups, opinions)) == count


def test_a_second_models_disagreement_counts(make_version: MakeVersion) -> None:
    opinions = {
        f"sample/{number}": {"entropy": 1.0, "disagreement": 0.1, "feature": [float(number), 1.0]}
        for number in range(6)
    }
    groups = groups_of_version(read_table(make_version()))
    found = candidates(groups, opinions, second={"sample/4": 0.6})
    assert found.doubt_ND.shape == (6, 3)
    assert choose(found, 1) == ["sample/4"]


def test_a_queue_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_queue(tmp_path / "queue.txt", ["b/雪", "a"])
    assert read_queue(tmp_path / "queue.txt") == ["b/雪", "a"]
    (tmp_path / "queue.txt").write_text("\n \n")
    with pytest.raises(ConfigError, match="empty"):
        read_queue(tmp_path / "queue.txt")
    with pytest.raises(ConfigError, match="can't be read"):
        read_queue(tmp_path)


def test_a_part_that_points_forward_for_sure_has_no_entropy() -> None:
    depth = np.zeros((1, 18, 32))
    cell, far, near = 2000 / 32, 20, 8
    depth[:, :, far] = 1.0
    depth[:, PART_CHILD[6]] = 0
    depth[:, PART_CHILD[6], near] = 1.0
    limits = np.full(len(PARTS), 150.0)
    found = relation_probabilities(depth, cell, limits)
    assert found[0, 6].tolist() == [0, 0, 1], "Backward, level, Forward"
    assert found[0, 0].tolist() == [0, 1, 0]
    turned = depth.copy()
    turned[:, PART_PARENT[6]], turned[:, PART_CHILD[6]] = (
        depth[:, PART_CHILD[6]], depth[:, PART_PARENT[6]],
    )  # fmt: skip
    assert relation_probabilities(turned, cell, limits)[0, 6].tolist() == [1, 0, 0]


def test_probabilities_are_those_of_drawn_depths() -> None:
    rng = np.random.default_rng(4)
    depth = rng.dirichlet(np.ones(16), (1, 18))
    cell, limits = 125.0, np.full(len(PARTS), 180.0)
    found = relation_probabilities(depth, cell, limits)[0]
    cells = np.array([rng.choice(16, 40_000, p=depth[0, joint]) for joint in range(18)]) * cell
    for number, part in enumerate(PARTS):
        step = cells[part.parent] - cells[part.child]
        drawn = [np.mean(step < -180), np.mean(np.abs(step) <= 180), np.mean(step > 180)]
        assert found[number] == pytest.approx(drawn, abs=0.02)


def test_opinions_diverge_by_nothing_from_themselves_and_by_log_2_at_most() -> None:
    sure = np.eye(3)[[0, 1, 2]]
    other = np.eye(3)[[1, 2, 0]]
    assert divergence(sure, sure) == pytest.approx(0, abs=1e-9)
    assert divergence(sure, other) == pytest.approx(np.log(2), abs=1e-6)
