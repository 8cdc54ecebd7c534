"""The model as MLflow loads it: this file is stored with the model and run on loading.

Unlike every other module it does work when it is imported: MLflow's models-from-code asks for
``set_model`` at the end of the script. Nothing here is pickled; the weights are the safetensors
file in the model folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from hemlets.core.errors import InputError

if TYPE_CHECKING:
    from hemlets.inference.types import PredictionRequest


class HemletsPosh(PythonModel):  # type: ignore[misc]
    """Predicts people from a table of encoded images."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the predictor from the model folder that was stored with this file."""
        from hemlets.inference.predictor import Predictor

        self.predictor = Predictor.load(Path(context.artifacts["model"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Predict one person a row.

        Args:
            context: MLflow's context; not used here.
            model_input: A pandas DataFrame with the columns ``image`` (bytes of a JPEG or PNG
                file), ``box`` (left, top, right, bottom in pixels; the whole image when left
                out) and ``camera`` (``fx``, ``fy``, ``cx``, ``cy`` in pixels; optional).
            params: None; the model has no parameters.

        Returns:
            A JSON object a row, as ``BodyEstimate.to_json`` gives it.

        Raises:
            InputError: A row can't be used; the row and column are named.
        """
        requests = [_request(row, i) for i, row in enumerate(model_input.to_dict("records"))]
        return [estimate.to_json() for estimate in self.predictor.predict(requests)]


def _request(row: Mapping[str, object], number: int) -> PredictionRequest:
    from hemlets.data.table import decode_image
    from hemlets.inference.request import ImageRequest
    from hemlets.inference.types import PredictionRequest

    image = row.get("image")
    if not isinstance(image, bytes | bytearray | memoryview):
        raise InputError(
            f"the image is of type {type(image).__name__}",
            where=f"row {number}, column image",
            expected="the bytes of a JPEG or PNG file",
        )
    fields = {name: row.get(name) for name in ("box", "camera")}
    asked = ImageRequest.parse(fields, where=f"row {number}, column")
    return PredictionRequest(
        image_HW3=decode_image(bytes(image), where=f"row {number}, column image"),
        box_xyxy=asked.boxes[0] if asked.boxes else None,
        camera=asked.camera,
        name=f"row {number}",
    )


mlflow.models.set_model(HemletsPosh())
