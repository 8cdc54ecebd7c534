"""The errors that hemlets raises on purpose.

Each says what is wrong, where it was found, what was expected and what to do about it, so
that a message can be acted on without reading the code.
"""

from __future__ import annotations

from os import PathLike

__all__ = [
    "AssetError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "HemletsError",
    "InputError",
    "PromotionError",
    "ServingError",
    "TrainingError",
    "ValidationFailed",
    "WorkspaceError",
]


class HemletsError(Exception):
    """Base of every error that a user can do something about.

    Args:
        what: What is wrong, in one sentence.
        where: The file, row, field, port or setting concerned.
        expected: What would have been right.
        remedy: What to do now.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | PathLike[str] | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.expected = expected
        self.remedy = remedy
        lines = [what]
        lines += [f"  where: {self.where}"] if self.where else []
        lines += [f"  expected: {expected}"] if expected else []
        lines += [f"  remedy: {remedy}"] if remedy else []
        super().__init__("\n".join(lines))


class ConfigError(HemletsError):
    """A setting, profile or command-line value that can't be used."""

    exit_code = 2


class AssetError(HemletsError):
    """A bundled or user-given model file that is missing, damaged or of another form."""


class DataError(HemletsError):
    """An annotation table, image shard or dataset file that can't be used."""


class ValidationFailed(HemletsError):  # noqa: N818 - what it says is no error of a program
    """A data version that broke a blocking expectation."""

    exit_code = 3


class InputError(HemletsError):
    """A caller's image, box or camera that can't be used for a prediction."""


class CheckpointError(HemletsError):
    """A checkpoint or weights file that does not fit."""


class TrainingError(HemletsError):
    """A training run that can't go on (exploding loss, no memory, lost worker)."""


class ServingError(HemletsError):
    """TorchServe or the archive it serves."""


class PromotionError(HemletsError):
    """A challenger that could not be judged."""


class WorkspaceError(HemletsError):
    """The workspace folder: busy, full or not writable."""
