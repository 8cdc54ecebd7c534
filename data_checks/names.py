"""Names as numbers, and which splits share a name, for tables of millions of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_checks.rule import Float

Ints = npt.NDArray[np.int64]


class Codes:
    """A text column, chunk by chunk, as the numbers of its distinct values."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._code: dict[str, int] = {}
        self._parts: list[npt.NDArray[np.int32]] = []

    def add(self, column: pa.ChunkedArray | pa.Array) -> None:
        """Append a chunk's values."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        encoded = array.dictionary_encode()
        local = np.zeros(len(encoded.dictionary), np.int32)
        for position, name in enumerate(encoded.dictionary.to_pylist()):
            code = self._code.get(name)
            if code is None:
                code = self._code[name] = len(self.names)
                self.names.append(name)
            local[position] = code
        self._parts.append(local[encoded.indices.to_numpy(zero_copy_only=False)])

    @classmethod
    def numbered(cls, names: list[str], values: npt.NDArray[Any]) -> Codes:
        """Codes that are known already.

        Args:
            names: The distinct values.
            values: The number of each row's value among them.
        """
        codes = cls()
        codes.names = names
        codes._parts = [np.asarray(values, np.int32).reshape(-1)]
        return codes

    @property
    def values(self) -> npt.NDArray[np.int32]:
        """The code of each row (N,)."""
        if len(self._parts) != 1:
            self._parts = [np.concatenate([np.zeros(0, np.int32), *self._parts])]
        return self._parts[0]

    def text(self, row: int) -> str:
        """The value of a row."""
        return str(self.names[self.values[row]])

    def counts(self) -> Ints:
        """Rows of each name."""
        return np.bincount(self.values, minlength=len(self.names))


@dataclass(frozen=True, kw_only=True)
class SharedNames:
    """In how many splits each row's name, or a component of it, occurs.

    Attributes:
        what: What is named.
        values: (N,) splits that share the name. In more than one, the share of the name's rows
            that lie in the others is added, so that the few that strayed come before the many
            that they strayed from. NaN for rows without a name.
    """

    what: str
    values: Float
    _names: list[str]
    _splits: list[str]
    _row_name: npt.NDArray[np.int32]
    _parts: list[list[int]]
    _part_names: list[str]
    _pair_part: Ints
    _pair_split: Ints
    _pair_first: Ints
    _pair_score: Float

    @classmethod
    def of(
        cls, what: str, names: Codes, splits: Codes, *, joined: bool, ignored: frozenset[int]
    ) -> SharedNames:
        """Count the splits of each name.

        Args:
            what: What is named, for people.
            names: The name of each row.
            splits: The split of each row.
            joined: Whether a name is made of several, divided by ``+``.
            ignored: Names, by code, that say nothing.
        """
        n_splits = max(len(splits.names), 1)
        key = names.values.astype(np.int64) * n_splits + splits.values
        entries, first, inverse, counts = np.unique(
            key, return_index=True, return_inverse=True, return_counts=True
        )
        part_codes: dict[str, int] = {}
        parts: list[list[int]] = []
        for code, name in enumerate(names.names):
            kept = [] if code in ignored else _components(name, joined=joined)
            parts.append([part_codes.setdefault(piece, len(part_codes)) for piece in kept])
        lengths = np.array([len(p) for p in parts], np.int64)
        flat = np.array([part for p in parts for part in p], np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])

        entry_name, entry_split = np.divmod(entries, n_splits)
        repeats = lengths[entry_name]
        owner = np.repeat(np.arange(len(entries)), repeats)
        starts = np.concatenate([[0], np.cumsum(repeats)])
        within = np.arange(len(owner)) - starts[owner]
        part = flat[offsets[entry_name[owner]] + within] if len(owner) else np.zeros(0, np.int64)

        pair_key = part * n_splits + entry_split[owner]
        pairs, pair_of = np.unique(pair_key, return_inverse=True)
        rows_of_pair = np.bincount(pair_of, counts[owner], minlength=len(pairs))
        first_of_pair = np.full(len(pairs), np.iinfo(np.int64).max)
        np.minimum.at(first_of_pair, pair_of, first[owner])
        pair_part, pair_split = np.divmod(pairs, n_splits)
        n_parts = max(len(part_codes), 1)
        splits_of_part = np.bincount(pair_part, minlength=n_parts)
        rows_of_part = np.bincount(pair_part, rows_of_pair, minlength=n_parts)
        score = splits_of_part[pair_part] + 1 - rows_of_pair / rows_of_part[pair_part]

        entry_score = np.full(len(entries), np.nan)
        np.fmax.at(entry_score, owner, score[pair_of])
        return cls(
            what=what, values=entry_score[inverse.reshape(-1)], _names=names.names,
            _splits=splits.names, _row_name=names.values, _parts=parts,
            _part_names=list(part_codes), _pair_part=pair_part, _pair_split=pair_split,
            _pair_first=first_of_pair, _pair_score=score,
        )  # fmt: skip

    def observed(self, row: int) -> str:
        """Where the worst component of a row's name occurs."""
        parts = self._parts[self._row_name[row]]
        inside = np.flatnonzero(np.isin(self._pair_part, parts))
        if not len(inside):
            return f"{self.what} has no name"
        worst = self._pair_part[inside[int(np.argmax(self._pair_score[inside]))]]
        places = inside[self._pair_part[inside] == worst]
        where = ", ".join(
            f"{self._splits[self._pair_split[p]]} (row {self._pair_first[p]})"
            for p in places[np.argsort(self._pair_first[places])]
        )
        name = self._part_names[worst].rsplit("\0", 1)[-1]
        return f"{self.what} {name[:40]!r} is in {where}"


def _components(name: str, *, joined: bool) -> list[str]:
    """Parts of a name, each within the name's scope, which stands before a null character."""
    scope, divider, own = name.rpartition("\0")
    pieces = [piece.strip() for piece in own.split("+")] if joined else [own]
    return [f"{scope}{divider}{piece}" for piece in pieces if piece]
