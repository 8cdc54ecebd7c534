"""Time of one image: ``python tests/benchmarks/bench_inference.py``.

The whole model (pose, decoding, shape) on a crop that is there, both forms, float32 and bfloat16.
Writes ``results/inference.csv``; ends with 1 where a limit is passed.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch
from bench_codecs import milliseconds
from bench_rendering import machine

from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig

RESULTS = Path(__file__).parent / "results" / "inference.csv"
COLUMNS = ("machine", "device", "threads", "form", "precision", "ms", "limit_ms")
FORMS = {
    "small": PoseNetworkConfig(lateral=True),
    "resnet50": PoseNetworkConfig(
        backbone="resnet50",
        crop_px=256,
        volume_cells=64,
        branch_channels=256,
        fusion_channels=512,
    ),
}
LIMITS_MS = {("small", "bfloat16"): 10.0, ("resnet50", "bfloat16"): 80.0}
THREADS = 2


def main() -> int:
    """Measure and write a row for each form and precision."""
    torch.set_num_threads(THREADS)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows, passed = [], True
    for form, config in FORMS.items():
        model = HemletsPosh(config, ShapeNetworkConfig()).eval()
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        crop = torch.randn(1, 3, config.crop_px, config.crop_px, device=device)
        crop = crop.to(memory_format=torch.channels_last)
        for name, precision in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):

            def run(
                model: HemletsPosh = model,
                crop: torch.Tensor = crop,
                precision: torch.dtype = precision,
            ) -> None:
                with (
                    torch.inference_mode(),
                    torch.autocast(device.type, precision, enabled=precision != torch.float32),
                ):
                    model(crop)

            took = milliseconds(run, device, 20)
            limit = LIMITS_MS.get((form, name))
            passed &= limit is None or took <= limit
            values = (machine(), device.type, THREADS, form, name, f"{took:.1f}", limit or "")
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            print(rows[-1])
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
