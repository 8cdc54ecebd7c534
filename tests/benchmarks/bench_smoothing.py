"""What the filter of ``hemlets video`` does: ``python tests/benchmarks/bench_smoothing.py``.

Renders one person in each of the held-out motions of one camera's view, in colour and compressed
as footage is, predicts the videos frame by frame with a model folder (the bundled starter weights
unless told otherwise), and compares the tracks as predicted, filtered as ``hemlets video`` does it,
and filtered live. Boxes are the true ones. Of the pose stage's joints and of the posed body's:

- jitter: mean acceleration, m/s²; the true motion's stands beside it;
- MPJPE with both pelves at one point, mm;
- lag: frames by which a track is behind the unfiltered one, which is the filter's own doing.

Writes ``results/smoothing.csv``, one row a machine, model, points and track, and, with ``--out``,
the annotated videos with and without the filter and a sheet of their frames to look at. Ends with
1 where the filter leaves more than half of the added jitter, lags by a quarter of a frame, or makes
the error larger.
"""

from __future__ import annotations

from conditions import machine

import argparse
import csv
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.transform import Rotation
from smoothness import jitter, lag_frames
from video_files import write_video

from hemlets.assets import asset_path
from hemlets.assets.clips import MotionClip, load_clips
from hemlets.body import BodyModel
from hemlets.body.raster import Rectangle, SquareCamera
from hemlets.cli.footage import VideoPart, VideoPredictor
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, Studio
from hemlets.data.synthetic.backdrop import draw_background
from hemlets.data.synthetic.people import _compose
from hemlets.evaluation.metrics.joints import mpjpe_mm
from hemlets.inference.people import Detection
from hemlets.inference.smoothing import SmoothingConfig
from hemlets.inference.types import BodyEstimate, Camera
from hemlets.inference.video import Track, smooth_track
from hemlets.inference.video_source import VideoSource
from hemlets.reports.drawing import place_body, png
from hemlets.reports.drawing.people import draw_people

if TYPE_CHECKING:
    from hemlets.data.synthetic.people import _Posed

RESULTS = Path(__file__).parent / "results" / "smoothing.csv"
COLUMNS = (
    "machine", "model", "clips", "frames", "points", "track", "jitter_m_s2", "true_jitter_m_s2",
    "mpjpe_mm", "lag_frames",
)  # fmt: skip
FPS, SIDE, SECONDS = 30.0, 320, 4.0
ROOT_MM: Final = np.array([0.0, 0.0, 4_500.0])
FILLED: Final = 0.8
LEFT_OF_JITTER, MOST_LAG = 0.5, 0.25
SHOWN = 6

Float = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]
Tracks = Mapping[str, Track]


@dataclass(frozen=True, kw_only=True, eq=False)
class Footage:
    """A rendered video and what is true of it.

    Attributes:
        file: The video.
        camera: It was rendered with.
        boxes: The person's, by frame.
        joints_TJ3_mm: The 18 joints, relative to the pelvis.
    """

    file: Path
    camera: Camera
    boxes: Sequence[Box]
    joints_TJ3_mm: Float


def motion(clip: MotionClip, heading_rad: float) -> tuple[npt.NDArray[np.float32], Float]:
    """θ (T, 24, 3) before the camera and the root's path (T, 3) in mm, at `FPS`."""
    step = max(1, round(clip.fps / FPS))
    chosen = slice(0, round(SECONDS * clip.fps), step)
    theta = clip.theta_F72[chosen].reshape(-1, 24, 3).copy()
    turn = Rotation.from_euler("xyz", [np.pi - 0.15, heading_rad, 0.0])
    theta[:, 0] = (turn * Rotation.from_rotvec(theta[:, 0])).as_rotvec()
    path = 1e3 * turn.apply(clip.translation_F3_m[chosen])
    return theta, path - path.mean(0) + ROOT_MM


def render(clip: MotionClip, number: int, body: BodyModel, folder: Path) -> Footage:
    """Film a clip: one person, one look, one place; the camera stands still."""
    theta, path = motion(clip, 0.6 + number)
    with torch.inference_mode():
        posed = body(torch.from_numpy(theta), torch.zeros(1, 10))
    root = posed.joints24_B243_mm[:, :1].numpy()
    skin, joints = (p.numpy() - root + path[:, None].astype(np.float32)
                    for p in (posed.vertices_BV3_mm, posed.joints18_B183_mm))  # fmt: skip
    slopes = skin[..., :2] / skin[..., 2:]
    low, high = slopes.min((0, 1)), slopes.max((0, 1))
    focal = FILLED * SIDE / float((high - low).max())
    centre = SIDE / 2 - focal * (low + high) / 2
    camera = SquareCamera(focal_px=focal, centre_px=(float(centre[0]), float(centre[1])))
    studio = Studio(OpenDataConfig(image_px=SIDE), MotionLibrary.bundled(), body)
    place = draw_background(np.random.default_rng(number), SIDE, 0.5)
    frames, boxes = [], []
    for vertices in skin:
        image, outline = place.copy(), camera.project(vertices)
        where = Rectangle.around(outline, SIDE)
        # The same numbers for each frame, so that the person keeps skin, clothes and light.
        actor = cast("_Posed", SimpleNamespace(vertices_V3_mm=vertices))
        _compose(image, studio._draw_body(np.random.default_rng(number), camera, actor, where))
        frames.append(image)
        (left, top), (right, bottom) = outline.min(0), outline.max(0)
        boxes.append((float(left), float(top), float(right), float(bottom)))
    file = folder / f"{clip.name}.mp4"
    write_video(file, frames, FPS, (SIDE, SIDE))
    return Footage(
        file=file,
        camera=Camera(fx=focal, fy=focal, cx=float(centre[0]), cy=float(centre[1])),
        boxes=boxes,
        joints_TJ3_mm=(joints - joints[:, :1]).astype(np.float64),
    )


def predict(predictor: VideoPredictor, footage: Footage) -> VideoPart:
    """One track, unfiltered."""
    boxes = footage.boxes
    result = predictor.follow(
        VideoSource.open(footage.file),
        lambda number, frame: [Detection(box_xyxy=boxes[number])],
        footage.camera,
        folder=None,
        smooth=False,
    )
    (part,) = result.parts
    return part


def points_of(estimates: Sequence[BodyEstimate], body: BodyModel) -> dict[str, Float]:
    """The pose stage's joints and the posed body's, (T, 18, 3) relative to the pelvis."""
    theta, betas = (np.stack([getattr(e, name) for e in estimates]) for name in ("theta", "betas"))
    with torch.inference_mode():
        posed = body(torch.from_numpy(theta), torch.from_numpy(betas)).joints18_B183_mm
    joints = np.stack([e.joints3d_mm for e in estimates]).astype(np.float64)
    placed = posed.double().numpy()
    return {"pose stage": joints, "posed body": placed - placed[:, :1]}


def accelerations(points_TJ3_mm: Float) -> float:
    """Mean acceleration, m/s²."""
    return 1e-3 * FPS**2 * jitter(points_TJ3_mm)


def measure(
    tracks: Mapping[str, Sequence[Sequence[BodyEstimate]]], truths: Sequence[Float], body: BodyModel
) -> list[dict[str, str]]:
    """A row for each kind of points and each track; clips count by their frames."""
    weights = np.array([len(truth) for truth in truths], np.float64)
    points = {
        name: [points_of(estimates, body) for estimates in clips] for name, clips in tracks.items()
    }
    rows = []
    for kind in ("pose stage", "posed body"):
        raw = [clip[kind] for clip in points["as predicted"]]
        for name, clips in points.items():
            found = [clip[kind] for clip in clips]
            figures = {
                "jitter_m_s2": [accelerations(p) for p in found],
                "true_jitter_m_s2": [accelerations(t) for t in truths],
                "mpjpe_mm": [mpjpe_mm(p, t).mean() for p, t in zip(found, truths, strict=True)],
                "lag_frames": [lag_frames(p, r) for p, r in zip(found, raw, strict=True)],
            }
            # Zero is added since a rounded mean may be −0.
            means = {
                k: f"{round(float(np.average(v, weights=weights)), 2) + 0.0:.2f}"
                for k, v in figures.items()
            }
            rows.append({"points": kind, "track": name} | means)
    return rows


def verdicts(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, bool]]:
    """What should be so of the filter as ``hemlets video`` runs it, and whether it is."""
    told = []
    for kind in ("pose stage", "posed body"):
        by = {row["track"]: row for row in rows if row["points"] == kind}
        raw, calm = (
            {key: float(by[name][key]) for key in COLUMNS[6:]}
            for name in ("as predicted", "filtered")
        )
        added = raw["jitter_m_s2"] - raw["true_jitter_m_s2"]
        left = calm["jitter_m_s2"] - calm["true_jitter_m_s2"]
        told += [
            (f"{kind}: at most half of the added jitter is left", left <= LEFT_OF_JITTER * added),
            (f"{kind}: no lag", abs(calm["lag_frames"]) < MOST_LAG),
            (f"{kind}: no larger error", calm["mpjpe_mm"] <= raw["mpjpe_mm"]),
        ]
    return told


def show(folder: Path, file: Path, parts: Mapping[str, VideoPart]) -> None:
    """The annotated videos, and a sheet: a row of frames of each track, side by side."""
    rows = []
    for name, part in parts.items():
        own = folder / name.replace(" ", "-")
        own.mkdir(parents=True, exist_ok=True)
        (track,) = part.tracks
        frames = [
            draw_people(image, [(e, place_body(part.body, e.theta, e.betas, e.root_mm))])
            for (image, _), e in zip(VideoSource.open(file).frames(), track.estimates, strict=True)
        ]
        write_video(own / f"{part.stem}.overlay.mp4", frames, FPS, part.size)
        at = len(frames) // 3
        row = np.concatenate(frames[at : at + SHOWN], 1)
        rows.append(cv2.putText(row, f"{name}, frames {at} to {at + SHOWN - 1}", (6, 16),
                                cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1))  # fmt: skip
    sheet = np.asarray(np.concatenate(rows), np.uint8)
    (folder / f"{file.stem}.png").write_bytes(png(sheet))


def record(rows: Sequence[Mapping[str, str]], *, model: str, clips: str, frames: int) -> None:
    """Replace this machine's and model's rows."""
    old: list[dict[str, str]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as stream:
            old = list(csv.DictReader(stream))
    where = {"machine": machine(), "model": model, "clips": clips, "frames": str(frames)}
    kept = [row for row in old if (row["machine"], row["model"]) != (where["machine"], model)]
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *({**where, **row} for row in rows)])


def main() -> int:
    """Render, predict, filter, measure, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the starter weights if omitted")
    parser.add_argument("--out", type=Path, help="folder for the videos and sheets to look at")
    options = parser.parse_args()
    body = BodyModel.load()
    folder_of_model = options.model or asset_path("starter/model.json").parent
    predictor = VideoPredictor.load(folder_of_model)
    clips = [*load_clips("test"), *load_clips("gate")]
    tracks: dict[str, list[Sequence[BodyEstimate]]] = {}
    truths, version = [], ""
    with tempfile.TemporaryDirectory() as scratch:
        for number, clip in enumerate(clips):
            footage = render(clip, number, body, Path(scratch))
            raw = predict(predictor, footage)
            (track,) = raw.tracks
            version = track.estimates[0].model_version
            every: Tracks = {
                "as predicted": track,
                "filtered": smooth_track(track, FPS),
                "filtered live": smooth_track(track, FPS, SmoothingConfig(live=True)),
            }
            truths.append(footage.joints_TJ3_mm)
            for name, found in every.items():
                tracks.setdefault(name, []).append(found.estimates)
            if options.out is not None:
                shown = {name: replace(raw, tracks=(every[name],))
                         for name in ("as predicted", "filtered")}  # fmt: skip
                show(options.out, footage.file, shown)
    rows = measure(tracks, truths, body)
    for row in rows:
        print("  ".join(f"{value:>14}" for value in row.values()))
    frames = sum(map(len, truths))
    record(rows, model=version, clips=" ".join(clip.name for clip in clips), frames=frames)
    told = verdicts(rows)
    for wanted, right in told:
        print(f"{'yes' if right else 'NO ':3} {wanted}")
    return int(not all(right for _, right in told))


if __name__ == "__main__":
    sys.exit(main())
