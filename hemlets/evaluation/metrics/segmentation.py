"""Compare drawn bodies with pixel labels: foreground, and six parts (Lassner et al. 2017).

Labels: 0 background, 1 head, 2 torso, 3 left arm, 4 right arm, 5 left leg, 6 right leg; in a truth
without parts, 7 for every pixel of the person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from hemlets.core.arrays import Array, Float, Image, Int64
from hemlets.core.errors import DataError
from hemlets.core.skeleton import SMPL_JOINTS
from hemlets.data.masks import PERSON, as_mask, has_parts
from hemlets.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from hemlets.body import BodyModel

PART_LABELS: Final = (
    "background",
    "head",
    "torso",
    "left arm",
    "right arm",
    "left leg",
    "right leg",
)
UNKNOWN_PART: Final = 7
IGNORED: Final = PERSON
"""Label of pixels that are not counted."""

_ARM: Final = ("shoulder", "elbow", "wrist", "hand")
_LEG: Final = ("hip", "knee", "ankle", "foot")


def _label_of(joint: str) -> int:
    side, _, kind = joint.partition("_")
    if kind in _ARM:
        return 3 if side == "left" else 4
    if kind in _LEG:
        return 5 if side == "left" else 6
    return 1 if joint in ("neck", "head") else 2


def vertex_labels(body: BodyModel) -> npt.NDArray[np.intp]:
    """Label each vertex with the part of its joint with the largest weight, (V,)."""
    of_joint = np.array([_label_of(name) for name in SMPL_JOINTS])
    strongest: npt.NDArray[np.intp] = body.weights_VJ.numpy().argmax(1)
    return np.asarray(of_joint[strongest], np.intp)


def draw_labels(
    body: BodyModel,
    theta: Array,
    betas: Array,
    root_mm: Array,
    camera: Array,
    size: tuple[int, int],
) -> Image:
    """Draw part labels of a posed body as a camera sees it, (H, W).

    Args:
        body: Body model of θ and β.
        theta: (24, 3) axis-angles, radians.
        betas: (10,).
        root_mm: (3,) pelvis in the camera frame.
        camera: fx, fy, cx, cy in pixels.
        size: Width and height of the image.
    """
    from hemlets.body.raster import FAR_MM, Rasteriser, Rectangle, SquareCamera
    from hemlets.reports.drawing import place_body

    placed = place_body(body, theta, betas, root_mm)
    fx, fy, cx, cy = (float(value) for value in camera)
    width, height = size
    # The rasteriser has square pixels: fx ≠ fy is a stretch of x.
    vertices = placed.vertices_V3_mm * np.array([fx / fy, 1.0, 1.0])
    labels = np.zeros((height, width), np.uint8)
    faces = placed.faces_F3[(vertices[placed.faces_F3, 2] > 110.0).all(1)]
    if not len(faces):
        return labels
    one_hot = np.eye(6, dtype=np.float32)[vertex_labels(body) - 1]
    view = SquareCamera(focal_px=fy, centre_px=(cx, cy))
    layer = Rasteriser(faces).draw(
        view,
        Rectangle(left=0, top=0, right=width, bottom=height),
        np.where(vertices[:, 2:] > 110.0, vertices, np.array([0.0, 0.0, 1e4])),
        (one_hot[:, :3], one_hot[:, 3:]),
        scale=1,
    )
    shares = np.concatenate(layer.values_HW3, axis=2)
    seen = layer.depth_HW_mm < FAR_MM
    labels[seen] = (shares.argmax(2) + 1)[seen]
    return labels


def read_mask(data: bytes, *, where: str) -> Image | None:
    """Decode an annotated mask; None if there is none.

    A PNG with values 0-6, more than one of them above 0, has parts; its pixels of 255 are ignored.
    Any other PNG only separates the person from the background.

    Raises:
        DataError: Not an image.
    """
    if not data:
        return None
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DataError("the mask is not a picture", where=where, expected="a PNG")
    mask = as_mask(image)
    if has_parts(mask):
        return mask
    return np.where(mask > 0, UNKNOWN_PART, 0).astype(np.uint8)


def count_pixels(body: BodyModel, predicted: Predictions, true: dict[str, Array]) -> Int64:
    """Count pixels by true and predicted label, (B, 8, 7); zeros without mask or camera."""
    counts = np.zeros((len(predicted), UNKNOWN_PART + 1, len(PART_LABELS)), np.int64)
    for row in range(len(predicted)):
        name = str(predicted.sample_id[row])
        mask = read_mask(true["mask"][row], where=name)
        if mask is None or not true["camera_valid"][row]:
            continue
        drawn = draw_labels(
            body,
            # Arrays from files are not writable, which PyTorch warns of.
            predicted.theta[row].copy(),
            predicted.betas[row].copy(),
            predicted.root_mm[row],
            true["camera"][row],
            (mask.shape[1], mask.shape[0]),
        )
        counted = mask != IGNORED
        pair = mask[counted].astype(np.int64) * len(PART_LABELS) + drawn[counted]
        counts[row] = np.bincount(pair, minlength=counts[row].size).reshape(counts[row].shape)
    return counts


def figures_pct(counts: Array) -> dict[str, Float]:
    """Compute accuracy, F1 and IoU of pixel counts (..., 8, 7), per cent.

    F1 and IoU are means over the classes, background included, that occur in truth or prediction.
    NaN where nothing was counted, and for parts if the truth has none.
    """
    counts = np.asarray(counts, np.float64)
    two = np.stack(
        [
            np.stack([counts[..., 0, 0], counts[..., 0, 1:].sum(-1)], -1),
            np.stack([counts[..., 1:, 0].sum(-1), counts[..., 1:, 1:].sum((-1, -2))], -1),
        ],
        -2,
    )
    known = counts[..., UNKNOWN_PART, :].sum(-1) == 0
    seven = np.where(known[..., None, None], counts[..., : len(PART_LABELS), :], 0.0)
    names = ("accuracy_pct", "f1_pct", "miou_pct")
    foreground, parts = (dict(zip(names, _of_classes(c), strict=True)) for c in (two, seven))
    return {
        "foreground_accuracy_pct": foreground["accuracy_pct"],
        "foreground_mean_f1_pct": foreground["f1_pct"],
        "foreground_miou_pct": foreground["miou_pct"],
        "parts_accuracy_pct": parts["accuracy_pct"],
        "parts_f1_pct": parts["f1_pct"],
        "parts_miou_pct": parts["miou_pct"],
    }


def _of_classes(counts: Float) -> tuple[Float, Float, Float]:
    """Compute accuracy, mean F1 and mean IoU of a confusion matrix (..., C, C)."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    sizes = counts.sum(-1) + counts.sum(-2)
    accuracy = _share(right.sum(-1), counts.sum((-1, -2)))
    occurs = sizes > 0
    # The shares are in per cent already.
    f1, iou = (
        _share(np.where(occurs, share, 0.0).sum(-1), occurs.sum(-1)) / 100.0
        for share in (_share(2 * right, sizes), _share(right, sizes - right))
    )
    return accuracy, f1, iou


def _share(part: Array, whole: Array) -> Float:
    empty = np.full(np.shape(whole), np.nan)
    return np.asarray(100.0 * np.divide(part, whole, out=empty, where=np.asarray(whole) > 0))
