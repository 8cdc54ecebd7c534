"""Time of one image: ``python tests/benchmarks/bench_inference.py``.

The whole model (pose, decoding, shape) on a crop that is there, in each form, in float32 and
bfloat16: as it is trained and, on a CPU, as it is prepared for inference and served.
The limits are those of two cores' wall clock. On one thread the processor's own time is held
against them instead: a busy machine does not change it, and a second core can only help. Writes
``results/inference.csv``; ends with 1 where a limit is exceeded on a machine that was free to keep
it.
"""

from __future__ import annotations

from conditions import BUSY, cores, machine, timed

import argparse
import csv
import itertools
import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn

from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.fused import FusedModel, Precision, can_prepare

RESULTS = Path(__file__).parent / "results" / "inference.csv"
COLUMNS = (
    "machine", "device", "cores", "threads", "form", "precision", "prepared", "wall_ms", "busy_ms",
    "limit_ms",
)  # fmt: skip
FORMS = {
    "small": PoseNetworkConfig(backbone="efficientnet_lite0", lateral=True),
    "small, resnet18": PoseNetworkConfig(lateral=True),
    "resnet50": PoseNetworkConfig(
        backbone="resnet50",
        crop_px=256,
        volume_cells=64,
        branch_channels=256,
        fusion_channels=512,
    ),
}
LIMITS_MS = {"small": 10.0, "small, resnet18": 10.0, "resnet50": 80.0}
"""In bfloat16, prepared."""
PRECISIONS: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
THREADS = 2


def infer(model: nn.Module, crop: torch.Tensor, cast: bool) -> None:
    """One image."""
    with torch.inference_mode(), torch.autocast(crop.device.type, torch.bfloat16, cast):
        model(crop)


def main() -> int:
    """Measure and write a row for each form and precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    threads: int = options.threads
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows, passed = [], True
    for form, config in FORMS.items():
        model = HemletsPosh(config, ShapeNetworkConfig()).eval()
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        crop = torch.randn(1, 3, config.crop_px, config.crop_px, device=device)
        crop = crop.to(memory_format=torch.channels_last)
        for precision, prepared in itertools.product(PRECISIONS, (False, True)):
            if prepared and (device.type != "cpu" or not can_prepare(precision)):
                continue
            ready = FusedModel(model, precision) if prepared else model
            cast = precision == "bfloat16" and not prepared
            took = timed(partial(infer, ready, crop, cast), device, 20)
            judged_here = precision == "bfloat16" and (prepared or device.type != "cpu")
            limit = LIMITS_MS[form] if judged_here else None
            alone = threads == 1 and device.type == "cpu"
            kept = True if limit is None else took.keeps(limit, alone=alone)
            passed &= kept is not False
            if kept is None:
                print(BUSY)
            values = (machine(), device.type, cores(), threads, form, precision, prepared,
                      f"{took.wall_ms:.1f}", f"{took.busy_ms:.1f}", limit or "")  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            print(rows[-1], flush=True)
    with options.results.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
