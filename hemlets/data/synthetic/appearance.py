"""Paint a person: skin, face, hair and clothes, in the rest pose.

Every visible point is painted by its position on the template body in its T-pose (x to the
body's left, y up, z to the front), in metres. Garments, patterns and face therefore follow the
body's motion, and edges are as sharp as the image, not as the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hemlets.core.arrays import Array, Float32
from hemlets.core.skeleton import SMPL_JOINTS

# The ten tones of the Monk Skin Tone scale (E. Monk 2022, CC BY 4.0), RGB.
_SKIN_TONES = np.array(
    [
        (246, 237, 228), (243, 231, 219), (247, 234, 208), (234, 218, 186), (215, 189, 150),
        (160, 126, 86), (130, 92, 67), (96, 65, 52), (58, 49, 42), (41, 36, 32),
    ]
) / 255.0  # fmt: skip
_HAIR_TONES = np.array(
    [
        (20, 18, 18), (44, 30, 24), (74, 48, 32), (110, 74, 44), (150, 105, 60), (200, 165, 110),
        (140, 60, 30), (150, 150, 150), (225, 220, 210),
    ]
) / 255.0  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """Positions of garments' ends on the template body, metres."""

    neck_y: float
    shoulder_x: float
    wrist_x: float
    hand_x: float
    pelvis_y: float
    knee_y: float
    ankle_y: float
    chin_y: float
    nose_y: float
    nose_z: float
    top_y: float
    ear_z: float

    @classmethod
    def of_template(cls, vertices_V3: Array, joints24_J3: Array) -> Landmarks:
        """Measure a template body in its T-pose, metres."""
        at = {name: joints24_J3[index] for index, name in enumerate(SMPL_JOINTS)}
        head = vertices_V3[vertices_V3[:, 1] > at["head"][1] - 0.09]
        nose = head[head[:, 2].argmax()]
        top = float(head[:, 1].max())
        return cls(
            neck_y=float(at["neck"][1]),
            shoulder_x=float(at["left_shoulder"][0]),
            wrist_x=float(at["left_wrist"][0]),
            hand_x=float(at["left_hand"][0]),
            pelvis_y=float(at["pelvis"][1]),
            knee_y=float(at["left_knee"][1]),
            ankle_y=float(at["left_ankle"][1]),
            chin_y=float(nose[1] - 0.55 * (top - nose[1])),
            nose_y=float(nose[1]),
            nose_z=float(nose[2]),
            top_y=top,
            ear_z=float(head[:, 2].min() * 0.45 + head[:, 2].max() * 0.55) - 0.03,
        )

    @property
    def face_unit(self) -> float:
        """Distance from nose tip to crown: the unit of length on the face."""
        return self.top_y - self.nose_y


@dataclass(frozen=True, kw_only=True)
class Fabric:
    """A cloth with one or two colours in a pattern.

    Attributes:
        kind: plain, stripes, check, dots, blotches or fade.
        colours_23: RGB within 0–1.
        waves_33: Wave vectors in radians per metre.
        phases_3: Their phases.
        threshold: Share of the second colour.
    """

    kind: str
    colours_23: Float32
    waves_33: Float32
    phases_3: Float32
    threshold: float

    def paint(self, points_P3: Float32) -> Float32:
        """Compute colours (P, 3) at rest-pose points (P, 3)."""
        base, other = self.colours_23
        if self.kind == "plain":
            return np.broadcast_to(base, points_P3.shape)
        if self.kind == "fade":
            share = 0.5 + 0.5 * np.sin(points_P3 @ self.waves_33[0] * 0.15 + self.phases_3[0])
        elif self.kind == "stripes":
            share = np.sin(points_P3 @ self.waves_33[0] + self.phases_3[0]) > self.threshold
        else:
            waves = np.sin(points_P3 @ self.waves_33.T + self.phases_3)
            if self.kind == "check":
                share = 0.5 * (waves[:, 0] > 0) + 0.5 * (waves[:, 1] > 0)
            elif self.kind == "dots":
                share = waves[:, 0] * waves[:, 1] > 0.35 + 0.3 * self.threshold
            else:
                share = waves.sum(1) > self.threshold
        return np.asarray(base + share[:, None] * (other - base), np.float32)


@dataclass(frozen=True, kw_only=True)
class Look:
    """One person's skin, hair and clothes. Lengths in metres on the template body."""

    marks: Landmarks
    skin: Float32
    lips: Float32
    eyes: Float32
    hair: Float32
    hair_edge: float
    hair_tilt: float
    long_hair: bool
    bald: bool
    beard: bool
    hat: bool
    top: Fabric
    bottom: Fabric
    shoes: Float32
    sole: Float32
    barefoot: bool
    sleeve_x: float
    waist_y: float
    neckline_y: float
    v_neck: float
    leg_hem_y: float
    shaft_y: float
    badge: tuple[float, float, float, float] | None
    badge_colour: Float32
    front_strip: bool
    belt: bool
    gloves: bool

    def paint(self, points_P3: Float32) -> Float32:
        """Compute the albedo (P, 3), RGB within 0–1, of rest-pose points (P, 3)."""
        marks = self.marks
        x, y, z = points_P3.T
        wide = np.abs(x)
        colours = np.empty_like(points_P3)
        colours[:] = self.skin

        lower = (y < self.waist_y) & (y > self.leg_hem_y) & (wide < 0.4)
        colours[lower] = self.bottom.paint(points_P3[lower])
        if not self.barefoot:
            foot = y < self.shaft_y
            colours[foot] = self.shoes
            colours[y < marks.ankle_y - 0.055] = self.sole

        neckline = self.neckline_y
        if self.v_neck:
            neckline = neckline - self.v_neck * np.clip(1.0 - wide / 0.07, 0, 1) * (z > 0.0)
        upper = (y >= self.waist_y) & (y < neckline) & (wide < self.sleeve_x)
        colours[upper] = self.top.paint(points_P3[upper])
        if self.front_strip:
            colours[upper & (wide < 0.012) & (z > 0.03)] = self.badge_colour
        if self.badge is not None:
            badge_x, badge_y, half_x, half_y = self.badge
            inside = (np.abs(x - badge_x) < half_x) & (np.abs(y - badge_y) < half_y) & (z > 0.0)
            colours[upper & inside] = self.badge_colour
        if self.belt:
            colours[(np.abs(y - self.waist_y) < 0.018) & (wide < 0.3)] = self.shoes
        if self.gloves:
            colours[wide > marks.wrist_x + 0.01] = self.badge_colour

        self._paint_head(points_P3, colours)
        return colours

    def _paint_head(self, points_P3: Float32, colours_P3: Float32) -> None:
        marks, unit = self.marks, self.marks.face_unit
        head = np.flatnonzero(
            (points_P3[:, 1] > marks.neck_y - 0.12) & (np.abs(points_P3[:, 0]) < 0.13)
        )
        if not len(head):
            return
        x, y, z = points_P3[head].T
        wide = np.abs(x)
        v = (y - marks.nose_y) / unit
        colours = colours_P3[head]
        face = z > marks.ear_z

        if self.beard:
            colours[face & (v < -0.12) & (v > -0.62) & (wide < 0.075)] = self.hair
        mouth = face & ((x / (0.19 * unit)) ** 2 + ((v + 0.27) / 0.065) ** 2 < 1)
        colours[mouth] = self.lips
        eye = face & (((wide - 0.205 * unit) / (0.115 * unit)) ** 2 + ((v - 0.215) / 0.07) ** 2 < 1)
        colours[eye] = (0.92, 0.92, 0.9)
        iris = face & (((wide - 0.205 * unit) / unit) ** 2 + (v - 0.215) ** 2 < 0.066**2)
        colours[iris] = self.eyes
        brow = face & (np.abs(v - 0.345) < 0.032) & (np.abs(wide - 0.22 * unit) < 0.14 * unit)
        colours[brow] = self.hair * 0.7
        under_nose = face & (np.abs(v + 0.075) < 0.03) & (wide < 0.08 * unit)
        colours[under_nose] *= 0.6

        if not self.bald:
            # Hair lies above and behind a plane which rises from the nape to the forehead.
            behind = (z - marks.ear_z) / unit
            hairy = (v - 0.55) * np.cos(self.hair_tilt) - behind * np.sin(self.hair_tilt)
            hair = (hairy > self.hair_edge) & (v > -0.5)
            if self.long_hair:
                hair |= (behind < -0.1) & (y > marks.neck_y - 0.1) & (wide < 0.085) & (v < 0.4)
            colours[hair] = self.hair
        if self.hat:
            colours[v > 0.62] = self.badge_colour
        colours_P3[head] = colours


def random_colour(rng: np.random.Generator) -> Float32:
    """Draw an RGB colour within 0–1: greys, muted and strong ones, dark and light."""
    level, strength, *tint = rng.random(5)
    level = 0.08 + 0.9 * level
    strength = (0.08, 0.35, 0.8)[int(3 * strength)]
    strongest = max(tint)
    colour = [level * (1.0 - strength + strength * part / strongest) for part in tint]
    return np.array(colour, np.float32)


def _fabric(rng: np.random.Generator) -> Fabric:
    kinds = ("plain", "stripes", "check", "dots", "blotches", "fade")
    kind = str(rng.choice(kinds, p=(0.42, 0.18, 0.1, 0.06, 0.14, 0.1)))
    first = random_colour(rng)
    second = random_colour(rng) if rng.random() < 0.7 else first * rng.uniform(0.3, 0.75)
    if kind == "blotches":
        waves = rng.normal(0.0, 1.0, (3, 3)) * rng.uniform(12.0, 50.0)
    else:
        # Along y, along x, along z: rings, pinstripes and their crossings.
        waves = np.roll(np.eye(3), rng.integers(2), axis=0)[[1, 0, 2]] * rng.uniform(40.0, 170.0)
        waves = waves + rng.normal(0.0, 2.0, (3, 3))
    return Fabric(
        kind=kind,
        colours_23=np.stack([first, second]).astype(np.float32),
        waves_33=waves.astype(np.float32),
        phases_3=rng.uniform(0.0, 2 * np.pi, 3).astype(np.float32),
        threshold=float(rng.uniform(-0.5, 0.6)),
    )


def draw_look(rng: np.random.Generator, marks: Landmarks) -> Look:
    """Draw a person's appearance."""
    tone = rng.uniform(0.0, len(_SKIN_TONES) - 1.5)
    low = int(tone)
    skin = _SKIN_TONES[low] + (tone - low) * (_SKIN_TONES[low + 1] - _SKIN_TONES[low])
    skin = np.clip(skin * rng.uniform(0.92, 1.04, 3), 0.05, 1.0)
    hair = np.clip(_HAIR_TONES[rng.integers(len(_HAIR_TONES))] * rng.uniform(0.8, 1.2), 0.02, 0.95)
    sleeves = rng.random()
    if sleeves < 0.12:
        sleeve = marks.shoulder_x - 0.01
    elif sleeves < 0.55:
        sleeve = marks.shoulder_x + rng.uniform(0.08, 0.28)
    else:
        sleeve = marks.wrist_x + rng.uniform(-0.1, 0.01)
    legs = rng.random()
    if legs < 0.3:
        hem = marks.knee_y + rng.uniform(-0.08, 0.25)
    else:
        hem = marks.ankle_y + rng.uniform(-0.03, 0.12)
    top, bottom = _fabric(rng), _fabric(rng)
    if rng.random() < 0.12:  # overalls, suits, tights
        bottom = top
    shoes = random_colour(rng)
    badge = None
    if rng.random() < 0.4:
        half = rng.uniform(0.025, 0.09, 2)
        badge = (
            float(rng.uniform(-0.06, 0.06)), float(marks.neck_y - rng.uniform(0.14, 0.3)),
            float(half[0]), float(half[1]),
        )  # fmt: skip
    return Look(
        marks=marks,
        skin=skin.astype(np.float32),
        lips=np.asarray(skin * (0.82, 0.5, 0.5), np.float32),
        eyes=np.asarray(rng.choice([0.08, 0.2, 0.35]) * np.array([0.9, 0.9, 1.0]), np.float32),
        hair=hair.astype(np.float32),
        hair_edge=float(rng.uniform(-0.12, 0.12)),
        hair_tilt=float(rng.uniform(0.55, 1.1)),
        long_hair=bool(rng.random() < 0.35),
        bald=bool(rng.random() < 0.07),
        beard=bool(rng.random() < 0.15),
        hat=bool(rng.random() < 0.12),
        top=top,
        bottom=bottom,
        shoes=shoes,
        sole=shoes * 0.4 if rng.random() < 0.6 else np.full(3, 0.9, np.float32),
        barefoot=bool(rng.random() < 0.12),
        sleeve_x=float(sleeve),
        waist_y=float(marks.pelvis_y + rng.uniform(-0.12, 0.12)),
        neckline_y=float(marks.neck_y - rng.uniform(0.0, 0.07)),
        v_neck=float(rng.choice([0.0, 0.0, rng.uniform(0.04, 0.14)])),
        leg_hem_y=float(hem),
        shaft_y=float(
            marks.ankle_y + rng.choice([-0.01, 0.02, 0.12, 0.25], p=(0.5, 0.3, 0.1, 0.1))
        ),
        badge=badge,
        badge_colour=random_colour(rng),
        front_strip=bool(rng.random() < 0.2),
        belt=bool(rng.random() < 0.25),
        gloves=bool(rng.random() < 0.06),
    )
