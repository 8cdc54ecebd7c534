"""One process of a group: run by `runpy` in a fresh process, with ``ARGUMENTS`` put beforehand.

It meets the others in a file and talks on loopback only; no port is listened on for the meeting.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from hemlets.core.processes import die_with_parent


def main(*, job: str, rank: int, size: int, meeting: str, log: str) -> int:
    """Train a job as one of several processes."""
    die_with_parent(signal.SIGKILL)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "GLOO_SOCKET_IFNAME": "lo"}
    with Path(log).open("a") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    import torch.distributed as dist

    from hemlets.training.engine import main as train

    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    return train([job])


ARGUMENTS: dict[str, Any] | None = globals().get("ARGUMENTS")
if ARGUMENTS is not None:
    sys.exit(main(**ARGUMENTS))
