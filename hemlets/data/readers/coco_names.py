"""Match categories and keypoints of COCO's form by whole names.

Names are compared without case, with spaces, dashes and underscores alike, and with ``l``, ``r``,
``left`` and ``right`` before or after the joint. Names of the 18 joints that COCO lacks, such as
``pelvis`` or ``head_top``, are accepted; other names are not used.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from hemlets.core.errors import DataError
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.data.readers.joint_map import JointMap
from hemlets.data.readers.maps2d import COCO

_PERSON_ID: Final = 1
_PEOPLE: Final = frozenset(("person", "persons", "people", "human", "pedestrian"))
_ANIMALS: Final = frozenset(("tail", "paw", "hoof", "wing", "withers", "beak"))
"""Words in keypoints' names of animals, which have shoulders and hips as well."""

_SIDES: Final = {"l": "left", "left": "left", "r": "right", "right": "right"}
_FEWEST: Final = 2
"""Joints that a skeleton needs for a box."""

_NAMES: Final[dict[str, Joint]] = {name: Joint(number) for number, name in enumerate(JOINTS)}


def person_categories(categories: object, path: Path) -> dict[Any, JointMap]:
    """Return the ids of person categories and the maps of their keypoints.

    A file without categories has COCO's: people are category 1.

    Raises:
        DataError: No category is a person, or a person's keypoints are not COCO's.
    """
    entries = [c for c in categories if isinstance(c, dict)] if isinstance(categories, list) else []
    if not entries:
        return {_PERSON_ID: COCO}
    found: dict[Any, JointMap] = {}
    for category in entries:
        number, names = category.get("id"), category.get("keypoints")
        is_person = str(category.get("name", "")).strip().lower() in _PEOPLE
        if not isinstance(number, (int, str)):
            continue
        if names:
            joint_map = None if _of_animal(names) and not is_person else _joint_map(names, path)
            if joint_map is not None:
                found[number] = joint_map
            elif is_person:
                raise _wrong_keypoints(names, path)
        elif is_person:
            found[number] = COCO
    if not found:
        listed = ", ".join(f"{c.get('id')}: {c.get('name')}" for c in entries[:12])
        raise DataError(
            f"no category is a person: {listed}",
            where=f"{path}: categories",
            expected="a category named person, or with keypoints such as left_shoulder",
            remedy="rename the category of people to person",
        )
    # Roboflow has a category of the project above that of its people.
    with_names = {c["id"] for c in entries if c.get("keypoints") and c.get("id") in found}
    return {number: found[number] for number in found if not with_names or number in with_names}


def _joint_map(names: object, path: Path) -> JointMap | None:
    """Return the joints of keypoints; None if they are not a person's.

    Raises:
        DataError: COCO's own names in another order. Some tools sort the names but not the
            coordinates, so neither order can be trusted.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    whole = [_whole_name(name) for name in names]
    if whole == list(COCO.names):
        return COCO
    if sorted(whole) == sorted(COCO.names):
        raise _wrong_keypoints(names, path)
    sources = {_NAMES[name]: i for i, name in enumerate(whole) if name in _NAMES}
    if len(sources) < _FEWEST or len(sources) < sum(name in _NAMES for name in whole):
        return None
    return JointMap.of(len(names), sources, middles=())


def _of_animal(names: object) -> bool:
    return isinstance(names, list) and any(
        not _ANIMALS.isdisjoint(_whole_name(str(name)).split("_")) for name in names
    )


def _wrong_keypoints(names: object, path: Path) -> DataError:
    return DataError(
        f"the person's keypoints are {names}",
        where=f"{path}: categories",
        expected=", ".join(COCO.names),
        remedy="bring the keypoints into COCO's order",
    )


def _whole_name(text: str) -> str:
    """Convert a keypoint's name to the project's spelling.

    >>> _whole_name("Shoulder-L"), _whole_name("right ankle"), _whole_name("Nose")
    ('left_shoulder', 'right_ankle', 'nose')
    """
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower())
    if len(words) > 1 and words[-1] in _SIDES and words[0] not in _SIDES:
        words = [words[-1], *words[:-1]]
    if len(words) > 1 and words[0] in _SIDES:
        words[0] = _SIDES[words[0]]
    return "_".join(words)
