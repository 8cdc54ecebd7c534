"""Ingest a dataset of your own: ``python examples/own_dataset.py SOURCE FOLDER``.

SOURCE holds photographs and ``people.csv`` with one person a line: the image's name, the split,
and x and y in pixels of each known joint, e.g. ``image,split,nose_x,nose_y,...``. An empty cell
means that the joint was not annotated.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hemlets.core.skeleton import JOINTS
from hemlets.data.readers import (
    Dataset,
    ImageRef,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Read the people, one at a time. Damaged rows are reported and left out."""
    report = quarantine.report
    with (root / "people.csv").open(newline="", encoding="utf-8") as file:
        for row, line in enumerate(csv.DictReader(file)):
            if line["split"] not in options.splits:
                continue
            points = [(line.get(f"{name}_x") or "nan", line.get(f"{name}_y") or "nan")
                      for name in JOINTS]  # fmt: skip
            try:
                joints_J2 = np.array(points, np.float64)
            except ValueError as error:
                report(str(error), file="people.csv", row=row, field="joints", remedy="mend it")
                continue
            known_J = np.isfinite(joints_J2).all(-1)
            if not known_J.any():
                report("no joint is known", file="people.csv", row=row, field="joints")
                continue
            seen = joints_J2[known_J]
            yield SourceRows(
                columns={
                    "sample_id": [f"own/{row:06d}"],
                    "source": ["own"],
                    "split": [line["split"]],
                    "clip": [f"own-{row:06d}"],
                    "frame": [0],
                    "box_xyxy": [np.concatenate([seen.min(0) - 10, seen.max(0) + 10])],
                    "joints2d_px": [np.nan_to_num(joints_J2)],
                    "valid2d": [known_J],
                    "visible": [known_J],
                },
                images=(ImageRef(line["image"]),),
            )


OWN = Dataset(
    name="own",
    title="Our photographs",
    paper="none",
    licence="ours",
    document="this file",
    supervision=(Supervision.JOINTS_2D,),
    layout=(LayoutEntry(pattern="people.csv", what="the joints, one person a line"),),
    joints="by name; what is not annotated is unknown",
    conventions="pixels from the image's top-left corner",
    reader=f"{__name__}:read",
)


def main(source: str, folder: str) -> None:
    """Make a data version of the photographs and say what came of them."""
    result = ingest(OWN, Path(source), Path(folder), IngestConfig(shard_size=64))
    print("samples:", result.samples)
    print("refused:", result.refused)


if __name__ == "__main__":
    main(*sys.argv[1:])
