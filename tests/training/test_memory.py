"""A lack of memory is told from other errors, and the remedy is a setting that is accepted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hemlets.core.errors import TrainingError
from hemlets.training.batches import Loader
from hemlets.training.config import StageJob, TrainingConfig
from hemlets.training.engine import train
from hemlets.training.memory import explain_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_every_form_of_it_is_known(error: Exception) -> None:
    config = TrainingConfig(steps=1, batch_size=8, accumulate=2)
    with (
        pytest.raises(TrainingError, match=r"set training\.accumulate to 4"),
        explain_out_of_memory(config, 1),
    ):
        raise error


def test_other_errors_are_not_taken_for_it() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes differ"),
        explain_out_of_memory(TrainingConfig(steps=1), 1),
    ):
        raise RuntimeError("shapes differ")


def test_a_run_without_enough_memory_says_so(
    job_for: Callable[..., StageJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hemlets.training.objectives import PoseObjective

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PoseObjective, "forward", fail)
    with pytest.raises(TrainingError, match="out of memory"):
        train(job_for(tmp_path))


class _Nothing:
    """As many samples as a batch needs, which nobody asks for."""

    def __len__(self) -> int:
        return 64

    def batch(self, indices: np.ndarray[Any, Any], epoch: int) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "processes", "parts"),
    [(64, 16, 4, None), (64, 8, 4, 16), (24, 4, 1, 8), (24, 4, 2, 12), (20, 4, 1, 10)],
)
def test_the_suggested_cut_is_one_that_the_loader_accepts(
    batch_size: int, accumulate: int, processes: int, parts: int | None
) -> None:
    config = TrainingConfig(steps=1, batch_size=batch_size, accumulate=accumulate)
    with pytest.raises(TrainingError) as caught, explain_out_of_memory(config, processes):
        raise MemoryError
    assert "lower training.batch_size" in str(caught.value.remedy)
    assert ("accumulate" in str(caught.value.remedy)) == (parts is not None)
    if parts is not None:
        assert f"to {parts}," in str(caught.value.remedy)
        Loader(_Nothing(), batch_size=batch_size, seed=0, world_size=processes, accumulate=parts)
