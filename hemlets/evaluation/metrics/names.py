"""Full metric names: the quantity and its protocol.

Figures may share a table only if their full names are equal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Self

from hemlets.core.errors import DataError
from hemlets.evaluation.metrics.definitions import metric_of

_JOINTS = re.compile(r"\d+j")
_USUAL_ROOTS = ("pelvis", "centroid", "none")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


@dataclass(frozen=True, kw_only=True)
class MetricName:
    """A quantity with everything that its value depends on.

    All values consist of letters, digits, ``_``, ``-`` and ``.``, so that MLflow accepts
    :attr:`full`.

    Attributes:
        key: Quantity with its unit, e.g. ``mpjpe_mm``.
        split: Samples, e.g. ``test``.
        over: Joint, rotation or vertex set, e.g. ``18j``, ``17j-no-pelvis``, ``23r``.
        root: Common point of both poses: ``pelvis``, ``centroid`` (after a fitted alignment), or
            ``none``.
        align: ``none``, ``rigid`` or ``similarity``.
        box: Source of the person's box.
        depth: Source of metric scale and depth.
        flip: Whether predictions are averaged with the mirrored image's.

    Examples:
        >>> MetricName(key="mpjpe_mm", split="test", over="18j", root="pelvis", align="none",
        ...            box="ground-truth", depth="bone-length-prior", flip="no").full
        'mpjpe_mm/test/18j/root:pelvis/align:none/box:ground-truth/depth:bone-length-prior/flip:no'
    """

    key: str
    split: str
    over: str
    root: str
    align: str
    box: str
    depth: str
    flip: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not _PLAIN.fullmatch(value):
                raise DataError(
                    f"{value!r} can't be part of a metric's name",
                    where=field.name,
                    expected="letters, digits, '_', '-' and '.', beginning with a letter or digit",
                )

    @property
    def full(self) -> str:
        """Full name, for logging."""
        return (
            f"{self.key}/{self.split}/{self.over}/root:{self.root}/align:{self.align}"
            f"/box:{self.box}/depth:{self.depth}/flip:{self.flip}"
        )

    @property
    def short(self) -> str:
        """A stable short name for trackers: samples, quantity, and marks of an unusual protocol.

        The usual protocol has 18 joints (17 without the pelvis for shares), the true box, depth
        from bone lengths and no mirrored image. Unequal protocols have unequal short names.

        Examples:
            >>> MetricName.parse("mpjpe_mm/test/18j/root:pelvis/align:none/box:ground-truth"
            ...                  "/depth:bone-length-prior/flip:yes").short
            'test/mpjpe_mm.flip'
        """
        usual_joints = "17j-no-pelvis" if self.key.endswith("3d_150mm_pct") else "18j"
        is_joints = _JOINTS.match(self.over) is not None
        marks = [
            self.over if is_joints and self.over != usual_joints else "",
            "" if self.root in _USUAL_ROOTS else f"root-{self.root}",
            "" if self.box == "ground-truth" else f"box-{self.box}",
            "" if self.depth == "bone-length-prior" else f"depth-{self.depth}",
            "flip" if self.flip == "yes" else "",
        ]
        return ".".join([f"{self.split}/{self.key}", *filter(None, marks)])

    @property
    def protocol(self) -> str:
        """The protocol that all figures of one prediction share."""
        return f"box:{self.box} depth:{self.depth} flip:{self.flip}"

    @property
    def unit(self) -> str:
        """The metric's unit: ``mm``, ``px``, ``°`` or ``%``."""
        return metric_of(self.key).unit

    @property
    def title(self) -> str:
        """Label and unit, for tables whose caption states the protocol, e.g. ``MPJPE (mm)``."""
        return metric_of(self.key).title

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is better."""
        return metric_of(self.key).higher_is_better

    @classmethod
    def parse(cls, full: str) -> Self:
        """Parse :attr:`full`.

        Raises:
            DataError: Not such a name.
        """
        expected = "key/split/over/root:…/align:…/box:…/depth:…/flip:…"
        parts = full.split("/")
        tagged = [part.partition(":") for part in parts[3:]]
        if [tag for tag, _, _ in tagged] != ["root", "align", "box", "depth", "flip"]:
            raise DataError(f"{full!r} is not a full metric name", expected=expected)
        values = {tag: value for tag, _, value in tagged}
        return cls(key=parts[0], split=parts[1], over=parts[2], **values)
