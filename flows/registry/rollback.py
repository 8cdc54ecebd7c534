"""Go back to an earlier champion and keep the withdrawn one from being promoted again.

The steps are those of a promotion: tags first, the alias last. Moving the alias completes the
rollback; if it is killed before, the same command completes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flows.registry import versions as registry
from flows.registry.champion import deployable, refresh_champion
from flows.registry.rules import REPLACED_BY_TAG, REPLACED_TAG, Outcome, promotion_lock
from flows.registry.versions import WITHDRAWN_FOR_TAG, WITHDRAWN_TAG, ModelVersion
from hemlets.core.errors import PromotionError
from hemlets.core.workspace import Workspace

_NO_REASON: Final = "no reason was given"


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """The result of a rollback.

    Attributes:
        champion: The version that is the champion now.
        withdrawn: The version that no longer is; None if the champion did not change.
        because: Why it was withdrawn.
    """

    champion: int
    withdrawn: int | None
    because: str


def rollback(workspace: Workspace, version: int | None = None, *, because: str = "") -> Rollback:
    """Make an earlier champion the champion again, and withdraw the present one.

    Every file is verified before anything is changed. Only a rollback to a withdrawn version by
    its number ends that version's withdrawal.

    Args:
        workspace: The workspace with the registry.
        version: The version to go back to; by default the champion before the present one.
        because: Why, for the withdrawn version's tags and the reasons of later rejections.

    Raises:
        PromotionError: There is no such version, it was never champion, or it has no archive.
        CheckpointError: Its stored files are absent or were changed.
    """
    because = because.strip() or _NO_REASON
    with promotion_lock(workspace):
        every = registry.versions(workspace)
        present = next((v for v in every if registry.CHAMPION in v.aliases), None)
        target = _target(every, present, version)
        deployable(workspace, target)
        withdrawn = None
        if present is not None and present.version != target.version:
            withdrawn = present.version
            _move(workspace, every, present, target, because)
        refresh_champion(workspace)
    return Rollback(champion=target.version, withdrawn=withdrawn, because=because)


def _move(
    workspace: Workspace,
    every: Sequence[ModelVersion],
    present: ModelVersion,
    restored: ModelVersion,
    because: str,
) -> None:
    reason = {WITHDRAWN_TAG: because, WITHDRAWN_FOR_TAG: str(restored.version)}
    registry.tag_version(workspace, present, reason)
    for same in every:
        if same.model_hash == restored.model_hash and WITHDRAWN_TAG in same.tags:
            registry.untag_version(workspace, same, tuple(reason))
    registry.set_champion(workspace, restored)


def _target(
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
