"""From a photo's file to a prediction's files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from hemlets.body import BodyModel
from hemlets.core.errors import AssetError, InputError
from hemlets.core.files import atomic_path, write_json
from hemlets.core.workspace import Workspace
from hemlets.data.table import decode_image
from hemlets.inference.champion import find_model
from hemlets.inference.openpose import read_openpose
from hemlets.inference.people import Detection, predict_people
from hemlets.inference.predictor import DEFAULT_FOV_DEG, Predictor
from hemlets.inference.types import BodyEstimate, Camera, Flag
from hemlets.reports.drawing import PlacedBody, place_body, png, prediction_picture

__all__ = ["BodyPredictor", "PhotoPredictor", "PhotoResult", "read_photo"]

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
    Flag.MISSING_JOINTS: (
        "of some people not all joints were found, so their boxes may be cut short and their "
        "predictions rougher"
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
        raise InputError(
            "the photo does not exist",
            where=path,
            expected="a JPEG, PNG, WebP, BMP or TIFF file",
            remedy="check the path; relative ones start at the folder that you are in",
        ) from None
    except IsADirectoryError:
        raise InputError(
            "this is a folder, not a photo",
            where=path,
            expected="a JPEG, PNG, WebP, BMP or TIFF file, or several",
            remedy=f"name the photos in it, e.g. {path}/*.jpg",
        ) from None
    except OSError as error:
        raise InputError(
            f"the photo can't be read: {error.strerror or error}",
            where=path,
            expected="a file that you may read",
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

    def write(
        self,
        folder: Path,
        name: str,
        *,
        picture: bool,
        mesh_suffix: str | None = None,
        page: bool = False,
    ) -> None:
        """Write ``NAME.json`` and what else is wanted, each file whole or not at all.

        Args:
            folder: Where to.
            name: What the files' names begin with.
            picture: Whether to draw ``NAME.overlay.png``.
            mesh_suffix: ``.glb``, ``.obj`` or ``.ply`` for the mesh; None for none.
            page: Whether to write ``NAME.html``, the body in 3D.

        Raises:
            WorkspaceError: The folder can't be written to.
        """
        target = folder / f"{name}.json"
        write_json(target, self.to_json())
        self.files.append(target)
        if picture:
            drawn = prediction_picture(self.image_HW3, self.estimate, self.placed)
            target = folder / f"{name}.overlay.png"
            with atomic_path(target) as scratch:
                scratch.write_bytes(png(drawn))
            self.files.append(target)
        if mesh_suffix is not None:
            from hemlets.body.export import export_mesh

            target = folder / f"{name}{mesh_suffix}"
            export_mesh(target, self.placed.vertices_V3_mm, self.placed.faces_F3)
            self.files.append(target)
        if page:
            from hemlets.reports.drawing.page3d import prediction_page

            target = folder / f"{name}.html"
            text = prediction_page(
                [(self.estimate, self.placed)], title=self.photo.name, image_HW3=self.image_HW3
            )
            with atomic_path(target) as scratch:
                scratch.write_text(text, encoding="utf-8")
            self.files.append(target)

    def summary_row(self) -> tuple[str, str, str]:
        """Photo, pelvis in metres, confidence that there is a person: as shown to people."""
        metres = ", ".join(f"{v / 1000:.2f}" for v in self.estimate.root_mm)
        sure = self.estimate.person_confidence
        confidence = "–" if np.isnan(sure) else f"{sure:.2f}"
        return self.photo.name, metres, confidence

    def assumptions(self) -> list[str]:
        """What a reader must know: doubts, and what was assumed and can be given instead."""
        notes = [_NOTES[flag] for flag in self.estimate.flags]
        if self.estimate.person is False:
            doubt = (
                f"{self.photo.name}: there is probably no person in the box. The confidence of "
                f"{self.estimate.person_confidence:.2f} is below the model's threshold, so don't "
                "rely on this result"
            )
            return [doubt, *notes]
        return notes


class BodyPredictor:
    """A model with the body that its θ and β belong to.

    Attributes:
        origin: How the model was chosen, for people.
    """

    def __init__(self, predictor: Predictor, body: BodyModel, *, origin: str) -> None:
        self.origin = origin
        self._predictor = predictor
        self._body = body

    @classmethod
    def load(cls, model: Path | None, *, body: Path | None = None) -> Self:
        """Load a model and its body.

        Args:
            model: A model folder; `hemlets.inference.champion` says what else is taken.
            body: A body file, for a model that wasn't trained on the open body.

        Raises:
            AssetError: There is no model, or no body for it.
            CheckpointError: The model folder is not a whole model.
        """
        choice = find_model(model, Workspace.from_env())
        predictor = Predictor.load(choice.folder)
        return cls(predictor, _body_of(predictor.card.body, body), origin=choice.origin)


class PhotoPredictor(BodyPredictor):
    """Predicts photos."""

    def predict(
        self,
        photo: Path,
        box: tuple[float, float, float, float] | None,
        camera: Camera | None,
        *,
        refine: bool = False,
    ) -> PhotoResult:
        """Predict the person in one photo.

        Args:
            photo: The file.
            box: The person's box; the whole photo when omitted.
            camera: Intrinsics; a default field of view when omitted.
            refine: Whether to fit the body to the joints.

        Raises:
            InputError: The photo can't be read, or box or camera don't fit it; names the photo.
        """
        return self._predict(photo, [Detection(box_xyxy=box)], camera, refine=refine)[0]

    def predict_people(
        self, photo: Path, openpose: Path, camera: Camera | None, *, refine: bool = False
    ) -> list[PhotoResult]:
        """Predict everybody whom OpenPose found in a photo, in one batch.

        Raises:
            InputError: A file can't be read, or OpenPose found nobody.
        """
        found = read_openpose(openpose).people
        if not found:
            raise InputError(
                "OpenPose found nobody of whom there is enough for a box", where=openpose
            )
        return self._predict(photo, found, camera, refine=refine)

    def _predict(
        self,
        photo: Path,
        detections: Sequence[Detection],
        camera: Camera | None,
        *,
        refine: bool,
    ) -> list[PhotoResult]:
        image = read_photo(photo)
        try:
            estimates = predict_people(self._predictor, image, detections, camera=camera)
        except InputError as error:
            field = (error.where or "").partition(": ")[2]
            raise InputError(
                error.what,
                where=f"{photo}: {field}" if field else photo,
                expected=error.expected,
                remedy=error.remedy,
            ) from error
        if refine:
            # Fitting needs roma, which takes two seconds to import.
            from hemlets.inference.refine import Refiner

            joints = [detection.joints2d_px for detection in detections]
            estimates = Refiner(self._body).refine(estimates, joints2d_px=joints)
        return [
            PhotoResult(
                photo=photo,
                image_HW3=image,
                estimate=estimate,
                placed=place_body(self._body, estimate.theta, estimate.betas, estimate.root_mm),
                files=[],
            )
            for estimate in estimates
        ]


def _body_of(name: str, given: Path | None) -> BodyModel:
    """The body that a model was trained on.

    Args:
        name: As the model's card has it.
        given: A body file, which is taken instead.

    Raises:
        AssetError: It does not come with the project, and no file was given.
    """
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
