"""Dictionary-encode names, and find names shared between splits, for millions of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hemlets.core.arrays import Float, Int32


@dataclass(frozen=True, kw_only=True)
class Codes:
    """A dictionary-encoded text column.

    Attributes:
        names: The distinct values.
        values: (N,) index of each row's value.
    """

    names: list[str]
    values: Int32

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Codes:
        """Encode a column."""
        encoded = column.combine_chunks().dictionary_encode()
        values_N = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        return cls(names=encoded.dictionary.to_pylist(), values=values_N)

    def text(self, row: int) -> str:
        """Return the value of a row."""
        return str(self.names[self.values[row]])


@dataclass(frozen=True, kw_only=True)
class SharedNames:
    """Number of splits in which each row's name, or a component of it, occurs.

    Attributes:
        what: Kind of name, for messages.
        values: (N,) splits that share the name, plus, if more than one, the share of the name's
            rows in the other splits: the few rows in the wrong split sort before the many in the
            right one. NaN for rows without a name.
    """

    what: str
    values: Float
    _names: Codes
    _splits: Codes
    _parts: dict[int, list[str]]
    _pairs: Any

    @classmethod
    def of(
        cls, what: str, names: Codes, splits: Codes, *, joined: bool, ignored: frozenset[int]
    ) -> SharedNames:
        """Count the splits of each name.

        Args:
            what: Kind of name, for messages.
            names: The name of each row.
            splits: The split of each row.
            joined: Whether a name joins several by ``+``.
            ignored: Indices of names that are not compared.
        """
        import pandas as pd

        parts = {
            number: _components(name, joined=joined)
            for number, name in enumerate(names.names)
            if number not in ignored
        }
        rows = pd.DataFrame({"name": names.values, "split": splits.values})
        rows["row"] = np.arange(len(rows))
        entries = rows.groupby(["name", "split"])["row"].agg(["size", "min"]).reset_index()
        entries["part"] = entries["name"].map(parts)
        entries = entries.explode("part").dropna(subset=["part"])
        pairs = entries.groupby(["part", "split"]).agg(
            rows=("size", "sum"), first=("min", "min")
        ).reset_index()  # fmt: skip
        by_part = pairs.groupby("part")["rows"]
        pairs["score"] = by_part.transform("size") + 1 - pairs["rows"] / by_part.transform("sum")
        entries = entries.merge(pairs[["part", "split", "score"]], on=["part", "split"])
        score = entries.groupby(["name", "split"])["score"].max()
        return cls(
            what=what, values=rows.join(score, on=["name", "split"])["score"].to_numpy(np.float64),
            _names=names, _splits=splits, _parts=parts, _pairs=pairs,
        )  # fmt: skip

    def observed(self, row: int) -> str:
        """Describe the occurrences of the worst component of a row's name."""
        own = self._pairs[self._pairs["part"].isin(self._parts[self._names.values[row]])]
        worst = own.loc[own["score"].idxmax(), "part"]
        places = own[own["part"] == worst].sort_values("first")
        where = ", ".join(
            f"{self._splits.names[place.split]} (row {place.first})"
            for place in places.itertuples()
        )  # fmt: skip
        name = worst.rsplit("\0", 1)[-1]
        return f"{self.what} {name[:40]!r} is in {where}"


def _components(name: str, *, joined: bool) -> list[str]:
    """Split a name, each part within the name's scope (before a null character)."""
    scope, divider, own = name.rpartition("\0")
    pieces = [piece.strip() for piece in own.split("+")] if joined else [own]
    return [f"{scope}{divider}{piece}" for piece in pieces if piece]
