"""Train a tiny pose network for a few steps: ``python examples/train_pose.py FOLDER``.

Shows the parts that a retraining joins: a data version, a job, the training engine, a model folder.
A few steps teach nothing; flows/profiles has the settings of real trainings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.models.model_folder import load_model
from hemlets.training.config import StageJob
from hemlets.training.engine import train


def main(folder: str, steps: str = "10") -> None:
    """Render a small data version, train the pose stage on it and load the result."""
    data, out = Path(folder) / "data", Path(folder) / "run"
    sizes = SplitSizes(train=64, validation=8, gate=8, test=8)
    build_open_data(OpenDataConfig(samples=sizes, image_px=96, background_share=0.0), data)
    job = StageJob.from_mapping(
        {
            "stage": "pose",
            "pose": {
                "crop_px": 64,
                "volume_cells": 16,
                "branch_channels": 16,
                "fusion_channels": 32,
            },
            "shape": {"hidden": 32, "blocks": 0},
            "losses": {},
            "augmentation": {},
            "training": {
                "steps": int(steps),
                "batch_size": 8,
                "precision": "float32",
                "threads": 1,
                "log_every": 1,
                "validate_every": int(steps),
                "checkpoint_every": int(steps),
            },
            "data": str(data),
            "out": str(out),
        }
    )
    figures = train(job)
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    print("loss by step:", " ".join(f"{row['loss/total']:.0f}" for row in rows))
    print("validation:", {name: round(value, 1) for name, value in figures.items()})
    model, card = load_model(out / "model")
    print("loaded:", sum(weight.numel() for weight in model.parameters()), "weights", card.version)


if __name__ == "__main__":
    main(*sys.argv[1:])
