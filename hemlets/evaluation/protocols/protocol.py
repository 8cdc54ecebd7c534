"""Protocols, read from the TOML files of this folder."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from hemlets.core.config import Config, read_toml
from hemlets.core.errors import ConfigError
from hemlets.evaluation.metrics.definitions import MEASURED, ROTATIONS
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS

_FOLDER: Final = Path(__file__).parent

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
GroupField = Literal["subject", "action", "camera_id", "family", "source"]


def _measured(key: str) -> str:
    if key not in MEASURED:
        raise ValueError(f"must be one of {', '.join(sorted(MEASURED))}")
    return key


Key = Annotated[str, AfterValidator(_measured)]
"""Key of a metric of ``hemlets.evaluation.metrics.definitions`` that is measured."""


def plain_word(word: str) -> str:
    """Normalise a word for comparison: no trailing take number, no case, no punctuation.

    A number directly after a letter is a subject's number and stays.

    Examples:
        >>> plain_word("SittingDown 2"), plain_word("Walk_Dog"), plain_word("S11")
        ('sittingdown', 'walkdog', 's11')
    """
    return re.sub(r"[^a-z0-9]", "", re.sub(r"[ _\-.]+\d+$", "", word.strip()).lower())


class Measure(Config):
    """A quantity and the joints of its mean.

    Attributes:
        key: The quantity, which implies root and alignment.
        joints: Name of a joint set; ignored for rotations, surfaces and masks.
    """

    key: Key
    joints: str = "18j"

    @model_validator(mode="after")
    def _known(self) -> Measure:
        if self.joints not in JOINT_SETS:
            raise ValueError(f"joints must be one of {', '.join(JOINT_SETS)}")
        return self


class Column(Config):
    """A column of a table: a title, and its samples.

    Attributes:
        title: As printed in the paper.
        where: Accepted words by field; a sample must fit every field.
    """

    title: str
    where: dict[GroupField, tuple[str, ...]]


class GroupTable(Config):
    """A measure by groups of samples.

    Attributes:
        title: Kind of the groups.
        key: Key of the measure.
        columns: The groups in the paper's order; empty if ``by`` finds them.
        by: A field whose every value is a column, in alphabetical order.
        average: Whether the last column is the mean over the samples or over the columns.
        required: Whether a group without samples is an error.
    """

    title: str
    key: Key
    columns: tuple[Column, ...] = ()
    by: GroupField | None = None
    average: Literal["samples", "columns"] = "samples"
    required: bool = False


class Protocol(Config):
    """How a benchmark is run, and which samples its figures are means over.

    Attributes:
        name: Name of the file, and of the samples in every metric's name.
        title: Title for readers.
        document: Source of the rules, and which of them are our decisions.
        datasets: Accepted values of the annotations' ``source``; empty for any.
        split: Split of the annotations.
        subjects: Subjects to score; empty for all.
        training_subjects: Subjects that may be trained on; none of them may be scored.
        shared_subjects: Whether training and test share subjects by the dataset's own rule.
        frame_step: Samples of a sequence are a multiple of this many frames apart.
        sequence_frames: Consecutive frames of a clip that are a sequence: the unit of resampling.
            None: a whole clip of a subject.
        any_joints: Whether samples may lack a joint of a set altogether; otherwise they are
            refused.
        box: Source of the paper's person boxes.
        depth: Source of the paper's metric scale and depth.
        flip_test: Whether the paper averages with the mirrored image's prediction.
        measures: The figures.
        tables: Figures by groups of samples.
        paper_tables: Tables of the paper with such figures.
        notes: Notes for readers of the figures.
    """

    name: Word
    title: str
    document: str
    datasets: tuple[str, ...] = ()
    split: str = "test"
    subjects: tuple[str, ...] = ()
    training_subjects: tuple[str, ...] = ()
    shared_subjects: bool = False
    frame_step: int = Field(default=1, ge=1)
    sequence_frames: int | None = Field(default=None, ge=1)
    any_joints: bool = False
    box: str
    depth: str
    flip_test: bool
    measures: tuple[Measure, ...] = Field(min_length=1)
    tables: tuple[GroupTable, ...] = ()
    paper_tables: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        keys = [measure.key for measure in self.measures]
        if len(set(keys)) != len(keys):
            raise ValueError("a measure is listed twice")
        if len(ROTATIONS & set(keys)) == 1:
            raise ValueError("theta_deg and theta_rest_deg are measured together or not at all")
        for table in self.tables:
            if table.key not in keys:
                raise ValueError(f"table {table.title!r} is of {table.key}, which isn't measured")
            if bool(table.columns) == bool(table.by):
                raise ValueError(f"table {table.title!r} needs either columns or by")
        if set(self.subjects) & set(self.training_subjects):
            raise ValueError("a subject is both trained on and scored")
        return self

    @property
    def samples(self) -> str:
        """Name of the samples in a metric's name: protocol and frame step."""
        return self.name if self.frame_step == 1 else f"{self.name}.every{self.frame_step}"

    @property
    def sequences(self) -> str:
        """Describe a sequence, for readers of an interval."""
        if self.sequence_frames is None:
            return "a clip of one subject, from all cameras together"
        return f"up to {self.sequence_frames} frames in a row of one motion clip"

    def measure(self, key: str) -> Measure:
        """Return the measure of a key."""
        return next(measure for measure in self.measures if measure.key == key)

    def needs(self, keys: frozenset[str]) -> bool:
        """Return whether any of these is measured."""
        return any(measure.key in keys for measure in self.measures)


def split_protocol(split: str, name: str | None = None) -> Protocol:
    """Build the protocol of a retraining: all samples of a split, of any dataset.

    Args:
        split: The split.
        name: Name of the samples in metric names; the split by default.
    """
    return Protocol.from_mapping(
        read_toml(_FOLDER / "retraining" / "split.toml") | {"name": name or split, "split": split},
        where=f"split {split}",
    )


def protocol_names() -> tuple[str, ...]:
    """List the names of all protocols."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.toml")))


def load_protocol(name: str | Path) -> Protocol:
    """Read a protocol by its name, or from the user's own TOML file.

    Raises:
        ConfigError: There is no such protocol, or its file is wrong.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = _FOLDER / f"{name}.toml"
        if not path.exists():
            known = protocol_names()
            close = difflib.get_close_matches(str(name), known, n=1)
            raise ConfigError(
                f"there is no protocol {str(name)!r}",
                where="--protocol",
                expected=", ".join(known),
                remedy=f"did you mean {close[0]!r}?" if close else None,
            )
    return Protocol.from_mapping(read_toml(path), where=str(path))
