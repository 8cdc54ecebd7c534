"""Bodies as seen: foreground, 24 and 6 parts in the image's pixels, and how well masks agree.

The 24 parts are SMPL's: a vertex belongs to the joint that moves it most. The 6 parts are those
of UP-3D's segmentation (Lassner et al. 2017): head, torso, both arms, both legs. Masks are made by
the renderer's own rasteriser; a pixel belongs to what lies at its centre.

Shape suffixes: H, W the image, V vertices, F faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hemlets.body.model import BodyModel
from hemlets.body.raster import FAR_MM, Rasteriser, Rectangle, SquareCamera
from hemlets.core.skeleton import SMPL_JOINTS

FloatArray = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.uint8]

BACKGROUND: Final = 0
"""Label of pixels that show nobody; part k of a list has label k + 1."""

PARTS_24: Final = SMPL_JOINTS
PARTS_6: Final = ("head", "torso", "left_arm", "right_arm", "left_leg", "right_leg")

_SIX_OF: Final[Mapping[str, str]] = {
    "neck": "head", "head": "head",
    "pelvis": "torso", "spine1": "torso", "spine2": "torso", "spine3": "torso",
    "left_collar": "torso", "right_collar": "torso",
    "left_shoulder": "left_arm", "left_elbow": "left_arm",
    "left_wrist": "left_arm", "left_hand": "left_arm",
    "right_shoulder": "right_arm", "right_elbow": "right_arm",
    "right_wrist": "right_arm", "right_hand": "right_arm",
    "left_hip": "left_leg", "left_knee": "left_leg",
    "left_ankle": "left_leg", "left_foot": "left_leg",
    "right_hip": "right_leg", "right_knee": "right_leg",
    "right_ankle": "right_leg", "right_foot": "right_leg",
}  # fmt: skip

_TO_SIX: Final = np.array(
    [BACKGROUND, *(PARTS_6.index(_SIX_OF[name]) + 1 for name in PARTS_24)], np.uint8
)


def to_six_parts(parts24_HW: Labels) -> Labels:
    """The 6-part labels of pixels with 24-part labels."""
    return np.asarray(_TO_SIX[parts24_HW], np.uint8)


@dataclass(frozen=True, kw_only=True)
class BodyMasks:
    """A body in the pixels of an image.

    Attributes:
        parts24_HW: Label of each pixel, 0 or 1 + the index in `PARTS_24`.
        depth_HW_mm: Depth of the skin at each pixel's centre; infinite where there is none.
    """

    parts24_HW: Labels
    depth_HW_mm: npt.NDArray[np.float32]

    @property
    def foreground(self) -> npt.NDArray[np.bool_]:
        """Pixels that show the body."""
        return np.asarray(self.parts24_HW != BACKGROUND)

    @property
    def parts6(self) -> Labels:
        """Label of each pixel, 0 or 1 + the index in `PARTS_6`."""
        return to_six_parts(self.parts24_HW)


class Painter:
    """Rasterises bodies of one model into masks.

    Args:
        body: The model; its skinning weights decide the parts.
    """

    def __init__(self, body: BodyModel) -> None:
        skin_VJ = body.weights_VJ.cpu().numpy()
        faces = body.faces_F3.cpu().numpy().astype(np.int32)
        # Each triangle has three vertices of its own, so that a part has sharp edges.
        self._corners = faces.reshape(-1)
        self._rasteriser = Rasteriser(np.arange(len(self._corners)).reshape(-1, 3))
        part_F = skin_VJ[faces].sum(1).argmax(1)
        value = (np.repeat(part_F, 3) + 1.0) / 255.0
        self._values = np.repeat(value[:, None], 3, axis=1).astype(np.float32)

    def paint(
        self,
        vertices_V3_mm: FloatArray,
        *,
        focal_px: tuple[float, float],
        centre_px: tuple[float, float],
        size: tuple[int, int],
    ) -> BodyMasks:
        """Masks of a body as a camera sees it.

        Args:
            vertices_V3_mm: The skin in the camera frame.
            focal_px: fx, fy.
            centre_px: cx, cy.
            size: Width and height of the image.
        """
        width, height = size
        parts = np.zeros((height, width), np.uint8)
        depth = np.full((height, width), np.inf, np.float32)
        # The rasteriser has square pixels: fx ≠ fy is a stretch of x.
        skin = np.asarray(vertices_V3_mm, np.float64) * [focal_px[0] / focal_px[1], 1.0, 1.0]
        camera = SquareCamera(focal_px=focal_px[1], centre_px=centre_px)
        where = _rectangle(skin, camera, size)
        if where is not None:
            layer = self._rasteriser.draw(
                camera, where, skin[self._corners], (self._values,), scale=1
            )
            shown = layer.depth_HW_mm < FAR_MM
            labels = np.rint(255.0 * layer.values_HW3[0][..., 0]).astype(np.uint8)
            parts[where.slices] = np.where(shown, labels, BACKGROUND)
            depth[where.slices] = np.where(shown, layer.depth_HW_mm, np.inf)
        return BodyMasks(parts24_HW=parts, depth_HW_mm=depth)


def _rectangle(
    skin_V3: FloatArray, camera: SquareCamera, size: tuple[int, int]
) -> Rectangle | None:
    in_front = skin_V3[skin_V3[:, 2] > 100.0]
    if not len(in_front):
        return None
    pixels = camera.project(in_front)
    low = np.maximum(np.floor(pixels.min(0)) - 1, 0)
    high = np.minimum(np.ceil(pixels.max(0)) + 1, size)
    if not (low < high).all():
        return None
    return Rectangle(left=int(low[0]), top=int(low[1]), right=int(high[0]), bottom=int(high[1]))


@dataclass(frozen=True, kw_only=True)
class SegmentationScore:
    """How well two segmentations agree, over all pixels of all images together.

    Attributes:
        accuracy: Share of pixels with the right label, background included.
        f1: Mean over the labels (without background) of the F1 score; labels that neither has
            are left out.
        f1_by_label: F1 of each label but the background; NaN where neither has it.
    """

    accuracy: float
    f1: float
    f1_by_label: tuple[float, ...]


def score_segmentation(
    predicted: list[Labels] | Labels, truth: list[Labels] | Labels, *, n_labels: int
) -> SegmentationScore:
    """Accuracy and F1 as UP-3D reports them, for foreground (1 label), 6 or 24 parts.

    Args:
        predicted: Label images; booleans count as foreground.
        truth: The same number of the same sizes.
        n_labels: Labels besides the background.

    Raises:
        ValueError: The images don't pair up.

    >>> import numpy as np
    >>> truth = np.array([[1, 1, 0, 0]], np.uint8)
    >>> score_segmentation([np.array([[1, 0, 0, 0]], np.uint8)], [truth], n_labels=1).accuracy
    0.75
    """
    counts = np.zeros((n_labels + 1, n_labels + 1), np.int64)
    for ours, theirs in zip(predicted, truth, strict=True):
        if ours.shape != theirs.shape:
            raise ValueError(f"a mask is {ours.shape}, its truth {theirs.shape}")
        pairs = theirs.astype(np.int64).ravel() * (n_labels + 1) + ours.ravel()
        counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    right = counts.diagonal()
    total = counts.sum(0) + counts.sum(1)
    with np.errstate(invalid="ignore"):
        f1 = np.where(total > 0, 2 * right / np.maximum(total, 1), np.nan)[1:]
    known = f1[np.isfinite(f1)]
    return SegmentationScore(
        accuracy=float(right.sum() / max(counts.sum(), 1)),
        f1=float(known.mean()) if known.size else float("nan"),
        f1_by_label=tuple(map(float, f1)),
    )
