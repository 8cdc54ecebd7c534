"""From a photo's file to a prediction's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from hemlets.annotations import decode_image
from hemlets.body import BodyModel
from hemlets.cli.models import find_model
from hemlets.drawing import PlacedBody, place_body, prediction_picture
from hemlets.errors import AssetError, InputError
from hemlets.files import atomic_path, write_json
from hemlets.inference.predictor import DEFAULT_FOV_DEG, Predictor
from hemlets.inference.types import BodyEstimate, Camera, Flag, PredictionRequest
from hemlets.workspace import Workspace

__all__ = ["PhotoPredictor", "PhotoResult", "read_photo"]

Image = npt.NDArray[np.uint8]

_LARGEST_FILE: Final = 200_000_000
_NOTES: Final = {
    Flag.WHOLE_IMAGE_BOX: (
        "no box was given, so the whole photo was taken for the person's box. The result is "
        "rougher unless the person fills the photo: give --box x0,y0,x1,y1"
    ),
    Flag.DEFAULT_FIELD_OF_VIEW: (
        f"no camera was given, so a field of view of {DEFAULT_FOV_DEG:g}° was assumed. Distance "
        "and depth are rougher: give --camera fx,fy,cx,cy"
    ),
}


def read_photo(path: Path) -> Image:
    """The pixels of a photo, RGB (H, W, 3), upright.

    Raises:
        InputError: The file can't be read or is no image; the message names it.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(
                f"the file has {path.stat().st_size / 1e6:.0f} MB",
                where=path,
                expected=f"at most {_LARGEST_FILE / 1e6:.0f} MB",
                remedy="scale the photo down",
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError("the photo does not exist", where=path) from None
    except OSError as error:
        raise InputError(
            f"the photo can't be read: {error.strerror or error}", where=path
        ) from error
    return decode_image(data, where=str(path))


@dataclass(frozen=True, kw_only=True)
class PhotoResult:
    """One photo's prediction, and its files once they are written.

    Attributes:
        photo: The photo's file.
        image_HW3: Its pixels, RGB.
        estimate: The prediction.
        placed: Its body in the camera frame.
        files: Names of what was written.
    """

    photo: Path
    image_HW3: Image
    estimate: BodyEstimate
    placed: PlacedBody
    files: list[Path]

    def to_json(self) -> dict[str, Any]:
        """The estimate's JSON with the photo's name and size and the body's translation.

        ``transl_mm`` is added to the body model's output to reach the camera frame.
        """
        height, width = self.image_HW3.shape[:2]
        return self.estimate.to_json() | {
            "image": {"name": self.photo.name, "width": width, "height": height},
            "transl_mm": self.placed.transl_mm.astype(float).tolist(),
        }

    def json_line(self) -> str:
        """The same on one line."""
        return json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False)

    def write(self, folder: Path, name: str, *, picture: bool) -> None:
        """Write ``NAME.json`` and, if wanted, ``NAME.overlay.png``, each whole or not at all.

        Raises:
            WorkspaceError: The folder can't be written to.
        """
        target = folder / f"{name}.json"
        write_json(target, self.to_json())
        self.files.append(target)
        if picture:
            import cv2

            drawn = prediction_picture(self.image_HW3, self.estimate, self.placed)
            _, png = cv2.imencode(".png", drawn[..., ::-1])
            target = folder / f"{name}.overlay.png"
            with atomic_path(target) as scratch:
                scratch.write_bytes(bytes(png))
            self.files.append(target)

    def summary_row(self) -> tuple[str, str, str]:
        """Photo, pelvis in metres, mean confidence: as shown to people."""
        metres = ", ".join(f"{v / 1000:.2f}" for v in self.estimate.root_mm)
        known = self.estimate.confidence[np.isfinite(self.estimate.confidence)]
        confidence = f"{known.mean():.2f}" if known.size else "–"
        return self.photo.name, metres, confidence

    def assumptions(self) -> list[str]:
        """What was assumed for want of input, and what to give instead."""
        return [_NOTES[flag] for flag in self.estimate.flags]


class PhotoPredictor:
    """Predicts photos with one model and its body.

    Attributes:
        origin: How the model was chosen, for people.
    """

    def __init__(self, predictor: Predictor, body: BodyModel, *, origin: str) -> None:
        self.origin = origin
        self._predictor = predictor
        self._body = body

    @classmethod
    def load(cls, model: Path | None, *, body: Path | None = None) -> Self:
        """Load a model and the body that its θ and β belong to.

        Args:
            model: A model folder; see `hemlets.cli.models.find_model` for what else is taken.
            body: A body file, for a model that wasn't trained on the open body.

        Raises:
            AssetError: There is no model, or no body for it.
            CheckpointError: The model folder is not a whole model.
        """
        choice = find_model(model, Workspace.from_env())
        predictor = Predictor.load(choice.folder)
        return cls(predictor, _body_of(predictor.card.body, body), origin=choice.origin)

    def predict(
        self, photo: Path, box: tuple[float, float, float, float] | None, camera: Camera | None
    ) -> PhotoResult:
        """Predict the person in one photo.

        Raises:
            InputError: The photo can't be read, or box or camera don't fit it; names the photo.
        """
        image = read_photo(photo)
        request = PredictionRequest(image_HW3=image, box_xyxy=box, camera=camera)
        try:
            estimate = self._predictor.predict([request])[0]
        except InputError as error:
            field = (error.where or "").partition(": ")[2]
            raise InputError(
                error.what,
                where=f"{photo}: {field}" if field else photo,
                expected=error.expected,
                remedy=error.remedy,
            ) from error
        placed = place_body(self._body, estimate.theta, estimate.betas, estimate.root_mm)
        return PhotoResult(photo=photo, image_HW3=image, estimate=estimate, placed=placed, files=[])


def _body_of(name: str, given: Path | None) -> BodyModel:
    if given is not None:
        return BodyModel.load(given)
    if name == "open-body-lite":
        return BodyModel.load(resolution="lite")
    if name == "open-body":
        return BodyModel.load(resolution="full")
    raise AssetError(
        f"the model was trained on the body {name!r}, which does not come with hemlets",
        where="--body",
        remedy="name its file with --body",
    )
