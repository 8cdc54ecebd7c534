"""The model as MLflow loads it: this file is stored with the model and run on loading.

Unlike every other module it does work when it is imported: MLflow's models-from-code asks for
``set_model`` at the end of the script. Nothing here is pickled; the weights are the safetensors
file in the model folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from hemlets.core.errors import InputError

if TYPE_CHECKING:
    from hemlets.inference.types import Camera, PredictionRequest

__all__ = ["HemletsPosh"]


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
                file), ``box`` (left, top, right, bottom in pixels; optional) and ``camera``
                (``fx``, ``fy``, ``cx``, ``cy`` in pixels; optional).
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
    from hemlets.inference.types import PredictionRequest

    image = row.get("image")
    if not isinstance(image, bytes | bytearray | memoryview):
        raise InputError(
            f"the image is of type {type(image).__name__}",
            where=f"row {number}, column image",
            expected="the bytes of a JPEG or PNG file",
        )
    return PredictionRequest(
        image_HW3=decode_image(bytes(image), where=f"row {number}, column image"),
        box_xyxy=_box(row.get("box"), f"row {number}, column box"),
        camera=_camera(row.get("camera"), f"row {number}, column camera"),
    )


def _absent(value: object) -> bool:
    # A table stores what is missing in an otherwise filled column as NaN.
    return value is None or (isinstance(value, float) and math.isnan(value))


def _box(value: object, where: str) -> tuple[float, float, float, float] | None:
    if _absent(value):
        return None
    try:
        if not isinstance(value, Iterable):
            raise TypeError
        left, top, right, bottom = (float(number) for number in value)
    except (TypeError, ValueError):
        raise InputError(
            f"the box is {value!r}", where=where, expected="left, top, right, bottom in pixels"
        ) from None
    return left, top, right, bottom


def _camera(value: object, where: str) -> Camera | None:
    from hemlets.inference.types import Camera

    if _absent(value):
        return None
    try:
        if not isinstance(value, Mapping):
            raise TypeError
        fx, fy, cx, cy = (float(value[name]) for name in ("fx", "fy", "cx", "cy"))
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"the camera is {value!r}", where=where, expected="fx, fy, cx, cy in pixels"
        ) from None
    return Camera(fx=fx, fy=fy, cx=cx, cy=cy)


mlflow.models.set_model(HemletsPosh())
