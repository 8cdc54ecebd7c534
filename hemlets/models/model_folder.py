"""A model folder: weights as safetensors, and a description without which they mean nothing."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from hemlets.assets import asset_path, asset_sha256
from hemlets.core.arrays import Floating
from hemlets.core.config import Config
from hemlets.core.errors import CheckpointError, ConfigError, DataError
from hemlets.core.files import (
    atomic_folder,
    atomic_path,
    content_hash,
    read_json,
    sha256_file,
    write_json,
)
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.fused import Precision
from hemlets.models.initial_weights import without_initial_weights
from hemlets.models.pose import PoseNetworkConfig
from hemlets.models.posh import HemletsPosh
from hemlets.models.shape import ShapeNetworkConfig

WEIGHTS = "model.safetensors"
CARD = "model.json"
BUNDLED: Final = "movenet_thunder/model.safetensors"
"""Asset of the encoder that a weights file may leave out."""
ENCODER: Final = "bundled_encoder"
"""Metadata of a weights file that leaves the encoder out: the asset's SHA-256."""
_BACKBONE: Final = "pose.backbone."


class PersonThreshold(Config):
    """Confidence threshold of person presence, with its error rates.

    Attributes:
        statistic: What the confidence is: `hemlets.models.codecs.PERSON_STATISTIC`.
        threshold: Below it there is probably nobody.
        one_look: The threshold for people whom a model with second looks has looked at once; None
            where it is ``threshold``.
        missed: Share of the images of people below it.
        false_alarms: Share of the images without a person that reach it.
        people: Images of people that this was measured on.
        backgrounds: Images without.
    """

    statistic: str
    threshold: float = Field(ge=0, le=1)
    missed: float = Field(ge=0, le=1)
    false_alarms: float = Field(ge=0, le=1)
    people: int = Field(ge=1)
    backgrounds: int = Field(ge=1)
    one_look: float | None = Field(None, ge=0, le=1)

    @classmethod
    def measured(
        cls,
        threshold: float,
        of_people: Sequence[float] | Floating,
        of_backgrounds: Sequence[float] | Floating,
        *,
        statistic: str,
        one_look: float | None = None,
    ) -> PersonThreshold:
        """A threshold with its error rates on some confidences, at least one of each kind."""
        return cls(
            statistic=statistic,
            threshold=threshold,
            missed=float((np.asarray(of_people) < threshold).mean()),
            false_alarms=float((np.asarray(of_backgrounds) >= threshold).mean()),
            people=len(of_people),
            backgrounds=len(of_backgrounds),
            one_look=one_look,
        )


class InferenceConfig(Config):
    """How a model predicts, in the benchmark and when served.

    Attributes:
        precision: On a processor that lacks it, float32.
        flip_test: Average with the prediction of the mirrored crop, at twice the cost.
        second_look: Look again at people whom the network is unsure of, in four crops, turned and
            closer; only a network with keypoints can tell.
        follow_joints: Turn the body onto the joints (`hemlets.body.follow`), and give the joints
            the body's depth (`hemlets.inference.body_joints`); θ and joints are the networks' own
            otherwise, as in the paper.
    """

    precision: Precision = "float32"
    flip_test: bool = False
    second_look: bool = False
    follow_joints: bool = False


class ModelCard(Config):
    """What the weights are.

    Attributes:
        format: 3 since the root's rotation is learnt in the crop's view.
        bones: Lengths of the 14 parts of predicted skeletons at known distance, which give
            predictions their metric scale; ``training["bones_measured_on"]`` counts the rows.
        precision: See `InferenceConfig`.
        flip_test: See `InferenceConfig`.
        second_look: See `InferenceConfig`.
        follow_joints: See `InferenceConfig`.
        body: Name of the body model that θ and β belong to.
        person: Tells people from empty scenes, set and measured on the validation split; None
            where it was not.
        weights_sha256: Hash of the weights file.
        training: Where the weights come from: data version, configuration, metrics.
    """

    format: Literal[3] = 3
    pose: PoseNetworkConfig
    shape: ShapeNetworkConfig
    bones: BoneLengths
    precision: Precision = "float32"
    flip_test: bool = False
    second_look: bool = False
    follow_joints: bool = False
    body: str = "open-body-lite"
    person: PersonThreshold | None = None
    weights_sha256: str
    training: dict[str, Any] = Field(default_factory=dict)

    @property
    def inference(self) -> InferenceConfig:
        """How the model predicts."""
        return InferenceConfig.model_validate(
            {name: getattr(self, name) for name in InferenceConfig.model_fields}
        )

    @property
    def version(self) -> str:
        """Short content hash of weights and description."""
        described = self.model_dump(mode="json", exclude={"training"})
        if self.person is None:
            # A model that was never asked about empty scenes is the same as before one could ask.
            del described["person"]
        elif self.person.one_look is None:
            del described["person"]["one_look"]
        # Settings that did not exist once.
        for name in ("flip_test", "second_look", "follow_joints"):
            if not described[name]:
                del described[name]
        for name in (
            "depth_cells", "keypoints", "quarter_level", "refinement_layers", "refinement_context",
        ):  # fmt: skip
            if not described["pose"][name]:
                del described["pose"][name]
        return content_hash(described)[:12]


def save_model(
    folder: Path,
    state: dict[str, Any],
    *,
    pose: PoseNetworkConfig,
    shape: ShapeNetworkConfig,
    bones: BoneLengths,
    training: dict[str, Any],
    person: PersonThreshold | None = None,
    inference: InferenceConfig | None = None,
    half: bool = False,
    bundled_encoder: bool = False,
) -> ModelCard:
    """Write a model folder whole.

    Args:
        folder: It is replaced.
        state: Of the whole model.
        pose: See `ModelCard`, as for all that follow but the last two.
        shape: Of the shape network.
        bones: Of predicted skeletons.
        training: Where the weights come from.
        person: Tells people from empty scenes.
        inference: How the model predicts.
        half: Weights take half the space (float16).
        bundled_encoder: Leave out the backbone's weights, which are those that hemlets comes with;
            :func:`load_weights` puts them back.

    Raises:
        CheckpointError: The backbone's weights are not the bundled ones.
        WorkspaceError: It could not be written.
    """
    metadata = {}
    if bundled_encoder:
        state = _without_encoder(state, folder)
        metadata = {ENCODER: asset_sha256(BUNDLED)}
    with atomic_folder(folder) as scratch:
        tensors = {k: v.contiguous() for k, v in state.items()}
        if half:
            tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
        _write(scratch / WEIGHTS, tensors, metadata)
        # safetensors writes for its owner alone; a server may run as another user.
        (scratch / WEIGHTS).chmod(0o644)
        card = ModelCard(
            pose=pose,
            shape=shape,
            bones=bones,
            person=person,
            **(inference or InferenceConfig()).model_dump(),
            weights_sha256=sha256_file(scratch / WEIGHTS),
            training=training,
        )
        write_json(scratch / CARD, card.model_dump(mode="json"))
    return card


def _without_encoder(state: dict[str, Any], where: Path) -> dict[str, Any]:
    """A model's state without its backbone, which has to be the bundled one."""
    bundled = {_BACKBONE + name: value for name, value in _tensors(asset_path(BUNDLED))[0].items()}
    own = {name: value for name, value in state.items() if name.startswith(_BACKBONE)}
    if own.keys() != bundled.keys() or any(
        not torch.equal(own[name].float(), value.float()) for name, value in bundled.items()
    ):
        raise CheckpointError(
            "the backbone's weights are not the bundled ones",
            where=where,
            expected="a movenet_thunder that was frozen throughout",
            remedy="save the model with its backbone",
        )
    return {name: value for name, value in state.items() if name not in own}


def _tensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors and metadata of a safetensors file as they are stored."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return state, opened.metadata() or {}


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a safetensors file atomically.

    Raises:
        WorkspaceError: It could not be written.
    """
    with atomic_path(path) as scratch:
        _write(scratch, {name: value.contiguous() for name, value in tensors.items()})


def _write(
    path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        # It hides the system's error, such as that of a full disk, in its message.
        raise OSError(errno.EIO, str(error)) from error


def load_weights(path: Path) -> dict[str, Any]:
    """Tensors of a safetensors file, in float32, with the bundled encoder where one is left out.

    Raises:
        CheckpointError: The file is absent or damaged, or goes with another bundled encoder.
    """
    from safetensors import SafetensorError

    try:
        state, metadata = _tensors(path)
    except FileNotFoundError as error:
        raise CheckpointError.missing("the weights file", path) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError.damaged(f"the weights can't be read: {error}", path) from error
    if ENCODER in metadata:
        found = asset_sha256(BUNDLED)
        if found != metadata[ENCODER]:
            raise CheckpointError(
                f"the weights go with another encoder than the bundled one: {found}",
                where=path,
                expected=f"SHA-256 {metadata[ENCODER]}",
                remedy="use the version of hemlets that the weights came with",
            )
        encoder = _tensors(asset_path(BUNDLED))[0]
        state |= {_BACKBONE + name: value for name, value in encoder.items()}
    # Copies, because the stored tensors are the file in memory.
    return {
        k: v.to(torch.float32 if v.is_floating_point() else v.dtype, copy=True)
        for k, v in state.items()
    }


def load_model(folder: Path) -> tuple[HemletsPosh, ModelCard]:
    """The model of a folder, in evaluation mode.

    Raises:
        CheckpointError: A file is missing, damaged or does not fit the other.
    """
    try:
        card = ModelCard.from_mapping(read_json(folder / CARD), where=str(folder / CARD))
    except DataError as error:
        raise CheckpointError(
            error.what, where=folder / CARD, remedy="fetch the model again"
        ) from error
    except ConfigError as error:
        raise CheckpointError(
            error.what,
            where=folder / CARD,
            expected="a card of this version of hemlets",
            remedy="fetch the model again, or use the version of hemlets that wrote it",
        ) from error
    found = sha256_file(folder / WEIGHTS) if (folder / WEIGHTS).exists() else "no file"
    if found != card.weights_sha256:
        raise CheckpointError(
            f"the weights have SHA-256 {found}",
            where=folder / WEIGHTS,
            expected=card.weights_sha256,
            remedy="fetch the model again",
        )
    with without_initial_weights():
        model = HemletsPosh(card.pose, card.shape)
    load_strictly(model, load_weights(folder / WEIGHTS), where=folder / WEIGHTS, assign=True)
    return model.eval(), card


def load_strictly(
    module: nn.Module, state: dict[str, Any], *, where: Path, assign: bool = False
) -> None:
    """Load a state dict, naming the first entry that does not fit.

    Args:
        module: Its parameters and buffers change.
        state: By name.
        where: Source of the state for errors.
        assign: Take the tensors themselves instead of copies.

    Raises:
        CheckpointError: A tensor is missing, unknown or of another shape.
    """
    own = module.state_dict()
    for name in [*own, *state]:
        found, wanted = (tuple(d[name].shape) if name in d else None for d in (state, own))
        if found != wanted:
            raise CheckpointError(
                f"no tensor {name!r}" if found is None else f"tensor {name!r} has shape {found}",
                where=where,
                expected="no such tensor" if wanted is None else f"shape {wanted}",
            )
    module.load_state_dict(state, assign=assign)
