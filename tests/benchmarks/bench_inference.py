"""Time of one image: ``python tests/benchmarks/bench_inference.py``.

The whole model (pose, decoding, shape) on a crop that is there, both forms, float32 and bfloat16.
The limits are those of two cores' wall clock. On one thread the processor's own time is held
against them instead: a busy machine does not change it, and a second core can only help. Writes
``results/inference.csv``; ends with 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import torch
from conditions import cores, machine, timed

from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig

RESULTS = Path(__file__).parent / "results" / "inference.csv"
COLUMNS = (
    "machine", "device", "cores", "threads", "form", "precision", "wall_ms", "busy_ms", "limit_ms",
)  # fmt: skip
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS)
    threads: int = parser.parse_args().threads
    torch.set_num_threads(threads)
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

            took = timed(run, device, 20)
            limit = LIMITS_MS.get((form, name))
            judged = took.busy_ms if threads == 1 and device.type == "cpu" else took.wall_ms
            passed &= limit is None or judged <= limit
            values = (machine(), device.type, cores(), threads, form, name,
                      f"{took.wall_ms:.1f}", f"{took.busy_ms:.1f}", limit or "")  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            print(rows[-1])
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
