"""Export a model as one ONNX file, and predict with onnxruntime.

The file contains the network, the flip test and the decoding in float32 for any number of crops,
and the model card as metadata. The predictor does cropping, camera and metric scale. Needs the
extra ``onnx``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from hemlets.body.rotations import nearest_rotations
from hemlets.core.errors import CheckpointError
from hemlets.core.files import atomic_path
from hemlets.inference.looks import NetworkAnswer
from hemlets.inference.predictor import Predictor, read_out
from hemlets.models.flip_tta import flip_sum
from hemlets.models.fused import Precision
from hemlets.models.model_folder import ModelCard, load_model
from hemlets.models.posh import HemletsPosh

CARD: Final = "hemlets_card"
"""Metadata key of the model card as JSON."""


class _Exported(nn.Module):
    """Exported module: crops to network outputs; with flip test, the sum of both rotations."""

    def __init__(self, model: HemletsPosh, *, flip_test: bool) -> None:
        super().__init__()
        self.model = model
        self.flip_test = flip_test

    def forward(self, crop_B3HW: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        out = flip_sum(model, crop_B3HW) if self.flip_test else model(crop_B3HW)
        answer = read_out(out)
        return tuple(value.float() for value in answer)


def export_onnx(folder: Path, path: Path) -> None:
    """Write a model folder's network as one ONNX file.

    Raises:
        CheckpointError: The folder is incomplete or damaged.
        WorkspaceError: The file can't be written.
    """
    import onnx

    model, card = load_model(folder)
    exported = _Exported(model.float().eval(), flip_test=card.flip_test).eval()
    side = card.pose.crop_px
    # Batch of two: torch.export treats a batch of one as a constant.
    example = torch.zeros(2, 3, side, side)
    with torch.no_grad():
        program: Any = torch.onnx.export(
            exported,
            (example,),
            input_names=["crop"],
            output_names=list(NetworkAnswer._fields),
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    proto.metadata_props.add(key=CARD, value=card.model_dump_json())
    with atomic_path(path) as scratch:
        onnx.save(proto, scratch)


class OnnxPredictor(Predictor):
    """`Predictor` in float32 with onnxruntime instead of PyTorch."""

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        """Load a file.

        Args:
            path: File written by :func:`export_onnx`.
            threads: Threads of onnxruntime; 0 for its default.

        Raises:
            CheckpointError: The file is none of ours.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            properties = self._session.get_modelmeta().custom_metadata_map
            self.card = ModelCard.model_validate_json(properties[CARD])
        except (KeyError, ValidationError) as error:
            raise CheckpointError(
                "the ONNX file has no card of a model", where=path, remedy="export the model again"
            ) from error
        except Exception as error:  # onnxruntime's errors have no common base class
            raise CheckpointError(
                f"the ONNX file can't be loaded: {error}", where=path, remedy="export it again"
            ) from error
        if [output.name for output in self._session.get_outputs()] != list(NetworkAnswer._fields):
            raise CheckpointError(
                "the ONNX file is of another version of hemlets", where=path,
                remedy="export the model again",
            )  # fmt: skip
        self.device = torch.device("cpu")
        self.precision = "float32"
        self._body = None

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str | torch.device = "cpu",
        flip_test: bool | None = None,
        precision: Precision | None = None,
        second_look: bool | None = None,
        follow_joints: bool | None = None,
        body: Path | None = None,
    ) -> Self:
        """Load an ONNX file in place of a model folder.

        Raises:
            CheckpointError: The file is none of ours, or was exported with another flip test or
                precision.
        """
        predictor = cls(folder)
        made = {"flip_test": predictor.card.flip_test, "precision": predictor.precision}
        asked = {"flip_test": flip_test, "precision": precision}
        for name, value in made.items():
            if asked[name] not in (None, value):
                raise CheckpointError(
                    f"{name} is a part of the exported network",
                    where=folder,
                    expected=f"{name}={value}",
                    remedy="export a model whose card says otherwise",
                )
        free = {"second_look": second_look, "follow_joints": follow_joints}
        chosen = {name: value for name, value in free.items() if value is not None}
        predictor.card = predictor.card.model_copy(update=chosen)
        predictor._body = body
        return predictor

    def _infer(self, crop_B3HW: Tensor) -> NetworkAnswer:
        values = self._session.run(None, {"crop": crop_B3HW.float().contiguous().numpy()})
        answer = NetworkAnswer(*(torch.from_numpy(value) for value in values))
        if self.card.flip_test:
            answer = answer._replace(rotation_BR33=nearest_rotations(answer.rotation_BR33))
        return answer
