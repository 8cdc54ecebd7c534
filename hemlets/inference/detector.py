"""Detect all people in a photograph: MoveNet MultiPose over the image at several scales.

The network reads square windows of the image at one of two sizes, so that memory does not grow with
the image. The first pass covers the whole image, with overlapping windows if it is long; the second
does so at a finer scale, if the image has the resolution; the third zooms in on unclear candidates.
Zooming in causes false positives, such as roofs and lamps, so a person found in a closer look only
must be found again in windows of other sizes. If nobody large is found, the image is searched
rotated, for people upside down or lying.

People are cropped by the detector's boxes. On 97 people of LSPET these hold all annotated joints of
99 % with 1.2 times their longer side, and the crop's side spreads by 11 % around that of the
annotated joints' box; boxes around the sure keypoints, which are missing where people are turned
or cut, hold those of 74 to 84 % at margins of 0.1 to 0.2 and spread by 36 %.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np
import torch
from torch import Tensor

from hemlets.assets import asset_path
from hemlets.core.boxes import box_iou, box_overlap
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.data.readers.joint_map import JointMap
from hemlets.data.readers.maps2d import COCO
from hemlets.inference.people import Detection, Image
from hemlets.inference.suppression import Array, FoundPerson, suppress
from hemlets.models.fused import can_prepare, pack
from hemlets.models.multipose import (
    MULTIPLE,
    Heads,
    MultiPose,
    decode_people,
    load_multipose,
)

WEIGHTS: Final = "movenet_multipose/model.safetensors"

SURE: Final = 0.12
"""Least score of a detection that counts as a person. On the benchmark's photographs people score
at least 0.2, except some in somersaults, and pictures without people at most 0.09."""

KEYPOINT_SURE: Final = 0.2
"""Least score of a keypoint that counts as found."""

MOST_PEOPLE: Final = 200
"""Largest number of people returned for an image."""

_COARSE: Final = 256
_FINE: Final = 512
"""Sides of the network's input, pixels."""

_QUICK: Final = 512
"""Longer side of the input in single-pass mode, pixels."""

_SHORTER: Final = 0.75
"""Least shorter side of the finer input, as a share of the longer: photographs are 4:3 or
longer."""

_LONGEST: Final = 2.5
"""Largest aspect ratio at which one window covers the whole image."""

_OVERLAP: Final = 0.25
"""Overlap of neighbouring windows, as a share of their side."""

_MOST_WINDOWS: Final = 32
"""Largest number of windows along a long image."""

_MOST_LOOKS: Final = 64
"""Largest number of closer looks."""

_HINT: Final = 0.15
"""Least value of a person's centre for a closer look."""

_CLEAR: Final = 0.3
"""Least score of a person who needs no closer look."""

_CLOSE: Final = 2.5
"""Side of a closer look's window, relative to the person's longer side."""

_OTHER_LOOKS: Final = (1.3, 1.6, 2.0)
"""Window sides of the looks that verify a person, relative to the person's longer side."""

_VERIFIED: Final = 0.22
"""Least mean score of the verifying looks. Most of the benchmark's people who score below `_CLEAR`
have more; lamps, roofs and craters have at most 0.2."""

_SAME_PLACE: Final = 0.25
"""Least IoU of two boxes of one person in looks of different sizes."""

_SUBJECT: Final = 0.35
"""Least size of a person, as a share of the image's longer side, at which the image is not searched
rotated for people upside down."""

_SMALLEST_WINDOW: Final = 48.0
_LARGEST_SHARE: Final = 0.65
"""Of a window's side that a person may take in the finer pass, which takes larger ones apart."""

_JOINTS: Final = JointMap.of(
    COCO.size,
    {joint: i for i, joint in enumerate(COCO.targets) if joint is not None},
    middles=(Joint.PELVIS, Joint.THORAX),
)


@dataclass(frozen=True, kw_only=True)
class _Window:
    """Square window of the image.

    Attributes:
        left: Left edge in pixels; edges may lie outside the image.
        top: Top edge in pixels.
        side: Side in pixels.
    """

    left: float
    top: float
    side: float

    def holds(self, box: Array) -> bool:
        """Whether a box lies completely within the window."""
        return bool(
            box[0] >= self.left
            and box[1] >= self.top
            and box[2] <= self.left + self.side
            and box[3] <= self.top + self.side
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """Candidate for a person.

    Attributes:
        person: The decoded person.
        centre_value: Value of the centre heatmap, 0–1.
        coarse: Whether it was found in the first pass.
    """

    person: FoundPerson
    centre_value: float
    coarse: bool


class MultiPoseDetector:
    """Detects people; see the module.

    Deterministic for a machine and a number of threads.
    """

    def __init__(
        self,
        network: MultiPose,
        *,
        device: str | torch.device = "cpu",
        thorough: bool = True,
    ) -> None:
        """Prepare a network for a device; in bfloat16 on a CPU that supports it.

        Args:
            network: Network with loaded weights.
            device: Where to run.
            thorough: Whether to search for small, unclear and rotated people as well; otherwise
                one pass with 512 pixels on the longer side.
        """
        self.device = torch.device(device)
        self.thorough = thorough
        self._network = network
        self._packs = self.device.type == "cpu" and can_prepare("float32")
        fast = self._packs and can_prepare("bfloat16")
        self._dtype = torch.bfloat16 if fast else torch.float32
        self._packed: dict[tuple[int, int], torch.nn.Module] = {}
        if self._packs and thorough:
            self._for_size(_COARSE, _COARSE)
        elif not self._packs:
            self._network = network.to(self.device)

    def _for_size(self, height: int, width: int) -> torch.nn.Module:
        """Return the network for an input size; packed convolutions are specific to a size."""
        if not self._packs:
            return self._network
        if (height, width) not in self._packed:
            example = torch.zeros(1, 3, height, width)
            self._packed[height, width] = pack(self._network, example, self._dtype)
        return self._packed[height, width]

    @classmethod
    def load(cls, *, device: str | torch.device = "cpu", thorough: bool = True) -> Self:
        """Load the detector with its bundled weights.

        Raises:
            AssetError: The weights are missing or damaged.
        """
        return cls(load_multipose(asset_path(WEIGHTS)), device=device, thorough=thorough)

    def detect(self, image_HW3: Image) -> list[Detection]:
        """Detect the people in an RGB image, largest first."""
        return [_detection(person) for person in self.find(image_HW3)]

    def find(self, image_HW3: Image) -> list[FoundPerson]:
        """Detect the people with COCO's keypoints."""
        candidates: list[_Candidate] = []
        windows = _windows(image_HW3.shape[1], image_HW3.shape[0])
        for window in windows:
            side = _COARSE if self.thorough else _QUICK
            candidates += self._look(image_HW3, window, side, coarse=True)
            if self.thorough and window.side > _COARSE:
                largest = _LARGEST_SHARE * window.side
                fine = self._look(image_HW3, window, _FINE)
                candidates += [c for c in fine if c.person.longer_px <= largest]
        if self.thorough:
            for window in _closer_looks(candidates):
                candidates += self._look(image_HW3, window, _COARSE)
        sure = [c for c in candidates if c.person.score >= SURE]
        people = suppress([c.person for c in sure], keypoint_score=KEYPOINT_SURE)[:MOST_PEOPLE]
        coarse = [c.person for c in sure if c.coarse]
        verified = [self._verified(image_HW3, person, coarse) for person in people]
        found = [person for person in verified if person is not None]
        large = _SUBJECT * max(image_HW3.shape)
        if self.thorough and len(windows) == 1 and all(p.longer_px < large for p in found):
            found = suppress([*found, *self._turned(image_HW3)], keypoint_score=KEYPOINT_SURE)
        return sorted(found, key=lambda person: -person.area_px2)

    def _turned(self, image_HW3: Image) -> list[FoundPerson]:
        """Find clear people in the image rotated by quarters."""
        height, width = image_HW3.shape[:2]
        people = []
        for quarters in (1, 2, 3):
            turned: Image = np.ascontiguousarray(np.rot90(image_HW3, quarters))
            window = _Window(left=0, top=0, side=max(width, height))
            for candidate in self._look(turned, window, _COARSE):
                if candidate.person.score >= _CLEAR:
                    people.append(_turned_back(candidate.person, quarters, width, height))
        return suppress(people, keypoint_score=KEYPOINT_SURE)

    def _verified(
        self, image_HW3: Image, person: FoundPerson, coarse: Sequence[FoundPerson]
    ) -> FoundPerson | None:
        """Return the person with a verified score; None if not verified.

        Args:
            image_HW3: RGB.
            person: Candidate of any scale.
            coarse: Whether it was found in the first pass, which has no false positives.
        """
        if person.score >= _CLEAR:
            return person
        if any(box_iou(person.box_xyxy, other.box_xyxy) > _SAME_PLACE for other in coarse):
            return person
        scores = []
        for share in _OTHER_LOOKS:
            look = self._look(image_HW3, _around(person, share), _COARSE)
            same = [c.person.score for c in look
                    if box_iou(c.person.box_xyxy, person.box_xyxy) > _SAME_PLACE]  # fmt: skip
            scores.append(max(same, default=0.0))
        score = float(np.mean(scores))
        return dataclasses.replace(person, score=score) if score >= _VERIFIED else None

    def _look(
        self, image_HW3: Image, window: _Window, side: int, *, coarse: bool = False
    ) -> list[_Candidate]:
        """Find candidates in a window, except those that its border cuts."""
        height, width = image_HW3.shape[:2]
        left, top = (max(0, round(value)) for value in (window.left, window.top))
        right = min(width, round(window.left + window.side))
        bottom = min(height, round(window.top + window.side))
        canvas, scale_xy = _canvas(image_HW3[top:bottom, left:right], side, tight=not self.thorough)
        with torch.inference_mode():
            heads = self._run(canvas)
            found = decode_people(heads, 0, most=MOST_PEOPLE, least=_HINT)
        keypoints = found.keypoints_PK2.cpu().double().numpy() / scale_xy + (left, top)
        scores = found.keypoint_scores_PK.cpu().double().numpy()
        boxes = found.boxes_P4.cpu().double().numpy() / np.tile(scale_xy, 2)
        boxes = np.clip(boxes + np.tile((left, top), 2), 0, (width, height) * 2)
        edge = 2.0 * window.side / side
        inner = np.array(
            [left if left > 0 else -np.inf, top if top > 0 else -np.inf,
             right if right < width else np.inf, bottom if bottom < height else np.inf]
        )  # fmt: skip
        candidates = []
        for i, box in enumerate(boxes):
            cut = (box[:2] < inner[:2] + edge).any() or (box[2:] > inner[2:] - edge).any()
            if cut or (box[2:] - box[:2] < 1).any():
                continue
            person = FoundPerson(
                keypoints_K3=np.concatenate([keypoints[i], scores[i, :, None]], 1),
                box_xyxy=box,
                score=float(found.scores_P[i]),
            )
            candidates.append(
                _Candidate(person=person, centre_value=float(found.centers_P[i]), coarse=coarse)
            )
        return candidates

    def _run(self, canvas_HW3: Image) -> Heads:
        image = torch.from_numpy(canvas_HW3).to(self.device).permute(2, 0, 1)[None]
        image = image.to(self._dtype, memory_format=torch.channels_last)
        heads: Sequence[Tensor] = self._for_size(*canvas_HW3.shape[:2])(image)
        return Heads(*(values.float() for values in heads))


def _canvas(part_HW3: Image, side: int, *, tight: bool) -> tuple[Image, Array]:
    """Scale the part into the top left corner of a black canvas; returns the scales along x and y.

    The canvas is square, or three quarters of a square in the finer pass of an elongated image; for
    a single pass it is the smallest that the network accepts.
    """
    height, width = part_HW3.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if tight:
        wide, high = (-(-length // MULTIPLE) * MULTIPLE for length in size)
    else:
        wide, high = (
            side if side == _COARSE or length > _SHORTER * side else int(_SHORTER * side)
            for length in size
        )
    canvas = np.zeros((high, wide, 3), np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(part_HW3, size, interpolation=method)
    return canvas, np.array([size[0] / width, size[1] / height])


def _windows(width: int, height: int) -> list[_Window]:
    """One window for the image, or several along its longer side if it is elongated."""
    longer, shorter = max(width, height), min(width, height)
    if longer <= _LONGEST * shorter:
        return [_Window(left=0, top=0, side=longer)]
    step_share = 1 - _OVERLAP
    # `count` windows cover side + (count - 1) · step.
    widest = longer / (1 + (_MOST_WINDOWS - 1) * step_share)
    side = min(float(longer), max(_LONGEST / 1.5 * shorter, widest))
    count = int(np.ceil((longer - side) / (side * step_share))) + 1
    starts = np.linspace(0, longer - side, count)
    if width >= height:
        return [_Window(left=float(start), top=0, side=side) for start in starts]
    return [_Window(left=0, top=float(start), side=side) for start in starts]


def _closer_looks(candidates: Sequence[_Candidate]) -> Iterator[_Window]:
    """Windows around unclear candidates, most likely first."""
    clear = suppress(
        [c.person for c in candidates if c.person.score >= _CLEAR], keypoint_score=KEYPOINT_SURE
    )
    unclear = [c for c in candidates if c.person.score < _CLEAR]
    unclear.sort(key=lambda c: -max(c.centre_value, c.person.score))
    windows: list[_Window] = []
    for candidate in unclear:
        box = candidate.person.box_xyxy
        # A weak second centre on a clear person belongs to that person.
        if any(_covers(person.box_xyxy, box) for person in clear):
            continue
        window = _around(candidate.person, _CLOSE)
        if any(w.holds(box) and w.side <= 2 * window.side for w in windows):
            continue
        windows.append(window)
        yield window
        if len(windows) == _MOST_LOOKS:
            return


def _around(person: FoundPerson, share: float) -> _Window:
    """Window centred on a person, with a side relative to the person's."""
    side = max(_SMALLEST_WINDOW, share * person.longer_px)
    left, top = (person.box_xyxy[:2] + person.box_xyxy[2:] - side) / 2
    return _Window(left=float(left), top=float(top), side=side)


def _turned_back(person: FoundPerson, quarters: int, width: int, height: int) -> FoundPerson:
    """Map a person from an image rotated by `np.rot90` back to the image of this size."""

    def back(points_N2: Array) -> Array:
        x, y = points_N2[:, 0], points_N2[:, 1]
        turned = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarters]
        return np.stack(turned, 1)

    corners = back(person.box_xyxy.reshape(2, 2))
    points = back(person.keypoints_K3[:, :2])
    return FoundPerson(
        keypoints_K3=np.concatenate([points, person.keypoints_K3[:, 2:]], 1),
        box_xyxy=np.concatenate([corners.min(0), corners.max(0)]),
        score=person.score,
    )


def _covers(outer: Array, inner: Array) -> bool:
    """Whether most of a box lies in another that isn't much larger."""
    inner_area, outer_area = np.prod(inner[2:] - inner[:2]), np.prod(outer[2:] - outer[:2])
    mostly_inside = box_overlap(outer, inner) > 0.7 * inner_area
    return bool(mostly_inside and outer_area < 20 * inner_area)


def _detection(person: FoundPerson) -> Detection:
    points = person.keypoints_K3
    sure = points[:, 2] >= KEYPOINT_SURE
    joints, known = _JOINTS.apply(points[None, :, :2], sure[None])
    missing = [JOINTS[i] for i in np.flatnonzero(_JOINTS.known & ~known[0])]
    left, top, right, bottom = (float(value) for value in person.box_xyxy)
    return Detection(
        box_xyxy=(left, top, right, bottom),
        score=person.score,
        joints2d_px=np.where(known[0, :, None], joints[0], np.nan).astype(np.float32),
        missing=tuple(missing),
    )
