"""Person presence on the test split: rates of missed people and false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hemlets.core.files import read_json, write_json
from hemlets.core.wording import counted
from hemlets.inference.predictor import Predictor
from hemlets.inference.types import BodyEstimate
from hemlets.models.model_folder import PersonThreshold

PERSON_TITLE: Final = "Is there anybody at all?"
"""Heading of :func:`person_sentence`."""

_FILE: Final = "person.json"


def write_person(
    folder: Path,
    predictor: Predictor,
    people: Sequence[BodyEstimate],
    backgrounds: Sequence[BodyEstimate],
) -> None:
    """Store both error rates at the threshold of the model card; nothing without a threshold.

    Args:
        folder: Folder of the benchmark.
        predictor: The model.
        people: Predictions of the test split.
        backgrounds: Predictions of test images without a person.
    """
    known = predictor.card.person
    if known is None or not people or not backgrounds:
        return
    measured = PersonThreshold.measured(
        known.threshold,
        [estimate.person_confidence for estimate in people],
        [estimate.person_confidence for estimate in backgrounds],
        statistic=known.statistic,
    )
    write_json(folder / _FILE, measured.model_dump(mode="json"))


def read_person(folder: Path) -> PersonThreshold | None:
    """Read the stored rates of a benchmark; None if absent."""
    path = folder / _FILE
    return PersonThreshold.from_mapping(read_json(path), where=str(path)) if path.exists() else None


def person_metrics(found: PersonThreshold | None) -> dict[str, float]:
    """Error rates and counts for the tracker."""
    if found is None:
        return {}
    names = ("missed", "false_alarms", "people", "backgrounds", "threshold")
    return {f"person/{name}": float(getattr(found, name)) for name in names}


def person_sentence(found: PersonThreshold) -> str:
    """Describe the rates in a sentence."""
    return (
        f"On the test split: of {counted(found.people, 'image')} of people, the model takes "
        f"{100 * found.missed:.1f} % for empty ({round(found.missed * found.people):,}); "
        f"of {counted(found.backgrounds, 'image')} without a person, it sees one in "
        f"{100 * found.false_alarms:.1f} % ({round(found.false_alarms * found.backgrounds):,}). "
        "Images without a person are scenes drawn like the others in which nobody stands; the "
        "model is given a box there, too, where a person who was left out would be. "
        f"The confidence that there is a person is the {_words(found.statistic)}; that of a "
        "joint is the score of its keypoint or the peak of its heatmap, 0 to 1, averaged with "
        "that of the mirrored image where this is predicted too, and after a second look also the "
        "share of votes that agree. Below "
        f"{found.threshold:.3f}, where the mean of both error rates was least on the validation "
        "split, a prediction is answered all the same and says that there is probably nobody. No "
        "interval is drawn; of so few images a percentage is rough. The images are rendered: "
        "photographs are harder. These figures decide nothing."
    )


def _words(statistic: str) -> str:
    """Convert a statistic's name, ``mean-of-highest-9-joint-confidences``, to words."""
    return statistic.replace("-", " ").replace("of highest", "of the highest")
