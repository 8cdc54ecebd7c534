"""Turn a sequence's arrays into checked rows, for every reader with 3D.

Implausible rows are left out and reported: values that are not finite, joints behind the camera,
impossible body sizes (a wrong unit), rotations in degrees, and 3D that does not project onto the
2D (swapped axes, shifted frames, another camera). Where most rows of a sequence are implausible,
the whole sequence is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array, Bool, Int64
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.skeleton import N_JOINTS, PART_CHILD, PART_PARENT, depth_relations
from hemlets.data.readers.boxes import from_joints
from hemlets.data.readers.cameras3d import project
from hemlets.data.readers.contract import ImageRef, ReadOptions, SourceRows
from hemlets.data.readers.quarantine import Quarantine

BODY_MM: Final = (100.0, 1000.0)
"""Mean length of a body's known parts: 250 to 300 mm for adults, above 120 mm for toddlers.
In metres the values are 0.3, in centimetres 30, in tenths of millimetres 3000.
"""

AGREE: Final = 0.02
"""Reprojection limit of datasets whose 2D joints are the projected 3D ones."""

MOST_TURN_RAD: Final = 4 * np.pi
"""Largest plausible rotation of a joint: fits may exceed one turn, degrees far exceed two."""

_MOSTLY: Final = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequence3D:
    """One performance seen by one camera.

    F is the number of frames. Values that the dataset lacks are None.

    Attributes:
        file: File of the sequence, for messages.
        source, split, subject, clip, family, action, camera_id: Fields of the table.
        person: Distinguishes people in one image; part of the sample's name.
        frames_F: Frame numbers within the clip.
        rows_F: Row numbers in the file, for messages; the positions where None.
        images: Image of each frame.
        joints2d_FJ2_px, valid2d_FJ: The 18 joints in the image.
        joints3d_FJ3_mm, valid3d_FJ: The 18 joints in the camera frame.
        intrinsics_px: fx, fy, cx, cy, (4,) or (F, 4).
        distortion_5: Lens distortion in OpenCV's order.
        size: Width and height of the image in pixels.
        box_F4_px: The person's box; from the joints where None.
        box_source: Origin of the box, where one is given.
        visible_FJ: Joints that are not hidden.
        theta_F243, betas_F10, transl_F3_mm: SMPL in the camera frame.
        smpl_valid_F: Rows with known θ and β; all rows where θ is given and this is None.
        gender: Gender of the SMPL body.
        masks: Mask of each frame.
        reprojection_limit: Largest mean distance from projected 3D to 2D joints, as a share of
            the box's longer side; None where 2D and 3D are independent measurements.
    """

    file: Path
    source: str
    split: str
    subject: str
    clip: str
    family: str
    action: str = ""
    camera_id: str = ""
    person: str = ""
    frames_F: Array
    rows_F: Array | None = None
    images: Sequence[ImageRef]
    joints2d_FJ2_px: Array
    valid2d_FJ: Array
    joints3d_FJ3_mm: Array | None = None
    valid3d_FJ: Array | None = None
    intrinsics_px: Array | None = None
    distortion_5: Array | None = None
    size: tuple[int, int] = (0, 0)
    box_F4_px: Array | None = None
    box_source: str = "annotated"
    visible_FJ: Array | None = None
    theta_F243: Array | None = None
    betas_F10: Array | None = None
    transl_F3_mm: Array | None = None
    smpl_valid_F: Array | None = None
    gender: str = ""
    masks: tuple[ImageRef | None, ...] = ()
    reprojection_limit: float | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def distortion_or_none_5(self) -> Array:
        """The distortion; zeros where it is None."""
        return np.zeros(5) if self.distortion_5 is None else self.distortion_5


def stepped(frames: int, options: ReadOptions, protocol_step: int = 1) -> Int64:
    """Return the frames of a sequence to read: every n-th, from the first.

    Raises:
        ConfigError: The step is not positive.
    """
    step = protocol_step if options.frame_step is None else options.frame_step
    if step < 1:
        raise ConfigError(f"the frame step is {step}", where="frame_step", expected="1 or more")
    return np.arange(0, frames, step)


def reprojection_px(sequence: Sequence3D) -> Array:
    """Distances (F, 18) in pixels from the 2D joints to the projected 3D; NaN where unknown."""
    if sequence.joints3d_FJ3_mm is None or sequence.intrinsics_px is None:
        return np.full(sequence.valid2d_FJ.shape, np.nan)
    camera = np.asarray(sequence.intrinsics_px)
    camera = camera if camera.ndim == 1 else camera[:, None, :]
    seen = project(sequence.joints3d_FJ3_mm, camera, sequence.distortion_or_none_5)
    known = sequence.valid2d_FJ & _valid3d(sequence)
    distance = np.linalg.norm(seen - sequence.joints2d_FJ2_px, axis=-1)
    return np.where(known, distance, np.nan)


def assemble(sequence: Sequence3D, quarantine: Quarantine) -> list[SourceRows]:
    """Return the plausible rows of a sequence as one batch; empty where none is left.

    Raises:
        DataError: Arrays differ in length, or the quarantine refuses an implausible row.
    """
    _require_lengths(sequence)
    box_F4 = sequence.box_F4_px
    if box_F4 is None:
        box_F4 = from_joints(sequence.joints2d_FJ2_px, sequence.valid2d_FJ)
    keep_F = _sound(sequence, box_F4, quarantine)
    return [_rows(sequence, box_F4, np.flatnonzero(keep_F))] if keep_F.any() else []


def _valid3d(sequence: Sequence3D) -> Array:
    if sequence.valid3d_FJ is None:
        return np.zeros((len(sequence), N_JOINTS), bool)
    return sequence.valid3d_FJ


def _require_lengths(sequence: Sequence3D) -> None:
    for name, value in vars(sequence).items():
        if "_F" in name and value is not None and len(value) != len(sequence):
            raise DataError(
                f"{len(value)} values for {len(sequence)} images",
                where=f"{sequence.file}: {name.split('_F')[0]}",
                expected="one for each frame",
                remedy="fetch the file again: its arrays are of different sequences",
            )


def _mean_length_mm(joints_FJ3: Array, valid_FJ: Array) -> Array:
    both = valid_FJ[:, PART_PARENT] & valid_FJ[:, PART_CHILD]
    length = np.linalg.norm(joints_FJ3[:, PART_PARENT] - joints_FJ3[:, PART_CHILD], axis=-1)
    total = np.where(both, length, 0.0).sum(1)
    return np.where(both.any(1), total / np.maximum(both.sum(1), 1), np.nan)


def _sound(s: Sequence3D, box_F4: Array, quarantine: Quarantine) -> Bool:
    keep_F = np.ones(len(s), bool)
    rows_F = np.arange(len(s)) if s.rows_F is None else s.rows_F

    def leave_out(bad_F: Any, what: str, field: str, remedy: str) -> None:
        bad_F = bad_F & keep_F
        if bad_F.sum() > _MOSTLY * len(s) and len(s) > 1:
            quarantine.report(
                f"in {bad_F.sum()} of {len(s)} rows {what}",
                file=s.file, row=int(rows_F[np.argmax(bad_F)]), field=field,
                remedy=f"{remedy}; the whole sequence {s.clip} {s.camera_id} is left out",
            )  # fmt: skip
            keep_F[:] = False
            return
        quarantine.rows(
            bad_F, what, file=s.file, number_N=rows_F, field=field, remedy=f"{remedy}; left out"
        )
        keep_F[bad_F] = False

    with np.errstate(invalid="ignore", over="ignore"):
        for name, value, valid in (
            ("joints2d_px", s.joints2d_FJ2_px, s.valid2d_FJ),
            ("joints3d_mm", s.joints3d_FJ3_mm, _valid3d(s)),
            ("box_xyxy", box_F4, None),
            ("theta", s.theta_F243, None),
            ("betas", s.betas_F10, None),
        ):
            if value is not None:
                flat = ~np.isfinite(value)
                wrong = flat.any(-1) & valid if valid is not None else flat
                leave_out(
                    wrong.reshape(len(s), -1).any(1), "a value is not finite", name,
                    "the measurement failed there",
                )  # fmt: skip
        if s.theta_F243 is not None:
            turn_F = np.linalg.norm(s.theta_F243, axis=-1).max(1)
            leave_out(
                turn_F > MOST_TURN_RAD,
                "a rotation is of more than two turns: it looks like degrees", "theta",
                "give axis-angles in radians",
            )  # fmt: skip
        low, high = box_F4[:, :2], box_F4[:, 2:]
        leave_out((high <= low).any(1), "the person's box is empty", "box_xyxy", "nobody is there")
        if s.joints3d_FJ3_mm is not None:
            valid3d = _valid3d(s)
            length_F = _mean_length_mm(s.joints3d_FJ3_mm, valid3d)
            leave_out(
                (length_F < BODY_MM[0]) | (length_F > BODY_MM[1]),
                f"the parts' mean length is not that of a body ({np.nanmedian(length_F):.3g} mm)"
                if np.isfinite(length_F).any() else "",
                "joints3d_mm", "check the unit of the file: millimetres are expected",
            )  # fmt: skip
            behind = (s.joints3d_FJ3_mm[..., 2] <= 0) & valid3d
            if s.intrinsics_px is not None:
                leave_out(
                    behind.any(1), "a joint lies behind the camera", "joints3d_mm",
                    "check the axes and the camera",
                )  # fmt: skip
        if s.reprojection_limit is not None:
            distance = reprojection_px(s)
            known = np.isfinite(distance)
            mean_F = np.where(known, distance, 0).sum(1) / np.maximum(known.sum(1), 1)
            side_F = (high - low).max(1)
            leave_out(
                mean_F > s.reprojection_limit * side_F,
                "the 3D joints, seen by the camera, lie far from the 2D joints", "joints3d_mm",
                "check the axes, the frame numbers and the camera",
            )  # fmt: skip
    return keep_F


def _rows(s: Sequence3D, box_F4: Array, keep: Array) -> SourceRows:
    rows = len(keep)
    shared: dict[str, Any] = {
        "source": s.source, "split": s.split, "subject": s.subject, "clip": s.clip,
        "family": s.family, "action": s.action, "camera_id": s.camera_id, "gender": s.gender,
        "box_source": s.box_source if s.box_F4_px is not None else "joints",
    }  # fmt: skip
    columns: dict[str, Any] = {name: [value] * rows for name, value in shared.items()}
    middle = "_".join(part for part in (s.clip, s.camera_id, s.person) if part)
    frames = s.frames_F[keep].astype(np.int64)
    valid2d = s.valid2d_FJ[keep]
    columns |= {
        "sample_id": [f"{s.source}_{middle}_{frame:06d}".replace(" ", "-") for frame in frames],
        "frame": frames,
        "box_xyxy": box_F4[keep],
        "joints2d_px": np.where(valid2d[..., None], s.joints2d_FJ2_px[keep], 0.0),
        "valid2d": valid2d,
        "image_width": np.full(rows, s.size[0]),
        "image_height": np.full(rows, s.size[1]),
    }
    if s.visible_FJ is not None:
        columns["visible"] = s.visible_FJ[keep] & valid2d
    if s.joints3d_FJ3_mm is not None:
        valid3d = _valid3d(s)[keep]
        joints3d = np.where(valid3d[..., None], s.joints3d_FJ3_mm[keep], 0.0)
        relations, known = depth_relations(joints3d, valid3d)
        columns |= {
            "joints3d_mm": joints3d,
            "valid3d": valid3d,
            "relations": relations,
            "relations_valid": known,
            "relations_source": ["3d" if any_ else "" for any_ in np.asarray(known.any(1))],
        }
    if s.intrinsics_px is not None:
        camera = np.asarray(s.intrinsics_px)
        columns["camera"] = np.tile(camera, (rows, 1)) if camera.ndim == 1 else camera[keep]
        columns["camera_valid"] = np.ones(rows, bool)
        columns["distortion"] = np.tile(s.distortion_or_none_5, (rows, 1))
    if s.theta_F243 is not None and s.betas_F10 is not None:
        known_F = np.ones(len(s), bool) if s.smpl_valid_F is None else s.smpl_valid_F
        known_R = known_F[keep]
        columns["theta"] = np.where(known_R[:, None, None], s.theta_F243[keep], 0.0)
        columns["betas"] = np.where(known_R[:, None], s.betas_F10[keep], 0.0)
        columns["smpl_valid"] = known_R
        if s.transl_F3_mm is not None:
            columns["transl_mm"] = np.where(known_R[:, None], s.transl_F3_mm[keep], 0.0)
            columns["transl_valid"] = known_R
    return SourceRows(
        columns=columns,
        images=tuple(s.images[int(i)] for i in keep),
        masks=tuple(s.masks[int(i)] for i in keep) if s.masks else (),
    )
