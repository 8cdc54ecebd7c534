"""Results of finished runs, one row each, in a CSV file that can be committed and continued."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flows.ablation.scoring import FIGURES
from hemlets.core.errors import DataError
from hemlets.core.files import atomic_path

_CURVE: Final = "curve_samples_loss"
COLUMNS: Final = (
    "key", "arm", "seed", "samples", "scored_samples", "mean_pose_mm", "far_mean_pose_mm",
    *FIGURES, "seconds", _CURVE,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """Finished run.

    Attributes:
        key: Hash of everything that the figures depend on.
        arm: Name of the arm.
        seed: Seed of initial weights and sample order.
        samples: Number of training samples.
        scored_samples: Number of scored people.
        mean_pose_mm: MPJPE of the mean pose on the scored people.
        far_mean_pose_mm: MPJPE of the mean pose on the far people.
        figures: Figures by name, see `FIGURES`.
        seconds: Duration of the run.
        curve: Pairs of number of samples and validation loss.
    """

    key: str
    arm: str
    seed: int
    samples: int
    scored_samples: int
    mean_pose_mm: float
    far_mean_pose_mm: float
    figures: dict[str, float]
    seconds: float
    curve: tuple[tuple[int, float], ...] = ()

    def to_csv(self) -> dict[str, str]:
        """Values of the row by column."""
        return {
            "key": self.key,
            "arm": self.arm,
            "seed": str(self.seed),
            "samples": str(self.samples),
            "scored_samples": str(self.scored_samples),
            "mean_pose_mm": f"{self.mean_pose_mm:.3f}",
            "far_mean_pose_mm": f"{self.far_mean_pose_mm:.3f}",
            **{name: f"{self.figures[name]:.4f}" for name in FIGURES},
            "seconds": f"{self.seconds:.0f}",
            _CURVE: " ".join(f"{samples}:{loss:.4f}" for samples, loss in self.curve),
        }

    @classmethod
    def from_csv(cls, values: dict[str, str]) -> Row:
        """Inverse of :meth:`to_csv`."""
        points = (point.split(":") for point in values[_CURVE].split())
        return cls(
            key=values["key"],
            arm=values["arm"],
            seed=int(values["seed"]),
            samples=int(values["samples"]),
            scored_samples=int(values["scored_samples"]),
            mean_pose_mm=float(values["mean_pose_mm"]),
            far_mean_pose_mm=float(values["far_mean_pose_mm"]),
            figures={name: float(values[name]) for name in FIGURES},
            seconds=float(values["seconds"]),
            curve=tuple((int(samples), float(loss)) for samples, loss in points),
        )


@dataclass(kw_only=True)
class Results:
    """Rows of a file, by key."""

    path: Path
    rows: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read the rows of a file; empty if it does not exist.

        Raises:
            DataError: The file is no such table; the line is named.
        """
        if not path.exists():
            return cls(path=path)
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
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
        """Add a row; the file is written atomically."""
        self.rows[row.key] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_path(self.path) as scratch,
            scratch.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(row.to_csv() for row in self.rows.values())
