"""Everybody in a photograph: MoveNet MultiPose over the image at several scales.

The network sees square windows of the image at one of two sizes, so that memory does not grow
with the image. The whole image comes first, or overlapping windows along it where it is long;
then the same more finely, as far as the image has the detail; then a closer look at whatever may
be a person but is not clear. The closer the look, the more often a roof or a lamp looks like
somebody, so whoever is found by one alone must be found again in windows of other sizes. Where
nobody large is found, the image is seen turned, for people upside down and lying.

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
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.data.readers.joint_map import JointMap
from hemlets.data.readers.maps2d import COCO
from hemlets.inference.people import Detection, Image
from hemlets.inference.suppression import Array, FoundPerson, box_iou, box_overlap, suppress
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
"""Score from which a detection counts as a person. On the photographs of the benchmark people
score 0.2 and more, but for a few in somersaults, and pictures of nobody 0.09 at most."""

KEYPOINT_SURE: Final = 0.2
"""Score from which a keypoint counts as found."""

MOST_PEOPLE: Final = 200
"""Most people that one image gives."""

_COARSE: Final = 256
_FINE: Final = 512
"""Sides of the network's input."""

_QUICK: Final = 512
"""Longer side of the input where an image is seen once."""

_SHORTER: Final = 0.75
"""Of the finer input's longer side, what the shorter may have: photographs are 4:3 and longer."""

_LONGEST: Final = 2.5
"""Longer over shorter side up to which one window takes the whole image."""

_OVERLAP: Final = 0.25
"""Of neighbouring windows, as a share of their side."""

_MOST_WINDOWS: Final = 32
"""Windows along a long image."""

_MOST_LOOKS: Final = 64
"""Closer looks."""

_HINT: Final = 0.15
"""Value of a person's centre from which a closer look may find a person."""

_CLEAR: Final = 0.3
"""Score from which a closer look would tell nothing new."""

_CLOSE: Final = 2.5
"""Side of a closer look's window over the longer side of the person."""

_OTHER_LOOKS: Final = (1.3, 1.6, 2.0)
"""The same for the looks that verify a person."""

_VERIFIED: Final = 0.22
"""Mean score of those looks from which there is a person: of the benchmark's people who score
less than `_CLEAR`, most have more; lamps, roofs and craters 0.2 at most."""

_SAME_PLACE: Final = 0.25
"""Overlap of two boxes of one person in looks of different sizes."""

_SUBJECT: Final = 0.35
"""Of the image's longer side, from which a person is what the photograph shows. Where nobody is,
it may be somebody upside down."""

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
    """A square of the image.

    Attributes:
        left: Pixels; may lie outside of the image, as the other sides may.
        top: Pixels.
        side: Pixels.
    """

    left: float
    top: float
    side: float

    def holds(self, box: Array) -> bool:
        """Whether a box lies in it wholly."""
        return bool(
            box[0] >= self.left
            and box[1] >= self.top
            and box[2] <= self.left + self.side
            and box[3] <= self.top + self.side
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """Who may be a person.

    Attributes:
        person: As read.
        centre_value: 0–1: of the person's centre alone.
        coarse: Found in the first pass.
    """

    person: FoundPerson
    centre_value: float
    coarse: bool


class MultiPoseDetector:
    """Finds people; see the module.

    The same image gives the same people on the same machine with the same number of threads.
    """

    def __init__(
        self,
        network: MultiPose,
        *,
        device: str | torch.device = "cpu",
        thorough: bool = True,
    ) -> None:
        """Prepare a network for a device; on a CPU in bfloat16 where it has the arithmetic.

        Args:
            network: With its weights.
            device: Where to run.
            thorough: Whether to look for small, unclear and turned people, too; else an image is
                seen once, at 512 pixels of its longer side.
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
        """The network for an input's size: packed convolutions are fast for one size each."""
        if not self._packs:
            return self._network
        if (height, width) not in self._packed:
            example = torch.zeros(1, 3, height, width)
            self._packed[height, width] = pack(self._network, example, self._dtype)
        return self._packed[height, width]

    @classmethod
    def load(cls, *, device: str | torch.device = "cpu", thorough: bool = True) -> Self:
        """The detector with its bundled weights; see the class.

        Raises:
            AssetError: The weights are missing or damaged.
        """
        return cls(load_multipose(asset_path(WEIGHTS)), device=device, thorough=thorough)

    def detect(self, image_HW3: Image) -> list[Detection]:
        """Everybody in an RGB image, the largest first; an empty list where nobody is."""
        return [_detection(person) for person in self.find(image_HW3)]

    def find(self, image_HW3: Image) -> list[FoundPerson]:
        """The same with COCO's keypoints."""
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
        """Clear people in the image as it looks upside down and from both sides."""
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
        """The person with a score that can be relied upon; None for nobody.

        Args:
            image_HW3: RGB.
            person: Found at any scale.
            coarse: Found in the first pass, which finds nobody where nobody is.
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
        """Whoever may be a person in a window, but for those that its border cuts."""
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
    """The part scaled into the top left corner of a black canvas; its scales along x and y.

    The canvas is a square or, in the finer pass of an image that is wider than high or higher
    than wide, three quarters of one; for a single look it is as small as the network takes.
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
    """One window for the image, or several along its longer side where it is far longer."""
    longer, shorter = max(width, height), min(width, height)
    if longer <= _LONGEST * shorter:
        return [_Window(left=0, top=0, side=longer)]
    step_share = 1 - _OVERLAP
    # As many windows as there may be cover side + (count - 1) · step.
    widest = longer / (1 + (_MOST_WINDOWS - 1) * step_share)
    side = min(float(longer), max(_LONGEST / 1.5 * shorter, widest))
    count = int(np.ceil((longer - side) / (side * step_share))) + 1
    starts = np.linspace(0, longer - side, count)
    if width >= height:
        return [_Window(left=float(start), top=0, side=side) for start in starts]
    return [_Window(left=0, top=float(start), side=side) for start in starts]


def _closer_looks(candidates: Sequence[_Candidate]) -> Iterator[_Window]:
    """Windows around those that may be people but aren't clear, the likeliest first."""
    clear = suppress(
        [c.person for c in candidates if c.person.score >= _CLEAR], keypoint_score=KEYPOINT_SURE
    )
    unclear = [c for c in candidates if c.person.score < _CLEAR]
    unclear.sort(key=lambda c: -max(c.centre_value, c.person.score))
    windows: list[_Window] = []
    for candidate in unclear:
        box = candidate.person.box_xyxy
        # A weak second centre on somebody who is clear is that person's.
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
    """The window with a person in the middle whose side is a multiple of the person's."""
    side = max(_SMALLEST_WINDOW, share * person.longer_px)
    left, top = (person.box_xyxy[:2] + person.box_xyxy[2:] - side) / 2
    return _Window(left=float(left), top=float(top), side=side)


def _turned_back(person: FoundPerson, quarters: int, width: int, height: int) -> FoundPerson:
    """A person of an image that `np.rot90` has turned, in the image of this size."""

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
    """Whether most of a box lies in another one that isn't much larger."""
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
