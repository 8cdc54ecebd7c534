"""What a GPU makes of the network: ``python tests/benchmarks/bench_network.py``.

Training and inference images a second of the paper's network on crops that are there, floating
point operations by torch's own counter, their share of the measured peak of a matrix product, and
the soft-argmax: the fused kernel (Triton) beside the project's and the plain one, held against
float64. Writes ``results/network.csv``, on GPUs only.

One forward pass of one crop, full network and baseline, beside the paper's 13.3 and 8.5 ms on a
GTX 1080 (section 6.1.3): ``results/runtime.csv``, on whatever device there is.

``--dry-run`` does all of it at tiny sizes and writes nothing.
"""

from __future__ import annotations

from conditions import machine, timed

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from bench_codecs import batch_of, milliseconds, step_of
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hemlets.models import HemletsPosh, PoseNetwork, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.codecs import cell_centres, expectation, marginals
from hemlets.training.precision import resolve_precision

RESULTS = Path(__file__).parent / "results" / "network.csv"
RUNTIMES = RESULTS.with_name("runtime.csv")
RUNTIME_COLUMNS = ("machine", "device", "precision", "network", "parameters_m", "ms", "paper_ms")
PAPER_MS = {"full": 13.3, "baseline": 8.5}
"""On a GTX 1080; networks of 47.7 and 34.3 M parameters."""
COLUMNS = ("machine", "device", "what", "value", "unit", "aim")
PAPER = PoseNetworkConfig(
    backbone="resnet50", crop_px=256, volume_cells=64, branch_channels=256, fusion_channels=512
)
TINY = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=32)


def operations(work: Callable[[], object]) -> int:
    """Floating point operations of a call."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return int(counter.get_total_flops())


def matmul_peak(device: torch.device, precision: torch.dtype, side: int) -> float:
    """Operations a second of one large square product."""
    a, b = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    return 2 * side**3 / (milliseconds(lambda: a @ b, device, 10) / 1e3)


def plain_soft_argmax(logits_BJDHW: Tensor) -> Tensor:
    """By the words of equation (5)."""
    logits = logits_BJDHW.float() if logits_BJDHW.dtype != torch.float64 else logits_BJDHW
    p = torch.softmax(logits.flatten(2), -1).view_as(logits)
    sums = p.sum((2, 3)), p.sum((2, 4)), p.sum((3, 4))
    return torch.stack([(q * cell_centres(q.shape[-1], None, q)).sum(-1) for q in sums], -1)


def our_soft_argmax(logits_BJDHW: Tensor) -> Tensor:
    """As the pose network decodes its volume."""
    return expectation(marginals(logits_BJDHW))


def decoders() -> dict[str, Callable[[Tensor], Tensor]]:
    """The soft-argmaxes that can run here."""
    found: dict[str, Callable[[Tensor], Tensor]] = {
        "plain": plain_soft_argmax,
        "ours": our_soft_argmax,
    }
    try:
        from fused_soft_argmax import fused_soft_argmax
    except ImportError:
        return found
    return {**found, "fused": fused_soft_argmax}


def soft_argmax_rows(device: torch.device, count: int, cells: int) -> list[tuple[str, float, str]]:
    """Time, memory and error of each, forward and backward, on channels-last logits."""
    rows = []
    # As the last convolution writes them.
    flat = torch.randn(count, 18 * cells, cells, cells, device=device, dtype=torch.bfloat16) * 4
    flat = flat.to(memory_format=torch.channels_last)
    logits = flat.unflatten(1, (18, cells)).requires_grad_()
    few = logits.detach()[:2].double()
    exact = plain_soft_argmax(few)
    for name, decode in decoders().items():

        def both(decode: Callable[[Tensor], Tensor] = decode) -> None:
            logits.grad = None
            decode(logits).sum().backward()

        took = milliseconds(both, device, 10)
        rows.append((f"soft-argmax {name}", took, "ms"))
        error = (decode(logits.detach()[:2]).double() - exact).abs().max()
        rows.append((f"soft-argmax {name}, error", float(error), "voxels"))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            both()
            used = (torch.cuda.max_memory_allocated() - before) / 2**20
            rows.append((f"soft-argmax {name}, memory", used, "MiB"))
    return rows


def network_rows(
    device: torch.device, config: PoseNetworkConfig, count: int, side: int
) -> list[tuple[str, float, str]]:
    """Speeds and shares of the peak."""
    precision = resolve_precision("auto", device)
    peak = matmul_peak(device, precision, side)
    rows = [("matmul peak", peak / 1e12, "TFLOP/s")]
    step = step_of(config, batch_of(count, config, device), device)
    step_flops = operations(step)
    took_s = milliseconds(step, device, 10) / 1e3
    rows += [
        ("training", count / took_s, "images/s"),
        ("training, operations", step_flops / count / 1e9, "GFLOP/image"),
        ("training, share of the peak", 100 * step_flops / took_s / peak, "%"),
    ]
    model = HemletsPosh(config, ShapeNetworkConfig()).eval()
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    crop = torch.randn(count, 3, config.crop_px, config.crop_px, device=device)
    crop = crop.to(memory_format=torch.channels_last)

    def infer() -> None:
        with torch.inference_mode(), torch.autocast(device.type, precision):
            model(crop)

    infer_flops = operations(infer)
    took_s = milliseconds(infer, device, 10) / 1e3
    rows += [
        ("inference", count / took_s, "images/s"),
        ("inference, operations", infer_flops / count / 1e9, "GFLOP/image"),
        ("inference, share of the peak", 100 * infer_flops / took_s / peak, "%"),
    ]
    return rows


def runtime_rows(device: torch.device, config: PoseNetworkConfig) -> list[dict[str, str]]:
    """Median of forward passes of one crop, decoded; processor time on a CPU."""
    precision = resolve_precision("auto", device)
    rows = []
    for name, paper_ms in PAPER_MS.items():
        changes = {} if name == "full" else {"intermediate": "none"}
        network = PoseNetwork(config.model_copy(update=changes)).eval()
        network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        crop = torch.randn(1, 3, config.crop_px, config.crop_px, device=device)

        def infer(network: PoseNetwork = network, crop: Tensor = crop) -> None:
            with torch.inference_mode(), torch.autocast(device.type, precision):
                network.decode(network(crop))

        taken = timed(infer, device, 5)
        values = (
            machine(), device.type, str(precision).removeprefix("torch."), name,
            f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f}",
            f"{taken.busy_ms if device.type == 'cpu' else taken.wall_ms:.4g}", str(paper_ms),
        )  # fmt: skip
        rows.append(dict(zip(RUNTIME_COLUMNS, values, strict=True)))
    return rows


def write(path: Path, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


AIMS = {"training": "1600", "inference": "5000", "training, share of the peak": "35"}


def main(argv: list[str]) -> int:
    """Measure, print and, unless it is a dry run, write."""
    dry = "--dry-run" in argv
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config, count, side = (TINY, 2, 256) if dry else (PAPER, 64, 8192)
    runtimes = runtime_rows(device, config)
    for row in runtimes:
        print(f"one crop, {row['network']:<22} {row['ms']:>10} ms (paper: {row['paper_ms']})")
    if not dry:
        write(RUNTIMES, RUNTIME_COLUMNS, runtimes)
    if device.type == "cpu" and not dry:
        print("the rest needs a GPU; --dry-run tries it at tiny sizes", file=sys.stderr)
        return 0
    found = network_rows(device, config, count, side)
    found += soft_argmax_rows(device, count, config.volume_cells)
    rows = [
        dict(zip(COLUMNS, (machine(), device.type, what, f"{value:.4g}", unit, AIMS.get(what, "")),
                 strict=True))
        for what, value, unit in found
    ]  # fmt: skip
    for row in rows:
        print(f"{row['what']:<32} {row['value']:>10} {row['unit']}")
    if not dry:
        write(RESULTS, COLUMNS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
