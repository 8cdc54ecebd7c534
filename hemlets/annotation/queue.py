"""Choose people to label next: uncertain for the model, and unlike those chosen before.

The use of a label is the mean rank of the model's relation entropy, of its disagreement with itself
on the mirrored and the wider crop, and with a second model where there is one. People are chosen
one after the other: use times novelty, which is the distance in feature space to the nearest
labelled or chosen person (k-centre, Sener & Savarese 2018), less for a subject or a clip that was
chosen already. The gate and the test are never candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.annotation.store import FoundPerson
from hemlets.annotation.tasks import PhotoTasks
from hemlets.core.arrays import Array
from hemlets.core.errors import ConfigError
from hemlets.core.files import write_text
from hemlets.data.table import Annotations

Group = tuple[str, str]
"""Subject and clip; empty where unknown."""

SPLIT: Final = "train"
"""The split whose labels train."""

_FLOOR: Final = 0.2
"""Part of a label's use that does not depend on novelty."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """People who may be labelled.

    Attributes:
        names: Of the samples, N.
        doubt_ND: Measures of the model's doubt; more is less sure.
        feature_NC: Features.
        groups: Of each person: the subject and the clip, empty where unknown.
    """

    names: tuple[str, ...]
    doubt_ND: Array
    feature_NC: Array
    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return len(self.names)


def candidates(
    groups: Mapping[str, Group],
    opinions: Mapping[str, Mapping[str, Any]],
    *,
    second: Mapping[str, float] | None = None,
) -> Candidates:
    """Collect the people of whom the model has an opinion.

    Args:
        groups: Subject and clip by task; see `groups_of_version` and `groups_of_pictures`.
        opinions: By task, as `hemlets.annotation.opinions.Opinion.to_json` has them.
        second: Divergence from a second model's opinion, by task.
    """
    names = tuple(name for name in groups if name in opinions)
    doubt = [
        [opinions[name]["entropy"] for name in names],
        [opinions[name]["disagreement"] for name in names],
    ]
    if second is not None:
        doubt.append([second.get(name, 0.0) for name in names])
    return Candidates(
        names=names,
        doubt_ND=np.array(doubt, np.float64).T,
        feature_NC=np.array([opinions[name]["feature"] for name in names], np.float64),
        groups=tuple(groups[name] for name in names),
    )


def groups_of_version(table: Annotations) -> dict[str, Group]:
    """Return subject and clip of each person of a version's training split."""
    train = np.flatnonzero(table.column("split").astype(str) == SPLIT)
    return {
        str(table.sample_id[row]): (str(table.subject[row]), str(table.clip[row])) for row in train
    }


def groups_of_pictures(tasks: PhotoTasks, people: Iterable[FoundPerson]) -> dict[str, Group]:
    """Return the group of each person of photographs or of a log; subjects are unknown."""
    return {person.task: ("", tasks.pictures.group(person.photo)) for person in people}


def choose(found: Candidates, count: int, labelled: Iterable[str] = ()) -> list[str]:
    """Choose the people to label next, most useful first.

    Args:
        found: Who may be labelled.
        count: How many, at most.
        labelled: Who is labelled already: they are not chosen, and nobody like them.
    """
    from scipy.stats import rankdata

    if not len(found):
        return []
    known = set(labelled)
    open_N = np.array([name not in known for name in found.names])
    use_N = (rankdata(found.doubt_ND, axis=0) / len(found)).mean(1)
    feature_NC = found.feature_NC - found.feature_NC.mean(0)
    feature_NC = feature_NC / np.maximum(feature_NC.std(0), 1e-6)
    # Typical distance, for the time when nothing is labelled yet.
    far = float(np.sqrt(2 * feature_NC.shape[1]))
    nearest_N = np.full(len(found), far)
    subjects: Counter[str] = Counter()
    clips: Counter[str] = Counter()

    def take(row: int) -> None:
        distance_N = np.linalg.norm(feature_NC - feature_NC[row], axis=1)
        np.minimum(nearest_N, distance_N, out=nearest_N)
        subject, clip = found.groups[row]
        subjects[subject] += 1
        clips[clip] += 1

    for row in np.flatnonzero(~open_N):
        take(int(row))
    chosen: list[str] = []
    for _ in range(min(count, int(open_N.sum()))):
        total = max(sum(subjects.values()), 1)
        crowd_N = np.array(
            [
                (subjects[subject] / total if subject else 0) + (clips[clip] / total if clip else 0)
                for subject, clip in found.groups
            ]
        )
        novelty_N = _FLOOR + (1 - _FLOOR) * nearest_N / max(float(nearest_N.max()), 1e-9)
        score_N = np.where(open_N, use_N * novelty_N / (1 + crowd_N) ** 2, -1.0)
        best = int(score_N.argmax())
        open_N[best] = False
        chosen.append(found.names[best])
        take(best)
    return chosen


def write_queue(path: Path, names: Iterable[str]) -> None:
    """Write a queue atomically, one name per line."""
    write_text(path, "".join(f"{name}\n" for name in names))


def read_queue(path: Path) -> list[str]:
    """Read sample names, one per line, without duplicates.

    Raises:
        ConfigError: The file can't be read, or names nothing.
    """
    try:
        names = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the queue can't be read: {error}",
            where=f"--queue {path}",
            expected="a text file with the name of a sample a line",
        ) from error
    found = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not found:
        raise ConfigError("the queue is empty", where=f"--queue {path}")
    return found
