"""Select the rows that a stage trains, validates and calibrates with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from hemlets.core.errors import DataError
from hemlets.core.files import read_json
from hemlets.core.skeleton import Joint
from hemlets.data.table import Annotations
from hemlets.models.codecs.bones import BoneLengths, part_lengths
from hemlets.models.model_folder import CARD
from hemlets.training.calibration import CalibrationRows
from hemlets.training.config import StageJob
from hemlets.training.identity import table_of
from hemlets.training.mixing import mixed_rows

_BONE_LENGTH_RANGE_MM = (500.0, 10_000.0)


class TrainingRows(NamedTuple):
    """Rows of a data version by their use.

    Attributes:
        train: People to train on.
        scenes: Images without a person to train on; empty if the stage can't use them.
        calibration: Rows to validate and calibrate on.
        true_bones: Part lengths of whole skeletons: those of ``train``, or of all training rows
            where it has none.
    """

    train: Annotations
    scenes: Annotations
    calibration: CalibrationRows
    true_bones: BoneLengths

    @property
    def validation(self) -> Annotations:
        """People to validate on."""
        return self.calibration.people

    @classmethod
    def read(cls, job: StageJob) -> Self:
        """Read a job's table.

        Raises:
            ConfigError: A source of the mix has no row.
            DataError: A split has no rows, or the skeletons are not in millimetres.
        """
        annotations = Annotations.read(table_of(job))
        every = annotations.split("train")
        mix = job.training.mix
        train = mixed_rows(every, mix)
        scenes = annotations.split("train-background")
        scenes = scenes.take(np.isin(scenes.source.astype(str), list(mix))) if mix else scenes
        calibration = CalibrationRows.chosen(
            train,
            annotations.split("validation"),
            annotations.split("validation-background"),
            job.training.validation_samples,
        )
        splits = {"train": train, "validation": calibration.people}
        lacking = " and ".join(name for name, rows in splits.items() if not len(rows))
        if lacking:
            raise DataError(
                "there is nothing to train with: a split has no rows",
                where=f"{table_of(job)}: split {lacking}",
                expected="rows of train and of validation",
                remedy="make the data version anew with both splits",
            )
        if not learns_from_scenes(job):
            scenes = scenes.take(np.zeros(len(scenes), bool))
        # A dataset without whole skeletons gets its scale from the others.
        scale = train if train.valid3d.all(1).any() else every
        return cls(train, scenes, calibration, _true_bones(scale, table_of(job)))


def learns_from_scenes(job: StageJob) -> bool:
    """Return whether a job trains heatmaps, which learn from empty scenes."""
    return job.pose.intermediate != "none" and job.losses.supervision != "none"


def trained_families(rows: Annotations, job: StageJob) -> list[str]:
    """Return the motion families of these rows and of the initial weights' training rows."""
    seen = {part for family in set(rows.family) for part in str(family).split("+")}
    if job.stream is not None:
        from hemlets.data.synthetic import MotionLibrary

        clips = MotionLibrary.bundled().of_split(job.stream.split)
        seen |= {part for clip in clips for part in clip.family.split("+")}
    for weights in (job.initial, job.initial_pose):
        card = weights and weights.with_name(CARD)
        if card and card.exists():
            seen |= set(read_json(card).get("training", {}).get("families", []))
    return sorted(seen)


def share_outside_volume(rows: Annotations, range_mm: float) -> float:
    """Compute the share of annotated joints outside the volume's depth range."""
    depth_mm = rows.joints3d_mm[..., 2] - rows.joints3d_mm[:, [Joint.PELVIS], 2]
    known = rows.valid3d & rows.valid3d[:, [Joint.PELVIS]]
    return float((np.abs(depth_mm[known]) > range_mm).mean()) if known.any() else 0.0


def _true_bones(rows: Annotations, table: Path) -> BoneLengths:
    """Measure part lengths of whole skeletons: the metric scale of the data."""
    known = rows.valid3d.all(-1)
    lengths_NK = part_lengths(rows.joints3d_mm[known])
    mean_mm = float(lengths_NK.sum(-1).mean()) if known.any() else 0.0
    low, high = _BONE_LENGTH_RANGE_MM
    if not low < mean_mm < high or not (lengths_NK.mean(0) > 0).all():
        sums_N = lengths_NK.sum(-1)
        odd = np.flatnonzero(known)[~((low < sums_N) & (sums_N < high))]
        first = f", first in sample {rows.sample_id[odd[0]]}" if odd.size else ""
        raise DataError(
            f"the mean summed bone length of {int(known.sum())} whole training skeletons is "
            f"{mean_mm:g} mm",
            where=f"{table}: joints3d_mm{first}",
            expected=f"between {low:g} and {high:g} mm, and no part without a length",
            remedy="train on data with whole 3D skeletons in millimetres",
        )
    return BoneLengths.measured(lengths_NK)
