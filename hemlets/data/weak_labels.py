"""Simulated annotators of depth relations: skips and errors by the tilt of a part (section 5).

Shape suffixes: N people, J 18 joints, K 14 parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

import numpy as np
from pydantic import Field, model_validator

from hemlets.core.arrays import Array, Float
from hemlets.core.config import Config, read_toml
from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import PART_CHILD, PART_PARENT
from hemlets.data.readers.relations import Relations

Rate = Annotated[float, Field(ge=0, le=1)]
Scheme = Literal["fbi", "ordinal"]

DEFAULT: Final = Path(__file__).with_name("weak_labels.toml")
"""The paper's rates where stated, else assumptions."""


Pairs = tuple[Sequence[int], Sequence[int]]
"""First and second joints of the questions: parents and children of parts."""

_PARTS: Final = (PART_PARENT, PART_CHILD)


def tilts_deg(joints_NJ3_mm: Array, pairs: Pairs = _PARTS) -> Float:
    """Compute the angles between parts and the image plane, (N, K), 0 to 90°."""
    first, second = (list(joints) for joints in pairs)
    part_NK3 = joints_NJ3_mm[:, second].astype(np.float64) - joints_NJ3_mm[:, first]
    in_plane = np.hypot(part_NK3[..., 0], part_NK3[..., 1])
    return np.degrees(np.arctan2(np.abs(part_NK3[..., 2]), in_plane))


class Annotator(Config):
    """Rates of skips and errors of one labelling scheme.

    Attributes:
        tilt_deg: Edges of the bins, rising from 0 to 90.
        skip: Probability by bin that a part is left Unknown.
        error: Probability by bin that an answer is wrong.
        level_deg: Tilt below which "level" is correct; None if the scheme has no such answer: then
            nearly level parts are Forward or Backward by the sign of their depth.
        source: Source of the rates.
    """

    tilt_deg: tuple[float, ...]
    skip: tuple[Rate, ...]
    error: tuple[Rate, ...]
    level_deg: float | None = Field(None, ge=0, le=90)
    source: str = ""

    @model_validator(mode="after")
    def _bins_have_rates(self) -> Self:
        edges = self.tilt_deg
        if len(edges) < 2 or edges[0] != 0 or edges[-1] != 90 or any(np.diff(edges) <= 0):
            raise ValueError(f"tilt_deg = {list(edges)} must rise from 0 to 90")
        if not len(self.skip) == len(self.error) == len(edges) - 1:
            raise ValueError(
                f"skip and error need {len(edges) - 1} values each, one for each bin of tilt_deg"
            )
        return self

    def label(
        self,
        joints_NJ3_mm: Array,
        valid_NJ: Array,
        rng: np.random.Generator,
        *,
        scheme: Scheme,
        pairs: Pairs = _PARTS,
    ) -> Relations:
        """Draw the labels of one annotator for people whose 3D joints are known.

        An error is one of the other answers of the scheme. A part with an unknown joint is Unknown.

        Args:
            joints_NJ3_mm: (N, 18, 3) in a camera frame with z forward.
            valid_NJ: (N, 18) mask of known joints.
            rng: Three numbers are drawn for each part, independently of the rates.
            scheme: Named as the source of the relations.
            pairs: What is asked: the 14 parts, or other pairs of joints.
        """
        first, second = (list(joints) for joints in pairs)
        tilt_NK = tilts_deg(joints_NJ3_mm, pairs)
        depth_NK = joints_NJ3_mm[:, first, 2] - joints_NJ3_mm[:, second, 2]
        forward_NK = np.where(depth_NK > 0, 1, -1)
        bins_NK = np.searchsorted(self.tilt_deg[1:-1], tilt_NK, side="right")
        skips_NK, errs_NK, which_NK = rng.random((3, *tilt_NK.shape))
        wrong_NK = errs_NK < np.array(self.error)[bins_NK]
        if self.level_deg is None:
            answer_NK = np.where(wrong_NK, -forward_NK, forward_NK)
        else:
            true_NK = np.where(tilt_NK < self.level_deg, 0, forward_NK)
            # One or two steps on in the cycle of -1, 0 and +1.
            other_NK = (true_NK + 1 + np.where(which_NK < 0.5, 1, 2)) % 3 - 1
            answer_NK = np.where(wrong_NK, other_NK, true_NK)
        known_NK = valid_NJ[:, first] & valid_NJ[:, second]
        known_NK = known_NK & (skips_NK >= np.array(self.skip)[bins_NK])
        values_NK = np.where(known_NK, answer_NK, 0).astype(np.int8)
        return Relations(values_NK=values_NK, valid_NK=known_NK, source=scheme)


def read_annotators(path: Path = DEFAULT) -> dict[Scheme, Annotator]:
    """Read the rates of each scheme from a TOML file; schemes that it lacks keep the defaults.

    Raises:
        ConfigError: The file is absent or no TOML, or a scheme or a rate is wrong.
    """
    tables = read_toml(DEFAULT) | read_toml(path)
    schemes: tuple[Scheme, ...] = get_args(Scheme)
    unknown = sorted(set(tables) - set(schemes))
    if unknown:
        raise ConfigError(
            f"unknown labelling scheme {', '.join(unknown)}",
            where=path,
            expected=f"tables of {', '.join(schemes)}",
        )
    return {name: Annotator.from_mapping(tables[name], where=f"{path}: {name}") for name in schemes}
