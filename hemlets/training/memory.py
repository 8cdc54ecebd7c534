"""Explain out-of-memory errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from hemlets.core.errors import TrainingError
from hemlets.training.config import TrainingConfig

_SIGNS = (
    # Torch on a CPU; CUDA and NCCL; the libraries, which allocate workspaces of their own.
    "can't allocate memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


@contextlib.contextmanager
def explain_out_of_memory(config: TrainingConfig, processes: int) -> Iterator[None]:
    """Replace an out-of-memory error by one that names the setting to change.

    Raises:
        TrainingError: Memory did not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # But for torch's own allocator on a GPU these are plain RuntimeErrors.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
            sign in str(error) for sign in _SIGNS
        ):
            raise
        parts = _more_parts(config, processes)
        raise TrainingError(
            "out of memory",
            where=f"training.batch_size = {config.batch_size}, "
            f"training.accumulate = {config.accumulate}",
            remedy="lower training.batch_size"
            if parts is None
            else f"set training.accumulate to {parts}, which needs less for the same training, or "
            "lower training.batch_size",
        ) from error


def _more_parts(config: TrainingConfig, processes: int) -> int | None:
    """Return the smallest even split of a batch into at least twice as many parts."""
    share = config.batch_size // processes
    cuts = range(2 * config.accumulate, share + 1)
    return next((parts for parts in cuts if config.batch_size % (processes * parts) == 0), None)
