"""One row a finished run, in a file that can be committed and gone on from."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flows.ablation.scoring import FIGURES
from hemlets.core.errors import DataError
from hemlets.core.files import atomic_path

_SETTINGS: Final = (
    "key",
    "arm",
    "seed",
    "supervision",
    "labels",
    "states",
    "samples",
    "start",
    "crop_px",
    "precision",
    "test_samples",
)
_CURVE: Final = "curve_samples_mm"
COLUMNS: Final = (*_SETTINGS, *FIGURES, "seconds", _CURVE)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A finished run.

    Attributes:
        key: Hash of all that its figures depend on.
        arm: Name.
        seed: Of order, augmentation and the random part of the start.
        settings: The other settings, for readers.
        figures: On the test split.
        seconds: That it took.
        curve: Validation MPJPE after so many samples.
    """

    key: str
    arm: str
    seed: int
    settings: dict[str, str]
    figures: dict[str, float]
    seconds: float
    curve: tuple[tuple[int, float], ...] = ()

    def to_csv(self) -> dict[str, str]:
        """The row by column."""
        figures = {name: f"{self.figures[name]:.3f}" for name in FIGURES}
        curve = " ".join(f"{samples}:{mm:.1f}" for samples, mm in self.curve)
        own = {"key": self.key, "arm": self.arm, "seed": str(self.seed)}
        return own | self.settings | figures | {"seconds": f"{self.seconds:.0f}", _CURVE: curve}

    @classmethod
    def from_csv(cls, values: dict[str, str]) -> Row:
        """Inverse of :meth:`to_csv`."""
        points = (point.split(":") for point in values[_CURVE].split())
        return cls(
            key=values["key"],
            arm=values["arm"],
            seed=int(values["seed"]),
            settings={name: values[name] for name in _SETTINGS[3:]},
            figures={name: float(values[name]) for name in FIGURES},
            seconds=float(values["seconds"]),
            curve=tuple((int(samples), float(mm)) for samples, mm in points),
        )


@dataclass(kw_only=True)
class Results:
    """The rows of a file, by key."""

    path: Path
    rows: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Results:
        """The rows that are there; none where there is no file.

        Raises:
            DataError: The file is no such table; the line is named.
        """
        if not path.exists():
            return cls(path=path)
        reader = csv.DictReader(io.StringIO(path.read_text()))
        rows = {}
        for number, values in enumerate(reader, start=2):
            try:
                row = Row.from_csv(values)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(
                    f"the line is no finished run: {error}",
                    where=f"{path}:{number}",
                    expected=", ".join(COLUMNS),
                    remedy="delete the line: the run is done again",
                ) from None
            rows[row.key] = row
        return cls(path=path, rows=rows)

    def add(self, row: Row) -> None:
        """Keep a row; the file is whole at every moment."""
        self.rows[row.key] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as scratch, scratch.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(row.to_csv() for row in self.rows.values())
