"""Stop a training whose losses or gradients are not finite."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import nn

from hemlets.core.errors import TrainingError
from hemlets.models.model_folder import save_tensors
from hemlets.training.batches import AnyBatch
from hemlets.training.config import StageJob


class Step(NamedTuple):
    """The checks of one step; its batch is saved if they fail."""

    job: StageJob
    batch: AnyBatch
    number: int
    rank: int

    def check_loss(self, values: dict[str, float], mean_loss: float) -> None:
        """Check the loss terms, summed over the batch, against the running mean of their total.

        Raises:
            TrainingError: The total is not finite, or above ``training.explosion`` times the mean.
        """
        explosion = self.job.training.explosion
        limit = explosion * mean_loss if explosion else math.inf
        if not math.isfinite(values["total"]) or values["total"] > limit:
            what = "exploded" if math.isfinite(values["total"]) else "is not finite"
            raise self._failed(f"the loss {what} at step {self.number}: {values}")

    def check_gradient(self, norm: float, network: nn.Module, values: dict[str, float]) -> None:
        """Check the gradient, which may be non-finite for a finite loss (a square root at 0).

        Raises:
            TrainingError: Its norm is not finite.
        """
        if not math.isfinite(norm):
            lost = _names_without_number(network)
            raise self._failed(
                f"the gradient is not finite at step {self.number}, {lost}; the loss: {values}"
            )

    def _failed(self, what: str) -> TrainingError:
        name = f"batch-at-step-{self.number}-rank-{self.rank}.safetensors"
        path = self.job.out / name
        save_tensors(path, self.batch._asdict())
        return TrainingError(
            what,
            where=path,
            remedy="look at the saved batch; lower training.learning_rate or set "
            "training.gradient_clip",
        )


def update_running_mean(mean_loss: float, loss: float, step: int) -> float:
    """Update a running mean with a long memory; short in early steps."""
    if not math.isfinite(mean_loss):
        return loss
    return mean_loss + (loss - mean_loss) / min(step + 1, 100)


def _names_without_number(network: nn.Module) -> str:
    """List the parameters whose gradient is not finite, for a message."""
    names = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    if not names:
        return "its length overflows"
    return f"in {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
