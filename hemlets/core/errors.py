"""The errors that hemlets raises on purpose.

Each says what is wrong, where it was found, what was expected and what to do about it, so
that a message can be acted on without reading the code.
"""

from __future__ import annotations

import errno
from os import PathLike
from typing import Self


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

    def to_json(self) -> dict[str, str | None]:
        """The parts of the message as plain values."""
        return {
            "what": self.what,
            "where": self.where,
            "expected": self.expected,
            "remedy": self.remedy,
        }

    @classmethod
    def missing(
        cls,
        thing: str,
        where: str | PathLike[str],
        *,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> Self:
        """A file, folder, field or object that does not exist.

        >>> print(DataError.missing("the table", "a.parquet", remedy="run ingest again"))
        the table does not exist
          where: a.parquet
          remedy: run ingest again
        """
        return cls(f"{thing} does not exist", where=where, expected=expected, remedy=remedy)

    @classmethod
    def damaged(
        cls,
        what: str,
        where: str | PathLike[str],
        expected: str | None = None,
        *,
        remedy: str = "fetch the file again",
    ) -> Self:
        """A file whose content is not what its kind of file holds.

        Args:
            what: What is wrong with it, in one sentence.
            where: The file, and the row or field in it.
            expected: What would have been right.
            remedy: What to do now.
        """
        return cls(what, where=where, expected=expected, remedy=remedy)

    @classmethod
    def unwritable(
        cls, thing: str, error: OSError, where: str | PathLike[str], *, remedy: str | None = None
    ) -> Self:
        """A file or folder that the system refused to write."""
        if error.errno == errno.ENAMETOOLONG:
            remedy = "give the input a shorter name"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            remedy = "choose another folder: there is a file of its name"
        return cls(
            f"could not write {thing}: {error.strerror or error}",
            where=where,
            remedy=remedy
            or "free some space or fix the folder's permissions, then run the command again",
        )


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
