"""The state of a stage in training: networks, optimiser, running sums; saved and restored."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import TypeAdapter
from torch import Tensor, nn

from hemlets.core.errors import ConfigError
from hemlets.core.files import read_json
from hemlets.models import HemletsPosh
from hemlets.models.model_folder import CARD, ModelCard, load_strictly
from hemlets.training.batches import AnyBatch, micro_batches
from hemlets.training.calibration import Calibration
from hemlets.training.checkpoints import save_checkpoint
from hemlets.training.config import StageJob, TrainingConfig
from hemlets.training.group import Group
from hemlets.training.identity import Identity
from hemlets.training.moving_average import ExponentialMovingAverage
from hemlets.training.optimisers import StageOptimiser, learning_rate
from hemlets.training.safeguards import Step, update_running_mean
from hemlets.training.stages import Stage, initial_model

BONES_FROM = "bones_measured_on"
"""Model card field: rows by source and split of the measured part lengths."""
_CALIBRATION = TypeAdapter(Calibration)


@dataclass
class Standing:
    """Measurements of a training so far.

    Attributes:
        sums: Loss terms, summed over the samples since the last report.
        counted: Number of those samples.
        mean_loss: Running mean of a batch's total loss.
        figures: Last validation figures.
        calibration: Calibration of the pose network's predictions.
    """

    calibration: Calibration
    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    mean_loss: float = math.inf
    figures: dict[str, float] = field(default_factory=dict)

    def add(self, values: dict[str, float], samples: int, step: int) -> None:
        """Add a step's loss terms."""
        self.mean_loss = update_running_mean(self.mean_loss, values["total"], step)
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in values.items()}
        self.counted += samples

    def mean_losses(self) -> dict[str, float]:
        """Return mean loss terms per sample since the last report."""
        return {f"loss/{name}": value / self.counted for name, value in self.sums.items()}

    def reported(self) -> None:
        """Reset the sums after a report."""
        self.sums, self.counted = {}, 0


class Run:
    """A stage in training, in one process of the group."""

    def __init__(
        self,
        job: StageJob,
        stage: Stage,
        group: Group,
        precision: torch.dtype,
        *,
        start_from: StageJob,
    ) -> None:
        self.job, self.group, self.precision = job, group, precision
        self.model = _on_device(initial_model(start_from), group.device)
        if job.training.compile:
            self.model.pose.compile()
        objective = stage.objective(self.model)
        self.network = stage.part(self.model)
        self._parameters = [p for p in self.network.parameters() if p.requires_grad]
        self._optimiser = StageOptimiser(self.network, job.training)
        self.average = ExponentialMovingAverage(self.network, job.training.ema)
        self.standing = Standing(_calibration_before(job))
        self._stepper = group.parallel(objective)

    def restore(self, state: dict[str, Any], *, where: Path) -> None:
        """Restore the state that `save` wrote."""
        load_strictly(self.network, state["network"], where=where)
        self.average.state = {k: v.to(self.group.device) for k, v in state["average"].items()}
        self._optimiser.load_state_dict(state["optimiser"])
        self.standing = Standing(
            _CALIBRATION.validate_json(state["calibration"]),
            state["sums"],
            state["counted"],
            state["usual_loss"],
            state["figures"],
        )

    def save(self, path: Path, step: int, identity: Identity) -> None:
        """Write a checkpoint, from process 0."""
        if self.group.rank != 0:
            return
        standing = self.standing
        save_checkpoint(
            path,
            {
                "identity": identity.record,
                "step": step,
                "network": self.network.state_dict(),
                "average": self.average.state,
                "optimiser": self._optimiser.state_dict(),
                "sums": standing.sums,
                "counted": standing.counted,
                "usual_loss": standing.mean_loss,
                "calibration": _CALIBRATION.dump_json(standing.calibration).decode(),
                "figures": standing.figures,
            },
        )

    def advance(self, batch: AnyBatch, step: int) -> None:
        """Take one optimiser step and update the moving average.

        Raises:
            TrainingError: The loss or its gradient is not finite, or the loss exploded.
        """
        config = self.job.training
        self._optimiser.set_rate(learning_rate(config, step))
        sums = _backward(self._stepper, batch, config, self.precision, self.group.size)
        values = _global_sums(sums, self.group.size)
        checked = Step(self.job, batch, step, self.group.rank)
        checked.check_loss(values, self.standing.mean_loss)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        checked.check_gradient(norm.item(), self.network, values)
        if config.gradient_clip:
            nn.utils.clip_grads_with_norm_(self._parameters, config.gradient_clip, norm)
        self._optimiser.step()
        self.average.update(self.network, step)
        self.standing.add(values, config.batch_size, step)

    def averaged_model(self, prefix: str) -> HemletsPosh:
        """Return a copy of the model with `weights`."""
        with torch.random.fork_rng(devices=[]):
            copy = _on_device(HemletsPosh(self.job.pose, self.job.shape), self.group.device)
        copy.load_state_dict(self.weights(prefix))
        return copy

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """Return the whole model's weights on the CPU, with the trained part averaged."""
        averaged = {prefix + name: value for name, value in self.average.state.items()}
        return {k: v.cpu() for k, v in (self.model.state_dict() | averaged).items()}


def _on_device(model: HemletsPosh, device: torch.device) -> HemletsPosh:
    placed: HemletsPosh = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def _backward(
    stepper: nn.Module,
    batch: AnyBatch,
    config: TrainingConfig,
    precision: torch.dtype,
    world_size: int,
) -> dict[str, Tensor]:
    """Accumulate a batch's gradients over micro-batches; return the summed loss terms."""
    device = next(stepper.parameters()).device
    sums: dict[str, Tensor] = {}
    parts = micro_batches(batch, config.accumulate)
    for number, part in enumerate(parts, 1):
        # Ranks exchange their gradients with the last part only.
        quiet = world_size > 1 and number < len(parts)
        with stepper.no_sync() if quiet else contextlib.nullcontext():  # type: ignore[operator]
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                terms: dict[str, Tensor] = stepper(part)
            # Gradients are averaged over ranks, so a rank's share is its sum times their number.
            loss = terms["total"] * (world_size / config.batch_size)
            loss.backward()  # type: ignore[no-untyped-call]
        for name, value in terms.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
    return sums


def _global_sums(terms: dict[str, Tensor], world_size: int) -> dict[str, float]:
    """Sum loss terms over all processes."""
    values = torch.stack([value.detach().float() for value in terms.values()])
    if world_size > 1:
        dist.all_reduce(values)
    return dict(zip(terms, values.tolist(), strict=True))


def _calibration_before(job: StageJob) -> Calibration:
    """Read the calibration of the pose network that a job starts from."""
    # In the order in which they give the pose network.
    for weights in (job.initial_pose, job.initial):
        path = weights and weights.with_name(CARD)
        if path and path.exists():
            try:
                card = ModelCard.from_mapping(read_json(path), where=str(path))
            except ConfigError:
                # Weights are checked on their own; a card of another version says nothing.
                break
            return Calibration(card.bones, card.person, card.training.get(BONES_FROM))
    return Calibration(None, None)
