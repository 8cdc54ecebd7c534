"""Draws the documentation's figures: ``python docs/figures/draw.py``.

Diagrams are written as SVG by a few lines of this file; pictures show people that the
library renders. The colours stay apart under the common kinds of colour blindness.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch

from hemlets.body import BodyModel
from hemlets.core.skeleton import PARTS, depth_relations
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, RenderedPerson, render_person
from hemlets.data.transforms.crop import square_crop
from hemlets.models.codecs.heatmaps import encode_heatmaps
from hemlets.models.codecs.triplets import encode_triplets

HERE = Path(__file__).resolve().parent
BLUE, ORANGE, GREEN, GREY, DARK = "#0072b2", "#d55e00", "#009e73", "#e8ecef", "#24292f"
PALE = {BLUE: "#dcebf5", ORANGE: "#fbe6d8", GREEN: "#dcf1ea", GREY: GREY}

TILE_PX = 224

Point = tuple[float, float]


class Diagram:
    """Boxes, arrows and words on white."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.size = width, height
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'role="img" aria-label="{escape(title)}" '
            'font-family="Roboto, Helvetica, Arial, sans-serif" font-size="14">',
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="{DARK}"/></marker>'
            "</defs>",
            f'<rect width="{width}" height="{height}" fill="white"/>',
        ]

    def box(
        self, x: float, y: float, w: float, h: float, lines: Sequence[str], colour: str = GREY
    ) -> None:
        """A box with its first line in bold, the others small."""
        stroke = "#8c959f" if colour == GREY else colour
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{PALE[colour]}" '
            f'stroke="{stroke}" stroke-width="1.5"/>'
        )
        top = y + h / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.text(x + w / 2, top + 18 * number, line, bold=number == 0, small=number > 0)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        bold: bool = False,
        small: bool = False,
        colour: str = DARK,
        anchor: Literal["start", "middle", "end"] = "middle",
    ) -> None:
        """One line of text."""
        weight = ' font-weight="bold"' if bold else ""
        size = ' font-size="12"' if small else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}{size}>'
            f"{escape(words)}</text>"
        )

    def line(
        self,
        points: Sequence[Point],
        *,
        arrow: bool = True,
        colour: str = DARK,
        width: float = 1.6,
        dashed: bool = False,
    ) -> None:
        """A line through points, with a tip at its end."""
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        tip = ' marker-end="url(#tip)"' if arrow else ""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}{tip}/>'
        )

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        """A filled circle."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')

    def svg(self) -> str:
        """The file's text."""
        return "\n".join([*self.parts, "</svg>", ""])


def tilt() -> str:
    """Equation (1): the part's tilt against the image plane decides its relation."""
    d = Diagram(720, 330, "Depth relation of a part by its tilt against the image plane")
    centre, radius = (250.0, 165.0), 110.0
    d.text(centre[0], 24, "Seen from above: the camera is at the left", bold=True)
    d.box(20, 140, 90, 50, ["camera"], GREY)
    # The image plane is vertical here, so that a tilt of 30° is 60° from the line of sight.
    for angle in (60, 120, -60, -120):
        d.line([centre, _at(centre, radius, angle)], arrow=False, colour="#8c959f", dashed=True)
    for angle, words, colour in (
        (180, "Forward  +1", ORANGE),
        (90, "level  0", GREEN),
        (-90, "level  0", GREEN),
        (0, "Backward  −1", BLUE),
    ):
        x, y = _at(centre, radius, angle)
        d.line([centre, (x, y)], colour=colour, width=4, arrow=False)
        d.dot(x, y, 7, colour)
        out = _at(centre, radius + 22, angle)
        shift = {180: (72, -12), 0: (-66, -12), 90: (0, 8), -90: (0, 0)}[angle]
        d.text(out[0] + shift[0], out[1] + shift[1], words, colour=colour, bold=True)
    d.dot(*centre, 8, DARK)
    d.text(centre[0], centre[1] + 28, "parent")
    d.text(centre[0] + 24, centre[1] - 70, "30°", small=True)
    x = 450
    for number, (words, bold) in enumerate(
        (
            ("Equation (1)", True),
            ("Δ = z(parent) − z(child)", False),
            ("+1  if Δ > ε: the child is nearer", False),
            ("−1  if Δ < −ε: the child is farther", False),
            ("  0  otherwise", False),
            ("ε = half the part's length,", False),
            ("that is a tilt of 30°", False),
        )
    ):
        d.text(x, 80 + 28 * number, words, anchor="start", bold=bold)
    return d.svg()


def _at(centre: Point, radius: float, degrees: float) -> Point:
    """A point around a centre. 0° leads away from the camera, which is at the left."""
    a = math.radians(degrees)
    return centre[0] + radius * math.cos(a), centre[1] - radius * math.sin(a)


def network() -> str:
    """The pose network and the shape stage."""
    d = Diagram(980, 360, "The network: backbone, two branches, volume, soft-argmax, shape stage")
    d.box(20, 140, 110, 70, ["photo", "256 × 256"])
    d.box(170, 140, 120, 70, ["backbone", "ResNet-50"], BLUE)
    d.box(340, 60, 150, 70, ["features", "256 × 64 × 64"], BLUE)
    d.box(340, 200, 150, 90, ["heatmaps", "14 × 3 HEMlets", "18 joints in 2D"], ORANGE)
    d.box(540, 130, 120, 80, ["volume", "18 × 64³"], BLUE)
    d.box(700, 130, 120, 80, ["soft-argmax", "equation (5)"], GREY)
    d.box(860, 40, 105, 70, ["18 joints", "in 3D"], GREEN)
    d.box(700, 260, 120, 70, ["shape stage", "θ and β"], BLUE)
    d.box(860, 260, 105, 70, ["body", "mesh"], GREEN)
    for points in (
        [(130.0, 175.0), (168.0, 175.0)],
        [(290.0, 165.0), (338.0, 100.0)],
        [(290.0, 185.0), (338.0, 240.0)],
        [(490.0, 95.0), (538.0, 150.0)],
        [(490.0, 240.0), (538.0, 190.0)],
        [(660.0, 170.0), (698.0, 170.0)],
        [(820.0, 150.0), (858.0, 95.0)],
        [(760.0, 210.0), (760.0, 258.0)],
        [(230.0, 210.0), (230.0, 318.0), (698.0, 318.0)],
        [(820.0, 295.0), (858.0, 295.0)],
    ):
        d.line(points)
    d.text(415, 318 - 8, "image features", small=True)
    d.text(415, 46, "branch 1", small=True)
    d.text(415, 192, "branch 2, intermediate supervision (7)", small=True)
    d.text(912, 128, "L3D (6)", small=True)
    return d.svg()


def data_flow() -> str:
    """From datasets to a served model, and back through labels."""
    d = Diagram(980, 430, "The way of the data: from datasets to a served model")
    d.box(20, 30, 150, 64, ["datasets", "folders, S3"])
    d.box(20, 120, 150, 64, ["rendered people", "body, motion"])
    d.box(20, 210, 150, 64, ["labels", "Forward / Backward"])
    steps = (
        ("ingest", "table and shards", BLUE),
        ("validate", "Great Expectations", BLUE),
        ("train", "pose, then body", BLUE),
        ("benchmark", "scores, intervals", BLUE),
    )
    for number, (name, what, colour) in enumerate(steps):
        d.box(230 + 185 * number, 110, 150, 84, [name, what], colour)
        if number:
            d.line([(195 + 185 * number, 152.0), (228 + 185 * number, 152.0)])
    for y, end in ((62.0, 130.0), (152.0, 152.0), (242.0, 174.0)):
        d.line([(170.0, y), (228.0, end)])
    d.box(785, 250, 150, 64, ["register", "MLflow registry"], BLUE)
    d.box(600, 250, 150, 64, ["package", "archive, canary"], BLUE)
    d.box(415, 250, 150, 64, ["promote", "rules"], ORANGE)
    d.box(230, 250, 150, 64, ["serve", "TorchServe"], GREEN)
    d.line([(860.0, 194.0), (860.0, 248.0)])
    for x in (785.0, 600.0, 415.0):
        d.line([(x, 282.0), (x - 33, 282.0)])
    d.line([(490.0, 314.0), (490.0, 360.0), (590.0, 360.0)], dashed=True)
    d.text(
        602, 365, "rejected: the champion stays, the report says why", anchor="start", small=True
    )
    d.line([(305.0, 314.0), (305.0, 396.0), (95.0, 396.0), (95.0, 276.0)], dashed=True)
    d.text(200, 414, "annotators label new photographs", small=True)
    d.text(582, 96, "each step writes a folder with content hashes and reads the step before it")
    return d.svg()


def rooms() -> str:
    """Packages and the direction of their imports."""
    d = Diagram(900, 470, "Rooms of the project and the direction of imports")
    d.box(40, 30, 250, 70, ["flows", "Prefect, MLflow, DVC"], ORANGE)
    d.box(325, 30, 250, 70, ["data_checks", "Great Expectations"], ORANGE)
    d.box(610, 30, 250, 70, ["serving", "TorchServe"], ORANGE)
    d.box(40, 150, 820, 300, [], GREY)
    d.text(
        60, 176, "hemlets: no orchestrator, tracker, validator or server", bold=True, anchor="start"
    )
    rows = (
        (("cli", "one file a command"),),
        (("inference", "predictor, video"), ("training", "engine"), ("reports", "pages, drawing")),
        (
            ("evaluation", "metrics, protocols"),
            ("models", "networks, codecs"),
            ("data", "table, readers"),
        ),
        (("body", "model, fitting"), ("core", "skeleton, files, errors")),
    )
    for number, row in enumerate(rows):
        width = 780 / len(row)
        for place, lines in enumerate(row):
            d.box(60 + place * width, 192 + 64 * number, width - 12, 50, lines, BLUE)
    for x in (165, 450, 735):
        d.line([(x, 100.0), (x, 148.0)])
    d.line([(290.0, 65.0), (323.0, 65.0)])
    d.line([(165.0, 30.0), (165.0, 14.0), (735.0, 14.0), (735.0, 28.0)])
    return d.svg()


def metric_name() -> str:
    """The parts of a metric's full name."""
    d = Diagram(980, 190, "The parts of a metric's full name")
    parts = (
        ("mpjpe_mm", "quantity", "and unit"),
        ("test", "split", ""),
        ("18j", "joints", ""),
        ("root:pelvis", "common", "point"),
        ("align:none", "alignment", ""),
        ("box:ground-truth", "where the", "box is from"),
        ("depth:bone-length-prior", "where scale and", "depth are from"),
        ("flip:no", "flip", "test"),
    )
    x = 14.0
    for number, (value, first, second) in enumerate(parts):
        width = 8.6 * len(value) + 20
        colour = (BLUE, ORANGE, GREEN)[number % 3]
        d.box(x, 50, width, 44, [value], colour)
        d.line([(x + width / 2, 118.0), (x + width / 2, 97.0)])
        d.text(x + width / 2, 136, first, small=True)
        d.text(x + width / 2, 152, second, small=True)
        x += width + 8
    return d.svg()


def triplet_picture() -> np.ndarray:
    """A rendered person with the three heatmaps of a Forward, a level and a Backward part."""
    config = OpenDataConfig(image_px=256, occluder_probability=0.0)
    library, body = MotionLibrary.bundled(), BodyModel.load()
    person, parts = _with_all_relations(config, library, body)
    relation_K, _ = depth_relations(np.asarray(person.row["joints3d_mm"]))
    crop = square_crop(np.asarray(person.row["box_xyxy"]), TILE_PX)
    image = crop.extract(person.image)
    points = crop.to_crop(np.asarray(person.row["joints2d_px"])).astype(np.float32)
    maps = encode_heatmaps(torch.from_numpy(points * 64 / TILE_PX)[None], size=64, sigma=2.0)
    triplet = encode_triplets(maps, torch.from_numpy(relation_K)[None])[0].numpy()
    rows = []
    for part in parts:
        picked = image.copy()
        a, b = (tuple(int(v) for v in points[j]) for j in (PARTS[part].parent, PARTS[part].child))
        cv2.line(picked, a, b, (255, 255, 255), 3, cv2.LINE_AA)
        cv2.circle(picked, b, 6, (213, 94, 0), -1, cv2.LINE_AA)
        tiles = [_captioned(picked, PARTS[part].name.replace("_", " "))]
        for layer, title in enumerate(("T-1: farther", "T0: level", "T+1: nearer")):
            heat = cv2.resize(triplet[part, layer], (TILE_PX, TILE_PX))[..., None]
            glow = heat * np.array((255, 210, 60)) + (1 - heat) * 20
            tiles.append(_captioned((0.35 * image + 0.65 * glow).astype(np.uint8), title))
        rows.append(np.concatenate(tiles, 1))
    return np.concatenate(rows, 0)


def _with_all_relations(
    config: OpenDataConfig, library: MotionLibrary, body: BodyModel
) -> tuple[RenderedPerson, list[int]]:
    """The first rendered, upright person with a Forward, a level and a Backward limb."""
    limbs = [n for n, part in enumerate(PARTS) if "arm" in part.name or "thigh" in part.name
             or "shin" in part.name]  # fmt: skip
    for index in range(1000):
        person = render_person(config, library, body, "train", index)
        relation_K, _ = depth_relations(np.asarray(person.row["joints3d_mm"]))
        found = [[k for k in limbs if relation_K[k] == wanted] for wanted in (1, 0, -1)]
        left, top, right, bottom = person.row["box_xyxy"]
        upright = bottom - top > 1.4 * (right - left)
        if all(found) and upright and np.asarray(person.row["visible"]).all():
            return person, [ones[0] for ones in found]
    raise RuntimeError("no rendered person has a Forward, a level and a Backward limb")


def _captioned(image: np.ndarray, words: str) -> np.ndarray:
    strip = np.full((30, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, words, (8, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (36, 41, 47), 1, cv2.LINE_AA)
    tile = np.concatenate([strip, image], 0)
    return cv2.copyMakeBorder(tile, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=(255, 255, 255))


DIAGRAMS = {
    "tilt": tilt,
    "network": network,
    "data-flow": data_flow,
    "rooms": rooms,
    "metric-name": metric_name,
}


def main() -> int:
    """Write every figure to this file's folder."""
    for name, draw in DIAGRAMS.items():
        (HERE / f"{name}.svg").write_text(draw(), encoding="utf-8")
    picture = cv2.cvtColor(triplet_picture(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(HERE / "triplets.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return 0


if __name__ == "__main__":
    sys.exit(main())
