"""What ends a training whose numbers are of no use: losses and gradients that are not finite."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import nn

from hemlets.core.errors import TrainingError
from hemlets.core.files import atomic_path
from hemlets.training.batches import AnyBatch
from hemlets.training.config import StageJob


class Step(NamedTuple):
    """A step whose numbers are checked; its batch is saved where they are of no use.

    Attributes:
        job: Of the run.
        batch: What the step learns from.
        number: From 0.
        rank: Of this process.
    """

    job: StageJob
    batch: AnyBatch
    number: int
    rank: int

    def check_loss(self, values: dict[str, float], usual_loss: float) -> None:
        """Check the loss terms, summed over the batch, against their usual total.

        Raises:
            TrainingError: Their total is not finite, or above ``training.explosion`` times the
                usual one.
        """
        explosion = self.job.training.explosion
        limit = explosion * usual_loss if explosion else math.inf
        if not math.isfinite(values["total"]) or values["total"] > limit:
            what = "exploded" if math.isfinite(values["total"]) else "is not finite"
            raise self._failed(f"the loss {what} at step {self.number}: {values}")

    def check_gradient(self, norm: float, network: nn.Module, values: dict[str, float]) -> None:
        """Check the gradient: a finite loss may have one that is not (a root at 0).

        Raises:
            TrainingError: Its norm is not finite.
        """
        if not math.isfinite(norm):
            lost = _names_without_number(network)
            raise self._failed(
                f"the gradient is not finite at step {self.number}, {lost}; the loss: {values}"
            )

    def _failed(self, what: str) -> TrainingError:
        from safetensors.torch import save_file

        name = f"batch-at-step-{self.number}-rank-{self.rank}.safetensors"
        path = self.job.out / name
        with atomic_path(path) as scratch:
            tensors = self.batch._asdict().items()
            save_file({k: v.contiguous().cpu() for k, v in tensors}, scratch)
        return TrainingError(
            what,
            where=path,
            remedy="look at the saved batch; lower training.learning_rate or set "
            "training.gradient_clip",
        )


def usual(usual_loss: float, loss: float, step: int) -> float:
    """Mean loss that forgets slowly, and quickly at first."""
    if not math.isfinite(usual_loss):
        return loss
    return usual_loss + (loss - usual_loss) / min(step + 1, 100)


def _names_without_number(network: nn.Module) -> str:
    """Which parameters have a gradient that is not finite, for people."""
    names = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    if not names:
        return "its length overflows"
    return f"in {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
