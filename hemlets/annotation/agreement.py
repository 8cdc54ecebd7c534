"""Agreement of annotators, and aggregation of their votes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from hemlets.annotation.answers import LABELS
from hemlets.annotation.labelled import Labelled
from hemlets.data.readers.fbi import majority

Method = Literal["majority", "dawid-skene"]
Item = tuple[str, str]
"""A task and a question."""

_SURE: Final = 0.75
"""Smallest posterior probability of a Dawid–Skene label; below it, the label is Unknown."""
_ROUNDS: Final = 200
_CHANGE: Final = 1e-7
_SMOOTHING: Final = 0.5
"""Pseudo-count of each answer per annotator."""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """One label per item.

    Attributes:
        labels: F, B or U.
        contradictions: Items that were answered both F and B, with the votes.
    """

    labels: dict[Item, str]
    contradictions: dict[Item, dict[str, str]]


def votes_of(labelled: Iterable[Labelled]) -> dict[Item, dict[str, str]]:
    """Collect labels by item and annotator."""
    votes: dict[Item, dict[str, str]] = defaultdict(dict)
    for one in labelled:
        for question, label in one.labels.items():
            votes[one.task, question][one.annotator] = label
    return dict(votes)


def decide_votes(votes: Mapping[Item, Mapping[str, str]], method: Method) -> Decided:
    """Aggregate votes to one label per item, by majority (a tie is Unknown) or Dawid–Skene."""
    labels = (
        {item: majority(Counter(given.values())) for item, given in votes.items()}
        if method == "majority"
        else dawid_skene(votes)
    )
    contradictions = {
        item: dict(given) for item, given in votes.items() if {"F", "B"} <= set(given.values())
    }
    return Decided(labels=labels, contradictions=contradictions)


def dawid_skene(votes: Mapping[Item, Mapping[str, str]]) -> dict[Item, str]:
    """Aggregate votes by estimated annotator reliability (Dawid & Skene 1979, EM).

    The truth is F or B; an annotator answers F, B or U with probabilities of their own for each.
    A label whose probability is below `_SURE` is Unknown.
    """
    if not votes:
        return {}
    items = list(votes)
    names = sorted({name for given in votes.values() for name in given})
    item, who, label = (
        np.array(column, np.int64)
        for column in zip(
            *(
                (i, names.index(name), LABELS.index(label))
                for i, key in enumerate(items)
                for name, label in votes[key].items()
            ),
            strict=True,
        )
    )
    truth_N2 = np.full((len(items), 2), 0.5)
    for column in (0, 1):
        np.add.at(truth_N2[:, column], item[label == column], 1.0)
    truth_N2 /= truth_N2.sum(1, keepdims=True)
    for _ in range(_ROUNDS):
        confusion_A23 = np.full((len(names), 2, len(LABELS)), _SMOOTHING)
        # Agreement is likelier than its opposite: else F and B could change places.
        confusion_A23[:, (0, 1), (0, 1)] += _SMOOTHING
        for column in (0, 1):
            np.add.at(confusion_A23[:, column], (who, label), truth_N2[item, column])
        confusion_A23 /= confusion_A23.sum(2, keepdims=True)
        prior_2 = (truth_N2.sum(0) + 1) / (len(items) + 2)
        log_N2 = np.tile(np.log(prior_2), (len(items), 1))
        np.add.at(log_N2, item, np.log(confusion_A23[who, :, label]))
        new_N2 = np.exp(log_N2 - log_N2.max(1, keepdims=True))
        new_N2 /= new_N2.sum(1, keepdims=True)
        change = np.abs(new_N2 - truth_N2).max()
        truth_N2 = new_N2
        if change < _CHANGE:
            break
    answered = np.zeros(len(items), bool)
    answered[item[label < 2]] = True
    return {
        key: LABELS[int(p.argmax())] if known and p.max() >= _SURE else "U"
        for key, p, known in zip(items, truth_N2, answered, strict=True)
    }


def krippendorff_alpha(units: Iterable[Sequence[str]]) -> float:
    """Compute Krippendorff's α of nominal labels; NaN if no counted label differs from another.

    Args:
        units: Labels of each item; items with fewer than two are left out.
    """
    paired = [Counter(unit) for unit in units if len(unit) > 1]
    total: Counter[str] = Counter()
    disagreement = 0.0
    for counts in paired:
        size = counts.total()
        total.update(counts)
        disagreement += (size**2 - sum(n * n for n in counts.values())) / (size - 1)
    n = total.total()
    expected = n**2 - sum(count**2 for count in total.values())
    return 1 - (n - 1) * disagreement / expected if expected else float("nan")


def agreement(votes: Mapping[Item, Mapping[str, str]], *, unknown: bool) -> float:
    """Compute Krippendorff's α over items.

    Args:
        votes: Labels by item and annotator.
        unknown: Whether Unknown is a label like others; else it counts as no label.
    """
    return krippendorff_alpha(
        [label for label in given.values() if unknown or label != "U"] for given in votes.values()
    )
