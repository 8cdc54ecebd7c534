"""HEMlets PoSh: part-centric heatmap triplets for 3D human pose and shape.

>>> import hemlets
>>> model = hemlets.load()                                          # doctest: +SKIP
>>> people = model("photo.jpg")                                     # doctest: +SKIP

The package holds the model code alone. Orchestration, tracking, validation and serving live
in the sibling packages ``flows``, ``data_checks`` and ``serving``, which import this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from torch import device as Device  # noqa: N812

    from hemlets.inference.model import Model
    from hemlets.inference.results import People, Person

__all__ = ["Model", "People", "Person", "__version__", "load"]

__version__ = "0.1.0"


def load(
    model: str | Path | None = None,
    *,
    body: str | Path | None = None,
    device: str | Device | None = None,
    fast: bool = False,
    second_look: bool | None = None,
    follow_joints: bool | None = None,
) -> Model:
    """The model that predicts everybody in a photograph, see `hemlets.inference.model.Model`.

    Args:
        model: A model folder; the workspace's champion when omitted, else the starter weights.
        body: A body file, for a model that wasn't trained on the open body.
        device: Where to run: a GPU where there is one, when omitted.
        fast: Without the flip test and the second look, and in bfloat16, for a third of the time,
            and a tenth of people whom a second look would be taken at.
        second_look: Whether to look again at people whom the network is unsure of; as the model
            was made when omitted.
        follow_joints: Whether joints and bodies correct each other, or are the networks' own;
            likewise.

    Raises:
        AssetError: There is no model, or no body for it.
        CheckpointError: The model folder is not a whole model.
    """
    from hemlets.inference.model import Model

    return Model.load(
        model,
        body=body,
        device=device,
        fast=fast,
        second_look=second_look,
        follow_joints=follow_joints,
    )


def __getattr__(name: str) -> object:
    # These bring torch, and importing the package must stay cheap.
    if name == "Model":
        from hemlets.inference.model import Model

        return Model
    if name in ("People", "Person"):
        from hemlets.inference import results

        return getattr(results, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
