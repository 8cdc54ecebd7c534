"""Model: person detector, predictor and body model, from a photograph to people."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import torch

from hemlets.body import BodyModel
from hemlets.core.errors import ConfigError, InputError
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import find_model
from hemlets.inference.detector import MultiPoseDetector
from hemlets.inference.images import Image, Readable, several, to_path, to_photo
from hemlets.inference.people import Detection, PersonDetector, predict_people
from hemlets.inference.predictor import Predictor, default_camera
from hemlets.inference.request import ImageRequest
from hemlets.inference.results import People, Person
from hemlets.inference.types import Camera

if TYPE_CHECKING:
    from PIL import Image as Pil

    One = str | PathLike[str] | bytes | Readable | Image | Pil.Image


class SomeImagesError(InputError):
    """Some images of a list can't be used.

    Attributes:
        results: Everybody of each image; None for one that can't be used.
        errors: What is wrong, by number in the list.
    """

    def __init__(self, results: list[People | None], errors: dict[int, InputError]) -> None:
        self.results, self.errors = results, errors
        number, first = next(iter(errors.items()))
        super().__init__(
            f"{len(errors)} of {len(results)} images can't be used: {first.what}",
            where=f"image {number}: {first.where}",
            expected=first.expected,
            remedy=f"{first.remedy + '; ' if first.remedy else ''}the error's results has the "
            "others",
        )


class _Each(Iterator[People]):
    """Predictions one after another; after an image that can't be used the next ones follow."""

    def __init__(self, predict: Callable[[object], People], images: Iterator[object]) -> None:
        self._predict, self._images = predict, enumerate(images)

    def __next__(self) -> People:
        number, image = next(self._images)
        try:
            return self._predict(image)
        except InputError as error:
            raise InputError(
                error.what,
                where=f"image {number}: {error.where}",
                expected=error.expected,
                remedy=error.remedy,
            ) from error


class Model:
    """Predicts the people in photographs.

    >>> import hemlets
    >>> model = hemlets.load()                                      # doctest: +SKIP
    >>> for person in model("photo.jpg"):                           # doctest: +SKIP
    ...     print(person.confidence, person.joints3d_mm.shape)
    """

    def __init__(
        self,
        predictor: Predictor,
        body: BodyModel,
        *,
        detector: PersonDetector | None = None,
        origin: str = "given",
    ) -> None:
        """Combine the parts.

        Args:
            predictor: The network.
            body: Body model of θ and β.
            detector: Person detector; by default the bundled one, loaded at first use.
            origin: Display text on how the model was chosen.
        """
        self.predictor = predictor
        self.body = body
        self.origin = origin
        self._detector = detector

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        body: str | Path | None = None,
        device: str | torch.device | None = None,
        fast: bool = False,
        second_look: bool | None = None,
        follow_joints: bool | None = None,
    ) -> Self:
        """Load a model and its body.

        Args:
            model: Model folder; by default as `hemlets.inference.champion` chooses.
            body: Body file, for a model that wasn't trained on the open body.
            device: Device; by default a GPU if there is one.
            fast: Run in bfloat16 without flip test and second look, in a third to a tenth of the
                time; the benchmark of photographs measures the loss of accuracy.
            second_look: Whether to predict unsure people again (`hemlets.inference.looks`); by
                default as in the model card.
            follow_joints: Whether joints and bodies correct each other (`hemlets.body.follow`,
                `hemlets.inference.body_joints`); likewise.

        Raises:
            AssetError: There is no model, or no body for it.
            ConfigError: The machine does not have the device.
            CheckpointError: The model folder is incomplete or damaged.
        """
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        device = _usable(device)
        given, file = (None if p is None else to_path(p) for p in (model, body))
        choice = find_model(given, Workspace.from_env())
        predictor = Predictor.load(
            choice.folder,
            device=device,
            flip_test=False if fast else None,
            precision="bfloat16" if fast else None,
            second_look=False if fast and second_look is None else second_look,
            follow_joints=follow_joints,
            body=file,
        )
        of_model = BodyModel.named(predictor.card.body, file)
        return cls(predictor, of_model, origin=choice.origin)

    @property
    def detector(self) -> PersonDetector:
        """Person detector, used if no boxes are given."""
        if self._detector is None:
            self._detector = MultiPoseDetector.load(device=self.predictor.device)
        return self._detector

    @overload
    def __call__(
        self,
        image: One,
        *,
        boxes: Iterable[Sequence[float]] | None = None,
        camera: Camera | Sequence[float] | None = None,
    ) -> People: ...

    @overload
    def __call__(
        self,
        image: list[One] | tuple[One, ...],
        *,
        boxes: None = None,
        camera: Camera | Sequence[float] | None = None,
    ) -> list[People]: ...

    @overload
    def __call__(
        self,
        image: Iterator[One],
        *,
        boxes: None = None,
        camera: Camera | Sequence[float] | None = None,
    ) -> Iterator[People]: ...

    def __call__(
        self,
        image: Any,
        *,
        boxes: Iterable[Sequence[float]] | None = None,
        camera: Camera | Sequence[float] | None = None,
    ) -> People | list[People] | Iterator[People]:
        """Predict the people in an image, or in several.

        Args:
            image: A path, a file's bytes, an open file, an RGB array (H, W, 3) of uint8, or a PIL
                image; or a list, a folder or a generator of them.
            boxes: People's boxes in pixels: left, top, right, bottom. People are returned in this
                order. By default people are detected and returned by size, largest first.
            camera: fx, fy, cx, cy in pixels; by default a field of view of 25°.

        Returns:
            The people of an image; a list of them for a list of images, and an iterator for a
            folder or generator, which holds one image in memory at a time. An unusable photo of a
            folder is left out with a warning; one of a generator raises, and the iterator can
            continue.

        Raises:
            InputError: An image, box or camera that can't be used.
            SomeImagesError: Some images of a list can't be used; it has the others' results.
        """
        # A table iterates over the names of its columns.
        rows = getattr(boxes, "to_numpy", lambda: boxes)()
        asked = ImageRequest.parse(
            {"boxes": None if rows is None else list(rows), "camera": camera}
        )
        many = several(image)
        if many is None:
            return self._predict_one(image, asked)
        if asked.boxes is not None:
            raise InputError(
                "boxes were given for several images",
                where="boxes",
                expected="boxes with one image",
                remedy="call the model once for each image",
            )
        if isinstance(image, list | tuple):
            return self._predict_list(image, asked)
        if isinstance(image, str | PathLike):
            return self._predict_folder(many, asked)
        return _Each(partial(self._predict_one, asked=asked), many)

    def _predict_one(self, image: object, asked: ImageRequest) -> People:
        photo = to_photo(image)
        return self.predict(photo.image_HW3, asked, name=photo.name)

    def _predict_list(self, images: Sequence[object], asked: ImageRequest) -> list[People]:
        results: list[People | None] = []
        errors: dict[int, InputError] = {}
        for number, image in enumerate(images):
            try:
                results.append(self._predict_one(image, asked))
            except InputError as error:
                results.append(None)
                errors[number] = error
        if errors:
            raise SomeImagesError(results, errors)
        return [people for people in results if people is not None]

    def _predict_folder(self, photos: Iterator[object], asked: ImageRequest) -> Iterator[People]:
        errors: list[InputError] = []
        answered = False
        for photo in photos:
            try:
                people = self._predict_one(photo, asked)
            except InputError as error:
                errors.append(error)
                warnings.warn(f"left out {error.where}: {error.what}", stacklevel=2)
                continue
            answered = True
            yield people
        if not answered:
            raise errors[0]

    def predict(
        self,
        image_HW3: Image,
        request: ImageRequest,
        *,
        name: str = "image",
        where: str = "",
        detections: Sequence[Detection] | None = None,
        refine: bool = False,
    ) -> People:
        """Predict the people in one image.

        Args:
            image_HW3: RGB.
            request: Boxes and camera.
            name: Name of the image in the result.
            where: Location of the image for errors.
            detections: People to predict, instead of the request's boxes or the detector's.
            refine: Whether to fit each body to its joints.

        Raises:
            InputError: A box or camera that doesn't fit the image.
        """
        if detections is None:
            detections = self.find(image_HW3, request)
        estimates = predict_people(
            self.predictor, image_HW3, detections, camera=request.camera, where=where
        )
        if refine:
            # Fitting needs roma, which takes two seconds to import.
            from hemlets.inference.refine import Refiner

            joints = [detection.joints2d_px for detection in detections]
            estimates = Refiner(self.body).refine(estimates, joints2d_px=joints)
        return People(
            image_HW3=image_HW3,
            name=name,
            camera=request.camera or default_camera(image_HW3.shape[1], image_HW3.shape[0]),
            model_version=self.predictor.version,
            persons=tuple(
                Person(
                    estimate=estimate,
                    body_model=self.body,
                    detection=detection,
                )
                for estimate, detection in zip(estimates, detections, strict=True)
            ),
        )

    def find(self, image_HW3: Image, request: ImageRequest) -> list[Detection]:
        """Return the request's boxes in order, otherwise the detector's people."""
        if request.boxes is not None:
            return [Detection(box_xyxy=box) for box in request.boxes]
        return list(self.detector.detect(image_HW3))


def _usable(device: str | torch.device) -> torch.device:
    """A device that this machine has.

    Raises:
        ConfigError: It has none of that name.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"the device {str(device)!r} can't be used: {str(error).partition(chr(10))[0][:120]}",
            where="device",
            expected="cpu, or cuda on a machine with a GPU",
        ) from error
    return found
