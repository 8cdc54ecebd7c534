"""One process of a group: run by `runpy` in a fresh process, with ``ARGUMENTS`` put beforehand.

It meets the others in a file and talks on loopback only; no port is listened on for the meeting.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from hemlets.core.processes import die_with_parent


def recording(optimiser: type, file: Path) -> type:
    """An optimiser that writes the gradients of its first step into a file."""
    from safetensors.torch import save_file

    class Recording(optimiser):  # type: ignore[misc]
        def __init__(self, network: Any, config: Any) -> None:
            super().__init__(network, config)
            self._network = network

        def step(self) -> None:
            if not file.exists():
                named = self._network.named_parameters()
                grads = {name: p.grad.clone() for name, p in named if p.grad is not None}
                save_file({name: grad.contiguous() for name, grad in grads.items()}, file)
            super().step()

    return Recording


def main(*, job: str, rank: int, size: int, meeting: str, log: str, gradients: str) -> int:
    """Train a job as one of several processes; process 0 writes its first step's gradients."""
    die_with_parent(signal.SIGKILL)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "GLOO_SOCKET_IFNAME": "lo"}
    with Path(log).open("a") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    import torch.distributed as dist

    from hemlets.training import engine, run

    if rank == 0:
        run.StageOptimiser = recording(run.StageOptimiser, Path(gradients))  # type: ignore[misc]
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    return engine.main([job])


ARGUMENTS: dict[str, Any] | None = globals().get("ARGUMENTS")
if ARGUMENTS is not None:
    sys.exit(main(**ARGUMENTS))
