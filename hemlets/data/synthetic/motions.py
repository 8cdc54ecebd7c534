"""Read further motion clips for rendering from AMASS files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from hemlets.assets.clips import MotionClip
from hemlets.core.errors import DataError
from hemlets.data.readers.amass import read_clips
from hemlets.data.readers.quarantine import Quarantine

_FRAMES_A_SECOND: Final = 10.0
"""Frame rate of the clips: neighbours at 120 Hz are nearly equal."""

_REASONS_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True)
class Motions:
    """Further motion clips for rendering.

    Attributes:
        name: Prefix of the names of samples, so that two renderings can be combined.
        clips: Sorted by name, thinned to about 10 frames per second.
    """

    name: str
    clips: tuple[MotionClip, ...]

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Identity of the clips, independent of where their files lie."""
        digest = hashlib.sha256()
        for clip in self.clips:
            digest.update(f"{clip.name}\0{clip.family}\0{clip.split}\0{clip.fps}\0".encode())
            digest.update(clip.theta_F72.tobytes())
        return {"name": self.name, "clips": len(self.clips), "sha256": digest.hexdigest()}


def read_motions(name: str, folder: Path, quarantine: Quarantine) -> Motions:
    """Read the motions of a folder.

    Raises:
        DataError: No file can be used; the message has the reasons.
    """
    clips = sorted(map(_thinned, read_clips(folder, quarantine=quarantine)), key=lambda c: c.name)
    if not clips:
        reasons = [f"{item} ({item.remedy})" for item in quarantine.items[:_REASONS_SHOWN]]
        raise DataError(
            "the folder has no motion that can be used"
            + (f": {'; '.join(reasons)}" if reasons else ""),
            where=folder,
            expected="AMASS files named *_poses.npz or *_stageii.npz, with poses and trans",
        )
    return Motions(name=name, clips=tuple(clips))


def _thinned(clip: MotionClip) -> MotionClip:
    step = max(1, round(clip.fps / _FRAMES_A_SECOND))
    return replace(
        clip,
        fps=clip.fps / step,
        theta_F72=clip.theta_F72[::step].copy(),
        translation_F3_m=clip.translation_F3_m[::step].copy(),
    )
