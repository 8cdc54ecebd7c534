"""What a protocol says, read from the TOML files beside this module."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from hemlets.core.config import Config, read_toml
from hemlets.core.errors import ConfigError
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS

_FOLDER: Final = Path(__file__).parent

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
GroupField = Literal["subject", "action", "camera_id", "family", "source"]
Key = Literal[
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "rigid_mpjpe_mm",
    "depth_mm",
    "relations_right_pct",
    "pck3d_150mm_pct",
    "auc3d_150mm_pct",
    "per_vertex_mm",
    "mesh_joints_mm",
    "mesh_pa_mpjpe_mm",
    "theta_deg",
    "theta_rest_deg",
    "pckh50_pct",
    "pck20_torso_pct",
    "joints2d_px",
    "root_mm",
    "foreground_accuracy_pct",
    "foreground_mean_f1_pct",
    "foreground_miou_pct",
    "parts_accuracy_pct",
    "parts_f1_pct",
    "parts_miou_pct",
]
ROTATIONS: Final = frozenset(("theta_deg", "theta_rest_deg"))
SURFACE: Final = frozenset(("per_vertex_mm", "mesh_joints_mm", "mesh_pa_mpjpe_mm"))
PIXELS: Final = frozenset(("pckh50_pct", "pck20_torso_pct", "joints2d_px"))
SEGMENTS: Final = frozenset(
    (
        "foreground_accuracy_pct",
        "foreground_mean_f1_pct",
        "foreground_miou_pct",
        "parts_accuracy_pct",
        "parts_f1_pct",
        "parts_miou_pct",
    )
)


def plain_word(word: str) -> str:
    """A word as protocols compare it: no take number at its end, no case, no punctuation.

    A subject's number is no take number: it follows its letter directly.

    Examples:
        >>> plain_word("SittingDown 2"), plain_word("Walk_Dog"), plain_word("S11")
        ('sittingdown', 'walkdog', 's11')
    """
    return re.sub(r"[^a-z0-9]", "", re.sub(r"[ _\-.]+\d+$", "", word.strip()).lower())


class Measure(Config):
    """A quantity and the joints that it is a mean over.

    Attributes:
        key: the quantity, which implies root and alignment.
        joints: name of a joint set; ignored for rotations, surfaces and masks.
    """

    key: Key
    joints: str = "18j"

    @model_validator(mode="after")
    def _known(self) -> Measure:
        if self.joints not in JOINT_SETS:
            raise ValueError(f"joints must be one of {', '.join(JOINT_SETS)}")
        return self


class Column(Config):
    """A column of a table: a title, and which samples it is about.

    Attributes:
        title: as the paper prints it.
        where: accepted words by field; a sample must fit every field.
    """

    title: str
    where: dict[GroupField, tuple[str, ...]]


class GroupTable(Config):
    """A measure by groups of samples.

    Attributes:
        title: what the groups are.
        key: which measure.
        columns: the groups in the paper's order; empty where ``by`` finds them.
        by: a field whose every value is a column, in alphabetical order.
        average: whether the last column is the mean over the samples or over the columns.
        required: whether a group without samples is an error.
    """

    title: str
    key: Key
    columns: tuple[Column, ...] = ()
    by: GroupField | None = None
    average: Literal["samples", "columns"] = "samples"
    required: bool = False


class Protocol(Config):
    """How a benchmark is run and what its figures are means over.

    Attributes:
        name: of the file, and of the samples in every metric's name.
        title: for people.
        document: where the rules come from, and what of them is a decision of ours.
        datasets: accepted values of the annotations' ``source``; empty for any.
        split: of the annotations.
        subjects: whose samples are scored; empty for everyone's.
        training_subjects: who may have been trained on; none of them may be scored.
        shared_subjects: whether training and test share subjects by the dataset's own rule.
        frame_step: samples of a sequence are so many frames apart, or a multiple of it.
        sequence_frames: so many frames in a row of a clip, whoever moves in it, are a sequence:
            the unit that intervals are drawn over. None where it is a whole clip of a subject.
        any_joints: whether the samples may lack a joint of a set altogether, as data of one's own
            may; otherwise such samples are refused.
        box: where the paper's person boxes come from.
        depth: where the paper's metric scale and depth come from.
        flip_test: whether the paper averages with the mirrored image's prediction.
        measures: the figures.
        tables: figures by groups of samples.
        paper_tables: tables of the paper that have such figures.
        notes: quirks that a reader of the figures should know.
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
        """The samples' name in a metric's name: the protocol and its frame step."""
        return self.name if self.frame_step == 1 else f"{self.name}.every{self.frame_step}"

    @property
    def sequences(self) -> str:
        """What a sequence is, for readers of an interval."""
        if self.sequence_frames is None:
            return "a clip of one subject, from all cameras together"
        return f"up to {self.sequence_frames} frames in a row of one motion clip"

    def measure(self, key: str) -> Measure:
        """The measure of a key."""
        return next(measure for measure in self.measures if measure.key == key)

    def needs(self, keys: frozenset[str]) -> bool:
        """Whether any of these is measured."""
        return any(measure.key in keys for measure in self.measures)


def split_protocol(split: str, name: str | None = None) -> Protocol:
    """The protocol of a retraining's figures: all samples of a split, whatever their dataset.

    Args:
        split: The split.
        name: What every figure's name says of the samples; the split when None.
    """
    return Protocol.from_mapping(
        read_toml(_FOLDER / "retraining" / "split.toml") | {"name": name or split, "split": split},
        where=f"split {split}",
    )


def protocol_names() -> tuple[str, ...]:
    """Names of the protocols there are."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.toml")))


def load_protocol(name: str | Path) -> Protocol:
    """Read a protocol by its name, or from a TOML file of one's own.

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
