"""Collect rows and files that a reader leaves out, each with its reason.

A reader with a `Quarantine` leaves damaged rows out, reports them here and reads on. Without one,
the first damage is an error.

>>> quarantine = Quarantine()
>>> quarantine.report("a joint is not finite", file="S1/walk.cdf", row=3, field="joints3d_mm")
>>> str(quarantine.items[0])
'S1/walk.cdf, row 3, joints3d_mm: a joint is not finite'
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hemlets.core.arrays import Array, Bool
from hemlets.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """A row or file that was left out.

    Attributes:
        what: What is wrong, in one sentence.
        file: The dataset's file that it was found in.
        row: Row or frame within the file, from 0; None for the whole file.
        field: Name of the damaged value in the file or the table; empty for the whole row.
        remedy: What to do about it.
    """

    what: str
    file: str
    row: int | None = None
    field: str = ""
    remedy: str = ""

    @property
    def place(self) -> str:
        """File, row and field."""
        places = [self.file, "" if self.row is None else f"row {self.row}", self.field]
        return ", ".join(place for place in places if place)

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass
class Quarantine:
    """Collects rows and files that readers leave out.

    Attributes:
        items: Damaged rows and files.
        skipped: Number of sound but unusable rows, by reason, e.g. people without an annotated
            joint.
    """

    items: list[Quarantined] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def skip(self, reason: str, count: int = 1) -> None:
        """Count sound but unusable rows."""
        if count:
            self.skipped[reason] += count

    def skip_split(self, what: str, split: str, count: int = 1) -> None:
        """Count files, sequences or rows of a split that was not requested."""
        self.skip(f"{what} of the split {split}, which was not asked for", count)

    def report(
        self,
        what: str,
        *,
        file: str | PathLike[str],
        row: int | None = None,
        field: str = "",
        remedy: str = "",
    ) -> None:
        """Report one row, or a whole file, as left out."""
        self._add(Quarantined(what=what, file=str(file), row=row, field=field, remedy=remedy))

    def _add(self, item: Quarantined) -> None:
        self.items.append(item)

    def rows(
        self,
        bad_N: Bool,
        what: str,
        *,
        file: str | PathLike[str],
        number_N: Array | None = None,
        field: str = "",
        remedy: str = "",
    ) -> None:
        """Report every row of a mask as left out.

        Args:
            bad_N: Mask of the rows.
            what: What is wrong with them.
            file: The rows' file.
            number_N: Their numbers in the file; their positions where omitted.
            field: Name of the damaged value.
            remedy: What to do about it.
        """
        for index in np.flatnonzero(bad_N):
            row = int(index if number_N is None else number_N[index])
            self.report(what, file=file, row=row, field=field, remedy=remedy)

    @contextmanager
    def guard(self, file: str | PathLike[str]) -> Iterator[None]:
        """Report a file's `DataError`, so that the next files are read."""
        try:
            yield
        except DataError as error:
            what = error.what + (
                f" ({error.where})" if error.where not in (None, str(file)) else ""
            )
            remedy = "; ".join(
                text
                for text in (error.expected and f"expected: {error.expected}", error.remedy)
                if text
            )
            self.report(what, file=file, remedy=remedy)


class Refuse(Quarantine):
    """Raises at the first damage; used without a quarantine."""

    def _add(self, item: Quarantined) -> None:
        raise DataError(
            item.what,
            where=item.place,
            remedy=item.remedy or "repair the file, or read with a quarantine to leave the row out",
        )

    @contextmanager
    def guard(self, file: str | PathLike[str]) -> Iterator[None]:
        """Pass a file's error on."""
        del file
        yield


def or_refuse(quarantine: Quarantine | None) -> Quarantine:
    """Return the quarantine; `Refuse` if it is None."""
    return Refuse() if quarantine is None else quarantine
