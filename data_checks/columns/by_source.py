"""What single rows can't prove but a dataset's rows together can."""

from __future__ import annotations

from collections import Counter

import numpy as np

from data_checks.columns.base import Array, Columns
from data_checks.columns.population import Statistics
from data_checks.columns.relations import compared_labels
from data_checks.columns.sides import MAX_GAIN, faces_camera
from hemlets.data.table import Annotations

_FEWEST = 30


class SourceEvidence:
    """Counts by dataset, chunk by chunk."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self.sources: dict[str, None] = {}

    def add(self, table: Annotations, columns: Columns) -> None:
        """Add a chunk.

        Args:
            table: The chunk.
            columns: Its derived columns.
        """
        source_N = table.source.astype(str)
        body_N = columns["markerless_body_plausible"].values
        limb_N = columns["left_right_limb_2d"].values
        pair_N = columns["left_right_pair_2d"].values
        for name in sorted(set(source_N.tolist())):
            rows = source_N == name
            self.sources[name] = None
            some = table.take(rows)
            self._note(name, "limb", limb_N[rows] > 0, np.isfinite(limb_N[rows]))
            self._note(name, "pair", pair_N[rows] > MAX_GAIN, np.isfinite(pair_N[rows]))
            self._note(name, "body", body_N[rows] > 0, np.isfinite(body_N[rows]))
            compared, opposite = compared_labels(some)
            self._counts[name, "labels"] += compared
            self._counts[name, "labels wrong"] += opposite
            front, nose = faces_camera(some)
            for side, rows_of_side in (("front", front), ("back", ~front)):
                self._note(name, side, nose & rows_of_side, rows_of_side)

    def _note(self, source: str, what: str, failed: Array, tested: Array) -> None:
        self._counts[source, what] += int(tested.sum())
        self._counts[source, f"{what} wrong"] += int((failed & tested).sum())

    def swapped(self) -> Statistics:
        """Share of rows whose arms, legs or pairs look exchanged in 2D, per dataset."""
        values, texts = [], []
        for source in self.sources:
            shares = [self._share(source, what) for what in ("limb", "pair")]
            values.append(max(shares))
            texts.append(
                f"{source}: {100 * shares[0]:.0f} % of the people seen broadside have arms or legs "
                f"on opposite sides, {100 * shares[1]:.0f} % of all a pair that looks exchanged"
            )
        return self._statistics(values, texts, "joints2d_px")

    def bodies(self) -> Statistics:
        """Share of rows of markerless datasets whose bones don't fit."""
        values = [self._share(source, "body") for source in self.sources]
        texts = [
            f"{source}: bones don't fit in {100 * value:.0f} % of the rows"
            for source, value in zip(self.sources, values, strict=True)
        ]
        return self._statistics(values, texts, "joints3d_mm")

    def noses(self) -> Statistics:
        """By how many standard errors noses are seen more often from the front than from behind."""
        values, texts = [], []
        for source in self.sources:
            front, back = (self._counts[source, side] for side in ("front", "back"))
            seen = [self._counts[source, f"{side} wrong"] for side in ("front", "back")]
            score = 0.0
            if min(front, back) >= _FEWEST:
                share = sum(seen) / (front + back)
                error = float(np.sqrt(share * (1 - share) * (1 / front + 1 / back))) + 1e-9
                score = (seen[0] / front - seen[1] / back) / error
            values.append(score)
            texts.append(
                f"{source}: the nose is seen on {seen[0]} of {front} people with their left "
                f"shoulder on the right of the picture, and on {seen[1]} of {back} of the others"
            )
        return self._statistics(values, texts, "joints2d_px, visible")

    def labels(self) -> Statistics:
        """Share of labelled relations that are the opposite of what 3D joints say."""
        values = [self._share(source, "labels") for source in self.sources]
        texts = [
            f"{source}: {self._counts[source, 'labels wrong']:,} of "
            f"{self._counts[source, 'labels']:,} labels that could be compared are the opposite"
            for source in self.sources
        ]
        return self._statistics(values, texts, "relations")

    def _share(self, source: str, what: str) -> float:
        tested = self._counts[source, what]
        return self._counts[source, f"{what} wrong"] / tested if tested >= _FEWEST else 0.0

    def _statistics(self, values: list[float], texts: list[str], field: str) -> Statistics:
        names = tuple(self.sources)
        return Statistics(
            names=names, fields=(field,) * len(names), values=tuple(values), observed=tuple(texts)
        )
