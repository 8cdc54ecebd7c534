"""The bundled motion clips, grouped in families that never cross a split.

Clips of the same kind of motion have nearly the same poses, so splitting them would measure
memorisation. ``motions/families.json`` assigns every clip to a family and every family to a split.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

import numpy as np

from hemlets.assets import asset_path
from hemlets.core.arrays import Float32
from hemlets.core.errors import AssetError

Split = Literal["train", "validation", "gate", "test"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)


@dataclass(frozen=True, kw_only=True, eq=False)
class MotionClip:
    """One clip of captured motion as SMPL pose.

    Attributes:
        name: Unique name.
        family: Kind of motion.
        split: Default split of its family.
        fps: Frames per second.
        theta_F72: (F, 72) axis-angle in radians, y up, walking towards +z; the first rotation is
            the root's. Collars, wrists, hands and toes are at rest.
        translation_F3_m: (F, 3) the root's position in metres, y up, the floor at 0.
    """

    name: str
    family: str
    split: Split
    fps: float
    theta_F72: Float32
    translation_F3_m: Float32

    def __len__(self) -> int:
        return len(self.theta_F72)


def load_clips(split: Split | None = None) -> tuple[MotionClip, ...]:
    """Load the clips of one split, or all, sorted by name.

    >>> sorted({clip.family for clip in load_clips("gate")})
    ['punch', 'spin']
    """
    return tuple(clip for clip in _all_clips() if split in (None, clip.split))


@cache
def _all_clips() -> tuple[MotionClip, ...]:
    listing = asset_path("motions/families.json")
    families: Mapping[str, Mapping[str, object]] = json.loads(listing.read_text(encoding="utf-8"))[
        "families"
    ]
    clips: list[MotionClip] = []
    with np.load(asset_path("motions/motions.npz"), allow_pickle=False) as archive:
        for family, entry in families.items():
            split, names = entry["split"], entry["clips"]
            if split not in SPLITS or not isinstance(names, list):
                raise AssetError(
                    f"family {family!r} is not well formed",
                    where=listing,
                    expected=f"a split of {', '.join(SPLITS)} and a list of clips",
                )
            for name in names:
                theta, translation = archive[f"{name}/theta"], archive[f"{name}/translation"]
                theta.flags.writeable = translation.flags.writeable = False
                clips.append(
                    MotionClip(
                        name=name,
                        family=family,
                        split=split,
                        fps=float(archive[f"{name}/fps"]),
                        theta_F72=theta,
                        translation_F3_m=translation,
                    )
                )
    return tuple(sorted(clips, key=lambda clip: clip.name))
