"""Tabulate every setting of a profile with its value and meaning, for the report."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from flows.profile import Profile
from hemlets.core.config import Config

_MEANINGS: Final = {
    "data.seed": "Of all that is drawn in rendering: the same seed gives the same people.",
    "data.samples.train": "People rendered for training.",
    "data.samples.validation": "People rendered for validation.",
    "data.samples.gate": "People rendered for the gate split.",
    "data.samples.test": "People rendered for the test split.",
    "data.shape_std": "Standard deviation that each number of β is drawn with.",
    "data.distance_m": "Least and largest distance of the person from the camera, metres.",
    "data.elevation_deg": "Least and largest height of the camera above the person, degrees.",
    "data.roll_std_deg": "Standard deviation of the camera's turn about its axis, degrees.",
    "pose.backbone": "The network that turns a crop into features.",
    "pose.crop_px": "Side of the square crop that the network sees, pixels.",
    "pose.volume_cells": "Cells of a joint's volume along x and along y.",
    "pose.depth_cells": "Cells of a joint's volume along z; as many as along x when omitted.",
    "pose.keypoints": "Whether the backbone's own 2D keypoints decide where joints lie in the "
    "image.",
    "pose.branch_channels": "Channels of the upsampling branches.",
    "pose.fusion_channels": "Channels where the branches meet.",
    "pose.intermediate": "The maps between features and volume: the paper's HEMlets, or none.",
    "shape.hidden": "Width of the shape network.",
    "shape.blocks": "Residual blocks of the shape network.",
    "losses.alpha": "Weight of the loss of the intermediate maps, the paper's equation (8).",
    "losses.supervision": "Which of the intermediate maps have a loss, as in the paper's Table 4.",
    "losses.marginal": "Weight of the cross-entropy on the sums of a volume along its axes; the "
    "paper's own loss has 0.",
    "losses.theta": "Weight of the error of θ, the paper's equation (11).",
    "losses.betas": "Weight of the error of β, the paper's equation (11).",
    "losses.posed_joints": "Weight of the distances, in metres, between the joints of the "
    "predicted and the true body; the paper's own loss has 0.",
    "augmentation.rotation_deg": "Largest turn of a training crop to either side, degrees.",
    "augmentation.scale_min": "Smallest enlargement of a training crop.",
    "augmentation.scale_max": "Largest enlargement of a training crop.",
    "augmentation.flip": "Probability that a training crop is mirrored.",
    "augmentation.colour": "Largest change of a colour channel's brightness, as a share.",
    "augmentation.shift": "Largest shift of a training crop, in sides of the crop.",
    "inference.precision": "Arithmetic of predictions; float32 on a processor that lacks it.",
    "train_pose.steps": "Updates of the weights.",
    "train_pose.batch_size": "Images of a step, over all processes together.",
    "train_pose.mix": "Weight of each source in every batch; empty mixes one 3D and one 2D source "
    "half and half.",
    "train_pose.learning_rate": "The learning rate's peak.",
    "train_pose.optimiser": "The rule that gradients become updates by.",
    "train_pose.final_rate": "Learning rate at the end, as a share of its peak.",
    "train_pose.weight_decay": "How strongly weights are pulled towards 0.",
    "train_pose.gradient_clip": "Largest norm of the gradient; 0 leaves it as it is.",
    "train_pose.seed": "Of what is drawn in training.",
    "train_pose.log_every": "Steps between two dots of the loss.",
    "train_pose.validate_every": "Steps between two validations.",
    "train_pose.validation_samples": "Samples of a validation, at most.",
    "train_pose.checkpoint_every": "Steps between two checkpoints.",
    "canary.theta_tolerance_rad": "Largest difference of θ from the saved prediction, radians.",
    "canary.betas_tolerance": "Largest difference of β from the saved prediction.",
}
"""Meanings of settings whose classes don't document them for readers of a report."""

_IN_HEADING: Final = frozenset({"name", "description"})

_FirstUses = dict[type[BaseModel], tuple[BaseModel, str]]


class Setting(NamedTuple):
    """A row of the table."""

    key: str
    value: str
    meaning: str


def settings_of(profile: Profile) -> list[Setting]:
    """List all settings in the profile's order.

    A part of the same class as an earlier part is listed by its differences only.
    """
    return _rows(profile, "", {})


def _rows(part: BaseModel, prefix: str, first_uses: _FirstUses) -> list[Setting]:
    meanings = _documented(type(part))
    rows = []
    earlier, before = first_uses.setdefault(type(part), (part, prefix))
    if earlier is not part:
        rows.append(
            Setting(f"{prefix}…", f"as {before.rstrip('.')}", "Where nothing else follows.")
        )
    for name in type(part).model_fields:
        key, value = f"{prefix}{name}", getattr(part, name)
        if isinstance(value, BaseModel):
            rows += _rows(value, f"{key}.", first_uses)
        elif key in _IN_HEADING:
            continue
        elif earlier is part:
            rows.append(Setting(key, _plain(value), _MEANINGS.get(key) or meanings.get(name, "")))
        elif value != getattr(earlier, name):
            rows.append(Setting(key, _plain(value), f"As {before}{name}."))
    return rows


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, BaseModel):
        known = {name: inner for name, inner in value if inner is not None}
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in known.items())
    if isinstance(value, tuple | list):
        return ", ".join(_plain(inner) for inner in value) or "–"
    return str(value)


@cache
def _documented(kind: type[BaseModel]) -> dict[str, str]:
    """Read the documentation of the fields of a class and its bases: docstrings, strings below."""
    bases = [base for base in kind.__bases__ if issubclass(base, Config) and base is not Config]
    inherited = {name: text for base in bases for name, text in _documented(base).items()}
    doc = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    texts = dict(re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", doc, re.MULTILINE))
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            texts[field.target.id] = str(below.value.value)
    return inherited | {
        name: " ".join(text.replace("`", "").split()) for name, text in texts.items()
    }
