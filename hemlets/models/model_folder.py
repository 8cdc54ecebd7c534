"""A model folder: weights as safetensors, and a description without which they mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import nn

from hemlets.config import Config
from hemlets.errors import CheckpointError, DataError
from hemlets.files import atomic_folder, content_hash, read_json, sha256_file, write_json
from hemlets.models.pose import PoseNetworkConfig
from hemlets.models.posh import HemletsPosh
from hemlets.models.shape import ShapeNetworkConfig

__all__ = ["ModelCard", "load_model", "load_weights", "save_model"]

WEIGHTS = "model.safetensors"
CARD = "model.json"
BONE_LENGTH_RANGE_MM = (500.0, 10_000.0)


class ModelCard(Config):
    """What the weights are.

    Attributes:
        bone_length_mm: Mean summed length of the 14 parts of predicted skeletons at known
            distance, measured on the validation split; gives the metric scale of predictions.
        precision: Inference runs at this precision, in the benchmark and when served.
        body: Name of the body model that θ and β belong to.
        weights_sha256: Hash of the weights file.
        training: Where the weights come from: data version, configuration, metrics.
    """

    format: Literal[1] = 1
    pose: PoseNetworkConfig
    shape: ShapeNetworkConfig
    bone_length_mm: float = Field(gt=BONE_LENGTH_RANGE_MM[0], lt=BONE_LENGTH_RANGE_MM[1])
    precision: Literal["float32"] = "float32"
    body: str = "open-body-lite"
    weights_sha256: str
    training: dict[str, Any] = Field(default_factory=dict)

    @property
    def version(self) -> str:
        """Short content hash of weights and description."""
        return content_hash(self.model_dump(mode="json", exclude={"training"}))[:12]


def save_model(
    folder: Path,
    state: dict[str, Any],
    *,
    pose: PoseNetworkConfig,
    shape: ShapeNetworkConfig,
    bone_length_mm: float,
    training: dict[str, Any],
    half: bool = False,
) -> ModelCard:
    """Write a model folder whole; with ``half`` its weights take half the space (float16)."""
    from safetensors.torch import save_file

    with atomic_folder(folder) as scratch:
        tensors = {k: v.contiguous() for k, v in state.items()}
        if half:
            tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
        save_file(tensors, scratch / WEIGHTS)
        # safetensors writes for its owner alone; a server may run as another user.
        (scratch / WEIGHTS).chmod(0o644)
        card = ModelCard(
            pose=pose,
            shape=shape,
            bone_length_mm=bone_length_mm,
            weights_sha256=sha256_file(scratch / WEIGHTS),
            training=training,
        )
        write_json(scratch / CARD, card.model_dump(mode="json"))
    return card


def load_weights(path: Path) -> dict[str, Any]:
    """Tensors of a safetensors file, in float32.

    Raises:
        CheckpointError: The file is absent or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError("the weights file does not exist", where=path) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"the weights can't be read: {error}", where=path) from error
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def load_model(folder: Path) -> tuple[HemletsPosh, ModelCard]:
    """The model of a folder, in evaluation mode.

    Raises:
        CheckpointError: A file is missing, damaged or does not fit the other.
    """
    try:
        card = ModelCard.from_mapping(read_json(folder / CARD), where=str(folder / CARD))
    except DataError as error:
        raise CheckpointError(error.what, where=folder / CARD) from error
    found = sha256_file(folder / WEIGHTS) if (folder / WEIGHTS).exists() else "no file"
    if found != card.weights_sha256:
        raise CheckpointError(
            f"the weights have SHA-256 {found}",
            where=folder / WEIGHTS,
            expected=card.weights_sha256,
            remedy="fetch the model again",
        )
    model = HemletsPosh(card.pose, card.shape)
    load_strictly(model, load_weights(folder / WEIGHTS), where=folder / WEIGHTS)
    return model.eval(), card


def load_strictly(module: nn.Module, state: dict[str, Any], *, where: Path) -> None:
    """Load a state dict, naming the first entry that does not fit.

    Raises:
        CheckpointError: A tensor is missing, unknown or of another shape.
    """
    own = module.state_dict()
    for name in [*own, *state]:
        shapes = [tuple(d[name].shape) if name in d else None for d in (state, own)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"tensor {name!r} has shape {shapes[0]}" if shapes[0] else f"no tensor {name!r}",
                where=where,
                expected=f"shape {shapes[1]}" if shapes[1] else "no such tensor",
            )
    module.load_state_dict(state)
