"""Prediction: images in, people out."""

from typing import TYPE_CHECKING

from hemlets.inference.types import BodyEstimate, Camera, Flag, PredictionRequest

if TYPE_CHECKING:
    from hemlets.inference.predictor import Predictor

__all__ = ["BodyEstimate", "Camera", "Flag", "PredictionRequest", "Predictor"]


def __getattr__(name: str) -> object:
    # The predictor imports torch; the types must stay cheap to import.
    if name == "Predictor":
        from hemlets.inference.predictor import Predictor

        return Predictor
    raise AttributeError(name)
