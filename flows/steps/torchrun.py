"""``python -m flows.steps.torchrun PID …``: torchrun that ends with the process PID."""

from __future__ import annotations

import sys

from hemlets.core.processes import die_with_parent

__all__ = ["main"]


def main(argv: list[str]) -> None:
    """Tie this process to its parent, then be ``torchrun``."""
    die_with_parent(parent_pid=int(argv[0]))
    from torch.distributed.run import main as torchrun

    torchrun(argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
