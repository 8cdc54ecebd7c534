"""Images in, people out."""

from hemlets.inference.types import BodyEstimate, Camera, Flag, PredictionRequest

__all__ = ["BodyEstimate", "Camera", "Flag", "PredictionRequest", "Predictor"]


def __getattr__(name: str) -> object:
    # The predictor brings torch; the types alone must stay cheap to import.
    if name == "Predictor":
        from hemlets.inference.predictor import Predictor

        return Predictor
    raise AttributeError(name)
