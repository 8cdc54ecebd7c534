"""Goes back to an earlier champion and keeps the one that was withdrawn from coming back.

The steps are those of a promotion: tags, then the alias, then what is served. Killed between any
two of them, the same command goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flows.registry import versions as registry
from flows.registry.deployable import Servable, publish, published, servable
from flows.registry.rules import REPLACED_BY_TAG, REPLACED_TAG, Outcome, promotion_lock
from flows.registry.versions import WITHDRAWN_FOR_TAG, WITHDRAWN_TAG, ModelVersion
from hemlets.core.errors import PromotionError
from hemlets.core.workspace import Workspace

__all__ = ["Rollback", "rollback"]

_NO_REASON: Final = "no reason was given"


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """What was gone back to.

    Attributes:
        champion: The version that is the champion now.
        withdrawn: The one that no longer is; None where the champion had not to be changed.
        because: Why it was withdrawn.
    """

    champion: int
    withdrawn: int | None
    because: str


def rollback(workspace: Workspace, version: int | None = None, *, because: str = "") -> Rollback:
    """Make an earlier champion the champion again, and withdraw the present one.

    Every file is verified before anything is changed. A version that was withdrawn itself may be
    named, which ends its withdrawal; it is never chosen otherwise.

    Args:
        workspace: Whose registry.
        version: Which to go back to; by default the champion before the present one.
        because: Why, for the withdrawn version's tags and the reasons of later rejections.

    Raises:
        PromotionError: There is no such version, it was never champion, or it has no archive.
        CheckpointError: Its stored files are absent or were changed.
    """
    because = because.strip() or _NO_REASON
    with promotion_lock(workspace):
        every = registry.versions(workspace)
        present = next((v for v in every if registry.CHAMPION in v.aliases), None)
        target = _target(workspace, every, present, version)
        files = servable(workspace, target)
        withdrawn = None
        if present is not None and present.version != target.version:
            withdrawn = present.version
            _move(workspace, every, present, files, because)
        publish(workspace, files)
    return Rollback(champion=target.version, withdrawn=withdrawn, because=because)


def _move(
    workspace: Workspace,
    every: Sequence[ModelVersion],
    present: ModelVersion,
    to: Servable,
    because: str,
) -> None:
    restored = to.version
    reason = {WITHDRAWN_TAG: because, WITHDRAWN_FOR_TAG: str(restored.version)}
    registry.tag_version(workspace, present, reason)
    for same in every:
        if same.model_hash == restored.model_hash and WITHDRAWN_TAG in same.tags:
            registry.untag_version(workspace, same, tuple(reason))
    registry.set_champion(workspace, restored)


def _target(
    workspace: Workspace,
    every: Sequence[ModelVersion],
    present: ModelVersion | None,
    number: int | None,
) -> ModelVersion:
    where = f"registered model {registry.MODEL_NAME}"
    by_number = {version.version: version for version in every}
    known = sorted(v.version for v in every if _was_champion(v, every))
    expected = f"one of {', '.join(map(str, known))}" if known else "a champion; there is none yet"
    if number is not None:
        if number not in by_number:
            raise PromotionError(
                f"there is no version {number}",
                where=where,
                expected=expected,
                remedy="see the versions with hemlets ui",
            )
        if number not in known:
            raise PromotionError(
                f"version {number} was never the champion",
                where=where,
                expected=expected,
                remedy="only what was promoted once can be gone back to; retrain to have another "
                "model judged",
            )
        return by_number[number]
    if present is None:
        raise PromotionError(
            "there is no champion to go back from", where=where, remedy="make one with: make demo"
        )
    if _cut_off(workspace, present, by_number):
        return present
    before = _before(present, by_number)
    if before is None:
        others = [number for number in known if number != present.version]
        if not others:
            raise PromotionError(
                f"version {present.version} is the only champion that there ever was",
                where=where,
                remedy="retrain to have another model judged",
            )
        raise PromotionError(
            f"there is no champion before version {present.version} that was not withdrawn",
            where=where,
            expected=f"one of {', '.join(map(str, others))}",
            remedy="name the version to go back to: hemlets rollback VERSION",
        )
    return before


def _cut_off(
    workspace: Workspace, present: ModelVersion, by_number: dict[int, ModelVersion]
) -> bool:
    """Whether a rollback to the present champion ended before what is served was changed."""
    named = published(workspace) - {str(present.version)}
    return any(
        by_number[int(text)].tags.get(WITHDRAWN_FOR_TAG) == str(present.version)
        for text in named
        if text.isdigit() and int(text) in by_number
    )


def _before(present: ModelVersion, by_number: dict[int, ModelVersion]) -> ModelVersion | None:
    seen = {present.version}
    found: ModelVersion | None = present
    while found is not None:
        replaced = found.tags.get(REPLACED_TAG, "")
        found = by_number.get(int(replaced)) if replaced.isdigit() else None
        if found is not None and found.version in seen:
            return None
        if found is not None and WITHDRAWN_TAG not in found.tags:
            return found
        if found is not None:
            seen.add(found.version)
    return None


def _was_champion(version: ModelVersion, every: Sequence[ModelVersion]) -> bool:
    return (
        registry.CHAMPION in version.aliases
        or WITHDRAWN_TAG in version.tags
        or REPLACED_BY_TAG in version.tags
        # A later judgement of the same model writes over its own tags, not over its successor's.
        or version.tags.get("decision") == str(Outcome.PROMOTED)
        or any(other.tags.get(REPLACED_TAG) == str(version.version) for other in every)
    )
