"""Match predictions files to the cells of a table, and score them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hemlets.core.errors import ConfigError
from hemlets.evaluation.metrics.definitions import SEGMENTS, SURFACE
from hemlets.evaluation.paper.cells import Block, PaperTable
from hemlets.evaluation.predictions import Predictions
from hemlets.evaluation.protocols import Protocol, load_protocol
from hemlets.evaluation.scoring.sample_scores import score
from hemlets.evaluation.scoring.summary import Summary, summarise
from hemlets.evaluation.scoring.truth import NoSamplesError, Truth

if TYPE_CHECKING:
    from hemlets.body import BodyModel


@dataclass(frozen=True, kw_only=True)
class Given:
    """A predictions file and its place in the table.

    Attributes:
        path: The file.
        row: Name of the row; empty for the model's version.
        setting: Setting, in a table whose columns are settings; empty for the first.
    """

    path: Path
    row: str = ""
    setting: str = ""

    @classmethod
    def parse(cls, text: str) -> Given:
        """Parse ``ROW=FILE`` or ``ROW:SETTING=FILE``.

        Raises:
            ConfigError: Another form.
        """
        name, equals, path = text.partition("=")
        row, _, setting = name.partition(":")
        if not (equals and row and path):
            raise ConfigError(f"{text!r} names no row and file", where="--row", expected="ROW=FILE")
        return cls(path=Path(path), row=row, setting=setting)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A protocol and its annotated samples."""

    protocol: Protocol
    truth: Truth


class Scoring:
    """Reads each annotation table once and scores each file once, for one table of the paper.

    Args:
        paper: The table.
        annotations: Annotation tables of the predicted data.
        protocol: Protocol of columns that may have one of several; by default the samples decide.
        body: Body model for surfaces and masks.
        true_bodies: Bodies of a gendered truth.
        resamples: Resamples behind each interval.
        seed: Seed of the resamples.

    Attributes:
        used: Files that were scored.
    """

    def __init__(
        self,
        paper: PaperTable,
        annotations: Sequence[Path],
        protocol: str,
        body: BodyModel | None,
        true_bodies: Mapping[str, BodyModel],
        resamples: int,
        seed: int,
    ) -> None:
        self._paper, self._annotations, self._body = paper, annotations, body
        self._true_bodies = true_bodies
        self._resamples, self._seed = resamples, seed
        self._wanted = (protocol,) if protocol else paper.protocols
        self._chosen: dict[str, Chosen | None] = {}
        self._summaries: dict[tuple[Path, str], Summary] = {}
        self._ids: dict[Path, pa.Array] = {}
        self.used: set[Given] = set()

    def truth_of(self, block: Block) -> Chosen | None:
        """Return the samples of a block; None if no table has any."""
        names = (block.protocol,) if block.protocol else self._wanted
        return next(filter(None, map(self._choose, names)), None)

    def _choose(self, name: str) -> Chosen | None:
        if name not in self._chosen:
            self._chosen[name] = self._read(load_protocol(name))
        return self._chosen[name]

    def _read(self, protocol: Protocol) -> Chosen | None:
        for path in self._annotations:
            try:
                truth = Truth.read(path, protocol)
            except NoSamplesError:
                continue
            return Chosen(protocol=protocol, truth=truth)
        return None

    def summary(
        self, row: str, block: Block, given: Sequence[Given], chosen: Chosen
    ) -> Summary | None:
        """Return the summary of the row's file for a block; None without a file.

        Raises:
            ConfigError: The row has several.
        """
        parts = [
            part
            for part in given
            if part.row == row
            and part.setting == block.setting
            and self._is_of(part.path, chosen.truth)
        ]
        if len(parts) > 1:
            raise ConfigError(
                f"{len(parts)} files are for the same cells: {block.title} of {row}",
                where=", ".join(str(part.path) for part in parts),
                expected="one predictions file of each row and dataset",
                remedy="leave one out, or name rows: --row NAME=FILE",
            )
        if not parts:
            return None
        self.used.add(parts[0])
        place = parts[0].path, chosen.protocol.name
        if place not in self._summaries:
            needs = chosen.protocol.needs(SURFACE | SEGMENTS)
            scores = score(
                parts[0].path,
                chosen.truth,
                chosen.protocol,
                body=self._body if needs else None,
                true_bodies=self._true_bodies,
                among_others=True,
            )
            self._summaries[place] = summarise(scores, resamples=self._resamples, seed=self._seed)
        return self._summaries[place]

    def _is_of(self, path: Path, truth: Truth) -> bool:
        if path not in self._ids:
            Predictions.info_of(path)
            self._ids[path] = pq.read_table(path, columns=["sample_id"])["sample_id"]
        return bool(pc.any(pc.is_in(self._ids[path], value_set=truth.ids), min_count=0).as_py())
