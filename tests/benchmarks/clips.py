"""Rendered videos of several people with known tracks, for ``bench_video.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.transform import Rotation

from hemlets.assets.clips import MotionClip, load_clips
from hemlets.body import BodyModel
from hemlets.body.raster import Rectangle, SquareCamera
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, Studio
from hemlets.data.synthetic.backdrop import draw_background
from hemlets.data.synthetic.people import _compose

if TYPE_CHECKING:
    from hemlets.data.synthetic.people import _Posed

WIDTH, HEIGHT, FPS = 1280, 720, 25.0
_ROWS: Final = slice((WIDTH - HEIGHT) // 2, (WIDTH + HEIGHT) // 2)
_FOCAL: Final = 1100.0
_SHOWN: Final = 0.35
"""Share of a person's box that must be uncovered for the person to count as visible."""

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """How a person crosses the view.

    Attributes:
        look: Seed of skin, clothes and shape.
        start_mm: Where the pelvis is at first: x to the right, z away from the camera.
        end_mm: Where it is at last.
        turns_back: Whether the person returns to the start in the second half.
    """

    look: int
    start_mm: tuple[float, float]
    end_mm: tuple[float, float]
    turns_back: bool = False


SCENES: Final = {
    "two cross": (
        Walk(look=1, start_mm=(-1900, 4600), end_mm=(1900, 4600)),
        Walk(look=2, start_mm=(1900, 5400), end_mm=(-1900, 5400)),
    ),
    "four cross": (
        Walk(look=3, start_mm=(-2300, 5200), end_mm=(2300, 5600)),
        Walk(look=4, start_mm=(2300, 5200), end_mm=(-2300, 5000)),
        Walk(look=5, start_mm=(-1300, 6800), end_mm=(2600, 6400)),
        Walk(look=6, start_mm=(1300, 7600), end_mm=(-2800, 7400)),
    ),
    "one leaves and returns": (
        Walk(look=7, start_mm=(300, 4800), end_mm=(4600, 4800), turns_back=True),
        Walk(look=8, start_mm=(-1500, 5200), end_mm=(-300, 5200), turns_back=True),
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A rendered video and what is true of it.

    Attributes:
        name: Of `SCENES`.
        frames: RGB.
        people: For each frame the boxes by person, of those who are visible.
    """

    name: str
    frames: Sequence[Image]
    people: Sequence[dict[int, Float]]


def render(name: str, *, seconds: float = 4.0) -> Scene:
    """Render a scene: the camera stands still, near people hide far ones."""
    body = BodyModel.load()
    studio = Studio(OpenDataConfig(), MotionLibrary.bundled(), body)
    count = round(seconds * FPS)
    clip = next(clip for clip in load_clips() if "walk" in clip.name)
    walks = SCENES[name]
    skins = [_skin(walk, clip, count, body) for walk in walks]
    camera = SquareCamera(focal_px=_FOCAL, centre_px=(WIDTH / 2, WIDTH / 2))
    place = draw_background(np.random.default_rng(len(walks)), WIDTH, 0.5)
    frames, people = [], []
    for frame in range(count):
        image, visible = _frame(studio, camera, place, walks, [s[frame] for s in skins])
        frames.append(image)
        people.append(visible)
    return Scene(name=name, frames=frames, people=people)


def _skin(walk: Walk, clip: MotionClip, count: int, body: BodyModel) -> npt.NDArray[np.float32]:
    """The skin of a walking person (T, V, 3) in front of the camera."""
    step = max(1, round(clip.fps / FPS))
    chosen = np.arange(count) * step % len(clip.theta_F72)
    theta = clip.theta_F72[chosen].reshape(-1, 24, 3).copy()
    share = np.linspace(0, 1, count)
    if walk.turns_back:
        share = 1 - np.abs(2 * share - 1)
    start, end = np.array(walk.start_mm), np.array(walk.end_mm)
    path = start + share[:, None] * (end - start)
    ahead = np.sign(np.gradient(share))[:, None] * (end - start)
    for row, (across, away) in zip(theta, ahead, strict=True):
        # The clips' people walk along their own z axis before they are turned upright.
        turn = Rotation.from_euler("xyz", [np.pi, 0, 0])
        turn = Rotation.from_euler("y", np.arctan2(-across, -away)) * turn
        row[0] = (turn * Rotation.from_rotvec(row[0])).as_rotvec()
    shape = np.random.default_rng(walk.look).standard_normal((1, 10))
    with torch.inference_mode():
        posed = body(torch.from_numpy(theta), torch.from_numpy(shape.astype(np.float32)))
    skin = posed.vertices_BV3_mm - posed.joints24_B243_mm[:, :1]
    feet = float(skin[..., 1].max())
    place = np.stack([path[:, 0], np.full(count, 950.0 - feet), path[:, 1]], -1)
    return np.asarray(skin.numpy() + place[:, None], np.float32)


def _frame(
    studio: Studio, camera: SquareCamera, place: Image, walks: Sequence[Walk],
    skins: Sequence[npt.NDArray[np.float32]],
) -> tuple[Image, dict[int, Float]]:  # fmt: skip
    """One picture, and the boxes of those who are visible."""
    image, owner = place.copy(), np.full(place.shape[:2], -1)
    drawn: dict[int, tuple[Float, int]] = {}
    for person in sorted(range(len(walks)), key=lambda i: -float(skins[i][:, 2].mean())):
        outline = camera.project(skins[person])
        if outline[:, 0].max() < 2 or outline[:, 0].min() > WIDTH - 2:
            continue
        where = Rectangle.around(outline, WIDTH)
        # The same numbers for each frame, so that the person keeps skin, clothes and light.
        actor = cast("_Posed", SimpleNamespace(vertices_V3_mm=skins[person]))
        look = np.random.default_rng(walks[person].look)
        covered = _compose(image, studio._draw_body(look, camera, actor, where)) > 0.5
        owner[where.slices][covered] = person
        box = np.concatenate([outline.min(0), outline.max(0)])
        drawn[person] = (box, int(covered.sum()))
    visible = {}
    for person, (box, whole) in drawn.items():
        shown = int((owner[_ROWS] == person).sum())
        box = box - (0, _ROWS.start, 0, _ROWS.start)
        inside = np.clip(box, 0, (WIDTH, HEIGHT) * 2)
        area = np.prod(box[2:] - box[:2])
        if whole and shown >= _SHOWN * whole and np.prod(inside[2:] - inside[:2]) >= _SHOWN * area:
            visible[person] = inside
    return np.ascontiguousarray(image[_ROWS]), visible


def rendered(seconds: float) -> Iterator[Scene]:
    """All scenes."""
    for name in SCENES:
        yield render(name, seconds=seconds)
